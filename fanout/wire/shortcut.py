"""Guesses that save work, each behind a check that proves it right: what the next bytes are, by what came before.

`Lines` guesses that a read is whole events of the same two lines, and finds their data with one split. `Repeats`
guesses that an event differs from the one before only in its text, and gets the text without parsing JSON. Each has
`try_read`, which answers None where the guess does not hold and the ordinary way must be taken, and `learn`.

Most services write one event over and over, with nothing new in it but the text. Once such an event has been read the
ordinary way and its one text is known, so is its form: the bytes before the text and those after. Bytes that begin and
end like that, with the inside of a JSON string between, parse to the same value with another text; there is nothing to
find out. Whatever does not fit the form is read the ordinary way, and the form is learnt anew.
"""

from orjson import JSONDecodeError, loads

from fanout.events import Delta, Event, Reasoning

HELD = 4096
"""Bytes of an unfinished event that are held back; a longer one is read the ordinary way."""

TRIES = 4
"""Forms in a row that fitted nothing, after which no other is learnt: these events differ in more than a text."""

_END = b"\n\n"
# What ends a JSON string, begins an escape in it, or may not be in it.
_SPECIAL = bytes([*range(0x20), *b'"\\'])

Group = tuple[str, list[str]]
"""The name of events that follow one another, and the data of each."""


class Lines:
    """Knows how the last event began: `data: `, or `event: NAME` and `data: ` below it, which are its `start`.

    It reads bytes that begin and end between two events and have no line ends but LF.
    """

    __slots__ = ("_between", "event", "start")

    def __init__(self) -> None:
        self.event = "message"
        self.start = b"data: "
        self._between = "\n\ndata: "

    def try_read(self, data: bytes) -> list[Group] | None:
        """Returns the events that `data` is, or None if any of it is of another form."""
        if data[-2:] != b"\n\n" or not (data.startswith(self.start) or self.learn(data)):
            return None
        # Decoding it all at once is the same as line by line: no UTF-8 sequence swallows an LF, not even a broken one.
        text = data[len(self.start) : -2].decode("utf-8", "replace")
        values = text.split(self._between)
        if "\n" not in "".join(values):
            return [(self.event, values)]
        return self._read_named(data)

    def learn(self, data: bytes) -> bool:
        """Takes over how the first event of `data` begins; False if it is of neither form."""
        if data[:6] == b"data: ":
            name, self.start = b"message", b"data: "
        else:
            line, mark, _ = data.partition(b"\ndata: ")
            if not mark or line[:7] != b"event: " or b"\n" in line:
                return False
            name, self.start = line[7:] or b"message", line + mark
        self.event = name.decode("utf-8", "replace")
        self._between = "\n\n" + self.start.decode("utf-8", "replace")
        return True

    @staticmethod
    def _read_named(data: bytes) -> list[Group] | None:
        """Reads events of an `event: ` line and a `data: ` line each, whatever their names."""
        groups: list[Group] = []
        for block in data[:-2].decode("utf-8", "replace").split("\n\n"):
            event, mark, value = block.partition("\ndata: ")
            if not mark or event[:7] != "event: " or "\n" in event or "\n" in value:
                return None
            groups.append((event[7:] or "message", [value]))
        return groups


class Repeats:
    """Knows the form of one event at a time. `held` is the beginning of an event whose end has not come yet."""

    __slots__ = ("_after", "_before", "_between", "_fitted", "_inside", "_kind", "_tries", "held")

    def __init__(self) -> None:
        self.held = b""
        self._before = self._after = self._between = b""
        self._inside = slice(0)
        self._kind: type[Delta | Reasoning] = Delta
        self._fitted = True
        self._tries = TRIES

    def try_read(self, data: bytes) -> list[Event] | None:
        """Returns the events that `held` and the bytes of one read complete; None if any of it is of another form.

        Then `held` is as before, and none of the bytes are taken.
        """
        if not self._after:
            return None
        if self.held:
            data = self.held + data
        if data.startswith(self._before) and data.endswith(self._after):
            inside = data[self._inside]
            if len(inside.translate(None, _SPECIAL)) == len(inside) > 0:  # the commonest: one event, one plain text
                try:
                    text = inside.decode()
                except UnicodeDecodeError:
                    return None
                self.held = b""
                self._fitted = True
                return [self._kind(text)]
        return self._several(data)

    def _several(self, data: bytes) -> list[Event] | None:
        """The same for what may be several events, or end within one."""
        before, after = self._before, self._after
        cut = data.rfind(after) + len(after)
        cut = 0 if cut < len(after) else cut
        rest, data = data[cut:], data[:cut]
        if len(rest) > HELD or not (rest.startswith(before) or before.startswith(rest)):
            return None
        if _END in rest or b"\r" in rest:  # it is whole, or may be: its line ends are others
            return None
        texts: list[str] = []
        if data:
            if not data.startswith(before):
                return None
            try:
                texts = self._texts(data[self._inside])
            except (UnicodeDecodeError, JSONDecodeError):
                return None
            self._fitted = True
        self.held = rest
        kind = self._kind
        return [kind(text) for text in texts if text]

    def _texts(self, data: bytes) -> list[str]:
        """The texts, given the bytes between the first one's beginning and the last one's end."""
        between, step = self._between, len(self._between)
        insides, start = [], 0
        while (end := data.find(b'"', start)) >= 0 and data.startswith(between, end):
            insides.append(data[start:end])
            start = end + step
        insides.append(data[start:])
        lines = b"\n".join(insides)
        if len(lines) - len(lines.translate(None, _SPECIAL)) == len(insides) - 1:  # nothing special but these line ends
            return lines.decode().split("\n")
        return [loads(b'"%b"' % inside) for inside in data.split(between)]

    def forget(self) -> bytes:
        """Drops the form, because something else came; returns what was held, which goes before it."""
        held, self.held = self.held, b""
        if self._after:
            self._tries = TRIES if self._fitted else self._tries - 1
            self._after = b""
        return held

    @property
    def learning(self) -> bool:
        """True if another form is wanted."""
        return self._tries > 0

    def learn(self, data: bytes, event: Delta | Reasoning) -> None:
        """Takes the form of `data`, which was read as this event and nothing else, if the text's place is certain.

        Without a backslash every quotation mark ends or begins a string, and all strings stand there as they are: so
        the text, in its quotation marks, is there at least once; and if only once, then that is its place.
        """
        quoted = b'"%b"' % event.text.encode("utf-8", "surrogatepass")
        at = data.find(quoted)
        if at < 0 or data.rfind(quoted) != at or b"\\" in data or b"\r" in data or data[-2:] != _END:
            return
        self._before, self._after = data[: at + 1], data[at + len(quoted) - 1 :]
        self._between = self._after + self._before
        self._inside = slice(len(self._before), -len(self._after))
        self._kind = type(event)
        self._fitted = False
