from itertools import pairwise

import pytest

from fanout.transports.curl.chunked import Chunks

PIECES = [b"Hel", b"lo", b"x" * 300, b"\r\n", b"5\r\n", b"\n", b"end"]


def coded(pieces: list[bytes], extension: bytes = b"") -> bytes:
    return b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces) + b"0\r\n\r\n"


def decoded(reads: list[bytes]) -> bytes:
    chunks = Chunks()
    body = b"".join(map(chunks.feed, reads))
    assert chunks.over
    return body


@pytest.mark.parametrize("extension", [b"", b";name=value", b' ; q="a;b"'])
def test_a_body_is_the_same_however_it_is_cut(extension: bytes) -> None:
    data, body = coded(PIECES, extension), b"".join(PIECES)
    assert decoded([data]) == body
    assert decoded([data[at : at + 1] for at in range(len(data))]) == body
    for at in range(1, len(data)):
        assert decoded([data[:at], data[at:]]) == body
    for size in (2, 3, 7, 64):
        cuts = [*range(0, len(data), size), len(data)]
        assert decoded([data[a:b] for a, b in pairwise(cuts)]) == body


def test_what_a_read_completes_comes_out_at_once() -> None:
    chunks = Chunks()
    assert chunks.feed(b"5\r\nHe") == b"He"
    assert chunks.feed(b"llo") == b"llo"
    assert chunks.feed(b"\r") == b""
    assert chunks.feed(b"\n3\r\nyou\r\n0\r\n") == b"you"
    assert chunks.over


def test_trailers_and_what_follows_the_end_are_not_the_body() -> None:
    chunks = Chunks()
    assert chunks.feed(b"2\r\nhi\r\n0\r\nx-sum: 3\r\n\r\n") == b"hi"
    assert chunks.feed(b"5\r\nhello\r\n") == b""


@pytest.mark.parametrize(
    "size",
    [b"x", b"", b"-1", b"0x", b"0x4", b"+4", b" 4", b"4_0", b"4 4", b"f" * 17, b"f" * 17 + b";a=b", b"0" * 15 + b"4e"],
)
def test_what_is_no_size_ends_it(size: bytes) -> None:
    chunks = Chunks()
    assert chunks.feed(b"2\r\nhi\r\n" + size + b"\r\nmore\r\n") == b"hi"
    assert chunks.over


def test_an_endless_line_is_not_kept() -> None:
    chunks = Chunks()
    for _ in range(2000):
        assert chunks.feed(b"0" * 100) == b""
    assert chunks.over
