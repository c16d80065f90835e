import gzip
import random
import tracemalloc
import zlib
from itertools import repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.errors import ProtocolError, ProviderError, TooLarge, Truncated
from fanout.wire.coding import PIECE, Decoder
from tests.conformance.cases import cut_at_sizes

TEXT = b"data: " + b"some words, again and again; " * 50 + b"\n\n"


def raw(data: bytes) -> bytes:
    compress = zlib.compressobj(wbits=-15)
    return compress.compress(data) + compress.flush()


def flushed(data: bytes, wbits: int) -> bytes:
    """All of the data, but not the end of the coding."""
    compress = zlib.compressobj(wbits=wbits)
    return compress.compress(data) + compress.flush(zlib.Z_SYNC_FLUSH)


def decoded(decoder: Decoder, data: bytes, size: int = 1 << 20) -> bytes:
    pieces = [piece for chunk in cut_at_sizes(data, repeat(size)) for piece in decoder.feed(chunk)]
    return b"".join([*pieces, *decoder.close()])


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("GZip ", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw(TEXT)),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT))),
        ("gzip, identity, gzip", gzip.compress(gzip.compress(TEXT))),
        ("identity", TEXT),
        ("none", TEXT),
        ("", TEXT),
        (None, TEXT),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_coding_is_undone_however_it_is_cut(header: str | None, body: bytes, size: int) -> None:
    decoder = Decoder(header)
    assert decoded(decoder, body, size) == TEXT
    assert decoder.error is None


def test_identity_passes_the_very_bytes_through() -> None:
    data = b"untouched"
    assert Decoder("identity").feed(data)[0] is data


@pytest.mark.parametrize("header", ["br", "zstd", "foo", "gzip, br", "gzip, gzip, gzip"])
def test_a_coding_that_cannot_be_undone_is_a_protocol_error(header: str) -> None:
    decoder = Decoder(header)
    assert decoder.feed(TEXT) == decoder.close() == []
    assert isinstance(decoder.error, ProtocolError)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("gzip", b"not gzip at all"),
        ("gzip", TEXT),
        ("gzip", gzip.compress(TEXT) + b"junk"),
        ("gzip", gzip.compress(TEXT)[:-8] + b"\0" * 8),
        ("deflate", b"\xff" * 10),
        ("deflate", zlib.compress(TEXT) + b"junk"),
        ("deflate, gzip", gzip.compress(b"\xff" * 10)),
    ],
)
def test_bad_data_is_a_protocol_error(header: str, body: bytes) -> None:
    decoder = Decoder(header)
    decoded(decoder, body)
    assert isinstance(decoder.error, ProtocolError)
    assert decoder.feed(body) == []


@pytest.mark.parametrize(
    ("header", "body", "missing"),
    [("gzip", gzip.compress(TEXT), 1), ("gzip", gzip.compress(TEXT), 8), ("deflate", zlib.compress(TEXT), 1)],
)
def test_data_without_its_end_is_truncated_and_kept(header: str, body: bytes, missing: int) -> None:
    decoder = Decoder(header)
    assert decoded(decoder, body[:-missing]) == TEXT
    assert isinstance(decoder.error, Truncated)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("gzip", flushed(TEXT, 31) + b"\xff" * 40),
        ("deflate", flushed(TEXT, 15) + b"\xff" * 40),
        ("gzip", gzip.compress(TEXT)[:-8] + b"\0" * 8),
        ("deflate, gzip", gzip.compress(flushed(TEXT, 15) + b"\xff" * 40)),
    ],
)
def test_what_comes_before_bad_data_comes_out_however_it_is_cut(header: str, body: bytes, size: int) -> None:
    decoder = Decoder(header)
    assert decoded(decoder, body, size) == TEXT
    assert isinstance(decoder.error, ProtocolError)


def test_what_comes_before_bad_data_comes_out_in_pieces_of_a_bounded_size() -> None:
    data = random.Random(0).randbytes(5 * PIECE) + bytes(5 * PIECE)
    decoder = Decoder("gzip")
    pieces = decoder.feed(flushed(data, 31) + b"\xff" * 40)
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= PIECE
    assert isinstance(decoder.error, ProtocolError)


def test_a_second_member_that_is_cut_is_truncated() -> None:
    decoder = Decoder("gzip")
    assert decoded(decoder, gzip.compress(TEXT) + gzip.compress(TEXT)[:5]) == TEXT
    assert isinstance(decoder.error, Truncated)


@pytest.mark.parametrize("header", ["gzip", "deflate", "deflate, gzip"])
def test_an_empty_body_is_no_error(header: str) -> None:
    decoder = Decoder(header)
    assert decoded(decoder, b"") == b""
    assert decoder.error is None


@pytest.mark.parametrize("mode", [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH])
def test_what_was_flushed_is_out_before_the_next_read(mode: int) -> None:
    compress = zlib.compressobj(wbits=31)
    decoder = Decoder("gzip")
    for number in range(5):
        event = b"data: %d\n\n" % number
        assert b"".join(decoder.feed(compress.compress(event) + compress.flush(mode))) == event
    decoder.feed(compress.flush())
    decoder.close()
    assert decoder.error is None


@pytest.mark.parametrize("header", ["gzip", "deflate", "gzip, gzip", None])
def test_the_cap_holds_to_the_byte(header: str | None) -> None:
    body = TEXT
    for name in (header or "").split(", "):
        body = zlib.compress(body) if name == "deflate" else gzip.compress(body) if name else body
    enough = Decoder(header, cap=len(TEXT))
    assert decoded(enough, body) == TEXT
    assert enough.error is None
    short = Decoder(header, cap=len(TEXT) - 1)
    assert len(decoded(short, body)) < len(TEXT)
    assert isinstance(short.error, TooLarge)


@pytest.mark.parametrize("header", ["gzip", "gzip, gzip"])
def test_a_bomb_is_stopped_at_the_cap_and_never_becomes_a_big_object(header: str) -> None:
    bomb = gzip.compress(b"\0" * (32 << 20))
    body = gzip.compress(bomb) if header == "gzip, gzip" else bomb
    cap = 1 << 20
    decoder = Decoder(header, cap=cap)
    tracemalloc.start()
    try:
        pieces = decoder.feed(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(decoder.error, TooLarge)
    assert max(map(len, pieces)) <= PIECE
    assert sum(map(len, pieces)) <= cap
    assert peak < 2 * cap


@given(st.binary(), st.sampled_from(["gzip", "deflate", "gzip, deflate"]), st.integers(1, 10))
@settings(deadline=None)
def test_whatever_comes_in_nothing_is_raised(data: bytes, header: str, size: int) -> None:
    decoder = Decoder(header)
    decoded(decoder, data, size)
    assert decoder.error is None or isinstance(decoder.error, ProviderError)
