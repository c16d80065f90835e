"""HTTP/1.1's chunked coding, undone read by read.

libcurl can do it too, at one callback a chunk; told not to, it passes each read on whole, and still follows the coding
to know where the body ends. So what is wrong in it, libcurl says; here, decoding just stops.
"""

import re

_LONGEST = 1 << 16
"""Bytes of a line with a chunk's size, at most."""


# No sign, no 0x: what is no size to libcurl must be none here, or what is made of it depends on how it is cut.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\n]*)?\r?\n").match


class Chunks:
    """RFC 9112, 7.1: `size in hexadecimal CRLF data CRLF`, until a size of 0."""

    __slots__ = ("_left", "_line", "over")

    def __init__(self) -> None:
        self.over = False
        self._left = 0  # bytes of the chunk that are still to come, with their CRLF
        self._line = b""  # the beginning of a line with a size

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in one read."""
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
        """Takes what belongs to the chunk, or to the line, that the last read began; where that ends."""
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
