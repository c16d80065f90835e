from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.wire.text import Utf8Text


def fed(*pieces: bytes) -> list[str]:
    framing = Utf8Text()
    return [text for piece in pieces for text in framing.feed(piece)] + framing.close()


def test_text_comes_as_it_is_fed() -> None:
    assert fed(b"Hel", b"", b"lo") == ["Hel", "lo"]


def test_a_cut_character_waits_for_its_other_half() -> None:
    assert fed("🎈".encode()[:2], "🎈".encode()[2:]) == ["🎈"]


def test_a_character_that_never_becomes_whole_is_replaced() -> None:
    assert fed(b"a\xf0\x9f") == ["a", "\ufffd"]


@pytest.mark.parametrize("cut", range(4))
def test_a_byte_order_mark_is_dropped_wherever_it_is_cut(cut: int) -> None:
    data = b"\xef\xbb\xbfa"
    assert "".join(fed(data[:cut], data[cut:])) == "a"


@given(st.binary(), st.lists(st.integers(0, 50)))
def test_no_cut_changes_the_text(data: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in pairwise(edges)]
    assert "".join(fed(*pieces)) == "".join(fed(data))
