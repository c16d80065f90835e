"""Server-sent events (WHATWG HTML 9.2.5 and 9.2.6): bytes to messages.

CR and CRLF become LF first; a CR that ends a read ends its line at once, and an LF that then begins the next read
belongs to it. Line ends are looked for in new bytes only, so the time is linear however the input is cut.
`wire/shortcut.py` reads whole events of the usual form; everything else goes line by line.
"""

import re
from typing import Any

from attrs import define

from fanout.errors import ProviderError, TooLarge
from fanout.wire.shortcut import Lines
from fanout.wire.weight import Weight

CAP = 8 << 20
"""Bytes of one line, and of one event's data."""

LINE_COST = 64
"""Bytes for which a line of data counts besides its own: it is an object, however short it is."""

STRAY_CAP = 64 << 10
"""Bytes of lines with unknown field names that are kept."""

_BOM = b"\xef\xbb\xbf"
# More digits than 15 are no time to wait, and Python refuses to convert more than 4300.
_RETRY = re.compile(rb"[0-9]{1,15}")


@define
class ServerSentEvent:
    """One event: its type, its data, and the last event id as of then."""

    event: str
    data: str
    id: str


class ServerSentEvents:
    """Cuts a text/event-stream into Messages; always UTF-8, bad bytes become U+FFFD.

    `comments` counts comment lines, `retry` is the last reconnection time in milliseconds, `last_id` the last event id.
    `stray` keeps whole raw lines with unknown field names: an error that a server wrote between the events. `fresh`
    tells that the bytes so far end between two events. After `close`, `pending` is the event that was not finished by a
    blank line, which the standard discards.
    """

    def __init__(self, max_line: int = CAP, max_event: int = CAP) -> None:
        self.error: ProviderError | None = None
        self.comments = 0
        self.retry: int | None = None
        self.last_id = ""
        self.stray: list[bytes] = []
        self.pending: ServerSentEvent | None = None
        self._max_line = max_line
        self._max_event = max_event
        self._whole_cap = min(max_line, max_event)
        self._stray_size = 0
        self._start: bytes | None = b""  # what may yet be a BOM; None once that is decided
        self._after_cr = False
        self.fresh = True
        self._lines = Lines()
        self._partial = bytearray()  # an unfinished line
        self._data: list[bytes] = []
        self._data_size = 0
        self._weight: Weight | None = None  # of an event that came in more than one read, or in more than one line
        self._event = ""
        self._id = ""

    def feed(self, data: bytes, /) -> list[Any]:
        """Takes the bytes of one read and returns the messages they complete."""
        if self._start is not None:
            data = self._without_bom(data)
        if 0x0D in data or self._after_cr:
            data = self._with_lf(data)
        if self.fresh and (whole := self._read_whole(data)) is not None:
            return whole
        frames: list[Any] = []
        if data and not self.error:
            self._take(data, frames)
            self.fresh = not (self._partial or self._data or self._event or self.error)
        return frames

    def close(self) -> list[ServerSentEvent]:
        """The input is over. An unfinished event is no message; `pending` holds it."""
        rest = (self._start or b"") + bytes(self._partial)
        self._start, self._partial = None, bytearray()
        if rest and not self.error:
            self._take_line(rest, [])
        if self._data:
            self.pending = self._message()
        return []

    def _without_bom(self, data: bytes) -> bytes:
        data = (self._start or b"") + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._start = data
            return b""
        self._start = None
        return data.removeprefix(_BOM)

    def _with_lf(self, data: bytes) -> bytes:
        """`data` with LF for every line end."""
        if not data:
            return data
        if self._after_cr and data[0] == 0x0A:
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _read_whole(self, data: bytes) -> list[Any] | None:
        """Returns the frames of bytes that are whole events of the usual form, or None if they are anything else."""
        lines = self._lines
        if data[-2:] == b"\n\n" and data.startswith(lines.start) and 0x0A not in (line := data[len(lines.start) : -2]):
            if len(data) > self._whole_cap:
                return None
            self.last_id = self._id
            return self._frames(lines.event, [line.decode("utf-8", "replace")])  # one event a read
        return self._read_several(data)

    def _read_several(self, data: bytes) -> list[Any] | None:
        if len(data) > self._whole_cap or (groups := self._lines.try_read(data)) is None:
            return None
        self.last_id = self._id
        if len(groups) == 1:
            event, values = groups[0]
            return self._frames(event, values)
        return [frame for event, values in groups for frame in self._frames(event, values)]

    def _frames(self, event: str, values: list[str]) -> list[Any]:
        """Makes what `feed` returns of the data of whole events of one name."""
        last_id = self._id
        return [ServerSentEvent(event, value, last_id) for value in values]

    def _take(self, data: bytes, frames: list[Any]) -> None:
        """Takes a read that begins or ends within an event, or has other lines than the usual."""
        if not self.fresh:
            cut = data.find(b"\n\n") + 2
            if cut > 1:
                self._take_lines(data[:cut], frames)
                data = data[cut:]
                self.fresh = True
        cut = data.rfind(b"\n\n") + 2
        if cut > 1 and not self.error and (whole := self._read_whole(data[:cut])) is not None:
            frames += whole
            data = data[cut:]
        if data and not self.error:
            self._take_lines(data, frames)

    def _take_lines(self, data: bytes, messages: list[Any]) -> None:
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._partial:
            self._partial += lines[0]
            lines[0] = bytes(self._partial)
            self._partial = bytearray()
        for line in lines:
            self._take_line(line, messages)
            if self.error:
                return
        if rest:
            self._partial += rest
            if len(self._partial) > self._max_line:
                self._refuse("line", self._max_line)
            else:
                self._weigh(rest)

    def _take_line(self, line: bytes, messages: list[Any]) -> None:
        if not line:
            self._dispatch(messages)
            return
        if len(line) > self._max_line:
            self._refuse("line", self._max_line)
            return
        if line[:5] == b"data:" or line == b"data":
            if self._data:
                self._end_unspaced(messages)
            self._add_data(line[6 if line[5:6] == b" " else 5 :])
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            if self._data:
                self._end_unspaced(messages)
            self._event = value.decode("utf-8", "replace")
        elif not name:
            self.comments += 1
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry":
            if _RETRY.fullmatch(value):
                self.retry = int(value)
        elif self._stray_size + len(line) <= STRAY_CAP:
            self.stray.append(line)
            self._stray_size += len(line)

    def _end_unspaced(self, messages: list[Any]) -> None:
        """Does nothing: by the standard only a blank line ends an event. Other formats may know better."""

    def _add_data(self, value: bytes) -> None:
        if self._data:
            self._data_size += LINE_COST
            self._weigh(value)
        self._data.append(value)
        self._data_size += len(value)
        if self._data_size > self._max_event:
            self._refuse("event", self._max_event)

    def _weigh(self, piece: bytes) -> None:
        if self._weight is None:
            self._weight = Weight()
        self._weight.add(piece)
        if self._weight.error:
            self.error = self._weight.error
            self._data, self._partial = [], bytearray()

    def _message(self) -> ServerSentEvent:
        data = b"\n".join(self._data).decode("utf-8", "replace")
        return ServerSentEvent(self._event or "message", data, self._id)

    def _dispatch(self, messages: list[Any]) -> None:
        self.last_id = self._id
        if self._data:
            messages.append(self._message())
            self._data, self._data_size = [], 0
        self._event = ""
        self._weight = None

    def _refuse(self, what: str, cap: int) -> None:
        self.error = TooLarge(f"an SSE {what} of more than {cap} bytes")
        self._data, self._partial = [], bytearray()
