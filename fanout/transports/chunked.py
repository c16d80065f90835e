"""HTTP/1.1's chunked coding, undone read by read.

libcurl can do it too, at one callback a chunk; told not to, it passes each read on whole, and still follows the coding
to know where the body ends. So what is wrong in it, libcurl says; here, decoding just stops.
"""

_LONGEST = 1 << 16
"""Bytes of a line with a chunk's size, at most."""


_DIGITS = 16
"""Digits of a chunk's size, at most, as in libcurl."""


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
            end = data.find(b"\n", at)
            if end < 0:
                self._line = data[at:]
                break
            try:
                length = int(data[at:end], 16) if end - at <= _DIGITS + 1 else _size(data[at:end])
            except ValueError:
                length = _size(data[at:end])
            at = end + 1
            if length <= 0:
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
            length = _size(self._line)
            self._line = b""
            self.over = length <= 0
            self._left = length + 2
            data, at = data[end + 1 :], end + 1
        else:
            at = 0
        out.append(data[: max(0, self._left - 2)])
        taken = min(self._left, len(data))
        self._left -= taken
        return at + taken


def _size(line: bytes) -> int:
    """The size that a line gives, whatever follows it; 0 if it gives none, or one that libcurl refuses."""
    digits = line.partition(b";")[0].strip()
    try:
        return int(digits, 16) if len(digits) <= _DIGITS else 0
    except ValueError:
        return 0
