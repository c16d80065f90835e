from collections.abc import Callable
from functools import partial
from math import inf

import pytest
from attrs import frozen

from fanout.abc import Policy
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
from fanout.policies.all import All
from fanout.policies.fallback import Fallback
from fanout.policies.hedge import Hedge
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


@pytest.mark.parametrize("event", [Delta("x"), ToolCall(0), File(url="u")], ids=lambda e: type(e).__name__)
def test_on_first_token_the_first_output_wins(event: Event) -> None:
    assert list(Race(on="first_token").losers(0, event, [Stood(), Stood()])) == [1]


@pytest.mark.parametrize(
    "event",
    [
        *(Started(), Usage(1, 1), Refusal("no"), Title("t"), Conversation({}), Reasoning("x")),
        Reasoning("", {"data": {}}),
        End(Status.FAILED, error=ServerError("x")),
    ],
    ids=lambda e: type(e).__name__,
)
def test_on_first_token_what_is_no_content_never_wins(event: Event) -> None:
    assert not Race(on="first_token").losers(0, event, [Stood(), Stood()])


@pytest.mark.parametrize("race", [Race(on="first_token", reasoning=True), Race(on="first_thought")])
def test_a_thought_wins_where_it_is_said_to_count(race: Race) -> None:
    assert race.losers(0, Reasoning("x"), [Stood(), Stood()])
    assert race.losers(0, Delta("x"), [Stood(), Stood()])


def test_data_for_its_service_alone_is_no_thought() -> None:
    assert not Race(on="first_thought").losers(0, Reasoning("", {"data": {}}), [Stood(), Stood()])


def test_on_first_token_a_lane_that_ends_with_a_refusal_wins_if_nobody_spoke_before() -> None:
    lanes = [Stood(Status.FINISHED), Stood()]
    assert list(Race(on="first_token").losers(0, FINISHED, lanes)) == [1]


def test_an_answer_that_accept_refuses_loses_itself() -> None:
    assert Race().losers(0, FINISHED, [Stood(Status.FINISHED, accepted=False), Stood()]) == (0,)
    assert list(Race().losers(0, FINISHED, [Stood(Status.FINISHED), Stood()])) == [1]


def test_an_empty_answer_is_refused_without_being_told() -> None:
    accept = Race().accept
    assert accept is not None
    assert not accept(Answer("a", status=Status.FINISHED))
    assert accept(Answer("a", status=Status.FINISHED, text="x"))


@pytest.mark.parametrize("status", [Status.FAILED, Status.TIMED_OUT, Status.CANCELLED])
def test_a_failure_makes_nobody_lose(status: Status) -> None:
    assert not Race().losers(0, End(status), [Stood(status), Stood()])


def test_who_has_lost_is_not_named_twice() -> None:
    assert list(Race().losers(0, FINISHED, [Stood(Status.FINISHED), Stood(lost=True), Stood()])) == [2]


def test_a_wrong_word_for_on_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="first_token"):
        Race(on="start")  # type: ignore[arg-type]


def test_a_race_is_asked_about_that_alone_which_may_decide_it() -> None:
    assert Race().heeds == frozenset({End})
    first = Race(on="first_token").heeds
    assert first and first >= {End, Delta, ToolCall, File}
    assert not first & {Started, Reasoning, Usage, Refusal, Title, Conversation}
    assert Race(on="first_token", reasoning=True).heeds == Race(on="first_thought").heeds == first | {Reasoning}
    assert Quorum("a", k=1).heeds == frozenset({End})


@pytest.mark.parametrize("make", [Race, partial(Hedge, after=1), Fallback, All, partial(Quorum, k=1)])
def test_every_policy_keeps_its_lanes_its_deadline_and_what_becomes_of_losers(make: Callable[..., Policy]) -> None:
    usual, given = make("a", "b"), make("a", "b", deadline=7, on_lose="keep")
    assert (usual.lanes, usual.deadline, usual.on_lose) == (("a", "b"), inf, None)
    assert (given.lanes, given.deadline, given.on_lose) == (("a", "b"), 7, "keep")


def refuse_all(_: Answer) -> bool:
    return False


@pytest.mark.parametrize("make", [Race, partial(Hedge, after=1), Fallback])
def test_a_hedge_and_a_fallback_take_what_a_race_takes(make: Callable[..., Policy]) -> None:
    lanes = [Stood(), Stood()]
    assert list(make("a", "b").losers(0, Delta("x"), lanes)) == []
    assert list(make("a", "b", on="first_token").losers(0, Reasoning("x"), lanes)) == []
    assert list(make("a", "b", on="first_token", reasoning=True).losers(0, Reasoning("x"), lanes)) == [1]
    accept = make("a", "b", accept=refuse_all).accept
    assert accept is refuse_all


def test_thoughts_break_a_silence_only_where_they_count() -> None:
    assert [Reasoning in race.speech for race in (Race(), Race(reasoning=True), Race(on="first_thought"))] == [
        False,
        True,
        True,
    ]


@frozen
class Spoken:
    """The standing of a lane that runs, and has said its first thought and word at these times."""

    ttft: float | None
    ttfo: float | None
    lost: bool = False
    status: Status | None = None
    good: bool = False
    place: int = 0

    @property
    def answer(self) -> Answer:
        return Answer("a", ttft=self.ttft, ttfo=self.ttfo)


def test_a_lane_that_runs_has_won_when_its_output_made_all_others_lose() -> None:
    on_token, on_thought = Race(on="first_token"), Race(on="first_thought")
    word, thought, nothing = Spoken(1, 1), Spoken(1, None), Spoken(None, None)
    lost = Spoken(None, None, lost=True)
    assert [race.winner([lost, word]) for race in (on_token, on_thought, Race())] == [1, 1, None]
    assert [race.winner([lost, thought]) for race in (on_token, on_thought)] == [None, 1]
    assert [race.winner([lost, nothing]) for race in (on_token, on_thought)] == [None, None]
    assert [race.winner([word, nothing]) for race in (on_token, on_thought)] == [None, None]
