"""`first` where nobody has set it: it judges the service, and not the thinking."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

import fanout
from fanout import All, Fallback, Quorum, Race, Status, TimedOut, Timeouts
from fanout.transports.memory import HANG
from tests.words import memory, said, watch, words


@pytest.mark.parametrize("plan", [Race, All, Fallback])
async def test_a_single_lane_is_waited_for_with_a_note_while_its_total_time_lasts(
    plan: Any, autojump_clock: MockClock
) -> None:
    seen = await watch(plan(*words("a")), memory(a=said("x", first=333)))
    answer = seen.run["a"]
    assert (answer.status, answer.text) == (Status.FINISHED, "x")
    assert answer.notes == ("no content within 60 s; as the only lane left it was waited for",)


async def test_total_still_ends_a_lane_that_is_waited_for(autojump_clock: MockClock) -> None:
    seen = await watch(Race(*words("a")), memory(a=[HANG]), timeouts=Timeouts(total=90))
    error = seen.run["a"].error
    assert isinstance(error, TimedOut)
    assert error.clock == "total"
    assert seen.run.elapsed == pytest.approx(90)


async def test_of_two_silent_lanes_one_is_cut_off_and_the_last_is_waited_for(autojump_clock: MockClock) -> None:
    seen = await watch(Race(*words("a", "b")), memory(a=said("x", first=100), b=said("y", first=101)), retries=0)
    assert sorted(str(answer.status) for answer in seen.run.answers) == ["finished", "timed_out"]
    assert seen.run.winner


async def test_a_lane_is_not_the_last_while_others_wait_for_their_start(autojump_clock: MockClock) -> None:
    seen = await watch(Fallback(*words("a", "b")), memory(a=[HANG], b=said("y", first=70)))
    assert seen.start_at("b") == pytest.approx(60)
    assert seen.run.winner and seen.run.winner.lane == "b"


async def test_the_lanes_above_count_too(autojump_clock: MockClock) -> None:
    seen = await watch(Fallback(Race(*words("a")), *words("b")), memory(a=[HANG], b=said("y")))
    assert seen.start_at("b") == pytest.approx(60)


async def test_the_first_bytes_of_an_answer_move_it_once(autojump_clock: MockClock) -> None:
    alive: Any = [50.0, b"~"] * 9
    seen = await watch(Fallback(*words("a", "b")), memory(a=alive, b=said("y")))
    assert seen.start_at("b") == pytest.approx(110)


@pytest.mark.parametrize("where", ["call", "lane"])
async def test_a_first_that_was_given_always_cuts(where: str, autojump_clock: MockClock) -> None:
    (lane,) = words("a")
    given = Timeouts(first=60)
    plan = fanout.catalog.LaneSpec("a", lane, timeouts=given) if where == "lane" else lane
    began = trio.current_time()
    transport = memory(a=[50, b"~", HANG])
    run = await fanout.ask("?", [plan], transport=transport, timeouts=given if where == "call" else None, retries=0)
    error = run["a"].error
    assert isinstance(error, TimedOut)
    assert error.clock == "first"
    assert trio.current_time() - began == pytest.approx(60)


async def test_a_lane_that_is_waited_for_says_so_while_it_runs(autojump_clock: MockClock) -> None:
    async with fanout.open_fanout("?", Race(*words("a")), transport=memory(a=said("x", first=100))) as running:
        await trio.sleep(59)
        assert not running.run["a"].notes
        await trio.sleep(2)
        assert running.run["a"].status is None
        assert running.run["a"].notes == ("no content within 60 s; as the only lane left it was waited for",)


async def test_nobody_waits_for_a_lane_beside_an_answer(autojump_clock: MockClock) -> None:
    scripts: Any = {"a": said("x"), "b": [HANG]}
    for plan in (All(*words("a", "b")), Race(*words("a", "b"), on_lose="keep")):
        began = trio.current_time()
        seen = await watch(plan, memory(**scripts))
        assert trio.current_time() - began == pytest.approx(60)
        assert seen.run["b"].status is Status.TIMED_OUT


async def test_the_lane_that_a_quorum_lacks_is_waited_for(autojump_clock: MockClock) -> None:
    seen = await watch(Quorum(*words("a", "b"), k=2), memory(a=said("x"), b=said("y", first=100)))
    assert [answer.status for answer in seen.run.kept] == [Status.FINISHED] * 2
