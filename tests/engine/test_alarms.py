"""One task wakes for many, at the times that were set."""

from math import inf

import pytest
import trio
import trio.testing

from fanout.engine.alarms import Alarms, let_read, open_alarms
from tests.again import again


async def test_each_rings_at_its_time(autojump_clock: trio.testing.MockClock) -> None:
    rung: list[tuple[str, float, float]] = []
    async with open_alarms() as alarms:
        for name, at in (("late", 9.0), ("early", 2.0), ("never", inf), ("between", 4.0)):
            alarms.set(at, lambda due, name=name: rung.append((name, due, trio.current_time())))  # type: ignore[misc]
        await trio.sleep(20)
    assert rung == [("early", 2.0, 2.0), ("between", 4.0, 4.0), ("late", 9.0, 9.0)]


async def test_what_is_set_while_it_sleeps_may_be_earlier(autojump_clock: trio.testing.MockClock) -> None:
    rung: list[float] = []
    async with open_alarms() as alarms:
        alarms.set(9.0, rung.append)
        await trio.sleep(1)
        alarms.set(3.0, rung.append)
        await trio.sleep(3)
        assert rung == [3.0]
        await trio.sleep(6)
    assert rung == [3.0, 9.0]


async def test_a_ring_may_set_the_next(autojump_clock: trio.testing.MockClock) -> None:
    rung: list[float] = []

    def ring(at: float) -> None:
        rung.append(at)
        alarms.set(at + 2, ring)

    async with open_alarms() as alarms:
        alarms.set(1.0, ring)
        await trio.sleep(6)
    assert rung == [1.0, 3.0, 5.0]


async def test_what_is_past_rings_at_once(autojump_clock: trio.testing.MockClock) -> None:
    rung: list[float] = []
    async with open_alarms() as alarms:
        await trio.sleep(5)
        alarms.set(2.0, rung.append)
        await trio.testing.wait_all_tasks_blocked()
        assert rung == [2.0]


async def test_who_is_unsure_is_asked_again_when_the_tasks_that_were_ready_too_have_run(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for _ in range(20):
        read: list[str] = []
        asked: list[list[str]] = []

        def ring(_: float, read: list[str] = read, asked: list[list[str]] = asked) -> bool:
            asked.append(read.copy())
            return len(asked) == 1

        async def look(read: list[str] = read) -> None:
            await trio.sleep(1)
            await trio.lowlevel.checkpoint()  # what the look at the sockets wakes
            read.append("arrived")

        async with open_alarms() as alarms, trio.open_nursery() as nursery:
            alarms.set(trio.current_time() + 1, ring)
            nursery.start_soon(look)
            await trio.sleep(2)
        assert asked[1:] == [["arrived"]]


async def test_the_longer_we_were_late_the_longer_is_read_but_not_for_ever() -> None:
    for late, least, most in ((0, 2, 2), (0.001, 2, 1000), (1000, 3, 1000)):
        looks = [0]

        async def count(looks: list[int] = looks) -> None:
            while True:
                await trio.lowlevel.checkpoint()
                looks[0] += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            await trio.lowlevel.checkpoint()
            before, began = looks[0], trio.current_time()
            await let_read(late)
            assert least - 1 <= looks[0] - before <= most + 1  # theirs and ours run in either order
            assert trio.current_time() - began < 1.1
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("late", "taking", "looks"),
    [
        (0, [], 2),
        (1000, [], 1000),
        (0.5, [0.0625] * 99, 8),
        (1000, [0.0625] * 99, 16),
        (0, [0.0625], 2),
        (0, [0.125], 3),
        (0, [0, 0.125], 4),
        (0, [0.125] * 99, 34),
        (0.5, [0.125, 5, *[0.0625] * 99], 10),
    ],
)
async def test_a_look_counts_if_it_was_short_and_the_count_begins_anew_if_not(
    late: float,
    taking: list[float],
    looks: int,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    taken = 0

    async def look() -> None:
        nonlocal taken
        autojump_clock.jump(taking[taken] if taken < len(taking) else 0)
        taken += 1

    with monkeypatch.context() as patch:
        patch.setattr(trio.lowlevel, "checkpoint", look)
        await let_read(late)
    assert taken == looks


async def test_the_time_to_read_is_that_by_which_the_first_alarm_was_late(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    lates: list[float] = []

    async def note(late: float) -> None:
        lates.append(late)

    monkeypatch.setattr("fanout.engine.alarms.let_read", note)
    async with open_alarms() as alarms:
        for at in (3.0, 2.0, 4.0):
            alarms.set(at, lambda _: True)
        await trio.testing.wait_all_tasks_blocked()
        autojump_clock.jump(7)
        await trio.testing.wait_all_tasks_blocked()
    assert lates == [5]


async def test_what_is_set_while_it_sleeps_may_be_later(autojump_clock: trio.testing.MockClock) -> None:
    rung: list[tuple[float, float]] = []
    async with open_alarms() as alarms:
        for at in (3.0, 9.0, 3.0):
            alarms.set(at, lambda due: rung.append((due, trio.current_time())))
            await trio.sleep(1)
        await trio.sleep(20)
    assert rung == [(3, 3), (3, 3), (9, 9)]


@pytest.mark.parametrize(("slow", "passes"), [(0.11, 10), (0.2, 32), (0.025, 1)])
@again
async def test_while_the_loop_is_busy_with_other_lanes_nothing_is_judged(
    slow: float, passes: int, autojump_clock: trio.testing.MockClock
) -> None:
    steps = [0]

    async def be_busy() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            steps[0] += 1
            if steps[0] <= passes:
                autojump_clock.jump(slow)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_busy)
        while not steps[0]:  # for one step of the other task after the other
            await trio.lowlevel.checkpoint()
        await let_read(0)
        assert passes <= steps[0] <= passes + 3
        nursery.cancel_scope.cancel()


async def test_the_time_of_others_is_none_of_the_time_to_read(autojump_clock: trio.testing.MockClock) -> None:
    steps = [0]

    async def be_busy() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            steps[0] += 1
            autojump_clock.jump(10 if steps[0] < 4 else 0.025)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_busy)
        while not steps[0]:  # for one step of the other task after the other
            await trio.lowlevel.checkpoint()
        await let_read(0.5)
        assert 20 <= steps[0] <= 30
        nursery.cancel_scope.cancel()


async def test_what_has_come_is_read_for_a_second_at_most(autojump_clock: trio.testing.MockClock) -> None:
    async def be_busy() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            autojump_clock.jump(0.025)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_busy)
        await let_read(1000)
        assert 1 <= trio.current_time() <= 1.1
        nursery.cancel_scope.cancel()


async def test_a_loop_that_is_never_free_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    async def be_busy() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            autojump_clock.jump(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_busy)
        await let_read(0)
        assert trio.current_time() <= 68
        nursery.cancel_scope.cancel()


async def test_after_the_block_nothing_rings(autojump_clock: trio.testing.MockClock) -> None:
    rung: list[float] = []
    async with open_alarms() as alarms:
        alarms.set(1.0, rung.append)
    await trio.sleep(2)
    assert rung == []


async def test_an_error_of_the_block_comes_out_as_itself(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(KeyError):
        async with open_alarms():
            raise KeyError("x")


async def test_it_sleeps_where_nothing_is_set(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(5):
        await Alarms().run()
    assert trio.current_time() == 5


async def test_what_is_set_later_makes_nothing_later_that_was_set_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rung: list[tuple[float, float]] = []
    async with open_alarms() as alarms:
        for at in (3.0, 9.0):
            alarms.set(at, lambda due: rung.append((due, trio.current_time())))
            await trio.sleep(1)
        await trio.sleep(20)
    assert rung == [(3, 3), (9, 9)]
