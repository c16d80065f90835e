"""Newline-delimited JSON: bytes to values."""

from typing import Any

from orjson import JSONDecodeError, loads

from fanout.errors import ProtocolError, ProviderError, TooLarge, Truncated
from fanout.wire.json_text import JsonText, excerpt
from fanout.wire.weight import Weight

CAP = 8 << 20
"""Bytes of one line."""

_BOM = "\ufeff"
_BLANK = " \t\r"
_BLANK_BYTES = b" \t\r"


class JsonLines:
    """Cuts newline-delimited JSON into values. Lines end at LF only, blank ones are skipped, the last needs no LF.

    A value that is half there at the end is Truncated; a line that is no JSON is a ProtocolError, never skipped.
    """

    def __init__(self, json: JsonText | None = None, max_line: int = CAP) -> None:
        self.error: ProviderError | None = None
        self._json = json or JsonText()
        self._max_line = max_line
        self._number = 0
        self._partial = bytearray()
        self._weight = Weight()  # of the line that is not whole

    def feed(self, data: bytes, /) -> list[Any]:
        """Takes the bytes of one read and returns the values of the lines they complete."""
        values: list[Any] = []
        if self.error or not data:
            return values
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._partial:
            self._partial += lines[0]
            lines[0] = bytes(self._partial)
            self._partial = bytearray()
            self._weight = Weight()
        if len(lines) > 1 and len(lines[0]) + len(data) <= self._max_line:
            try:
                # All lines at once, as they nearly always are: a loop costs a tenth more.
                values = list(map(loads, lines))
            except JSONDecodeError:
                pass
            else:
                self._number += len(lines)
                lines = []
        for line in lines:
            if len(line) < 3 and not line.strip(_BLANK_BYTES):
                self._number += 1
                continue
            try:
                # What the careful way would find in nearly every line; the rest it takes or refuses itself.
                value = loads(line if len(line) <= self._max_line else b"")
            except JSONDecodeError:
                self._take_line(line, values)
                if self.error:
                    return values
            else:
                self._number += 1
                values.append(value)
        if rest:
            self._partial += rest
            self._weight.add(rest)
            if len(self._partial) > self._max_line:
                self._refuse()
            elif self._weight.error:
                self.error = self._weight.error
                self._partial = bytearray()
        return values

    def close(self) -> list[Any]:
        """The input is over; returns the value of a last line without LF."""
        values: list[Any] = []
        rest = bytes(self._partial)
        self._partial = bytearray()
        if rest and not self.error:
            self._take_line(rest, values, last=True)
        return values

    def _take_line(self, line: bytes, values: list[Any], *, last: bool = False) -> None:
        self._number += 1
        if len(line) > self._max_line:
            self._refuse()
            return
        text = line.decode("utf-8", "replace")
        if self._number == 1:
            text = text.removeprefix(_BOM)
        if not text.strip(_BLANK):
            return
        try:
            values.extend(self._json.decode_all(text))
        except ProtocolError as error:
            cut = last and self._weight.is_open
            where = f"line {self._number} is {'cut short' if cut else 'not JSON'}: {excerpt(text)}"
            self.error = Truncated(where) if cut else ProtocolError(where)
            self.error.__cause__ = error

    def _refuse(self) -> None:
        self.error = TooLarge(f"an NDJSON line of more than {self._max_line} bytes")
        self._partial = bytearray()
