"""The number of values in JSON that comes in pieces, counted as it comes.

A bound in bytes does not bound objects: 8 MiB may be 4 million of them, which take 300 MiB and seconds. So what goes on
from one read into the next is counted here, and refused before there is all of it.
"""

from fanout.errors import ProtocolError, ProviderError, TooLarge

OBJECTS = 5_000
"""Objects and lists in one text."""

VALUES = 200_000
"""Values of any kind, names among them."""

ESCAPES = 2_000_000
"""Backslashes. CJK text that is all escapes has 1.4 million in 8 MiB."""


DEEPEST = 1_000
"""Objects and lists within one another, of which no decoder takes more."""


class Weight:
    """Counts what stands outside of strings, in time linear in the bytes. `error` is set when there is too much."""

    __slots__ = ("_escaped", "_escapes", "_in_string", "_objects", "_open", "_values", "error")

    def __init__(self) -> None:
        self.error: ProviderError | None = None
        self._objects = 0
        self._open = 0
        self._values = 0
        self._in_string = 0
        self._escaped = False
        self._escapes = 0

    @property
    def is_open(self) -> bool:
        """True if an object or a list has begun and not ended."""
        return self._open > 0

    def add(self, piece: bytes) -> None:
        """Takes the next bytes."""
        if self._escaped:
            piece = piece[1:]
            self._escaped = False
        if b"\\" in piece:
            self._escapes += piece.count(b"\\")
            piece = piece.replace(b"\\\\", b"")
            self._escaped = piece[-1:] == b"\\"
            piece = piece[:-1] if self._escaped else piece
            piece = piece.replace(b'\\"', b"")
        parts = piece.split(b'"')
        bare = b"".join(parts[self._in_string :: 2])
        quotes = len(parts) - 1
        self._in_string ^= quotes & 1
        objects = bare.count(b"{") + bare.count(b"[")
        self._open += objects - bare.count(b"}") - bare.count(b"]")
        self._objects += objects
        self._values += objects + bare.count(b",") + (quotes + 1) // 2
        if self._open > DEEPEST:
            self.error = ProtocolError(f"JSON of more than {DEEPEST} levels")
        elif self._objects > OBJECTS:
            self.error = TooLarge(f"JSON with more than {OBJECTS} objects")
        elif self._values > VALUES:
            self.error = TooLarge(f"JSON with more than {VALUES} values")
        elif self._escapes > ESCAPES:
            self.error = TooLarge(f"JSON with more than {ESCAPES} escapes")
