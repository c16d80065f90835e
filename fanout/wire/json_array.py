"""A JSON array that grows over time: bytes to its elements, each as soon as it closes."""

import re
from typing import Any

from fanout.errors import ProtocolError, ProviderError, TooLarge, Truncated
from fanout.wire.faults import fault
from fanout.wire.json_text import JsonText, excerpt
from fanout.wire.weight import Weight

CAP = 8 << 20
"""Bytes of one element."""

_BOM = b"\xef\xbb\xbf"
_BETWEEN = re.compile(rb"[ \t\r\n,]*")
_STRUCTURE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_OPENING, _CLOSING, _QUOTE = b"{[", b"}]", b'"'


class JsonArray:
    """Cuts one JSON array into its elements, which must be objects or arrays.

    An object in the array's place is an error body, and becomes `error`, as does an element that is an error. An array
    that does not close is Truncated.
    """

    def __init__(self, json: JsonText | None = None, max_element: int = CAP) -> None:
        self.error: ProviderError | None = None
        self._json = json or JsonText()
        self._max_element = max_element
        self._start = b""  # what precedes the array, while it may be a BOM
        self._opened = False
        self._alone = False  # an object stands in the array's place
        self._closed = False
        self._depth = 0  # within the element
        self._in_string = False
        self._escaped = False
        self._element = bytearray()
        self._weight: Weight | None = None  # of an element that came in more than one read

    def feed(self, data: bytes, /) -> list[Any]:
        """Takes the bytes of one read and returns the elements they complete."""
        values: list[Any] = []
        position = 0
        if not self._opened:
            data = self._start + data
            position = self._open(data)
        while position < len(data) and not self._closed and not self.error:
            step = self._within if self._depth else self._between
            position = step(data, position, values)
        return values

    def close(self) -> list[Any]:
        """The input is over; it must have ended with the array."""
        if not self._closed and not self.error:
            self.error = Truncated("the JSON array has no end")
        return []

    def _open(self, data: bytes) -> int:
        """The position after the opening bracket."""
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._start = data
            return len(data)
        self._start = b""
        skipped = len(_BOM) if data.startswith(_BOM) else 0
        position = _after(_BETWEEN, data, skipped)
        if position == len(data):
            return position
        self._opened = True
        self._alone = data[position] == ord("{")
        if data[position] == ord("["):
            return position + 1
        if not self._alone:
            self.error = ProtocolError(f"no JSON array: {_excerpt(data, position)}")
        return position

    def _between(self, data: bytes, position: int, _: list[Any]) -> int:
        position = _after(_BETWEEN, data, position)
        if position < len(data):
            if data[position] in _OPENING:
                self._element = bytearray()
                self._depth = 1
                self._keep(data[position : position + 1])
                return position + 1
            if data[position] == ord("]"):
                self._closed = True
            else:
                self.error = ProtocolError(f"an array element that is no object: {_excerpt(data, position)}")
        return position

    def _within(self, data: bytes, position: int, values: list[Any]) -> int:
        """Goes on to the end of the element, or of the data."""
        start = position
        while position < len(data) and self._depth:
            position = self._step(data, position)
        self._keep(data[start:position])
        if self._depth and not self.error:
            self._weight = self._weight or Weight()
            self._weight.add(data[start:position])
            self.error = self._weight.error
        if not self._depth and not self.error:
            self._finish(values)
        return position

    def _step(self, data: bytes, position: int) -> int:
        """Goes past one string, or to after the next quote or bracket outside of strings."""
        if self._in_string:
            return self._string(data, position)
        if not (token := _STRUCTURE.search(data, position)):
            return len(data)
        if token[0] == _QUOTE:
            self._in_string = True
        else:
            self._depth += 1 if token[0] in _OPENING else -1
        return token.end()

    def _string(self, data: bytes, position: int) -> int:
        if self._escaped:
            self._escaped = False
            return position + 1
        position = _after(_IN_STRING, data, position)
        if position == len(data):
            return position
        # What stops the pattern is the closing quote, or a backslash that ends the data.
        self._in_string = self._escaped = data[position] != ord(_QUOTE)
        return position + 1

    def _keep(self, piece: bytes) -> None:
        self._element += piece
        if len(self._element) > self._max_element:
            self.error = TooLarge(f"an array element of more than {self._max_element} bytes")
            self._element = bytearray()

    def _finish(self, values: list[Any]) -> None:
        text = self._element.decode("utf-8", "replace")
        self._element = bytearray()
        self._weight = None
        try:
            value = self._json.decode(text)
        except ProtocolError as error:
            self.error = error
            return
        self.error = fault(value)
        if self._alone:
            self.error = self.error or ProtocolError(f"an object in place of an array: {excerpt(text)}")
        elif not self.error:
            values.append(value)


def _excerpt(data: bytes, position: int) -> str:
    return excerpt(data[position : position + 80].decode("utf-8", "replace"))


def _after(pattern: re.Pattern[bytes], data: bytes, position: int) -> int:
    match = pattern.match(data, position)
    return match.end() if match else position
