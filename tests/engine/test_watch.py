from math import inf

import pytest
import trio
from trio.testing import MockClock

from fanout.engine.alarms import Alarms, Ring, open_alarms
from fanout.engine.watch import Watch, format_age
from fanout.errors import TimedOut
from fanout.events import Delta
from fanout.settings.timeouts import DEFAULTS, Timeouts


def watch(alarms: Alarms, **set_to: float) -> Watch:
    return Watch(Timeouts(**set_to).over(Timeouts(inf, inf, inf, inf, 0)), alarms)


def content(lane: Watch, text: str = "x") -> None:
    lane.content(trio.current_time(), 1, [Delta(text)])


def fired(lane: Watch) -> tuple[str | None, float | None] | None:
    return None if lane.fired is None else (lane.fired.clock, lane.fired.seconds)


async def test_a_clock_that_fires_cuts_off_what_is_watched(autojump_clock: MockClock) -> None:
    async with open_alarms() as alarms:
        lane = watch(alarms, first=3)
        with lane.scope:
            lane.start(inf)
            assert lane.find_due() == 3
            await trio.sleep_forever()
        assert trio.current_time() == 3
        assert isinstance(lane.fired, TimedOut)
        assert (fired(lane), lane.find_due()) == (("first", 3), -inf)


async def test_who_asks_before_a_late_alarm_rings_hears_of_a_clock_that_has_time_again(
    autojump_clock: MockClock,
) -> None:
    async with open_alarms() as alarms:
        lane = watch(alarms, first=3)
        with lane.scope:
            lane.start(inf)
            await trio.sleep(1)
            autojump_clock.jump(40)
            assert lane.find_due() == 44  # else no other try would follow one that failed meanwhile
            await trio.sleep_forever()
        assert (trio.current_time(), fired(lane)) == (44, ("first", 3))


async def test_content_moves_the_alarm_later_and_nothing_rings_before(autojump_clock: MockClock) -> None:
    async with open_alarms() as alarms:
        lane = watch(alarms, first=3, idle=2)
        with lane.scope:
            lane.start(inf)
            for _ in range(5):
                await trio.sleep(1.5)
                content(lane)
            await trio.sleep_forever()
        assert (trio.current_time(), fired(lane)) == (9.5, ("idle", 2))


async def test_the_first_content_may_move_the_alarm_earlier(autojump_clock: MockClock) -> None:
    async with open_alarms() as alarms:
        lane = watch(alarms, first=60, idle=2)
        with lane.scope:
            lane.start(inf)
            await trio.sleep(1)
            content(lane)
            await trio.sleep_forever()
        assert trio.current_time() == 3


async def test_a_pause_leaves_the_deadline_alone_and_then_all_begins_anew(autojump_clock: MockClock) -> None:
    async with open_alarms() as alarms:
        lane = watch(alarms, first=3, total=5)
        with lane.scope:
            assert lane.start(100) == 0
            await trio.sleep(2)
            lane.pause()
            assert lane.find_due() == 100
            await trio.sleep(50)
            assert lane.resume() == 52
            await trio.sleep_forever()
        assert (trio.current_time(), fired(lane)) == (55, ("first", 3))
        late = watch(alarms, first=3)
        with late.scope:
            late.start(100)
            late.pause()
            await trio.sleep_forever()
        assert (trio.current_time(), fired(late)) == (100, ("deadline", 45))


async def test_a_complete_answer_is_waited_for_from_its_last_content_on(autojump_clock: MockClock) -> None:
    async with open_alarms() as alarms:
        lane = watch(alarms, first=60, idle=60)
        with lane.scope:
            lane.start(inf)
            content(lane)
            lane.complete()
            for _ in range(5):
                await trio.sleep(1.5)
                content(lane)
                lane.complete()
            await trio.sleep_forever()
        assert (trio.current_time(), fired(lane)) == (9.5, ("linger", 2))


async def test_a_finish_before_any_content_starts_no_wait(autojump_clock: MockClock) -> None:
    async with open_alarms() as alarms:
        lane = watch(alarms, first=30, idle=60)
        with lane.scope:
            lane.start(inf)
            lane.complete()
            await trio.sleep_forever()
        assert (trio.current_time(), fired(lane)) == (30, ("first", 30))


async def test_a_long_piece_is_several_tokens_for_the_rate_alone(autojump_clock: MockClock) -> None:
    async with open_alarms() as alarms:
        lanes = watch(alarms, min_tps=1), watch(alarms, min_tps=1)
        for lane, text in zip(lanes, ("x", "twenty characters, or"), strict=True):
            lane.start(inf)
            content(lane, text)
        await trio.sleep(6)
        assert [fired(lane) for lane in lanes] == [("min_tps", 1), None]


class Counted(Alarms):
    """Alarms that count how often one is set."""

    count = 0

    def __init__(self) -> None:
        super().__init__()
        self.rung: list[tuple[float, bool | None]] = []

    def set(self, at: float, ring: Ring) -> None:
        def note(at: float) -> bool | None:
            self.rung.append((at, unsure := ring(at)))
            return unsure

        self.count += 1
        super().set(at, note)


async def test_an_alarm_is_set_only_to_be_earlier_and_a_superseded_one_sets_none(autojump_clock: MockClock) -> None:
    alarms = Counted()
    lane = watch(alarms, first=60, idle=20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alarms.run)
        lane.start(inf)
        for _ in range(50):
            await trio.sleep(0.5)
            content(lane)
        assert alarms.count == 3  # for the first content, for the silence after it, and again when that one rang
        lane.start(inf)
        assert alarms.count == 3  # what is set is earlier still
        await trio.sleep(36)
        assert (fired(lane), alarms.count) == (None, 4)  # the one set first has rung too, and was not wanted
        assert (60, False) in alarms.rung  # nor had anything to be read for it
        assert (20.5, False) in alarms.rung  # nor for one whose lane had spoken meanwhile
        assert (20.5, True) not in alarms.rung
        nursery.cancel_scope.cancel()


def test_the_seconds_to_a_connection_are_a_number_also_where_nothing_is_set() -> None:
    assert (Watch(DEFAULTS).connect, Watch(Timeouts()).connect) == (5, inf)


async def test_an_age_counts_on_while_it_runs(autojump_clock: MockClock) -> None:
    await trio.sleep(4)
    assert (format_age(None, None), format_age(1.5, None), format_age(1.5, 1.25)) == ("", ", 2.5 s", ", 1.2 s")


def test_an_age_outside_trio_is_known_only_of_what_has_ended() -> None:
    assert (format_age(1.5, None), format_age(1.5, 3)) == ("", ", 3.0 s")


async def test_a_lane_that_is_alone_is_waited_for_and_that_is_told(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fanout")
    async with open_alarms() as alarms:
        lane = Watch(Timeouts(first=3).over(DEFAULTS), alarms, patient=True)
        lane.alone = lambda: True
        with lane.scope:
            lane.start(inf)
            await trio.sleep(10)
    assert (fired(lane), lane.notes) == (None, ["no content within 3 s; as the only lane left it was waited for"])
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("fanout", "no content within 3 s; as the only lane left it is waited for")
    ]


@pytest.mark.parametrize("patient", [None, True])
async def test_a_lane_is_not_waited_for_unless_it_is_patient_and_somebody_says_that_it_is_alone(
    patient: bool | None, autojump_clock: MockClock
) -> None:
    async with open_alarms() as alarms:
        timeouts = Timeouts(first=3).over(DEFAULTS)
        lane = Watch(timeouts, alarms) if patient is None else Watch(timeouts, alarms, patient=patient)
        if patient is None:
            lane.alone = lambda: True
        with lane.scope:
            lane.start(inf)
            await trio.sleep_forever()
    assert (trio.current_time(), fired(lane)) == (3, ("first", 3))
