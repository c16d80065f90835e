"""Events that differ from the one before in a single string: read without parsing their JSON again.

Most services write one event over and over, with nothing new in it but the text. Once such an event has been read the
ordinary way and its one text is known, so is its form: the bytes before the text and those after. Bytes that begin and
end like that, with the inside of a JSON string between, parse to the same value with another text; there is nothing to
find out. Whatever does not fit the form is read the ordinary way, and the form is learnt anew.
"""

from orjson import JSONDecodeError, loads

from fanout.events import Delta, Event, Reasoning

LONGEST = 4096
"""Bytes of an unfinished event that are held back; a longer one is read the ordinary way."""

TRIES = 4
"""Forms in a row that fitted nothing, after which no other is learnt: these events differ in more than a text."""

_END = b"\n\n"
# What ends a JSON string, begins an escape in it, or may not be in it.
_SPECIAL = bytes([*range(0x20), *b'"\\'])


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

    def events(self, data: bytes) -> list[Event] | None:
        """What `held` and the bytes of one read complete; None if any of it is of another form.

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
        if len(rest) > LONGEST or not (rest.startswith(before) or before.startswith(rest)):
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
        """Whether another form is wanted."""
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
