from io import StringIO
from time import process_time

import pytest
from rich.cells import cell_len
from rich.console import Console

from fanout.errors import AuthError
from fanout.events import Delta, End, Reasoning, Refusal, Replace, Started, Status, Tagged
from fanout.formats.columns import Columns
from tests.formats.runs import EVENTS, FLOODS


def drawn(columns: Columns, width: int, height: int, now: float = 1.0, *, colour: bool = False) -> list[str]:
    file = StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=colour, legacy_windows=False)
    console.print(columns.draw(width, height, now))
    return file.getvalue().rstrip("\n").split("\n")


def running(*lanes: str, text: str = "") -> Columns:
    columns = Columns(lanes)
    for lane in lanes:
        columns.event(Tagged(lane, 0.0, Started()))
        if text:
            columns.event(Tagged(lane, 0.5, Delta(text)))
    return columns


def test_a_wide_terminal_has_the_lanes_side_by_side() -> None:
    columns = Columns(["a", "b", "c"])
    for event in EVENTS[:4]:
        columns.event(event)
    assert drawn(columns, 99, 20, now=2.0) == [
        "╭─ a ───────────────────────────╮╭─ b ───────────────────────────╮╭─ c ───────────────────────────╮",
        "│ Blue.                         ││ Hm                            ││                               │",
        "│                               ││                               ││                               │",
        "│                               ││                               ││                               │",
        "╰─ running · TTFT 0.25 s ───────╯╰─ thinking · TTFT 0.10 s ──────╯╰─ waiting ─────────────────────╯",
    ]


def test_the_winner_is_marked_and_its_figures_are_final() -> None:
    columns = Columns(["a", "b"])
    for event in EVENTS:
        columns.event(event)
    columns.winner = "a"
    top, *_, bottom = drawn(columns, 100, 20, now=9.0)
    assert "─ * a ─" in top
    assert "finished · TTFT 0.25 s · 11 tok" in bottom
    assert "cancelled" in bottom


def test_losers_are_grey_and_the_winner_is_not() -> None:
    columns = Columns(["a", "b"])
    for event in EVENTS:
        columns.event(event)
    columns.winner = "a"
    top = drawn(columns, 100, 20, colour=True)[0]
    assert "\x1b[1;32m * a " in top
    assert "\x1b[90m b " in top


def test_a_failed_lane_says_why() -> None:
    columns = running("a")
    columns.event(Tagged("a", 1.0, End(Status.FAILED, error=AuthError("no key: set A_KEY"))))
    assert "auth: no key: set A_KEY" in drawn(columns, 100, 10)[-1]


def test_a_narrow_terminal_has_the_lanes_one_above_the_other() -> None:
    lines = drawn(running("a", "b", text="Blue."), 60, 10)
    assert len(lines) == 10
    assert lines[0].startswith("╭─ a ─")
    assert lines[5].startswith("╭─ b ─")


def test_a_low_narrow_terminal_has_a_line_for_each_lane_and_text_where_there_are_lines_left() -> None:
    a, b = "a · running · TTFT 0.50 s · ~2 tok", "b · running · TTFT 0.50 s · ~2 tok"
    assert drawn(running("a", "b", text="Blue."), 50, 3) == [a, b]
    assert drawn(running("a", "b", text="Blue."), 50, 6) == [a, "  Blue.", b, "  Blue."]


def test_lanes_that_have_no_room_in_one_row_share_the_rows_there_are() -> None:
    lines = drawn(running(*"abcdef", text="Blue. " * 200), 120, 29)
    assert len(lines) == 28
    assert [line.count("╭─") for line in lines if "╭─" in line] == [3, 3]
    assert sum("Blue." in line for line in lines) == 24


def test_lanes_that_have_no_room_for_frames_have_some_lines_of_text_each() -> None:
    lines = drawn(running(*"abcdefgh", text="one two three four five six seven eight nine ten eleven twelve"), 50, 24)
    assert lines[:3] == [
        "a · running · TTFT 0.50 s · ~16 tok",
        "  one two three four five six seven eight nine ten",
        "  eleven twelve",
    ]
    assert len(lines) == 24


def test_lanes_that_do_not_fit_are_counted() -> None:
    assert drawn(running("a", "b", "c", "d"), 60, 3)[-1] == "… and 2 more"


def test_a_line_keeps_as_much_of_the_reason_as_fits() -> None:
    columns = running("a")
    columns.event(Tagged("a", 1.0, End(Status.FAILED, error=AuthError("x" * 100))))
    assert drawn(columns, 30, 3) == ["a · auth: xxxxxxxxxxxxxxxxxxx…"]


@pytest.mark.parametrize("lanes", [1, 3, 9, 40])
@pytest.mark.parametrize("width", [1, 20, 60, 99, 140])
@pytest.mark.parametrize("height", [1, 5, 24])
def test_the_picture_is_never_larger_than_asked_for(lanes: int, width: int, height: int) -> None:
    columns = running(*(f"lane-{i}" for i in range(lanes)), text="你好 word\n" * 50)
    lines = drawn(columns, width, height)
    assert len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)


def test_the_end_of_a_long_answer_is_what_is_seen() -> None:
    lines = drawn(running("a", text="".join(f"line {i}\n" for i in range(99)) + "end"), 100, 7)
    assert [line.strip("│ ") for line in lines[1:-1]] == ["line 95", "line 96", "line 97", "line 98", "end"]


def test_model_text_is_neither_markup_nor_a_sequence() -> None:
    columns = running("a")
    for piece in ("[bold]x[/bold] [link=https://example.com]y[/link]\x1b", "[31mred"):
        columns.event(Tagged("a", 0.5, Delta(piece)))
    picture = "\n".join(drawn(columns, 100, 10))
    assert "[bold]x[/bold] [link=https://example.com]y[/link]red" in picture


def test_reasoning_makes_room_for_the_answer() -> None:
    columns = running("a")
    columns.event(Tagged("a", 0.5, Reasoning("let me see")))
    assert "let me see" in drawn(columns, 100, 10)[1]
    columns.event(Tagged("a", 0.6, Delta("Blue.")))
    columns.event(Tagged("a", 0.7, Reasoning("and again")))
    assert drawn(columns, 100, 10)[1].strip("│ ") == "Blue."


def test_a_replacement_takes_the_place_of_what_was_said() -> None:
    columns = running("a", text="first")
    columns.event(Tagged("a", 0.7, Replace("second")))
    columns.event(Tagged("a", 0.8, Refusal(" no")))
    assert drawn(columns, 100, 10)[1].strip("│ ") == "second no"


def test_another_width_breaks_the_lines_anew() -> None:
    columns = running("a", text="word " * 30)
    assert len(drawn(columns, 100, 20)) < len(drawn(columns, 40, 20)) == len(drawn(columns, 40, 20))


def test_a_lane_with_no_content_shows_how_long_it_has_run() -> None:
    assert "running · 1.0 s" in drawn(running("a"), 100, 10)[-1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize("size", [None, 1000], ids=["in one piece", "in many"])
def test_a_picture_takes_no_longer_whatever_has_come(kind: str, size: int | None) -> None:
    text = FLOODS[kind] * ((8 << 20) // len(FLOODS[kind]))
    pieces = [text] if size is None else [text[at : at + size] for at in range(0, len(text), size)]
    columns = running(*"abcd")
    for n, piece in enumerate(pieces):
        columns.event(Tagged("a", 0.5, Delta(piece)))
        if n % 100 == 0:
            assert len(drawn(columns, 120, 24)) <= 24
    begun = process_time()
    for width in (120, 110, 60, 30):
        columns.event(Tagged("a", 0.5, Delta(text[:100_000])))
        assert len(drawn(columns, width, 24)) <= 24
    assert (process_time() - begun) / 4 < 0.1  # a hundredth of a second each, mostly
