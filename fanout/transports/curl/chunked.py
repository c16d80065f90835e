"""HTTP/1.1's chunked coding, undone read by read.

libcurl undoes it too, at the cost of one callback for every chunk. With that switched off it passes each read on whole,
and still follows the coding to find the end of the body: so it is libcurl that reports a coding that is broken, and
decoding here just stops.
"""

import re

_LONGEST = 1 << 16
"""Bytes of a line with a chunk's size, at most."""


# No sign and no 0x: libcurl takes neither for a size, and both must find the same end of the body.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\n]*)?\r?\n").match


class Chunks:
    """RFC 9112, 7.1: `size in hexadecimal CRLF data CRLF`, until a size of 0."""

    __slots__ = ("_left", "_line", "over")

    def __init__(self) -> None:
        self.over = False
        self._left = 0  # bytes of the chunk that are still to come, with their CRLF
        self._line = b""  # the beginning of a line with a size

    def feed(self, data: bytes) -> bytes:
        """Returns the bytes of the body in one read."""
        out: list[bytes] = []
        at = self._go_on(data, out) if self._left or self._line or self.over else 0
        size = len(data)
        while at < size and not self.over:
            line = _SIZE(data, at)
            if not line:
                self._line = data[at:]
                self.over = b"\n" in self._line
                break
            length = int(line[1], 16)
            at = line.end()
            if not length:
                self.over = True
                break
            stop = at + length
            if stop + 2 > size:  # it goes on in the next read
                out.append(data[at:stop])
                self._left = stop + 2 - size
                break
            out.append(data[at:stop])
            at = stop + 2
        return out[0] if len(out) == 1 else b"".join(out)

    def _go_on(self, data: bytes, out: list[bytes]) -> int:
        """Takes the rest of the chunk, or of the line, that the last read began; returns the place where that ends."""
        if self.over:
            return len(data)
        if self._line:
            end = data.find(b"\n")
            self._line += data if end < 0 else data[:end]
            if end < 0:
                self.over = len(self._line) > _LONGEST
                return len(data)
            size = _SIZE(self._line + b"\n")
            length = int(size[1], 16) if size else 0
            self._line = b""
            self.over = not length
            self._left = length + 2
            data, at = data[end + 1 :], end + 1
        else:
            at = 0
        out.append(data[: max(0, self._left - 2)])
        taken = min(self._left, len(data))
        self._left -= taken
        return at + taken
