"""Loads, in virtual time: who is asked what and when, and what of it is recorded."""

from collections import Counter
from math import inf

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from fanout.abc import Request
from fanout.bench.load.design.schedule import Closed, Open, Replay
from fanout.bench.load.design.workload import Item, Workload
from fanout.catalog import LaneSpec
from fanout.events import Status
from fanout.prompt import Prompt
from fanout.transports.memory import HANG, Script
from tests.bench.loads import QUICK, bench
from tests.words import Words, said


async def test_one_stream_asks_a_block_s_lanes_one_after_the_other(autojump_clock: MockClock) -> None:
    run = await bench({"a": QUICK, "b": QUICK}, "a", "b", requests=6).run(Closed(1))
    assert [round(record.sent, 6) for record in run.records] == pytest.approx([0.3 * i for i in range(12)])
    assert [record.block for record in run.records] == [i // 2 for i in range(12)]
    assert [record.place for record in run.records] == [0, 1] * 6
    firsts = Counter(record.lane for record in run.records if record.place == 0)
    assert firsts == {"a": 3, "b": 3}
    texts = run.texts
    assert all(texts[i] == texts[i + 1] for i in range(0, 12, 2))
    assert len(set(texts)) == 6


async def test_a_record_has_the_times_of_its_request(autojump_clock: MockClock) -> None:
    script: Script = [0.2, b"~", 0.3, b"one", 0.1, b"two", 0.1, b"."]
    (record,) = (await bench({"a": script}, "a", requests=1).run(Closed(1))).records
    assert record.status is Status.FINISHED
    assert record.first_byte == pytest.approx(0.2)
    assert record.times == pytest.approx((0.5, 0.6))
    assert record.ended == pytest.approx(0.7)
    assert (record.level, record.intended, record.warmup, record.finish_reason) == (1, None, False, "stop")


async def test_each_lane_has_as_many_streams_as_the_load_says_whatever_the_others_do(autojump_clock: MockClock) -> None:
    slow = said("one", first=1.0)
    run = bench({"a": QUICK, "b": slow}, "a", "b", requests=40)
    most: Counter[str] = Counter()

    async def watch() -> None:
        while True:
            for lane, tally in run.load.tallies.items():
                most[lane] = max(most[lane], tally.in_flight)
            await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await run.run(Closed(8))
        nursery.cancel_scope.cancel()
    assert most == {"a": 8, "b": 8}
    for lane, seconds in (("a", 0.3), ("b", 1.0)):
        assert sorted(record.block for record in run.of(lane)) == list(range(40))
        assert max(record.sent + record.ended for record in run.of(lane)) == pytest.approx(5 * seconds)
    assert Counter(record.place for record in run.records) == {0: 40, 1: 40}


async def test_streams_begin_on_a_ramp(autojump_clock: MockClock) -> None:
    run = await bench({"a": said("x", first=9)}, "a", requests=4).run(Closed(4, ramp=2))
    assert sorted(record.sent for record in run.records) == pytest.approx([0, 0.5, 1, 1.5])


async def test_a_sweep_asks_the_same_prompts_at_every_level(autojump_clock: MockClock) -> None:
    run = await bench({"a": QUICK}, "a", requests=6).run(Closed(1), Closed(2), Closed(3))
    assert Counter(record.level for record in run.records) == {1: 6, 2: 6, 3: 6}
    assert sorted(record.block for record in run.records) == list(range(18))
    assert Counter(Counter(run.texts).values()) == {3: 6}


async def test_in_sequence_each_lane_is_asked_alone_and_pairs_are_kept(autojump_clock: MockClock) -> None:
    run = await bench({"a": QUICK, "b": QUICK}, "a", "b", requests=3, order="sequential").run(Closed(1))
    assert [(record.lane, record.block) for record in run.records] == [
        *(("a", 0), ("a", 1), ("a", 2)),
        *(("b", 0), ("b", 1), ("b", 2)),
    ]


async def test_a_warm_up_is_recorded_as_such_for_every_stream(autojump_clock: MockClock) -> None:
    run = await bench({"a": QUICK}, "a", requests=4, warmup=2).run(Closed(2), Closed(1))
    warm = [record for record in run.records if record.warmup]
    assert len(warm) == 2 * 2 + 2
    assert len({record.block for record in warm}) == 6
    assert all(record.block < 0 for record in warm)
    assert len(run.counted) == 8
    assert max(record.sent for record in warm[:4]) < min(record.sent for record in run.counted)


async def test_a_warm_up_in_which_everything_fails_ends_the_run(autojump_clock: MockClock) -> None:
    scripts: dict[str, Script] = {"bad": [0.1, b"!no"], "mute": [0.1], "good": QUICK}
    run = await bench(scripts, "bad", "mute", warmup=2).run(Closed(1), Closed(8))
    assert len(run.records) == 4
    assert run.counted == []
    assert "every request failed" in run.load.reasons[0]
    assert len((await bench(scripts, "bad", "good", warmup=2).run(Closed(1))).counted) == 8


async def test_in_sequence_a_lane_whose_warm_up_fails_is_left_out_and_the_others_are_measured(
    autojump_clock: MockClock,
) -> None:
    scripts: dict[str, Script] = {"a": QUICK, "bad": [0.1, b"!no"], "c": QUICK}
    run = await bench(scripts, "bad", "a", "c", warmup=2, requests=3, order="sequential").run(Closed(1), Closed(2))
    assert Counter(record.lane for record in run.records if record.warmup) == {"bad": 2, "a": 6, "c": 6}
    assert Counter(record.lane for record in run.counted) == {"a": 6, "c": 6}
    assert run.load.reasons == ["c=1, warm-up: every request failed, so no other was sent to bad"]


async def test_prompts_are_unique_unless_a_warm_cache_is_wanted(autojump_clock: MockClock) -> None:
    prompts = Workload("x", [Item(Prompt.of("Why?"))])
    unique = await bench({"a": QUICK}, "a", requests=5, twice=True, workload=prompts, salt="run", warmup=1).run(
        Closed(1)
    )
    assert len(set(unique.texts)) == 12
    assert len(set(map(len, unique.texts))) == 1
    warm = await bench({"a": QUICK}, "a", requests=5, workload=prompts).run(Closed(1))
    assert set(warm.texts) == {"Why?"}


async def test_the_same_lane_twice_gets_another_name(autojump_clock: MockClock) -> None:
    run = await bench({"a": QUICK}, "a", "a", requests=2, twice=True).run(Closed(1))
    assert Counter(record.lane for record in run.records) == {"a": 2, "a#2": 2, "a-again": 2}


async def test_failures_are_records_by_kind_and_nothing_is_tried_again(autojump_clock: MockClock) -> None:
    scripts: dict[str, Script] = {"bad": [0.1, b"one", 0.1, b"!broken"], "mute": [0.1]}
    lanes = [LaneSpec(name, Words(name), retries=5) for name in scripts]
    run = await bench(scripts, *lanes, requests=2).run(Closed(1))
    assert len(run.transport.exchanges) == 4
    assert Counter((record.lane, record.status, record.error) for record in run.records) == {
        ("bad", Status.FAILED, "server"): 2,
        ("mute", Status.FAILED, "truncated"): 2,
    }
    assert run.of("bad")[0].times == pytest.approx((0.1,))
    assert run.load.tallies["bad"].errors == 2


async def test_a_time_out_is_a_record_and_the_next_request_is_sent(autojump_clock: MockClock) -> None:
    run = await bench({"a": [0.5, b"one", HANG]}, "a", requests=3, timeout=60).run(Closed(1))
    assert [(r.status, r.error, r.clock, r.limit) for r in run.records] == [
        (Status.TIMED_OUT, "timeout", "total", 60)
    ] * 3
    assert [record.sent for record in run.records] == pytest.approx([0, 60, 120])


async def test_the_first_token_may_take_as_long_as_the_time_out(autojump_clock: MockClock) -> None:
    run = await bench({"a": said("x", first=100)}, "a", requests=1, timeout=120).run(Closed(1))
    assert run.records[0].times == pytest.approx((100,))


async def test_after_the_time_nothing_is_sent_and_what_was_sent_may_end(autojump_clock: MockClock) -> None:
    run = await bench({"a": said("x", first=3)}, "a", requests=None, seconds=10).run(Closed(2))
    assert max(record.sent for record in run.records) == pytest.approx(9)
    assert all(record.finished for record in run.records)
    assert len(run.records) == 8


async def test_an_open_loop_keeps_to_its_plan_whatever_the_answers_do(autojump_clock: MockClock) -> None:
    run = await bench({"a": said("x", first=7)}, "a", requests=10).run(Open(2, "constant"))
    assert [record.sent for record in run.records] == pytest.approx([i / 2 for i in range(10)])
    assert [record.intended for record in run.records] == pytest.approx([i / 2 for i in range(10)])
    assert {record.level for record in run.records} == {2}


async def test_an_open_loop_does_not_wait_for_a_start_after_its_last(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    await bench({"a": QUICK}, "a", requests=3).run(Open(0.1, "constant"))
    assert trio.current_time() - began == pytest.approx(20.3)


async def test_a_block_of_an_open_loop_goes_to_all_lanes_at_its_time(autojump_clock: MockClock) -> None:
    run = await bench({"a": QUICK, "b": said("x", first=2)}, "a", "b", requests=20).run(Open(5, "poisson", seed=3))
    sent = {lane: {record.block: record.sent for record in run.of(lane)} for lane in "ab"}
    assert sent["a"] == pytest.approx(sent["b"])
    assert len(sent["a"]) == 20


async def test_who_waits_for_a_stream_waits_in_the_record(autojump_clock: MockClock) -> None:
    run = await bench({"a": said("x", first=1)}, "a", requests=5).run(Open(2, "constant", streams=1))
    assert [record.intended for record in run.records] == pytest.approx([0, 0.5, 1, 1.5, 2])
    assert [record.sent for record in run.records] == pytest.approx([0, 1, 2, 3, 4])
    assert [record.ended for record in run.records] == pytest.approx([1] * 5)


async def test_who_waits_too_long_for_a_stream_is_a_time_out_that_was_never_sent(autojump_clock: MockClock) -> None:
    run = await bench({"a": said("x", first=4)}, "a", requests=4, timeout=5).run(Open(2, "constant", streams=1))
    assert [(record.status, record.clock) for record in run.records] == [
        (Status.FINISHED, None),
        (Status.FINISHED, None),
        (Status.TIMED_OUT, "queue"),
        (Status.TIMED_OUT, "queue"),
    ]
    assert len(run.transport.exchanges) == 2
    assert run.records[2].intended == pytest.approx(1)
    assert run.records[2].sent == pytest.approx(8)


async def test_after_the_time_of_an_open_loop_what_is_due_is_still_sent(autojump_clock: MockClock) -> None:
    run = await bench({"a": said("x", first=3)}, "a", requests=None, seconds=2).run(Open(2, "constant", streams=1))
    assert [record.intended for record in run.records] == pytest.approx([0, 0.5, 1, 1.5])
    assert all(record.finished for record in run.records)


async def test_a_trace_is_replayed_at_its_times(autojump_clock: MockClock) -> None:
    prompts = Workload("x", [Item(Prompt.of("one")), Item(Prompt.of("two")), Item(Prompt.of("three"))])
    run = await bench({"a": QUICK}, "a", requests=None, workload=prompts).run(Replay([0, 4, 6], speedup=2))
    assert [record.sent for record in run.records] == pytest.approx([0, 2, 3])
    assert run.texts == ["one", "two", "three"]


async def test_precision_ends_a_level_when_all_lanes_have_it(autojump_clock: MockClock) -> None:
    def script(request: Request) -> Script:
        spread = (len(run.transport.exchanges) * 7 % 31) / 100
        return said("x", first=1 + spread * (2 if "//b" in request.url else 0.1))

    run = bench(script, "a", "b", requests=5000, precision=0.05)
    await run.run(Closed(1))
    tallies = run.load.tallies
    assert all(tally.precision <= 0.05 for tally in tallies.values())
    assert 24 <= tallies["a"].done == tallies["b"].done < 500
    assert run.load.looks >= 1
    assert "precise to 5 %" in run.load.reasons[0]


async def test_money_ends_a_run_before_it_is_overspent(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(request: Request) -> Script:
        return said("x", first=1)

    monkeypatch.setattr("fanout.bench.load.lanes.cost", lambda answer: 0.01 if answer.usage else None)
    monkeypatch.setattr("fanout.bench.load.loop.price", lambda lane, given, output: 0.02)
    run = await bench(script, "a", requests=100, cost=0.25).run(Closed(4), Closed(1))
    assert run.load.spent <= 0.25
    assert 24 <= len(run.records) <= 25
    assert "0.25 USD" in run.load.reasons[0]


async def test_what_was_due_but_could_not_be_afforded_is_recorded_as_not_sent(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanout.bench.load.lanes.cost", lambda answer: 0.1)
    run = await bench({"a": said("x", first=10)}, "a", requests=5, cost=0.2).run(Open(1, "constant", streams=1))
    assert Counter(record.status for record in run.records) == {Status.FINISHED: 2, Status.CANCELLED: 3}


async def test_cancelled_it_has_handed_on_what_had_ended_and_what_was_under_way(autojump_clock: MockClock) -> None:
    run = bench({"a": said("one", "two", first=1, gap=3)}, "a", requests=100)
    with trio.move_on_after(10):
        await run.run(Closed(2))
    assert Counter(record.status for record in run.records) == {Status.FINISHED: 4, Status.CANCELLED: 2}
    cut = [record for record in run.records if record.status is Status.CANCELLED]
    assert [record.times for record in cut] == [pytest.approx((1,))] * 2
    assert [record.ended for record in cut] == pytest.approx([2, 2])
    assert run.transport.open == 0


async def test_cancelled_it_hands_on_also_what_waited_for_a_stream(autojump_clock: MockClock) -> None:
    run = bench({"a": said("x", first=20)}, "a", requests=100)
    with trio.move_on_after(4.9):
        await run.run(Open(1, "constant", streams=2))
    assert {record.status for record in run.records} == {Status.CANCELLED}
    assert sorted(record.intended or 0 for record in run.records) == pytest.approx([0, 1, 2, 3, 4])
    assert len(run.transport.exchanges) == 2


async def test_a_lane_s_own_bound_does_not_hide_waiting_in_an_open_loop(autojump_clock: MockClock) -> None:
    lane = LaneSpec("a", Words("a"), concurrency=1)
    run = await bench({"a": said("x", first=1)}, lane, requests=3).run(Open(2, "constant"))
    assert [record.sent for record in run.records] == pytest.approx([0, 1, 2])
    assert [record.intended for record in run.records] == pytest.approx([0, 0.5, 1])
    assert [record.times for record in run.records] == [pytest.approx((1,))] * 3


async def test_tallies_are_of_the_level_that_goes_on(autojump_clock: MockClock) -> None:
    run = await bench({"a": QUICK}, "a", requests=5).run(Closed(1), Closed(5))
    tally = run.load.tallies["a"]
    assert (tally.done, tally.errors, tally.in_flight, tally.waiting) == (5, 0, 0, 0)
    assert tally.ttft == pytest.approx(0.2)
    assert tally.precision in (inf, pytest.approx(0))
    assert run.load.state == "c=5"


async def test_a_bound_of_the_prompt_goes_before_that_of_the_load(autojump_clock: MockClock) -> None:
    prompts = Workload("x", [Item(Prompt.of("one"), 7), Item(Prompt.of("two"))])
    setup = bench({}, "a", workload=prompts, max_tokens=50).load.setup
    assert [setup.prompt("a", i, i).options.max_tokens for i in range(2)] == [7, 50]
    assert evolve(setup, max_tokens=None).prompt("a", 1, 1).options.max_tokens is None
