import pytest
from attrs import evolve

from fanout.answers import Answer
from fanout.events import File, Status, Usage
from fanout.formats.summary import (
    body,
    describe_waste,
    explain,
    figures,
    first_words,
    money,
    one_line,
    reason,
    speed,
    state,
)
from fanout.prompt import ToolUse
from tests.formats.runs import FAILED, LIMITED, LOST, NOBODY, RUN, WON


def test_money_is_among_what_was_wasted() -> None:
    run = evolve(RUN, wasted=evolve(RUN.wasted, cost=0.0025))
    assert describe_waste(run) == ["  wasted: 2 tok, at least 0.00250 USD"]


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
    assert figures(running, so_far=2.0) == ("TTFT 1.00 s", "~9.0 tok/s", "~10 tok")


def test_a_refusal_tool_calls_and_files_are_part_of_the_answer() -> None:
    answer = Answer(
        lane="a",
        status=Status.FINISHED,
        refusal="No.",
        tool_calls=(ToolUse("1", "look", '{"at":1}'),),
        files=(File(name="sky.png", url="https://example.com/sky.png"), File(data=b"x")),
    )
    assert body(answer) == 'No.\nlook({"at":1})\n[sky.png] https://example.com/sky.png\n[file]'


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (WON, ""),
        (LOST, ""),
        (FAILED, "auth (401): no key: set C_KEY"),
        (Answer("a", status=Status.FINISHED), "its answer was empty"),
        (
            Answer("a", status=Status.FINISHED, reasoning="Hm", finish_reason="length"),
            "its answer was empty: max_tokens went into reasoning",
        ),
        (
            Answer("a", status=Status.FINISHED, usage=Usage(output=9, reasoning=9), finish_reason="length"),
            "its answer was empty: max_tokens went into reasoning",
        ),
        (
            Answer("a", status=Status.FINISHED, finish_reason="length"),
            "its answer was empty: max_tokens was reached before any text",
        ),
        (
            Answer("a", status=Status.FINISHED, finish_reason="content_filter"),
            "its answer was empty: a content filter held it back",
        ),
        (
            Answer("a", status=Status.FINISHED, reasoning="Hm", finish_reason="stop"),
            "its answer was empty: all that came was reasoning",
        ),
    ],
)
def test_a_lane_that_gave_no_answer_has_a_reason_in_words(answer: Answer, why: str) -> None:
    assert explain(answer) == why


@pytest.mark.parametrize(
    ("dollars", "words"),
    [
        (0.0, "0 USD"),
        (0.0004225, "0.000423 USD"),
        (2.5, "2.50 USD"),
        (3.1e-8, "0.0000000310 USD"),
        (123.456, "123.46 USD"),
    ],
)
def test_an_amount_of_money_has_three_figures(dollars: float, words: str) -> None:
    assert money(dollars) == words


def test_a_lane_that_thinks_first_says_when_it_thinks_and_when_it_answers() -> None:
    thinking = Answer(lane="r", reasoning="Hm", ttft=0.01)
    assert first_words(thinking) == "thinks at 0.01 s"
    assert first_words(evolve(thinking, text="Blue.", ttfo=1.5)) == "thinks at 0.01 s, answers at 1.50 s"
    assert first_words(evolve(thinking, reasoning="", ttfo=0.01)) == "TTFT 0.01 s"
