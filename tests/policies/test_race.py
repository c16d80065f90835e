from functools import partial
from typing import Any

import pytest

from fanout.answers import Answer
from fanout.errors import ServerError, UsageError
from fanout.events import (
    Conversation,
    Delta,
    End,
    Event,
    File,
    Reasoning,
    Refusal,
    Started,
    Status,
    Title,
    ToolCall,
    Usage,
)
from fanout.policies.quorum import Quorum
from fanout.policies.race import Race
from tests.policies.standings import Stood

FINISHED = End(Status.FINISHED)


def test_the_first_finished_answer_makes_all_others_lose() -> None:
    lanes = [Stood(), Stood(Status.FINISHED, place=1), Stood()]
    assert list(Race().losers(1, FINISHED, lanes)) == [0, 2]
    assert Race().winner(lanes) == 1


def test_on_finish_content_decides_nothing() -> None:
    assert not Race().losers(0, Delta("x"), [Stood(), Stood()])


@pytest.mark.parametrize(
    "event", [Delta("x"), ToolCall(0), File(url="u"), Reasoning("x")], ids=lambda e: type(e).__name__
)
def test_on_first_token_the_first_content_wins(event: Event) -> None:
    assert list(Race(on="first_token").losers(0, event, [Stood(), Stood()])) == [1]


@pytest.mark.parametrize(
    "event",
    [
        *(Started(), Usage(1, 1), Refusal("no"), Title("t"), Conversation({}), Reasoning("", {"data": {}})),
        End(Status.FAILED, error=ServerError("x")),
    ],
    ids=lambda e: type(e).__name__,
)
def test_on_first_token_what_is_no_content_never_wins(event: Event) -> None:
    assert not Race(on="first_token").losers(0, event, [Stood(), Stood()])


def test_reasoning_can_be_told_not_to_win() -> None:
    race = Race(on="first_token", reasoning=False)
    assert not race.losers(0, Reasoning("x"), [Stood(), Stood()])
    assert race.losers(0, Delta("x"), [Stood(), Stood()])


def test_on_first_token_a_lane_that_ends_with_a_refusal_wins_if_nobody_spoke_before() -> None:
    lanes = [Stood(Status.FINISHED), Stood()]
    assert list(Race(on="first_token").losers(0, FINISHED, lanes)) == [1]


def test_an_answer_that_accept_refuses_loses_itself() -> None:
    race = Race(accept=lambda answer: answer.text.startswith("{"))
    assert race.losers(0, FINISHED, [Stood(Status.FINISHED), Stood()]) == (0,)
    assert list(race.losers(0, FINISHED, [Stood(Status.FINISHED, text="{}"), Stood()])) == [1]


def test_an_empty_answer_is_refused_without_being_told() -> None:
    assert Race().losers(0, FINISHED, [Stood(Status.FINISHED, text=""), Stood()]) == (0,)


@pytest.mark.parametrize("status", [Status.FAILED, Status.TIMED_OUT, Status.CANCELLED])
def test_a_failure_makes_nobody_lose(status: Status) -> None:
    assert not Race().losers(0, End(status), [Stood(status), Stood()])


def test_who_has_lost_is_not_named_twice() -> None:
    assert list(Race().losers(0, FINISHED, [Stood(Status.FINISHED), Stood(lost=True), Stood()])) == [2]


def test_a_wrong_word_for_on_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="first_token"):
        Race(on="start")  # type: ignore[arg-type]


def test_an_async_accept_is_refused_at_once_and_one_in_disguise_when_it_answers() -> None:
    async def refuse(_: Answer) -> bool:
        return False

    accept: Any = refuse
    for make in (Race, partial(Quorum, k=1)):
        with pytest.raises(UsageError, match="give it a plain function, not an async one"):
            make("a", accept=accept)
    disguised = Race(accept=lambda answer: accept(answer))
    with pytest.raises(UsageError, match="not an async one"):
        disguised.losers(0, FINISHED, [Stood(Status.FINISHED)])

    class Later:
        def __await__(self) -> Any:
            yield

    later: Any = Later
    with pytest.raises(UsageError, match="not an async one"):
        Race(accept=lambda _: later()).losers(0, FINISHED, [Stood(Status.FINISHED)])
