"""The public calls, as a user makes them; the policies have their tests in test_group.py."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

import fanout
from fanout import AllLanesFailed, Delta, Quorum, Race, Status, Timeouts, UsageError
from fanout.abc import OnLose, Request
from fanout.errors import ServerError, TimedOut
from fanout.events import End
from fanout.plan import Connections
from fanout.transports.memory import HANG, MemoryTransport
from tests.words import memory, said, words


async def test_race_returns_the_winners_answer(autojump_clock: MockClock) -> None:
    answer = await fanout.race("?", words("a", "b"), transport=memory(a=said("late", first=2), b=said("x")))
    assert (answer.lane, answer.text, answer.status) == ("b", "x", Status.FINISHED)


async def test_race_raises_all_errors_when_nobody_wins(autojump_clock: MockClock) -> None:
    transport = memory(a=[0.1, b"part", b"!no"], b=[HANG])
    with pytest.RaisesGroup(ServerError, TimedOut) as caught:
        await fanout.race("?", words("a", "b"), transport=transport, timeouts=Timeouts(first=1))
    assert isinstance(caught.value, AllLanesFailed)
    assert isinstance(caught.value, fanout.FanoutError)
    assert [(error.lane, error.partial) for error in caught.value.exceptions] == [("a", "part"), ("b", "")]  # type: ignore[union-attr]


async def test_gather_returns_one_answer_a_lane_in_order(autojump_clock: MockClock) -> None:
    transport = memory(a=said("late", first=2), b=[b"!no"], c=said("x"))
    answers = await fanout.gather("?", words("a", "b", "c"), transport=transport, retries=0)
    assert [answer.text for answer in answers] == ["late", "", "x"]


async def test_one_lane_alone_is_a_plan_too(autojump_clock: MockClock) -> None:
    assert (await fanout.race("?", words("a")[0], transport=memory(a=said("x")))).text == "x"


async def test_the_stream_carries_every_event_tagged_with_lane_and_time(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x", "y", first=1, gap=1))
    async with fanout.open_fanout("?", words("a"), transport=transport) as running:
        seen = [(tagged.lane, tagged.at, tagged.event) async for tagged in running]
    assert seen[1:] == [("a", 1, Delta("x")), ("a", 2, Delta("y")), ("a", 2, End(Status.FINISHED, "stop"))]


async def test_a_slow_reader_neither_slows_a_lane_nor_changes_its_times(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x", "y", first=1, gap=1))
    async with fanout.open_fanout("?", words("a"), transport=transport) as running:
        await trio.sleep(100)
        times = [tagged.at async for tagged in running]
    assert times[-1] == 2
    assert running.run.answers[0].elapsed == 2


async def test_leaving_the_block_early_ends_everything(autojump_clock: MockClock) -> None:
    transport = memory(a=said(*"abcdef"), b=[HANG])
    async with fanout.open_fanout("?", words("a", "b"), transport=transport) as running:
        async for tagged in running:
            if isinstance(tagged.event, Delta):
                break
    assert transport.open == 0
    assert [answer.status for answer in running.run.answers] == ["cancelled", "cancelled"]


async def test_the_run_can_be_looked_at_while_it_runs(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x", first=1), b=[HANG])
    async with fanout.open_fanout("?", fanout.All(*words("a", "b")), transport=transport) as running:
        await trio.sleep(5)
        run = running.run
        assert [answer.status for answer in run.answers] == ["finished", None]
        assert run.elapsed == 5
        assert running.lanes == ["a", "b"]
        assert running.failure is None


async def test_a_lanes_clocks_go_before_the_calls_and_these_before_the_providers(autojump_clock: MockClock) -> None:
    lanes = [
        fanout.catalog.LaneSpec("own", words("a")[0], timeouts=Timeouts(first=1), usual=Timeouts(first=9)),
        fanout.catalog.LaneSpec("call", words("a")[0], usual=Timeouts(first=9)),
    ]
    answers = await fanout.gather("?", lanes, transport=memory(a=[HANG]), timeouts=Timeouts(first=2))
    assert [answer.elapsed for answer in answers] == [1, 2]
    usual = fanout.catalog.LaneSpec("usual", words("a")[0], usual=Timeouts(first=9))
    (answer,) = await fanout.gather("?", [usual], transport=memory(a=[HANG]))
    assert answer.elapsed == 9


async def test_retries_are_the_lanes_then_the_calls_then_the_policys(autojump_clock: MockClock) -> None:
    async def asked(lane: Any, **settings: Any) -> int:
        transport = memory(a=[b"!no"])
        await fanout.ask("?", Race(lane), transport=transport, **settings)
        return len(transport.exchanges)

    (lane,) = words("a")
    assert await asked(lane) == 2
    assert await asked(lane, retries=3) == 4
    assert await asked(fanout.catalog.LaneSpec("a", lane, retries=0), retries=3) == 1


@pytest.mark.parametrize("on_lose", ["cancel", "keep"])
async def test_a_run_says_which_answers_were_kept(on_lose: OnLose, autojump_clock: MockClock) -> None:
    transport = memory(a=[1, b"x", b"."], b=[5, b"late", b"."], c=[2, b"y", b"."])
    run = await fanout.ask("?", Quorum(*words("a", "b", "c"), k=2), transport=transport, on_lose=on_lose)
    assert [answer.lane for answer in run.kept] == ["a", "c"]
    assert run["b"].text == ("late" if on_lose == "keep" else "")


async def test_no_answer_is_kept_where_too_few_came(autojump_clock: MockClock) -> None:
    transport = memory(a=[1, b"x", b"."], b=[2, b"!no"])
    run = await fanout.ask("?", Quorum(*words("a", "b"), k=2), transport=transport, retries=0)
    assert (run.kept, run["a"].text) == ((), "x")


async def test_a_prompt_may_be_messages_and_a_system_text_goes_before(autojump_clock: MockClock) -> None:
    seen: list[Request] = []

    def script(request: Request) -> list[Any]:
        seen.append(request)
        return said("x")

    await fanout.ask([{"role": "user", "content": "hello"}], words("a"), transport=MemoryTransport(script), system="s")
    assert seen[0].body == b"hello"


async def test_a_budget_is_shared_by_the_calls_that_share_a_transport(autojump_clock: MockClock) -> None:
    transport = Connections(memory(a=[b"!no"]))
    for _ in range(100):
        await fanout.ask("?", words("a"), transport=transport, retries=5)
    assert len(transport.transport.exchanges) == 104  # type: ignore[attr-defined]


async def test_the_callers_own_exception_comes_out_with_its_own_cause(autojump_clock: MockClock) -> None:
    cause = KeyError("cause")
    with pytest.raises(ValueError, match="mine") as caught:
        async with fanout.open_fanout("?", words("a"), transport=memory(a=[HANG])):
            raise ValueError("mine") from cause
    assert caught.value.__cause__ is cause
    assert not isinstance(caught.value.__context__, BaseExceptionGroup)


@pytest.mark.parametrize("lane", [5, None, b"local"])
async def test_what_is_no_lane_is_a_usage_error(lane: Any) -> None:
    with pytest.raises(UsageError, match="a lane is a spec"):
        await fanout.ask("?", [lane], transport=memory())


async def test_a_plan_that_chooses_nobody_is_no_race_and_costs_nothing(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x"))
    with pytest.raises(UsageError, match="All chooses no winner"):
        await fanout.race("?", fanout.All(*words("a")), transport=transport)
    assert not transport.exchanges


async def test_a_plan_keeps_its_own_rules() -> None:
    with pytest.raises(UsageError, match="its own on and accept"):
        await fanout.race("?", Race(*words("a")), accept=lambda _: False, transport=memory())


@pytest.mark.parametrize("prompt", [5, b"hi", None, {"role": "user", "content": "x"}, ["hi"], [5]])
async def test_what_is_no_prompt_is_a_usage_error(prompt: Any) -> None:
    with pytest.raises(UsageError, match=r"a (prompt|message) is"):
        await fanout.race(prompt, words("a"), transport=memory())


async def test_a_wrong_word_for_on_lose_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="cancel or keep"):
        await fanout.race("?", words("a"), transport=memory(), on_lose="kep")


async def test_an_empty_prompt_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="empty"):
        await fanout.race(" ", words("a"), transport=memory())
