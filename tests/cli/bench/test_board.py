"""The picture of a benchmark while it runs."""

from math import inf

import pytest
import trio
from trio.testing import MockClock

from fanout.bench.load.design.schedule import Closed, Open
from fanout.bench.load.setup import Limits
from fanout.bench.records.record import Record
from fanout.cli.bench.board import board_for, head, line, show_lines, sparkline, table, time_left
from fanout.events import Status
from tests.bench.loads import QUICK, Bench, bench
from tests.words import said


async def under_way(run: Bench, schedule: Closed | Open, seconds: float) -> list[str]:
    """The table as it stands after some seconds."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.run, schedule)
        await trio.sleep(seconds)
        shown = table(run.load, {})
        nursery.cancel_scope.cancel()
    return shown


async def test_a_table_shows_what_runs_and_how_long_it_may_take(autojump_clock: MockClock) -> None:
    run = bench({"a": QUICK, "b": said("x", first=1)}, "a", "b", requests=20)
    first, names, a, b = await under_way(run, Closed(2), 5.05)
    assert first == "c=2, 5 s, about 5 s left"
    assert names.split()[:4] == ["lane", "done", "failed", "in"]
    assert a.split()[:3] == ["a", "20", "0"]
    assert b.split()[:4] == ["b", "10", "0", "2"]
    assert "200 ms" in a
    assert "1 s" in b


async def test_who_waits_for_a_stream_is_shown(autojump_clock: MockClock) -> None:
    run = bench({"a": said("x", first=10)}, "a", requests=20)
    _, names, a = await under_way(run, Open(2, "constant", streams=1), 5.1)
    assert "waiting" in names
    assert a.split() == ["a", "0", "0", "1", "10"]


async def test_before_the_first_request_there_is_something_too(autojump_clock: MockClock) -> None:
    load = bench({"a": QUICK}, "a").load
    assert table(load, {})[0].startswith("starting, ")
    assert line(load).startswith("starting")


async def test_without_a_terminal_there_is_a_line_now_and_then(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    run = bench({"a": [0.1, b"one", 0.1, b"!no"]}, "a", requests=1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(show_lines, run.load)
        nursery.start_soon(run.run, Closed(1))
        await trio.sleep(25.05)
        nursery.cancel_scope.cancel()
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("c=1, 10 s, about ")
    assert "a 50 done, 50 failed, TTFT p50 never" in first or "a 49 done, 49 failed, TTFT p50 never" in first
    assert second.startswith("c=1, 20 s")


def test_where_nobody_looks_nothing_is_drawn() -> None:
    assert board_for(quiet=True) is None
    assert board_for(quiet=False) is show_lines


async def test_the_time_left_is_what_ends_first(autojump_clock: MockClock) -> None:
    load = bench({"a": QUICK}, "a").load
    assert time_left(load, 5) is None
    load.limits = Limits(requests=100, seconds=60)
    assert time_left(load, 5) == 55
    await load.run([Closed(1)])  # four requests
    load.limits = Limits(requests=100, seconds=600)
    assert time_left(load, 2) == pytest.approx(48)
    assert "about" in head(load)
    load.limits = Limits(requests=100, precision=0.05)
    assert "at most" in head(load)


async def test_money_is_shown_when_there_is_some(autojump_clock: MockClock) -> None:
    load = bench({"a": QUICK}, "a").load
    load.spent = 0.25
    assert head(load).endswith("0.2500 USD")


async def test_a_lane_whose_requests_fail_is_never_first(autojump_clock: MockClock) -> None:
    run = bench({"a": QUICK}, "a")
    await run.run(Closed(1))
    for block in range(9):
        run.load.tallies["a"].add(Record("a", block, Status.FAILED, sent=0, ended=1))
    recent: dict[str, list[float]] = {}
    assert "never" in table(run.load, recent)[2]
    assert recent == {"a": []}
    assert run.load.tallies["a"].ttft == inf


@pytest.mark.parametrize(("values", "drawn"), [([], ""), ([1], ""), ([1, 1], "▁▁"), ([1, 2, 3], "▁▄█"), ([3, 1], "█▁")])
def test_medians_become_a_row_of_blocks(values: list[float], drawn: str) -> None:
    assert sparkline(values) == drawn
