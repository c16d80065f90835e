import pytest
from attrs import evolve
from rich.cells import cell_len

from fanout.answers import Answer
from fanout.errors import ServerError
from fanout.events import Status
from fanout.formats.table import Line, lines
from tests.formats.runs import LOST, NOBODY, RUN, WON


def texts(run: object = RUN, width: int | None = None) -> list[str]:
    return [line.text for line in lines(run, width)]  # type: ignore[arg-type]  # a Run


def test_every_lane_has_a_line_in_columns_and_below_it_why_it_failed() -> None:
    assert texts() == [
        "*  a  finished   TTFT 0.25 s  total 1.25 s  10.0 tok/s  11 tok",
        "   b  cancelled  TTFT 0.50 s  total 1.25 s              ~2 tok",
        "   c  failed                  total 0.10 s",
        "     auth (401): no key: set C_KEY",
        "   d  timed out               total 1.00 s",
        "     timeout: no content within 1 s",
        "  wasted: 2 tok",
    ]


def test_the_winner_and_those_that_failed_look_different_from_the_others() -> None:
    assert [line.style for line in lines(RUN)] == ["winner", "plain", *["failed"] * 4, "plain"]


def test_a_cost_that_is_known_has_its_column() -> None:
    priced = evolve(WON, cost=0.0004225)
    assert texts(evolve(RUN, answers=(priced, LOST), winner=priced))[:2] == [
        "*  a  finished   TTFT 0.25 s  total 1.25 s  10.0 tok/s  11 tok  0.000423 USD",
        "   b  cancelled  TTFT 0.50 s  total 1.25 s              ~2 tok",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    broken = evolve(WON, lane="你好" * 9, status=Status.FAILED, error=ServerError("word " * 90), cost=0.1)
    shown = texts(evolve(RUN, answers=(evolve(WON, cost=0.002), broken), winner=None), width)
    assert max(map(cell_len, shown)) <= width


def test_where_there_is_no_room_the_speed_goes_before_the_times() -> None:
    assert texts(width=50)[0] == "*  a  finished   TTFT 0.25 s  total 1.25 s  11 tok"
    assert texts(width=44)[0] == "*  a  finished   TTFT 0.25 s  total 1.25 s"
    assert texts(width=30)[0] == "*  a  finished   TTFT 0.25 s"


def test_a_reason_is_cut_off_where_the_line_ends() -> None:
    assert Line("     auth (401): no key…", "failed") in lines(RUN, 24)


def test_an_answer_that_was_cut_says_so_in_its_line() -> None:
    run = evolve(RUN, answers=(evolve(WON, finish_reason="length"), evolve(LOST, status=Status.FINISHED)))
    assert texts(run)[0].startswith("*  a  cut at max_tokens  TTFT")
    filtered = evolve(RUN, answers=(evolve(WON, finish_reason="content_filter"),))
    assert "cut by a content filter" in texts(filtered)[0]


def test_an_empty_answer_is_a_failure_with_its_reason() -> None:
    empty = Answer(lane="a", status=Status.FINISHED, reasoning="Hm", finish_reason="length", elapsed=1.0, chunks=1)
    first, why, *_ = lines(evolve(NOBODY, answers=(empty,)))
    assert (first.style, why.text) == ("failed", "     its answer was empty: max_tokens went into reasoning")


def test_a_lane_whose_turn_never_came_is_not_called_cancelled() -> None:
    run = evolve(RUN, answers=(WON, Answer(lane="b", status=Status.CANCELLED)))
    assert texts(run)[1] == "   b  not started"


def test_an_estimate_is_marked_in_the_speed_too() -> None:
    guessed = evolve(WON, usage=None, text="x" * 44)
    assert "~10.0 tok/s  ~11 tok" in texts(evolve(RUN, answers=(guessed,), winner=guessed))[0]


def test_a_note_has_a_line_of_its_own_and_is_safe() -> None:
    noted = evolve(WON, notes=("the reason '\x1b[31mwow'\nis not known",))
    assert texts(evolve(RUN, answers=(noted, LOST), winner=noted))[2:] == [
        "  a: the reason 'wow' is not known",
        "  wasted: 2 tok",
    ]
