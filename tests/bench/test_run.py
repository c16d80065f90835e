"""A whole benchmark from Python."""

import inspect
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from fanout.bench import run as door
from fanout.bench.load.loop import Load
from fanout.bench.records.record import Record
from fanout.bench.records.store import open_store
from fanout.bench.run import RunWish, keep_run, plan_run, run, sum_up, write_files
from fanout.events import Status
from tests.servers.openai import open_server

QUICK: Mapping[str, Any] = {"warmup": 0, "prompts": ["Why?", "What for?"], "max_tokens": 9}


@pytest.mark.slow
async def test_the_documented_lines_measure_lanes_and_print_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    document = inspect.getdoc(door) or ""
    code = textwrap.dedent("\n".join(line for line in document.splitlines() if line.startswith("    ") or not line))
    async with open_server() as server:
        lanes = [server.lane("a", ttft=0.01), server.lane("b", ttft=0.03)]
        mine = code.replace('["groq/llama-3.3-70b-versatile", "local"], requests=40', f"{lanes}, requests=6")
        assert mine != code
        await trio.to_thread.run_sync(exec, mine, {})
        assert len(server.served) == 2 * (6 + 2)
    head, a, b, *_ = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["lane", "done", "failed"]
    assert (a.split()[:3], b.split()[:3]) == (["a", "6", "0"], ["b", "6", "0"])


async def test_a_result_holds_every_record_and_tells_how_it_was_asked_for() -> None:
    async with open_server() as server:
        planned = plan_run(RunWish(lanes=[server.lane("a"), server.lane("b")], requests=3, **QUICK), "mine")
        result = await run(planned)
        bodies = [served.request.body for served in server.served]
    assert sorted((record.lane, record.block) for record in result.records) == [(n, i) for n in "ab" for i in range(3)]
    assert all(record.finished for record in result.records)
    assert not result.interrupted
    assert (result.about["command"], result.about["load"], result.about["prompts"]) == ("mine", ["c=1"], "a list of 2")
    assert result.about["client"]["cpu_share"] is not None
    assert result.about["ended"] == []
    assert all(b"Why?" in body or b"What for?" in body for body in bodies)
    summary = sum_up(result.records, result.about)
    assert [lane.finished for lane in summary.lanes.values()] == [3, 3]
    assert planned.failures(summary) == []


async def test_records_go_to_a_sink_as_they_end_and_the_load_to_a_board() -> None:
    taken: list[Record] = []
    boards: list[Load] = []
    ended: list[bool] = []

    async def sink(record: Record) -> None:
        taken.append(record)
        await trio.lowlevel.checkpoint()

    async def board(load: Load) -> None:
        boards.append(load)
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    async with open_server() as server:
        result = await run(plan_run(RunWish(lanes=[server.lane("a")], requests=2, **QUICK)), sink, board)
    assert len(taken) == 2
    assert result.records == []
    assert boards[0].tallies["a"].done == 2
    assert ended == [True]


async def test_what_a_sink_raises_comes_out_as_itself() -> None:
    async def sink(record: Record) -> None:
        raise ZeroDivisionError

    async with open_server() as server:
        with pytest.raises(ZeroDivisionError):
            await run(plan_run(RunWish(lanes=[server.lane("a")], requests=2, **QUICK)), sink)


async def test_a_cancelled_scope_ends_a_run_early_and_what_there_is_counts() -> None:
    scope = trio.CancelScope()
    taken: list[Record] = []

    async def sink(record: Record) -> None:
        taken.append(record)
        if len(taken) == 3:
            scope.cancel()
        await trio.lowlevel.checkpoint()

    async with open_server() as server:
        wish = RunWish(lanes=[server.lane("a")], duration=60, **QUICK)
        result = await run(plan_run(wish), sink, scope=scope)
    assert result.interrupted
    assert result.about["ended"] == ["interrupted: what was measured until then counts"]
    assert [record.status for record in taken[:3]] == [Status.FINISHED] * 3
    assert sum_up(taken, result.about).lanes["a"].finished == 3


async def test_each_run_of_one_plan_has_prompts_of_its_own_unless_it_is_given_the_salt_of_another() -> None:
    async with open_server() as server:
        planned = plan_run(RunWish(lanes=[server.lane("a")], requests=2, **QUICK))
        for salt in (None, None, "x", "x"):
            await run(planned, salt=salt)
        bodies = [served.request.body for served in server.served]
    first, second, third, fourth = (bodies[start : start + 2] for start in (0, 2, 4, 6))
    assert not set(first) & set(second)
    assert third == fourth


async def test_a_kept_run_is_in_the_store_whole_and_its_files_can_be_written(tmp_path: Path) -> None:
    async with open_server() as server:
        planned = plan_run(RunWish(lanes=[server.lane("a")], requests=3, **{**QUICK, "warmup": 1}))
        with open_store(tmp_path / "bench", create=True) as store:
            kept = await keep_run(planned, store)
            assert (kept.state, kept.requests, kept.summary) == ("complete", 4, None)
            assert kept.about["looks"] == 1
            records = store.records(kept.id)
            summary = sum_up(records, kept.about)
            write_files(tmp_path / "out", summary, records, kept.about)
    assert summary.lanes["a"].finished == 3
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")


async def test_a_kept_run_that_is_interrupted_or_measures_nothing_says_so(tmp_path: Path) -> None:
    with open_store(tmp_path / "bench", create=True) as store:
        nobody = RunWish(lanes=["openai/x?base_url=http://127.0.0.1:1/v1&key_env="], requests=3)
        assert (await keep_run(plan_run(nobody), store)).state == "failed"
        async with open_server() as server:
            scope = trio.CancelScope(deadline=trio.current_time() + 0.2)
            wish = RunWish(lanes=[server.lane("a")], duration=60, **QUICK)
            assert (await keep_run(plan_run(wish), store, scope=scope)).state == "interrupted"


async def test_conditions_that_do_not_hold_are_sentences() -> None:
    async with open_server() as server:
        planned = plan_run(RunWish(lanes=[server.lane("a")], asserts=["failures > 1%"], requests=2, **QUICK))
        result = await run(planned)
    assert planned.failures(sum_up(result.records, result.about)) == ["failures > 1%: it is 0 % for a"]
