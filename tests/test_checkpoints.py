"""Cancellation at every checkpoint: a scenario runs once for each of its task steps, and is cancelled at that step."""

from collections.abc import Callable, Iterator, Sequence
from random import Random

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

import fanout
from fanout import All, Best, Consensus, Fallback, Fuse, Hedge, Quorum, Race, Status
from fanout.abc import Head, Policy, Request
from fanout.catalog import LaneSpec
from fanout.catalog.config import Config
from fanout.engine.channel import Channel
from fanout.events import Delta, End, Event, Started
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.words import Words, memory, said, words

STEPS = 300
"""More than any scenario here takes: a bound on the time of this file."""

SEEDS = 3
"""Orders of the tasks that are tried: Trio shuffles those that are ready at once."""

Lanes = dict[str, list[Event]]


@define
class Scenario:
    """A case: what is run, what must have happened of it when nobody cancels it, and over which transport."""

    plan: Callable[[], Policy]
    transport: Callable[[], MemoryTransport]
    statuses: dict[str, Status]
    winner: str | None = None
    attempts: int = 1


@define(eq=False)
class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks while the scope is open, and cancels it just before step `cancel_at`."""

    cancel_at: int | None = None
    scope: trio.CancelScope | None = None
    taken: int = 0
    cancelled_at: float | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.scope is None:
            return
        self.taken += 1
        if self.taken == self.cancel_at:
            self.cancelled_at = trio.current_time()
            self.scope.cancel()


@define
class Outcome:
    """One run of a scenario: its steps, and what was seen of it afterwards."""

    steps: Steps
    transport: MemoryTransport
    lanes: Lanes
    fan_out: fanout.Fanout | None = None
    seen: list[Event] = field(factory=list)
    tasks_left: int = 0
    over_at: float = 0.0


def refused(after: float = 0.05) -> list[float | bytes | Head]:
    return [after, Head(500), b"no"]


def first_limited_then(script: Script) -> Callable[[Request], Script]:
    tries: Iterator[Script] = iter([[0.05, Head(429, {"retry-after": "0.2"}), b"no"]])
    return lambda request: next(tries, script)


FINISHED, CANCELLED, FAILED = Status.FINISHED, Status.CANCELLED, Status.FAILED

SCENARIOS: dict[str, Scenario] = {
    "race": Scenario(
        lambda: Race(*words("quick", "slow")),
        lambda: memory(quick=said("a", "b"), slow=said(*"abcd")),
        {"quick": FINISHED, "slow": CANCELLED},
        "quick",
    ),
    "hedge": Scenario(
        lambda: Hedge(*words("silent", "second"), after=0.2),
        lambda: memory(silent=[HANG], second=said("a", "b")),
        {"silent": CANCELLED, "second": FINISHED},
        "second",
    ),
    "fallback": Scenario(
        lambda: Fallback(*words("bad", "good")),
        lambda: memory(bad=refused(), good=said("a", "b")),
        {"bad": FAILED, "good": FINISHED},
        "good",
    ),
    "quorum": Scenario(
        lambda: Quorum(*words("a", "b", "late"), k=2),
        lambda: memory(a=said("x"), b=said("x", first=0.2), late=said(*"xyz")),
        {"a": FINISHED, "b": FINISHED, "late": CANCELLED},
        "a",
    ),
    "nested": Scenario(
        lambda: Race(Fallback(*words("bad", "good")), Hedge(*words("silent", "second"), after=0.2)),
        lambda: memory(bad=refused(), good=said("a", "b", first=0.3), silent=[HANG], second=said(*"abcd")),
        {"bad": FAILED, "good": FINISHED, "silent": CANCELLED, "second": CANCELLED},
        "good",
    ),
    "kept losers": Scenario(
        lambda: Race(*words("quick", "slow"), on_lose="keep"),
        lambda: memory(quick=said("a"), slow=said(*"abc")),
        {"quick": FINISHED, "slow": FINISHED},
        "quick",
    ),
    "best": Scenario(
        lambda: Best(*words("a", "b", "late"), judge=Words("d"), grace=0.1),
        lambda: memory(a=said("x"), b=said("y"), late=[HANG], d=[0.1, b'{"best":"A","why":"so"} .']),
        {"a": FINISHED, "b": FINISHED, "late": CANCELLED, "judge": FINISHED},
    ),
    "fuse": Scenario(
        lambda: Race(Fuse(*words("a", "b"), judge=Words("d"), analysis=True), Words("slow")),
        lambda: memory(a=said("x"), b=said("y"), slow=[HANG], d=said("f", "g")),
        {"a": FINISHED, "b": FINISHED, "judge": FINISHED, "judge#2": FINISHED, "slow": CANCELLED},
        "judge#2",
    ),
    "consensus in waves": Scenario(
        lambda: Consensus(*words("a", "b", "c", "e", "f"), wave=2),
        lambda: memory(a=said("x"), b=said("x", first=0.15), c=said("y", first=0.2), e=said("x", first=0.3), f=[HANG]),
        {"a": FINISHED, "b": FINISHED, "c": FINISHED, "e": FINISHED, "f": CANCELLED},
        "a",
    ),
    "retry": Scenario(
        lambda: Race(LaneSpec("again", Words("again"), retries=1)),
        lambda: MemoryTransport(first_limited_then(said("a", "b"))),
        {"again": FINISHED},
        "again",
        attempts=2,
    ),
    "queue for a turn": Scenario(
        lambda: All(*(LaneSpec("one", provider, concurrency=1) for provider in words("a", "b"))),
        lambda: memory(a=said("x"), b=said("x")),
        {"one": FINISHED, "one#2": FINISHED},
    ),
}


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lanes]:
    """Every event of every lane as it is put on the channel, whether or not anybody takes it from there."""
    heard: Lanes = {}
    put = Channel.put

    def recorded(self: Channel, lane: str, events: Sequence[Event], at: float) -> None:
        heard.setdefault(lane, []).extend(events)
        put(self, lane, events, at)

    monkeypatch.setattr(Channel, "put", recorded)
    # Trio shuffles its tasks; here always in the same way, so that a step that fails can be looked at again.
    monkeypatch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)
    yield heard
    heard.clear()


def play(
    scenario: Scenario, lanes: Lanes, monkeypatch: pytest.MonkeyPatch, cancel_at: int | None = None, seed: int = 0
) -> Outcome:
    """Runs a scenario in a Trio of its own, and cancels it from outside at step `cancel_at`, if it gets so far."""
    monkeypatch.setattr("trio._core._run._r", Random(seed))
    lanes.clear()
    outcome = Outcome(Steps(cancel_at), scenario.transport(), lanes)

    async def main() -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.fail_after(10**6), trio.CancelScope() as outcome.steps.scope:
            async with fanout.open_fanout(
                "?", scenario.plan(), transport=outcome.transport, config=Config()
            ) as outcome.fan_out:
                async for tagged in outcome.fan_out:
                    outcome.seen.append(tagged.event)  # what was seen before a cancellation counts too
        outcome.steps.scope = None
        outcome.over_at = trio.current_time()
        outcome.tasks_left = trio.lowlevel.current_statistics().tasks_living - before

    trio.run(main, clock=MockClock(autojump_threshold=0), instruments=[outcome.steps])
    return outcome


def check(outcome: Outcome) -> None:
    """Checks what must hold whenever it was cancelled."""
    assert outcome.tasks_left == 0
    assert outcome.transport.open == 0
    if outcome.steps.cancelled_at is not None:
        assert outcome.over_at == outcome.steps.cancelled_at  # not a moment later
    if outcome.fan_out is None:
        assert not outcome.lanes
        return
    assert set(outcome.lanes) == set(outcome.fan_out.lanes)
    for lane, events in outcome.lanes.items():
        assert [type(event) for event in events].count(End) == 1, lane
        assert isinstance(events[-1], End), lane
    for answer in outcome.fan_out.run.answers:
        end = outcome.lanes[answer.lane][-1]
        assert isinstance(end, End)
        assert answer.status is end.status
        assert (answer.error is None) == (answer.status in (Status.FINISHED, Status.CANCELLED)), answer
        assert answer.text == "".join(event.text for event in outcome.lanes[answer.lane] if isinstance(event, Delta))
    winner = outcome.fan_out.run.winner
    assert winner is None or winner.status is Status.FINISHED


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_that_nobody_cancels_does_what_it_is_there_for(
    name: str, lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = SCENARIOS[name]
    outcome = play(scenario, lanes, monkeypatch)
    check(outcome)
    assert outcome.fan_out is not None
    run = outcome.fan_out.run
    assert {answer.lane: answer.status for answer in run.answers} == scenario.statuses
    assert scenario.winner is None or (run.winner and run.winner.lane == scenario.winner)
    assert max(e.attempt for events in lanes.values() for e in events if isinstance(e, Started)) == scenario.attempts
    assert len(outcome.seen) == sum(map(len, lanes.values()))
    assert outcome.steps.taken <= STEPS


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_wherever_it_is_cancelled_nothing_is_left_and_every_lane_has_one_end(
    name: str, lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = SCENARIOS[name]
    for seed in range(SEEDS):
        steps = play(scenario, lanes, monkeypatch, seed=seed).steps.taken
        moments = {cancelled(scenario, lanes, monkeypatch, step, seed) for step in range(1, steps + 1)}
        assert len(moments) > 1  # at the beginning as well as in the middle


def cancelled(scenario: Scenario, lanes: Lanes, monkeypatch: pytest.MonkeyPatch, step: int, seed: int) -> float:
    """Checks a run that is cancelled at this step, and returns the time when that was."""
    try:
        outcome = play(scenario, lanes, monkeypatch, cancel_at=step, seed=seed)
        check(outcome)
        assert outcome.steps.cancelled_at is not None
    except BaseException as error:
        error.add_note(f"cancelled at step {step}, in the order of seed {seed}")
        raise
    return outcome.steps.cancelled_at
