import pytest
from attrs import evolve

from fanout.answers import Answer
from fanout.events import File, Status
from fanout.formats.summary import body, describe_waste, figures, lines, one_line, reason, speed, state
from fanout.prompt import ToolUse
from tests.formats.runs import FAILED, LIMITED, LOST, NOBODY, RUN, WON


def test_every_lane_has_a_line_in_columns() -> None:
    assert lines(RUN) == [
        "*  a  finished   TTFT 0.25 s  10.0 tok/s  11 tok",
        "   b  cancelled  TTFT 0.50 s              ~1 tok",
        "   c  failed                                      auth (401): no key: set C_KEY",
        "   d  timed out                                   timeout: no content within 1 s",
        "  wasted: 1 tok",
    ]


def test_a_note_has_a_line_of_its_own_and_is_safe() -> None:
    noted = evolve(WON, notes=("the reason '\x1b[31mwow'\nis not known",))
    assert lines(evolve(RUN, answers=(noted, LOST), winner=noted))[2:] == [
        "  a: the reason 'wow' is not known",
        "  wasted: 1 tok",
    ]


def test_money_is_among_what_was_wasted() -> None:
    assert describe_waste(evolve(RUN, wasted=evolve(RUN.wasted, cost=0.0025))) == ["  wasted: 1 tok, 0.002500 USD"]


def test_nothing_wasted_needs_no_line() -> None:
    assert describe_waste(NOBODY) == []


def test_a_service_s_own_words_become_one_safe_line() -> None:
    assert reason(LIMITED) == "rate_limit (429): slow down"
    assert one_line("x" * 600) == "x" * 499 + "…"


def test_speed_needs_more_than_one_piece() -> None:
    assert speed(WON) == pytest.approx(10)
    assert speed(LOST) is None
    assert speed(FAILED) is None


def test_a_running_lane_has_the_figures_of_the_moment() -> None:
    running = Answer(lane="a", text="x" * 40, ttft=1.0, chunks=10)
    assert state(running) == "running"
    assert figures(running, so_far=2.0) == ("TTFT 1.00 s", "9.0 tok/s", "~10 tok")


def test_a_refusal_tool_calls_and_files_are_part_of_the_answer() -> None:
    answer = Answer(
        lane="a",
        status=Status.FINISHED,
        refusal="No.",
        tool_calls=(ToolUse("1", "look", '{"at":1}'),),
        files=(File(name="sky.png", url="https://example.com/sky.png"), File(data=b"x")),
    )
    assert body(answer) == 'No.\nlook({"at":1})\n[sky.png] https://example.com/sky.png\n[file]'
