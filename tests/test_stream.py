"""`fanout.stream`: the winner's text as it comes, from the verdict on."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

import fanout
from fanout import All, AllLanesFailed, Fallback, ProviderError, Race, UsageError
from fanout.catalog.config import Config, GroupTable
from tests.words import memory, said, words


async def pieces(plan: Any, transport: Any, **settings: Any) -> list[tuple[float, str]]:
    began = trio.current_time()
    found = []
    async with fanout.stream("?", plan, transport=transport, **settings) as text:
        async for piece in text:
            found.append((round(trio.current_time() - began, 3), piece))  # noqa: PERF401  # each at its time
    return found


async def test_the_lane_that_speaks_first_is_heard_as_it_speaks(autojump_clock: MockClock) -> None:
    transport = memory(a=said("a1", "a2", first=0.5), b=said("b1", "b2", "b3", first=0.2, gap=1))
    assert await pieces(words("a", "b"), transport) == [(0.2, "b1"), (1.2, "b2"), (2.2, "b3")]


async def test_on_finish_the_text_comes_with_the_verdict(autojump_clock: MockClock) -> None:
    transport = memory(a=said("a1", "a2", first=0.5, gap=0.5), b=said("b1", "b2", first=0.2, gap=9))
    assert await pieces(Race(*words("a", "b")), transport) == [(1.0, "a1a2")]


async def test_one_lane_alone_is_heard_at_once_unless_its_answer_may_be_refused(autojump_clock: MockClock) -> None:
    script = said("a1", "a2", first=0.5, gap=1)
    for plan in (Race(*words("a")), Fallback(Race(*words("a")))):
        assert await pieces(plan, memory(a=script)) == [(0.5, "a1"), (1.5, "a2")]
    assert await pieces(Race(*words("a"), accept=lambda _: True), memory(a=script)) == [(1.5, "a1a2")]


async def test_the_last_lane_left_is_heard_from_the_others_failure_on(autojump_clock: MockClock) -> None:
    transport = memory(a=[0.3, b"!no"], b=said("b1", "b2", first=0.1, gap=1))
    assert await pieces(Race(*words("a", "b")), transport, retries=0) == [(0.3, "b1"), (1.1, "b2")]


async def test_the_run_and_the_lane_are_known_afterwards(autojump_clock: MockClock) -> None:
    async with fanout.stream("?", words("a", "b"), transport=memory(a=said("a"), b=said("b", first=9))) as text:
        lanes = [text.lane]
        assert [piece async for piece in text] == ["a"]
        assert [*lanes, text.lane] == [None, "a"]
    assert text.run.winner
    assert text.run.winner.text == "a"


async def test_no_answer_is_an_error_also_after_the_beginning_of_one(autojump_clock: MockClock) -> None:
    with pytest.raises(AllLanesFailed):
        await pieces(words("a"), memory(a=[0.1, b"!no"]), retries=0)
    heard = []
    with pytest.raises(AllLanesFailed) as caught:
        async with fanout.stream("?", words("a"), transport=memory(a=[0.1, b"a1", 0.1, b"!no"])) as text:
            async for piece in text:
                heard.append(piece)  # noqa: PERF401  # what came before the error
    assert heard == ["a1"]
    [error] = caught.value.exceptions
    assert isinstance(error, ProviderError)
    assert error.partial == "a1"


async def test_to_leave_the_block_ends_all_lanes(autojump_clock: MockClock) -> None:
    transport = memory(a=said("a1", "a2", first=0.1, gap=9), b=said("b", first=9))
    async with fanout.stream("?", words("a", "b"), transport=transport) as text:
        async for piece in text:
            assert piece == "a1"
            break
    assert transport.open == 0


async def test_a_group_of_the_configuration_is_a_plan(autojump_clock: MockClock, tmp_path: Any) -> None:

    config = Config(groups={"both": GroupTable(policy="all", lanes=["local"])})
    with pytest.raises(UsageError, match="All chooses no winner; use open_fanout"):
        await pieces("both", memory(), config=config)


async def test_a_plan_that_chooses_nobody_is_refused() -> None:
    with pytest.raises(UsageError, match="All chooses no winner; use open_fanout"):
        await pieces(All(*words("a")), memory())


@pytest.mark.parametrize("by_take", [False, True])
async def test_the_winners_text_comes_though_the_verdict_falls_after_the_last_event(
    by_take: bool, autojump_clock: MockClock
) -> None:
    async def accept(_: fanout.Answer) -> bool:
        await trio.sleep(1)
        return True

    plan = Race(*words("a"), accept=accept)
    async with fanout.stream("?", plan, transport=memory(a=said("a1", "a2"))) as text:
        said_by = ["".join(await text.take())] if by_take else [piece async for piece in text]
        assert said_by == ["a1a2"]
        assert text.lane == "a"
        assert trio.current_time() == pytest.approx(1.2)
        with pytest.raises(StopAsyncIteration):
            await (text.take() if by_take else anext(text))


async def test_a_mistake_in_accept_comes_out_of_a_stream_alone(autojump_clock: MockClock) -> None:
    def accept(_: fanout.Answer) -> bool:
        raise ZeroDivisionError

    plan = Race(*words("a", "b"), accept=accept)
    transport = memory(a=said("a"), b=[0.05, b"!broken"])
    with pytest.raises(ZeroDivisionError):
        async with fanout.stream("?", plan, transport=transport, retries=0) as text:
            async for _ in text:
                pass
