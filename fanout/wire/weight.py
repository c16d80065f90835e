"""The number of values in JSON that comes in pieces, counted as it comes.

A bound in bytes does not bound objects: 8 MiB may be 4 million of them, which take 300 MiB and seconds. So what goes on
from one read into the next is counted here, and refused before there is all of it.
"""

from fanout.errors import ProtocolError, ProviderError, TooLarge

OBJECTS = 20_000
"""Objects and lists in one text. An answer of 800 tokens with the probabilities of 20 others each has 17,000."""

LIGHT = 32 << 10
"""Bytes that are not counted before there are more: so few cannot hold too much, and nearly every text ends there."""

VALUES = 200_000
"""Values of any kind, names among them."""

ESCAPES = 2_000_000
"""Backslashes. CJK text that is all escapes has 1.4 million in 8 MiB."""


DEEPEST = 1_000
"""Objects and lists within one another, of which no decoder takes more."""


class Weight:
    """Counts what stands outside of strings, in time linear in the bytes. `error` is set when there is too much."""

    __slots__ = ("_escaped", "_escapes", "_in_string", "_objects", "_open", "_uncounted", "_values", "error")

    def __init__(self) -> None:
        self.error: ProviderError | None = None
        self._uncounted: bytearray | None = bytearray()
        self._objects = 0
        self._open = 0
        self._values = 0
        self._in_string = 0
        self._escaped = False
        self._escapes = 0

    @property
    def is_open(self) -> bool:
        """True if an object or a list has begun and not ended."""
        if self._uncounted is not None:
            light = Weight()
            light._count(bytes(self._uncounted))
            return light._open > 0
        return self._open > 0

    def add(self, piece: bytes) -> None:
        """Takes the next bytes. Where there is too much already, they are not looked at."""
        if self.error is not None:
            return
        if self._uncounted is None:
            self._count(piece)
            return
        self._uncounted += piece
        if len(self._uncounted) >= LIGHT:
            piece, self._uncounted = bytes(self._uncounted), None
            self._count(piece)

    def _count(self, piece: bytes) -> None:
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
