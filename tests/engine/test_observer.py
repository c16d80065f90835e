"""An observer: told of each lane and run, once, and never in the way."""

import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

import fanout
from fanout import All, Fallback, Race, Run, Status
from fanout.abc import Head, Observed, Observer
from fanout.catalog import LaneSpec
from fanout.connections import Connections
from fanout.engine.observer import tell
from fanout.prompt import Options
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.words import Words, memory, said, words


@define
class Diary(Observer):
    """Writes down what it is told."""

    lines: list[tuple[Any, ...]] = field(factory=list)
    seen: list[Observed] = field(factory=list)
    runs: list[Run] = field(factory=list)

    def lane_started(self, lane: Observed, at: float, /) -> None:
        self.lines.append(("started", lane.name, at))
        self.seen.append(lane)

    def lane_ended(self, lane: Observed, at: float, /) -> None:
        self.lines.append(("ended", lane.name, lane.answer.status, at))

    def run_ended(self, run: Run, lanes: Sequence[Observed], at: float, /) -> None:
        self.lines.append(("run", [lane.name for lane in lanes], at))
        self.runs.append(run)


def test_a_diary_is_an_observer() -> None:
    observer: Observer = Diary()
    assert observer


async def test_an_observer_hears_of_each_lane_that_starts_and_of_the_run(autojump_clock: MockClock) -> None:
    diary = Diary()
    transport = Connections(memory(a=[0.1, b"!no"], b=said("x", first=0.2), c=said("y")), observer=diary)
    run = await fanout.ask("?", Fallback(*words("a", "b", "c")), transport=transport)
    assert [(line[:-1], round(line[-1], 6)) for line in diary.lines] == [
        (("started", "a"), 0.0),
        (("ended", "a", Status.FAILED), 0.1),
        (("started", "b"), 0.1),
        (("ended", "b", Status.FINISHED), 0.3),
        (("run", ["a", "b", "c"]), 0.3),  # c has not started
    ]
    assert diary.runs == [run]


async def test_an_observer_sees_what_a_lane_is_asked_and_what_became_of_it(autojump_clock: MockClock) -> None:
    diary = Diary()
    scripts: list[Script] = [[1, Head(429, {"retry-after": "2"})], said("x")]
    transport = Connections(MemoryTransport(lambda _: scripts.pop(0)), observer=diary)
    lane = LaneSpec("l", Words("a", "m"), retries=1, options=Options(temperature=0))
    run = await fanout.ask("?", All(lane), transport=transport)
    (seen,) = diary.seen
    assert seen.prompt and seen.prompt.messages[0].text == "?"
    assert (seen.prompt.options.temperature, seen.provider, seen.tries) == (0, lane.provider, 2)
    assert seen.answer.ttft == run.answers[0].ttft == pytest.approx(3.1)
    assert len(diary.lines) == 3  # a retry is no start


async def test_losers_and_lanes_of_a_run_that_is_cut_off_end_for_the_observer_too(autojump_clock: MockClock) -> None:
    diary = Diary()
    transport = Connections(memory(a=said("x"), b=[HANG], c=[HANG]), observer=diary)
    await fanout.race("?", words("a", "b"), transport=transport)
    assert [line[1:3] for line in diary.lines if line[0] == "ended"] == [
        ("a", Status.FINISHED),
        ("b", Status.CANCELLED),
    ]
    diary.lines.clear()
    with trio.move_on_after(1):
        async with fanout.open_fanout("?", All(*words("b", "c")), transport=transport) as running:
            async for _ in running:
                pass
    assert sorted(line[1] for line in diary.lines if line[0] == "ended") == ["b", "c"]
    assert diary.lines[-1][:2] == ("run", ["b", "c"])
    assert [answer.status for answer in diary.runs[-1].answers] == [Status.CANCELLED] * 2


class Broken(Diary):
    def lane_started(self, lane: Observed, at: float, /) -> None:
        raise ZeroDivisionError

    lane_ended = lane_started

    def run_ended(self, run: Run, lanes: Sequence[Observed], at: float, /) -> None:
        raise LookupError


async def test_an_observer_that_breaks_breaks_no_run_and_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await fanout.race("?", words("a"), transport=Connections(memory(a=said("x")), observer=Broken()))
    assert answer.text == "x"
    logged = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
    assert logged == [
        ("fanout", logging.ERROR, "an observer failed in lane_started"),
        ("fanout", logging.ERROR, "an observer failed in lane_ended"),
        ("fanout", logging.ERROR, "an observer failed in run_ended"),
    ]


async def test_an_observer_that_lacks_a_method_breaks_no_run_and_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    transport = Connections(memory(a=said("x")), observer=cast("Any", object()))
    assert (await fanout.race("?", words("a"), transport=transport)).text == "x"
    hooks = ("lane_started", "lane_ended", "run_ended")
    assert [record.getMessage() for record in caplog.records] == [f"an observer failed in {hook}" for hook in hooks]
    assert caplog.records[0].exc_info


def test_what_ends_the_program_is_no_mistake_of_an_observer() -> None:
    class Interrupted(Diary):
        def lane_started(self, lane: Observed, at: float, /) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell(Interrupted(), "lane_started", None, 0.0)


async def test_nothing_is_told_of_the_pieces_of_an_answer(autojump_clock: MockClock) -> None:
    diary = Diary()
    transport = Connections(memory(a=said(*"abcdefghij")), observer=diary)
    await fanout.race("?", Race(*words("a")), transport=transport)
    assert len(diary.lines) == 3
