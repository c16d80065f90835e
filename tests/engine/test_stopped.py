"""A process that is stopped for a while, and perhaps its services with it: no clock is theirs that rings for that."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from fanout import All, Hedge, Status, TimedOut, Timeouts
from fanout.abc import Head, Policy
from fanout.transports.memory import HANG, MemoryTransport
from tests.words import Seen, memory, watch, words

STOP = 40.0
"""Seconds."""


async def watch_stopped(plan: Policy, transport: MemoryTransport, clock: MockClock, at: float, **settings: Any) -> Seen:
    """Runs a plan, and stops this process at a time for STOP seconds."""

    async def stop() -> None:
        await trio.sleep(at)
        clock.jump(STOP)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        return await watch(plan, transport, **settings)


def fate(seen: Seen, lane: str) -> tuple[Status | None, str, float]:
    """Returns how a lane ended, for which clock, and at which time beside the stop."""
    error = seen.run[lane].error
    clock = error.clock if isinstance(error, TimedOut) else ""
    return seen.run[lane].status, clock or "", round(seen.end_at(lane) - STOP, 3)


CASES: dict[str, tuple[list[Any], Timeouts, tuple[Status, str, float]]] = {
    "a silence between two pieces": ([0.1, b"x", STOP + 0.9, b"y ."], Timeouts(idle=1), (Status.FINISHED, "", 1.0)),
    "no piece more": ([0.1, b"x", HANG], Timeouts(idle=1), (Status.TIMED_OUT, "idle", 1.3)),
    "the first piece": ([STOP + 0.9, b"y ."], Timeouts(first=1), (Status.FINISHED, "", 0.9)),
    "no piece at all": ([HANG], Timeouts(first=1), (Status.TIMED_OUT, "first", 1.3)),
    "a stop shorter than the clock": (
        [0.1, b"x", HANG],
        Timeouts(idle=30),
        (Status.TIMED_OUT, "idle", 30.3),
    ),
    "the end after the finish": ([0.1, b"x", STOP + 1.2, b"y ."], Timeouts(), (Status.FINISHED, "", 1.3)),
    "the rate": ([0.1, b"x", STOP + 3, b"z" * 40, 3, b"y ."], Timeouts(min_tps=2), (Status.FINISHED, "", 6.1)),
    "no rate": ([0.1, b"x" * 99, STOP + 3, b"y", HANG], Timeouts(min_tps=2), (Status.TIMED_OUT, "min_tps", 5.3)),
    "a total time, which is promised": ([0.1, b"x", HANG], Timeouts(total=1), (Status.TIMED_OUT, "total", 0.3)),
}


@pytest.mark.parametrize(("script", "clocks", "expected"), CASES.values(), ids=CASES)
async def test_what_a_service_may_take_after_a_stop(
    script: list[Any], clocks: Timeouts, expected: tuple[Status, str, float], autojump_clock: MockClock
) -> None:
    seen = await watch_stopped(All(*words("a")), memory(a=script), autojump_clock, 0.3, timeouts=clocks, retries=0)
    assert fate(seen, "a") == expected


async def test_a_pause_between_two_tries_is_over_and_the_next_has_its_time(autojump_clock: MockClock) -> None:
    slow_down = Head(429, {"retry-after": "1"})
    scripts: Any = iter([[0.1, slow_down, b"x"], [0.9, b"y ."]])
    transport = MemoryTransport(lambda _: next(scripts))
    seen = await watch_stopped(All(*words("a")), transport, autojump_clock, 0.3, timeouts=Timeouts(first=2), retries=1)
    assert fate(seen, "a") == (Status.FINISHED, "", 1.2)


@pytest.mark.parametrize(("script", "starts"), [([STOP + 0.8, b"x ."], [0]), ([HANG], [0, STOP + 1.3])])
async def test_a_hedge_starts_after_its_pace_from_the_stop_on(
    script: Any, starts: list[float], autojump_clock: MockClock
) -> None:
    transport = memory(a=script, b=[0.1, b"y ."])
    await trio.sleep(7)
    await watch_stopped(Hedge(*words("a", "b"), after=1), transport, autojump_clock, 0.3)
    assert [exchange.began - 7 for exchange in transport.exchanges] == pytest.approx(starts)
