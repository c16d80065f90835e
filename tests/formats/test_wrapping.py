from time import process_time

import pytest
from rich.cells import cell_len

from fanout.formats.terminal import sanitise
from fanout.formats.wrapping import Wrapped, pad, put_beside, wrap
from tests.formats.runs import FLOODS


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_lines_break_the_same_way_however_the_text_comes(size: int) -> None:
    text = "The quick 你好吗 brown fox\n\njumps overandoverandoverandover the\tlazy 😀 dog. " * 3
    whole, pieces = Wrapped(12), Wrapped(12)
    whole.add(text)
    for start in range(0, len(text), size):
        pieces.add(text[start : start + size])
    assert pieces.lines == whole.lines
    assert all(cell_len(line.rstrip()) <= 12 for line in whole.lines)


def test_lines_break_between_words() -> None:
    wrapped = Wrapped(10)
    wrapped.add("one two three\nfour")
    assert wrapped.lines == ["one two", "three", "four"]


def test_a_character_wider_than_the_line_takes_a_line() -> None:
    wrapped = Wrapped(1)
    wrapped.add("你好")
    assert wrapped.lines[:2] == ["你", "好"]


def test_a_text_is_wrapped_between_words_and_keeps_its_empty_lines() -> None:
    assert wrap("one two three\n\n  four", 10) == ["one two", "three", "", "  four"]


def test_columns_stand_beside_one_another_however_wide_their_characters_are() -> None:
    assert put_beside([["你好", "a"], ["x"]], 6, "  ") == ["你好    x", "a"]
    assert pad("你", 4) == "你  "
    assert pad("7", 3, right=True) == "  7"


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLOODS)
def test_all_of_a_flood_is_laid_out_in_linear_time(kind: str) -> None:
    def take(length: int) -> float:
        text = sanitise(FLOODS[kind] * (length // len(FLOODS[kind])))
        begun = process_time()
        wrapped = Wrapped(40)
        wrapped.add(text)
        assert all(len(line) <= 160 for line in wrapped.lines)
        return process_time() - begun

    assert min(take(200_000) for _ in range(3)) < 2.3 * min(take(100_000) for _ in range(3)) + 0.005
