"""HTTP/1.1's chunked coding, undone read by read.

libcurl can do it too, at one callback a chunk; told not to, it passes each read on whole, and still follows the coding
to know where the body ends. So what is wrong in it, libcurl says; here, decoding just stops.
"""

_LONGEST = 1 << 16
"""Bytes of a line with a chunk's size, at most."""


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
        at, left, size = 0, self._left, len(data)
        while not self.over:
            if left:
                if left > size - at:  # the chunk goes on in the next read
                    if left - 2 > 0:
                        out.append(data[at : min(size, at + left - 2)])
                    self._left = left - (size - at)
                    break
                if left > 2:
                    out.append(data[at : at + left - 2])
                at += left
                left = 0
            end = data.find(b"\n", at)
            if end < 0:
                self._line += data[at:]
                self._left = 0
                self.over = len(self._line) > _LONGEST
                break
            left = self._size(self._line + data[at:end] if self._line else data[at:end])
            at = end + 1
        return out[0] if len(out) == 1 else b"".join(out)

    def _size(self, line: bytes) -> int:
        """The bytes that follow a line, with their CRLF; `over` if there are none."""
        self._line = b""
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            size = 0
        self.over = size <= 0
        return size + 2
