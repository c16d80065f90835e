"""The word of `accept` on an answer, at once or after a while, and the answer that is good from the verdict on."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import fanout
from fanout import AllLanesFailed, Fallback, Hedge, Quorum, Race, Status, TimedOut, Timeouts
from fanout.abc import Policy
from fanout.events import Delta, End
from tests.words import memory, said, words

Make = Callable[..., Policy]


def after(seconds: float, *texts: str) -> Any:
    """An async accept that takes these texts, after so many seconds."""

    async def accept(answer: fanout.Answer) -> bool:
        await trio.sleep(seconds)
        return answer.text in texts

    return accept


async def test_an_async_accept_is_awaited_before_the_verdict(autojump_clock: MockClock) -> None:
    transport = memory(a=said("no", first=0.1), b=said("yes", first=0.3))
    began = trio.current_time()
    answer = await fanout.race("?", words("a", "b"), accept=after(1, "yes"), transport=transport)
    assert answer.lane == "b"
    assert trio.current_time() - began == pytest.approx(1.3)


async def test_a_plain_function_may_return_what_is_to_be_awaited(autojump_clock: MockClock) -> None:
    accept = after(0.5, "yes")
    transport = memory(a=said("no", first=0.1), b=said("yes", first=0.3))
    assert (await fanout.race("?", words("a", "b"), accept=lambda a: accept(a), transport=transport)).lane == "b"


async def test_nobody_has_won_while_an_accept_is_awaited_and_every_lane_has_one_end(autojump_clock: MockClock) -> None:
    transport = memory(a=said("a", first=0.1), b=said("b", first=9))
    ends: list[str] = []
    async with fanout.open_fanout("?", Race(*words("a", "b"), accept=after(1, "a")), transport=transport) as events:
        async for tagged in events:
            if isinstance(tagged.event, End):
                ends.append(tagged.lane)
                assert (events.winner is None) == (tagged.lane == "a")
        assert events.run.winner
        assert events.run.winner.lane == "a"
    assert ends == ["a", "b"]


async def test_the_next_of_a_fallback_starts_when_an_async_accept_has_refused(autojump_clock: MockClock) -> None:
    transport = memory(a=said("no", first=0.1), b=said("yes", first=0.1))
    run = await fanout.ask("?", Fallback(*words("a", "b"), accept=after(1, "yes")), transport=transport)
    assert run.winner
    assert run.winner.lane == "b"
    assert run.elapsed == pytest.approx(2.2)


@pytest.mark.parametrize("make", [Race, Fallback, Quorum])
async def test_a_lane_whose_accept_does_not_decide_within_its_time_is_refused(
    make: Make, autojump_clock: MockClock
) -> None:
    settings: dict[str, Any] = {"k": 1} if make is Quorum else {}
    plan = make(*words("a"), accept=after(99), **settings)
    transport = memory(a=said("a", first=0.5))
    began = trio.current_time()
    with pytest.raises(AllLanesFailed) as caught:
        await fanout.race("?", plan, transport=transport, timeouts=Timeouts(total=3))
    assert trio.current_time() - began == pytest.approx(3)
    [error] = caught.value.exceptions
    assert isinstance(error, TimedOut)
    assert (error.clock, error.lane, error.partial) == ("total", "a", "a")
    assert "accept did not decide within the time of its lane" in str(error)


async def test_the_deadline_of_all_ends_an_accept_that_is_awaited(autojump_clock: MockClock) -> None:
    run = await fanout.ask("?", Race(*words("a"), accept=after(99)), transport=memory(a=said("a")), deadline=2)
    assert run.winner is None
    assert run.elapsed == pytest.approx(2)


async def test_an_accept_that_is_awaited_is_left_when_another_lane_wins(autojump_clock: MockClock) -> None:
    left: list[str] = []

    async def accept(answer: fanout.Answer) -> bool:
        try:
            await trio.sleep(0 if answer.lane == "b" else 99)
        except trio.Cancelled:
            left.append(answer.lane)
            raise
        return True

    transport = memory(a=said("a", first=0.1), b=said("b", first=0.3))
    run = await fanout.ask("?", Race(*words("a", "b"), accept=accept), transport=transport)
    assert run.winner
    assert (run.winner.lane, left) == ("b", ["a"])
    assert run.elapsed == pytest.approx(0.3)


@pytest.mark.parametrize("make", [Race, Fallback])
async def test_a_quorum_within_counts_what_was_accepted(make: Make, autojump_clock: MockClock) -> None:
    inner = Quorum(*words("a", "b", "c"), k=2, accept=after(0.2, "a", "c"))
    transport = memory(a=said("a", first=0.1), b=said("b", first=0.2), c=said("c", first=0.6))
    run = await fanout.ask("?", make(inner), transport=transport)
    assert run.winner
    assert run.winner.lane == "a"
    assert run.elapsed == pytest.approx(0.8)


@pytest.mark.parametrize("slow", [False, True])
async def test_a_value_error_of_accept_refuses_with_its_words(slow: bool, autojump_clock: MockClock) -> None:
    async def parse_later(answer: fanout.Answer) -> bool:
        await trio.sleep(0.1)
        return bool(json.loads(answer.text))

    accept: Any = parse_later if slow else lambda answer: json.loads(answer.text)
    transport = memory(a=said("no", first=0.1), b=said("[1]", first=0.3))
    answer = await fanout.race("?", words("a", "b"), accept=accept, transport=transport)
    assert answer.lane == "b"
    with pytest.raises(AllLanesFailed) as caught:
        await fanout.race("?", words("a"), accept=accept, transport=memory(a=said("no")))
    assert "its answer was not accepted: Expecting value" in str(caught.value.exceptions[0])


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("slow", [False, True])
async def test_any_other_error_of_accept_is_the_callers(slow: bool, deep: bool, autojump_clock: MockClock) -> None:
    async def fail_later(_: fanout.Answer) -> bool:
        await trio.sleep(0.1)
        raise KeyError("mine")

    def fail(_: fanout.Answer) -> bool:
        raise KeyError("mine")

    inner = Race(*words("a", "b"), accept=fail_later if slow else fail)
    transport = memory(a=said("a", first=0.1), b=said("b", first=99))
    with pytest.raises(KeyError, match="mine"):
        await fanout.ask("?", Race(Fallback(inner)) if deep else inner, transport=transport)
    assert transport.open == 0


@pytest.mark.parametrize("seconds", [None, 0, 0.1])
async def test_two_lanes_may_finish_in_the_step_in_which_one_is_accepted(
    seconds: float | None, autojump_clock: MockClock
) -> None:
    async def accept(_: fanout.Answer) -> bool:
        if seconds is not None:
            await trio.sleep(seconds)
        return True

    for offset in (0, 0.1) * 20:  # Trio runs the tasks of one step in any order
        transport = memory(a=said("a", first=0.1), b=said("b", first=0.1 + offset))
        answer = await fanout.race("?", words("a", "b"), accept=accept, transport=transport)
        assert answer.lane in "ab"


async def test_a_call_that_is_cancelled_leaves_no_accept_behind(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        await fanout.ask("?", Race(*words("a"), accept=after(99)), transport=memory(a=said("a")))
    assert scope.cancelled_caught


# From the verdict on.


async def test_the_winner_is_known_from_its_first_token_on(autojump_clock: MockClock) -> None:
    transport = memory(a=said("a1", "a2", first=0.2), b=said("b1", "b2", first=0.1, gap=1))
    seen: list[tuple[str, str | None]] = []
    plan = Race(*words("a", "b"), on="first_token")
    async with fanout.open_fanout("?", plan, transport=transport) as events:
        async for tagged in events:
            if isinstance(tagged.event, Delta):
                seen += [(tagged.event.text, events.winner.lane if events.winner else None)]
        assert events.winner
        assert events.winner.status is Status.FINISHED
    assert seen == [("b1", "b"), ("b2", "b")]


async def test_a_winner_that_fails_after_its_first_token_is_none_in_the_end(autojump_clock: MockClock) -> None:
    transport = memory(a=[0.1, b"a1", 0.1, b"!broken"], b=said("b", first=9))
    run = await fanout.ask("?", Race(*words("a", "b"), on="first_token"), transport=transport)
    assert run.winner is None
    assert [answer.status for answer in run.answers] == ["failed", "cancelled"]


@pytest.mark.parametrize(("on", "lane"), [("first_token", "b"), ("first_thought", "a")])
async def test_a_thought_wins_only_where_it_counts(on: Any, lane: str, autojump_clock: MockClock) -> None:
    transport = memory(a=[0.1, b"?hm", 1, b"a", b"."], b=said("b", first=0.5))
    assert (await fanout.race("?", words("a", "b"), on=on, transport=transport)).lane == lane


@pytest.mark.parametrize(("on", "started"), [("first_token", 0.8), ("first_thought", None), ("finish", 0.8)])
async def test_a_hedge_takes_thoughts_for_silence_unless_they_may_win(
    on: Any, started: float | None, autojump_clock: MockClock
) -> None:
    thinks: list[Any] = [step for _ in range(8) for step in (0.3, b"?hm")]
    transport = memory(a=[*thinks, b"a", b"."], b=said("b", first=0.1))
    run = await fanout.ask("?", Hedge(*words("a", "b"), after=0.8, on=on), transport=transport)
    began = None if run["b"].elapsed is None else run.elapsed - run["b"].elapsed
    assert began == (None if started is None else pytest.approx(started))


@pytest.mark.parametrize("plan", [Fallback, lambda *lanes, **given: Hedge(*lanes, after=99, **given)])
async def test_a_call_that_is_cancelled_while_an_accept_is_awaited_ends_though_more_lanes_wait_for_their_turn(
    plan: Any, autojump_clock: MockClock
) -> None:
    transport = memory(a=said("a", first=0.1), b=said("b"))
    with trio.fail_after(10):
        lanes = plan(*words("a", "b"), on="first_token", accept=after(5, "a"))
        async with fanout.open_fanout("?", lanes, transport=transport) as running:
            await trio.sleep(1)
            running.cancel()
            async for _ in running:
                pass
            assert trio.current_time() == pytest.approx(1)
