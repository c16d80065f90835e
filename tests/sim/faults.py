"""Faults of one line each, as they are made in engines; each is put into ours, and must be found."""

from collections.abc import Callable, Collection, Sequence
from math import inf
from typing import Any

import pytest
import trio

from fanout.engine import attempt, group, retry
from fanout.engine.attempt import Attempt
from fanout.engine.channel import Channel
from fanout.engine.clocks import Clocks
from fanout.engine.group import Group
from fanout.engine.keys import Keys
from fanout.engine.retry import Budget, Retries
from fanout.engine.staged import Staged
from fanout.engine.watch import Watch
from fanout.errors import TimedOut
from fanout.events import End, Event
from fanout.policies.consensus import Consensus
from fanout.policies.quorum import Quorum
from fanout.policies.race import Race

Patch = pytest.MonkeyPatch
FAULTS: dict[str, Callable[[Patch], None]] = {}


def fault(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """Adds a fault under the name of the function that plants it."""
    FAULTS[plant.__name__] = plant
    return plant


@fault
def a_cancel_is_missing(patch: Patch) -> None:
    """A lane that is cancelled ends, and its request goes on."""
    cancel = Attempt.cancel

    def cancel_nothing(self: Attempt, error: Any = None, /) -> None:
        scope, self._watch.scope = self._watch.scope, trio.CancelScope()
        cancel(self, error)
        self._watch.scope = scope

    patch.setattr(Attempt, "cancel", cancel_nothing)


@fault
def an_end_comes_twice(patch: Patch) -> None:
    put = Channel.put

    def put_twice(self: Channel, lane: str, events: Sequence[Event], at: float) -> None:
        put(self, lane, [*events, *(event for event in events if isinstance(event, End))], at)

    patch.setattr(Channel, "put", put_twice)


@fault
def an_end_is_lost(patch: Patch) -> None:
    put = Channel.put

    def put_most(self: Channel, lane: str, events: Sequence[Event], at: float) -> None:
        put(self, lane, [event for event in events if str(getattr(event, "status", "")) != "cancelled"], at)

    patch.setattr(Channel, "put", put_most)


@fault
def a_verdict_falls_one_event_late(patch: Patch) -> None:
    losers = Race.losers

    def losers_late(self: Race, lane: int, event: Event, lanes: Sequence[Any]) -> Collection[int]:
        early = not isinstance(event, End) and lanes[lane].answer.chunks == 1
        return () if early else losers(self, lane, event, lanes)

    patch.setattr(Race, "losers", losers_late)


@fault
def a_try_too_many_is_made(patch: Patch) -> None:
    made = Retries.__init__

    def allow_more(self: Retries, keys: Any, budget: Any, allowed: int, random: Any) -> None:
        made(self, keys, budget, allowed + 1, random)

    patch.setattr(Retries, "__init__", allow_more)


@fault
def the_retry_budget_is_off_by_one(patch: Patch) -> None:
    patch.setattr(Budget, "allows", property(lambda self: self.tokens >= self.full / 2))


@fault
def a_failure_costs_no_budget(patch: Patch) -> None:
    patch.setattr(Budget, "note_failure", lambda _: None)


@fault
def retry_after_is_not_heeded(patch: Patch) -> None:
    pause = retry.pause

    def pause_shortly(error: Any, number: int, random: Any) -> float | None:
        return 0.01 if error.retry_after else pause(error, number, random)

    patch.setattr(retry, "pause", pause_shortly)


@fault
def a_loser_goes_on(patch: Patch) -> None:
    def lose_softly(self: Group, index: int, lost: Collection[int]) -> None:
        lose(self, index, list(lost)[:-1])

    lose = Group._lose
    patch.setattr(Group, "_lose", lose_softly)


@fault
def a_loser_is_tried_again(patch: Patch) -> None:
    """A loser that runs on makes another try."""
    patch.setattr(Retries, "close", lambda _: None)


@fault
def a_clock_lengthens(patch: Patch) -> None:
    content = Clocks.content

    def content_later(self: Clocks, at: float, tokens: int) -> bool:
        return content(self, at + 0.001 * self.tokens, tokens)

    patch.setattr(Clocks, "content", content_later)


@fault
def the_first_clock_starts_with_the_first_bytes(patch: Patch) -> None:
    def begin(self: Clocks, at: float) -> None:
        if not self.moved:
            self.moved = True
            self.late += at - self.started

    patch.setattr(Clocks, "begin", begin)


@fault
def an_alarm_is_not_set(patch: Patch) -> None:
    set_alarm = Watch._set_alarm

    def set_first(self: Watch) -> None:
        if self._alarm_at == inf:
            set_alarm(self)

    patch.setattr(Watch, "_set_alarm", set_first)


@fault
def a_lane_never_starts(patch: Patch) -> None:
    async def wait_for_ever(self: Group, until: float, leniency: Any) -> None:
        await trio.sleep_until(until)

    patch.setattr(Group, "_wait_for_turn", wait_for_ever)


@fault
def silence_is_counted_from_the_start_alone(patch: Patch) -> None:
    judge = Group.judge

    def judge_silently(self: Group, index: int, events: Sequence[Event], at: float) -> None:
        spoke = self._spoke_at
        judge(self, index, events, at)
        if not isinstance(events[-1], End):
            self._spoke_at = spoke

    patch.setattr(Group, "judge", judge_silently)


@fault
def a_place_is_not_given_back(patch: Patch) -> None:
    async def run_in_turn(limiters: Sequence[trio.CapacityLimiter], lane: Attempt, prompt: Any, until: float) -> None:
        if not await attempt._acquire(limiters[0], until):
            lane.cancel(TimedOut("too late", clock="deadline"))
            return
        await lane.run_now(prompt, until)
        limiters[0].release()  # and not where it is cancelled

    patch.setattr(attempt, "_run_in_turn", run_in_turn)


@fault
def the_deadline_of_a_group_is_forgotten(patch: Patch) -> None:
    run = Group.run

    async def run_longer(self: Group, prompt: Any, until: float) -> None:
        self._policy.deadline = inf
        await run(self, prompt, until)

    patch.setattr(Group, "run", run_longer)


@fault
def accept_is_not_heeded(patch: Patch) -> None:
    def weigh(seat: Any, accept: Any) -> Any:
        verdict = accept(seat.answer)
        return None if isinstance(verdict, bool) else verdict

    patch.setattr(group, "weigh", weigh)


@fault
def a_key_that_rests_is_used(patch: Patch) -> None:
    patch.setattr(Keys, "usable", lambda self, now: self.providers[0])


@fault
def a_quorum_is_given_up_too_late(patch: Patch) -> None:
    losers = Quorum.losers

    def losers_later(self: Quorum, lane: int, event: Event, lanes: Sequence[Any]) -> Collection[int]:
        found = losers(self, lane, event, lanes)
        missed = len(found) == len(lanes) and sum(each.status is None for each in lanes) > 0
        return () if missed else found

    patch.setattr(Quorum, "losers", losers_later)


@fault
def an_error_has_no_partial_text(patch: Patch) -> None:
    sign = attempt._sign

    def sign_badly(error: Any, lane: str, text: str, trial: Any) -> None:
        sign(error, lane, "", trial)

    patch.setattr(attempt, "_sign", sign_badly)


@fault
def a_complete_answer_is_waited_for_without_end(patch: Patch) -> None:
    patch.setattr(Clocks, "complete", lambda self, at: False)


@fault
def nobody_is_woken_by_a_failure(patch: Patch) -> None:
    close_seat = Group._close_seat

    def close_quietly(self: Group, index: int, end: End, at: float) -> None:
        turn, self._turn = self._turn, trio.Event()
        close_seat(self, index, end, at)
        self._turn = turn

    patch.setattr(Group, "_close_seat", close_quietly)


@fault
def a_vote_is_over_while_others_could_catch_up(patch: Patch) -> None:
    decide = Consensus._is_decided

    def forget_who_runs(self: Consensus, votes: Any, left: int, *, more: int = 0) -> bool:
        return decide(self, votes, max(left - 1, 0), more=more)

    patch.setattr(Consensus, "_is_decided", forget_who_runs)


@fault
def a_judge_that_fails_takes_the_answers_with_it(patch: Patch) -> None:
    patch.setattr(Staged, "_choose", lambda self: self._candidates[self.hearing.best] if self.hearing.best else None)
