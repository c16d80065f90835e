"""Content codings undone (RFC 9110, 8.4.1): gzip and deflate, within bounds."""

import zlib
from collections.abc import Iterator, Sequence

from fanout.errors import ProtocolError, ProviderError, TooLarge, Truncated
from fanout.wire.json_text import excerpt

CAP = 64 << 20
"""Bytes of one decoded body."""

PIECE = 8 << 10
"""Bytes of one decoded piece: a bomb never becomes one big object."""

MAX_CODINGS = 2
"""Codings that may be stacked."""

_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's window bits choose the container


class Decoder:
    """Undoes the codings that a Content-Encoding header lists. What a read completes comes out at once.

    An unknown coding and bad data are ProtocolErrors, data without its end Truncated, more than `cap` bytes TooLarge.
    """

    def __init__(self, content_encoding: str | None = None, cap: int = CAP) -> None:
        self.error: ProviderError | None = None
        self._cap = cap
        self._size = 0
        self._stages: list[_Stage] = []
        names = [name.strip().lower() for name in (content_encoding or "").split(",")]
        names = [name for name in names if name not in ("", "identity", "none")]
        unknown = [name for name in names if name not in ("gzip", "x-gzip", "deflate")]
        if unknown:
            self.error = ProtocolError(
                f"the body is encoded in a way that was not asked for: {excerpt(unknown[0], 40)!r}"
            )
        elif len(names) > MAX_CODINGS:
            self.error = ProtocolError(f"the body is encoded {len(names)} times")
        else:
            self._stages = [_Stage(deflate=name == "deflate", cap=cap) for name in reversed(names)]

    def feed(self, data: bytes, /) -> list[bytes]:
        """Takes the bytes of one read and returns what they decode to, in pieces."""
        return list(self.undo(data))

    def undo(self, data: bytes, /) -> Iterator[bytes]:
        """Takes the bytes of one read and yields what they decode to in pieces, each when it is asked for.

        All of them must have been taken before the next read is.
        """
        if self.error or not data:
            return
        try:
            for piece in _gather(_undo(data, self._stages)):
                self._count(piece)
                yield piece
        except ProviderError as error:
            self.error = error

    def close(self) -> list[bytes]:
        """The input is over; it must have ended with the end of the coding."""
        if not self.error and any(stage.unfinished for stage in self._stages):
            self.error = Truncated("the compressed body has no end")
        return []

    def _count(self, piece: bytes) -> None:
        self._size += len(piece)
        _check(self._size, self._cap)


def _check(size: int, cap: int) -> None:
    if size > cap:
        raise TooLarge(f"the decoded body exceeds {cap} bytes")


def _undo(data: bytes, stages: Sequence["_Stage"]) -> Iterator[bytes]:
    if not stages:
        yield data
        return
    for piece in stages[0].feed(data):
        yield from _undo(piece, stages[1:])


def _gather(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Puts small pieces together, so that many members or blocks are not many reads for the receiver."""
    some: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            some.append(piece)
            size += len(piece)
            if size >= PIECE // 2:
                yield b"".join(some)
                some.clear()
                size = 0
    except ProviderError:
        if some:
            yield b"".join(some)
        raise
    if some:
        yield b"".join(some)


class _Stage:
    """One coding undone, piece by piece."""

    def __init__(self, *, deflate: bool, cap: int) -> None:
        self._deflate = deflate
        self._cap = cap
        self._taken = 0
        self._given = 0
        self._start = b""
        self._inflate = None if deflate else zlib.decompressobj(_GZIP)

    @property
    def unfinished(self) -> bool:
        """True if something began that has not ended."""
        return self._taken > 0 and not (self._inflate and self._inflate.eof)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that `data` completes."""
        self._taken += len(data)
        if self._inflate is None:
            data = self._start = self._start + data
            if len(data) < 2:
                return
            self._inflate = zlib.decompressobj(_ZLIB if _is_zlib(data) else _RAW)
        while data:
            if self._inflate.eof:
                if self._deflate:
                    raise ProtocolError("bytes after the end of the compressed body")
                # RFC 1952, 2.2: members follow one another without anything in between.
                self._inflate = zlib.decompressobj(_GZIP)
            yield from self._pieces(self._inflate, data)
            data = self._inflate.unused_data

    def _pieces(self, inflate: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
        piece = b""
        while data or len(piece) == PIECE:
            before = inflate.copy()
            try:
                piece = inflate.decompress(data, PIECE)
            except zlib.error as error:
                yield from _sound(before, data)
                raise ProtocolError(f"the compressed body is broken: {error}") from error
            data = inflate.unconsumed_tail
            self._given += len(piece)
            # Between two codings too: what bounds the memory need not bound the time.
            _check(self._given, self._cap)
            if piece:
                yield piece


def _sound(inflate: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    """The pieces of `data` up to where it is broken: zlib keeps back the whole output of a call that fails."""
    at = 0
    while at < len(data):
        try:
            piece = inflate.decompress(data[at : at + 1], PIECE)
        except zlib.error:
            return
        at += 1 - len(inflate.unconsumed_tail)
        if piece:
            yield piece


def _is_zlib(data: bytes) -> bool:
    """RFC 1950, 2.2. Some services send raw deflate (RFC 1951) under the same name."""
    return data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
