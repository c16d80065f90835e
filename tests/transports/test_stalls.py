import time

import trio
from trio.testing import MockClock

from fanout.settings.timeouts import LATE
from fanout.transports.stalls import TIMES, Deadlines, Stalls


async def test_what_lies_between_two_looks_is_lost_if_it_is_too_long(mock_clock: MockClock) -> None:
    stalls = Stalls()
    stalls.begin()
    lost = []
    for seconds in (LATE / 2, 3 * LATE, LATE / 2):
        mock_clock.jump(seconds)
        lost.append(round(stalls.look(), 6))
    assert lost == [0, 3 * LATE, 0]


async def test_a_scope_ends_at_its_time_where_nothing_is_lost(autojump_clock: MockClock) -> None:
    deadlines, began = Deadlines(), trio.current_time()
    with trio.CancelScope() as scope:
        deadlines.set(scope, 3.0)
        await trio.sleep_forever()
    assert 3.0 <= trio.current_time() - began < 3.01


async def test_a_scope_that_is_left_in_time_is_not_cancelled(autojump_clock: MockClock) -> None:
    deadlines = Deadlines()
    with trio.CancelScope() as scope:
        deadlines.set(scope, 3.0)
        await trio.sleep(2)
        deadlines.unset(scope)
        await trio.sleep(2)
    assert not scope.cancel_called


async def test_what_is_lost_comes_back_also_where_no_clock_rang_late() -> None:
    deadlines, began = Deadlines(), trio.current_time()
    with trio.CancelScope() as scope:
        deadlines.set(scope, 0.2)
        await trio.sleep(0.02)
        time.sleep(0.17)  # noqa: ASYNC251  # the caller's code, free again just before
        await trio.sleep_forever()
    assert trio.current_time() - began > 0.35


async def test_a_loop_that_is_never_free_does_not_hold_up_a_scope_for_ever(mock_clock: MockClock) -> None:
    deadlines, stalls = Deadlines(), 0
    with trio.CancelScope() as scope:
        deadlines.set(scope, 0.2)
        while not scope.cancel_called:
            mock_clock.jump(1.0)
            stalls += 1
            await trio.testing.wait_all_tasks_blocked()
    assert TIMES <= stalls <= TIMES + 3
