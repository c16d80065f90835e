"""A group as the group above sees it: whether it is settled, can still answer, how long it may take, how it ends."""

from collections.abc import Sequence
from math import inf
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import fanout
from fanout import All, AllLanesFailed, Fallback, Race, Status, TimedOut, Timeouts
from fanout.abc import WAITING, Policy
from fanout.engine.attempt import Attempt
from fanout.engine.group import Group
from fanout.engine.portions import PORTION
from fanout.events import Delta, End, Event
from fanout.prompt import Prompt
from fanout.transports.memory import HANG, MemoryTransport
from tests.words import memory, said, watch, words


def make(policy: Policy, transport: MemoryTransport | None = None) -> Group:
    """Makes a group of lanes, of which a policy may be one."""
    lanes: list[Attempt | Group] = [
        make(lane, transport)
        if isinstance(lane, Policy)
        else Attempt(lane.name, lane, transport or memory(), retries=0)
        for lane in policy.lanes
    ]
    return Group("group", policy, lanes, "cancel")


def settled(group: Group) -> Any:
    return group.settled


def expired(group: Group) -> bool:
    return group.expired


def attempt(group: Group, index: int) -> Attempt:
    lane = group.seats[index].lane
    assert isinstance(lane, Attempt)
    return lane


def test_a_group_is_settled_when_all_but_one_have_lost() -> None:
    group = make(Race(*words("a", "b", "c")))
    assert settled(group) is None
    group.seats[0].lost = True
    assert settled(group) is None
    group.seats[2].lost = True
    assert settled(group) is group.seats[1].lane
    group.seats[1].lost = True
    assert settled(group) is None


def test_a_group_whose_last_lane_is_a_group_is_settled_when_that_is() -> None:
    group = make(Race(Race(*words("a", "b")), *words("c")))
    inner = group.seats[0].lane
    assert isinstance(inner, Group)
    group.seats[1].lost = True
    assert settled(group) is None
    inner.seats[0].lost = True
    assert settled(group) is inner.seats[1].lane


def test_a_group_is_expired_when_no_lane_can_answer() -> None:
    group = make(Race(*words("a", "b")))
    one, two = group.seats
    assert not expired(group)
    attempt(group, 0)._watch.fired = TimedOut("late")
    assert not expired(group)
    attempt(group, 1)._watch.fired = TimedOut("late")
    assert expired(group)
    attempt(group, 1)._watch.fired = None
    two.lost = True
    assert expired(group)
    two.lost, two.status = False, Status.FAILED
    assert expired(group)
    two.weighing = trio.CancelScope()
    assert not expired(group)
    one.status = two.status = Status.FAILED
    assert not expired(group)


def test_a_lane_is_alone_when_no_other_can_answer_here_and_above() -> None:
    group = make(Race(*words("a", "b", "c")))
    alone = group.seats[0].lane.alone
    group.seats[1].lost = True
    assert not alone()
    attempt(group, 2)._watch.fired = TimedOut("late")
    assert alone()
    attempt(group, 2)._watch.fired = None
    group.seats[2].status = Status.FAILED
    assert alone()
    group.seats[1].lost = False
    assert not alone()
    group.seats[1].status = Status.FAILED
    group.alone = lambda: False
    assert not alone()
    group.alone = lambda: True
    group.seats[0].lost = True
    assert not alone()


async def run(group: Group, until: float = inf) -> list[tuple[float, Event]]:
    """Runs a group, and returns what climbs."""
    heard: list[tuple[float, Event]] = []

    def hear(events: Sequence[Event], at: float) -> None:
        heard.extend((at, event) for event in events)

    group.hear = hear
    await group.run(Prompt.of("?"), until)
    return heard


async def test_what_climbs_has_the_time_at_which_it_came(autojump_clock: MockClock) -> None:
    for plan in (All(*words("a")), Race(*words("a"), on="first_token")):
        began = trio.current_time()
        group = make(plan, memory(a=[1, b"x", 1, b"y .", HANG]))
        heard = await run(group)
        assert [(round(at - began, 3), type(event)) for at, event in heard] == [(1, Delta), (2, Delta), (2, End)]
        assert group.ended_at == began + 2


class Quitting(All):
    """Has all lanes lose at the first content."""

    heeds: Any = None

    def losers(self, lane: int, event: Event, lanes: Any) -> Any:
        return range(len(lanes)) if isinstance(event, Delta) else ()


async def test_a_group_may_end_with_a_piece_of_content(autojump_clock: MockClock) -> None:
    group = make(Quitting(*words("a", "b")), memory(a=[1, b"x", HANG], b=[HANG]))
    heard = await run(group)
    assert [(at, event.status) for at, event in heard if isinstance(event, End)] == [(1, Status.FAILED)]
    assert group.ended_at == 1


async def weigh(answer: fanout.Answer) -> bool:
    """An accept that never decides."""
    await trio.sleep_forever()
    raise AssertionError(answer)


@pytest.mark.parametrize(
    ("error", "status"), [(None, Status.CANCELLED), (TimedOut("late", clock="deadline"), Status.TIMED_OUT)]
)
async def test_a_group_that_is_cancelled_while_answers_are_weighed_ends_at_once(
    error: TimedOut | None, status: Status, autojump_clock: MockClock
) -> None:
    group = make(All(*words("a", "b", "c")), memory(a=said("x"), b=said("y"), c=[HANG]))
    group._policy.accept = weigh
    ends: list[tuple[float, Status]] = []

    def hear(events: Sequence[Event], at: float) -> None:
        ends.extend((at, event.status) for event in events if isinstance(event, End))

    group.hear = hear
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.run, Prompt.of("?"), inf)
        await trio.sleep(1)
        group.cancel(error)
        assert ends == [(1, status)]
        assert [seat.status for seat in group.seats] == [status] * 3
        assert [seat.weighing for seat in group.seats] == [None] * 3
        assert attempt(group, 2).answer.status is status
        group.cancel(error)
        assert len(ends) == 1
    assert trio.current_time() == 1
    assert group.ended_at == 1


async def test_a_group_that_is_cancelled_while_a_winner_is_weighed_that_has_lost_counts_it_once(
    autojump_clock: MockClock,
) -> None:
    group = make(All(*words("a", "b")), memory(a=said("x"), b=[HANG]))
    group._policy.accept = weigh
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.run, Prompt.of("?"), inf)
        await trio.sleep(1)
        group._lose(1, [0])
        assert group.seats[0].weighing is None
        group.cancel()
        assert group.over
        assert group.seats[0].status is Status.FINISHED


async def test_an_accept_may_take_as_long_as_the_lane_of_the_answer_within(autojump_clock: MockClock) -> None:
    inner = Fallback(*words("a", "b"))
    plan = Race(inner, accept=weigh)
    seen = await watch(plan, memory(a=[1, b"!no"], b=said("x")), timeouts=Timeouts(total=3), retries=0)
    assert seen.run.winner is None
    assert seen.run.elapsed == pytest.approx(4)  # it started at 1 s


async def test_an_accept_that_is_late_names_the_clock_of_the_lane_within(autojump_clock: MockClock) -> None:
    inner = Fallback(*words("a", "b"))
    with pytest.raises(AllLanesFailed) as caught:
        await fanout.race("?", Race(inner, accept=weigh), transport=memory(a=said("x")), timeouts=Timeouts(total=3))
    [error] = caught.value.exceptions
    assert isinstance(error, TimedOut)
    assert (error.clock, error.lane, error.partial) == ("total", "a", "x")


async def test_a_lane_that_is_late_for_its_turn_says_so_and_one_that_runs_says_its_own_clock(
    autojump_clock: MockClock,
) -> None:
    for _ in range(10):
        seen = await watch(Fallback(*words("a", "b")), memory(a=[HANG], b=[HANG]), deadline=1)
        errors = [answer.error for answer in seen.run.answers]
        assert [str(error) for error in errors] == [
            "a: timeout: the deadline of all lanes together passed",
            "b: timeout: the group's deadline passed before its turn came",
        ]
        assert [getattr(error, "clock", None) for error in errors] == ["deadline", "deadline"]


async def test_a_thousand_lanes_start_a_portion_at_a_time_and_others_run_between(autojump_clock: MockClock) -> None:
    names = [f"l{number}" for number in range(2 * PORTION + 2)]
    group = make(All(*words(*names)), memory(**{name: said("x") for name in names}))
    started: list[int] = []

    class Steps(trio.abc.Instrument):
        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            started.append(sum(seat.started for seat in group.seats))

    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    await run(group)
    trio.lowlevel.remove_instrument(steps)
    assert sorted({*started} - {0}) == [PORTION, 2 * PORTION, len(names)]


class Refusing(All):
    """Has each lane lose that finishes, and the first with whichever is first."""

    heeds = frozenset({End})

    def losers(self, lane: int, event: Event, lanes: Any) -> Any:
        return (0, lane)


async def test_an_answer_that_the_policy_itself_drops_was_refused_and_no_other(autojump_clock: MockClock) -> None:
    group = make(Refusing(*words("a", "b")), memory(a=[HANG], b=said("y")))
    await run(group)
    assert [str(error) for error in group.errors()] == ["b: refused: its answer was not accepted"]
    assert [seat.refusal for seat in group.seats] == [None, ""]


async def test_a_long_reason_of_a_refusal_is_cut(autojump_clock: MockClock) -> None:
    def accept(answer: fanout.Answer) -> bool:
        raise ValueError(answer.text + "e" * 999)

    group = make(Race(*words("a"), accept=accept), memory(a=said("x")))
    await run(group)
    assert [str(error) for error in group.errors()] == ["a: refused: its answer was not accepted: x" + "e" * 499]


@pytest.mark.parametrize("taken", [True, False])
async def test_a_verdict_that_belongs_to_another_loop_is_awaited_there(taken: bool, autojump_clock: MockClock) -> None:
    async def accept(answer: fanout.Answer) -> bool:
        raise AssertionError(answer)  # not in this loop

    asked: list[Any] = []

    async def wait(verdict: Any) -> bool:
        asked.append(verdict.__name__)
        verdict.close()
        return taken

    token = WAITING.set(wait)
    try:
        group = make(Race(*words("a"), accept=accept), memory(a=said("x")))
        await run(group)
    finally:
        WAITING.reset(token)
    assert asked == ["accept"]
    assert [str(error) for error in group.errors()] == ([] if taken else ["a: refused: its answer was not accepted"])


async def test_the_task_that_awaits_a_verdict_has_a_name(autojump_clock: MockClock) -> None:
    names: list[str] = []

    async def accept(_: fanout.Answer) -> bool:
        names.append(trio.lowlevel.current_task().name)
        await trio.lowlevel.checkpoint()
        return True

    await run(make(Race(*words("a"), accept=accept), memory(a=said("x"))))
    assert names == ["accept a"]


async def test_the_answer_of_a_group_is_the_winners_though_it_still_runs(autojump_clock: MockClock) -> None:
    group = make(Race(*words("a", "b"), on="first_token"), memory(a=[HANG], b=[1, b"x", 9, b"y ."]))
    assert group.answer.lane == "a"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.run, Prompt.of("?"), inf)
        await trio.sleep(2)
        assert (group.answer.lane, group.answer.text) == ("b", "x")
        nursery.cancel_scope.cancel()


async def test_the_answer_of_a_group_in_which_nobody_finished_is_its_first_lanes(autojump_clock: MockClock) -> None:
    group = make(All(*words("a", "b")), memory(a=[1, b"!no"], b=[1, b"!no"]))
    await run(group)
    assert group.answer.lane == "a"


async def test_the_answers_that_are_kept_are_those_that_every_group_above_keeps(autojump_clock: MockClock) -> None:
    inner = Race(*words("a", "b"))
    group = make(All(inner, *words("c")), memory(a=said("x"), b=[HANG], c=said("y")))
    await run(group)
    assert [(lane.name, kept) for lane, kept in group.attempts()] == [("a", True), ("b", False), ("c", True)]


async def test_a_group_of_which_all_answers_are_weighed_ends_at_once_when_it_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    group = make(All(*words("a", "b", "c")), memory(a=said("x"), b=said("y"), c=said("z")))
    group._policy.accept = weigh
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.run, Prompt.of("?"), inf)
        await trio.sleep(1)
        group.cancel()
        assert group.ended_at == 1


class Heeding(All):
    """Is asked about text and the end, and notes what it is asked about."""

    heeds = frozenset({Delta, End})

    def __init__(self, *lanes: Any) -> None:
        super().__init__(*lanes)
        self.asked: list[type] = []

    def losers(self, lane: int, event: Event, lanes: Any) -> Any:
        self.asked.append(type(event))
        return ()


async def test_a_policy_is_asked_about_nothing_that_it_does_not_heed_whatever_comes_with_it(
    autojump_clock: MockClock,
) -> None:
    policy = Heeding(*words("a"))
    await run(make(policy, memory(a=[1, b"?thought x ?thought .", HANG])))
    assert policy.asked == [Delta, End]


class DroppingTheFirst(All):
    """Has the first lane lose when the second has finished."""

    heeds = frozenset({End})

    def losers(self, lane: int, event: Event, lanes: Any) -> Any:
        return (0,) if lane == 1 else ()


async def test_an_answer_that_another_lane_makes_lose_was_not_refused(autojump_clock: MockClock) -> None:
    group = make(DroppingTheFirst(*words("a", "b")), memory(a=said("x"), b=said("y", first=1)))
    await run(group)
    assert [(seat.lost, seat.refusal) for seat in group.seats] == [(True, None), (False, None)]


class DroppingTheLast(All):
    """Goes one at a time, and has the last lane lose at the first content."""

    heeds = frozenset({Delta, End})
    pace = inf

    def losers(self, lane: int, event: Event, lanes: Any) -> Any:
        return (2,) if isinstance(event, Delta) and lane == 0 else ()


async def test_a_lane_that_loses_before_its_start_starts_no_other(autojump_clock: MockClock) -> None:
    transport = memory(a=[1, b"x", 9, b"y ."], b=said("z"), c=said("z"))
    await run(make(DroppingTheLast(*words("a", "b", "c")), transport))
    assert [exchange.began for exchange in transport.exchanges] == [0, 10]
