"""The policies at work in virtual time: real nurseries, real cancellation, scripted lanes."""

from math import inf
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import fanout
from fanout import All, Fallback, Fastest, Hedge, Quorum, Race, Status, Timeouts
from fanout.abc import Head, Reader, Request
from fanout.catalog import LaneSpec
from fanout.connections import Connections
from fanout.engine.group import Group
from fanout.errors import ProviderError, Refused, ServerError, TimedOut
from fanout.events import Delta, End, Reasoning, Refusal, Started, Usage
from fanout.learning.latencies import Key
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.words import Words, WordsReader, memory, said, watch, words


async def test_the_first_to_finish_wins_and_cancels_the_others(autojump_clock: MockClock) -> None:
    transport = memory(slow=said(*"abcdefghij"), quick=said("x", "y"))
    seen = await watch(Race(*words("slow", "quick")), transport)
    assert seen.run.winner and seen.run.winner.lane == "quick"
    assert seen.run.winner.text == "xy"
    assert seen.run["slow"].status is Status.CANCELLED
    assert seen.run["slow"].text in ("a", "ab")
    assert seen.end_at("slow") == seen.end_at("quick") == pytest.approx(0.2)
    assert seen.run.elapsed == pytest.approx(0.2)


async def test_the_first_token_wins_and_its_lane_goes_on_alone(autojump_clock: MockClock) -> None:
    transport = memory(early=said(*"abcdefgh", first=0.1, gap=1), fast=said("x", first=0.2))
    seen = await watch(Race(*words("fast", "early"), on="first_token"), transport)
    assert seen.run.winner and seen.run.winner.text == "abcdefgh"
    assert seen.end_at("fast") == pytest.approx(0.1)
    assert seen.run["fast"].text == ""


async def test_keep_alives_and_errors_do_not_win_on_first_token(autojump_clock: MockClock) -> None:
    transport = memory(
        alive=[0.1, b"~", 0.1, b"~", HANG],
        wrong=[0.1, b"!broken"],
        empty=[0.1, b"."],
        good=said("x", first=0.5),
    )
    seen = await watch(Race(*words("alive", "wrong", "empty", "good"), on="first_token"), transport, retries=0)
    assert seen.run.winner and seen.run.winner.lane == "good"
    assert [answer.status for answer in seen.run.answers] == ["cancelled", "failed", "failed", "finished"]
    assert isinstance(seen.run["wrong"].error, ServerError)


async def test_what_losers_had_produced_is_counted_as_waste(autojump_clock: MockClock) -> None:
    transport = memory(slow=said(*"abcdefghij", first=0.05), quick=said("x", "y", "z"))
    seen = await watch(Race(*words("slow", "quick")), transport)
    assert seen.run.wasted.chunks == seen.run["slow"].chunks == 3
    assert seen.run.wasted.tokens == 3


async def test_kept_losers_run_to_their_end_and_count_as_waste(autojump_clock: MockClock) -> None:
    transport = memory(slow=said(*"abcde"), quick=said("x"))
    seen = await watch(Race(*words("slow", "quick")), transport, on_lose="keep")
    assert seen.run.winner and seen.run.winner.lane == "quick"
    assert seen.run["slow"].status is Status.FINISHED
    assert seen.run["slow"].text == "abcde"
    assert seen.run.wasted.chunks == 5
    assert seen.run.elapsed == pytest.approx(0.1)


async def test_a_fallback_goes_in_order_and_stops_at_the_first_good_one(autojump_clock: MockClock) -> None:
    transport = memory(a=[0.5, b"!no"], b=[0.3, b"bad", b"!no"], c=said("yes", first=0.2), d=said("never"))
    seen = await watch(Fallback(*words("a", "b", "c", "d")), transport)
    assert seen.run.winner and seen.run.winner.text == "yes"
    assert [seen.start_at(lane) for lane in "abc"] == pytest.approx([0, 0.5, 0.8])
    assert seen.of("d") == [End(Status.CANCELLED)]
    assert seen.run["b"].error and seen.run["b"].error.partial == "bad"
    assert seen.run["d"].elapsed is None


async def test_a_hedge_starts_at_its_delay(autojump_clock: MockClock) -> None:
    transport = memory(slow=said("late", first=3), second=said("x", first=0.5))
    seen = await watch(Hedge(*words("slow", "second"), after=0.8), transport)
    assert seen.start_at("second") == pytest.approx(0.8)
    assert seen.run.winner and seen.run.winner.lane == "second"
    assert seen.end_at("second") == pytest.approx(1.3)
    assert seen.run.winner.ttft == pytest.approx(0.5)


async def test_a_hedge_that_is_not_needed_never_starts(autojump_clock: MockClock) -> None:
    transport = memory(quick=said("x", first=0.5), second=said("y"))
    await watch(Hedge(*words("quick", "second"), after=0.8), transport)
    assert len(transport.exchanges) == 1


async def test_a_failure_starts_the_next_hedge_at_once_and_only_one(autojump_clock: MockClock) -> None:
    transport = memory(a=[0.2, b"!no"], b=said("late", first=5), c=said("x", first=0.3))
    seen = await watch(Hedge(*words("a", "b", "c"), after=0.8), transport)
    assert [seen.start_at(lane) for lane in "abc"] == pytest.approx([0, 0.2, 1.0])
    assert seen.run.winner and seen.run.winner.lane == "c"


async def test_quorum_of_two_keeps_the_first_two_and_stops_the_third(autojump_clock: MockClock) -> None:
    transport = memory(a=said("1", first=0.3), b=said("2", first=0.1), c=said("3", first=0.9))
    seen = await watch(Quorum(*words("a", "b", "c"), k=2), transport)
    assert [answer.status for answer in seen.run.answers] == ["finished", "finished", "cancelled"]
    assert seen.run.winner and seen.run.winner.lane == "b"
    assert seen.run.elapsed == pytest.approx(0.3)


async def test_a_quorum_out_of_reach_stops_at_once(autojump_clock: MockClock) -> None:
    transport = memory(a=[0.1, b"!no"], b=[0.2, b"!no"], c=said("3", first=9))
    seen = await watch(Quorum(*words("a", "b", "c"), k=2), transport, retries=0)
    assert seen.run.winner is None
    assert seen.run["c"].status is Status.CANCELLED
    assert seen.run.elapsed == pytest.approx(0.2)


async def test_accept_refuses_the_first_answer_and_the_second_wins(autojump_clock: MockClock) -> None:
    transport = memory(quick=said("nonsense", first=0.1), slow=said("{}", first=0.5))
    plan = Race(*words("quick", "slow"), accept=lambda answer: answer.text == "{}")
    seen = await watch(plan, transport)
    assert seen.run.winner and seen.run.winner.lane == "slow"
    assert seen.run["quick"].status is Status.FINISHED
    assert seen.run.wasted.chunks == 1


async def test_a_refused_answer_starts_the_next_of_a_fallback(autojump_clock: MockClock) -> None:
    transport = memory(a=said("no", first=0.1), b=said("yes", first=0.1))
    plan = Fallback(*words("a", "b"), accept=lambda answer: answer.text == "yes")
    seen = await watch(plan, transport)
    assert seen.start_at("b") == pytest.approx(0.1)
    assert seen.run.winner and seen.run.winner.lane == "b"


async def test_a_refusal_says_whether_there_was_an_answer(autojump_clock: MockClock) -> None:
    class Exhausted(Words):
        def read(self, head: Head, request: Request | None = None) -> Reader:
            return ExhaustedReader(head)

    transport = memory(a=[b"x ."], b=[b"."])
    with pytest.raises(fanout.AllLanesFailed) as caught:
        await fanout.race("?", [Words("a"), Exhausted("b")], transport=transport, accept=lambda _: False)
    assert [str(error) for error in caught.value.exceptions] == [
        "a: refused: its answer was not accepted",
        "b: refused: its answer was empty",
    ]


class ExhaustedReader(WordsReader):
    """Has used up its tokens before it said a word."""

    def _event(self, word: str) -> Any:
        event = super()._event(word)
        return End(Status.FINISHED, "length") if isinstance(event, End) else event


async def test_a_refused_answer_starts_one_other_and_no_more(autojump_clock: MockClock) -> None:
    transport = memory(a=said("no", first=1), b=said("no", first=1), c=said("yes", first=1))
    plan = Fallback(*words("a", "b", "c"), accept=lambda answer: answer.text == "yes")
    seen = await watch(plan, transport)
    assert [seen.start_at(lane) for lane in "abc"] == [0, 1, 2]


async def test_the_task_of_a_lane_has_its_name(autojump_clock: MockClock) -> None:
    tasks: list[str] = []

    class Noting(Words):
        def request(self, prompt: fanout.Prompt) -> Request:
            tasks.append(trio.lowlevel.current_task().name)
            return super().request(prompt)

    await watch(All(Noting("a"), Race(Noting("b"))), memory(a=said("x"), b=said("y")))
    assert sorted(tasks) == ["a", "b"]


async def test_nested_plans_race_as_lanes(autojump_clock: MockClock) -> None:
    transport = memory(
        a=[0.1, b"!no"], b=said("b", first=0.6), c=said("c", first=9), d=said("d", first=0.3), e=said("e", first=9)
    )
    plan = Race(Fallback(*words("a", "b")), Hedge(*words("c", "d"), after=0.2), *words("e"))
    seen = await watch(plan, transport)
    assert seen.run.winner and seen.run.winner.lane == "d"
    assert [answer.lane for answer in seen.run.answers] == list("abcde")
    assert [answer.status for answer in seen.run.answers] == [
        "failed",
        "cancelled",
        "cancelled",
        "finished",
        "cancelled",
    ]
    assert seen.run.elapsed == pytest.approx(0.5)


async def test_a_verdict_climbs_on_the_first_token_of_a_nested_lane(autojump_clock: MockClock) -> None:
    transport = memory(a=said(*"abc", first=0.2), b=said("x", first=0.3))
    seen = await watch(Race(Fallback(*words("a")), *words("b"), on="first_token"), transport)
    assert seen.run.winner and seen.run.winner.text == "abc"
    assert seen.end_at("b") == pytest.approx(0.2)


async def test_a_nested_group_that_fails_starts_the_outer_fallback(autojump_clock: MockClock) -> None:
    transport = memory(a=[0.1, b"!no"], b=[0.2, b"!no"], c=said("c", first=0.1))
    seen = await watch(Fallback(Race(*words("a", "b")), *words("c")), transport, retries=0)
    assert seen.start_at("c") == pytest.approx(0.2)
    assert seen.run.winner and seen.run.winner.lane == "c"


async def test_a_groups_deadline_shrinks_its_lanes_clocks(autojump_clock: MockClock) -> None:
    transport = memory(a=[HANG], b=said("b", first=2))
    plan = Fallback(Race(*words("a"), deadline=1), *words("b"))
    seen = await watch(plan, transport, timeouts=Timeouts(first=60))
    error = seen.run["a"].error
    assert isinstance(error, TimedOut)
    assert (error.clock, error.seconds) == ("deadline", 1)
    assert seen.start_at("b") == pytest.approx(1)
    assert seen.run.winner and seen.run.winner.lane == "b"


async def test_an_inner_deadline_never_lengthens_an_outer_one(autojump_clock: MockClock) -> None:
    seen = await watch(Race(Race(*words("a"), deadline=50), deadline=1), memory(a=[HANG]))
    assert seen.run.elapsed == pytest.approx(1)
    assert seen.run["a"].status is Status.TIMED_OUT


async def test_at_the_deadline_lanes_that_never_started_time_out_too(autojump_clock: MockClock) -> None:
    seen = await watch(Hedge(*words("a", "b"), after=5), memory(a=[HANG], b=[HANG]), deadline=1)
    assert [answer.status for answer in seen.run.answers] == ["timed_out", "timed_out"]
    assert seen.run.elapsed == pytest.approx(1)
    assert seen.run["b"].elapsed is None


async def test_all_runs_everything_and_chooses_nothing(autojump_clock: MockClock) -> None:
    transport = memory(a=said("1"), b=[0.1, b"part", b"!no"], c=said("3", first=4))
    seen = await watch(All(*words("a", "b", "c")), transport)
    assert seen.run.winner is None
    assert [answer.text for answer in seen.run.answers] == ["1", "part", "3"]
    assert [answer.status for answer in seen.run.answers] == ["finished", "failed", "finished"]


async def test_the_same_provider_twice_makes_two_lanes(autojump_clock: MockClock) -> None:
    seen = await watch(Race(*words("a", "a")), memory(a=said("x")))
    assert [answer.lane for answer in seen.run.answers] == ["a", "a#2"]


async def test_a_tie_leaves_no_loser_running_and_has_one_winner(autojump_clock: MockClock) -> None:
    for _ in range(50):
        seen = await watch(Race(*words("a", "b", "c")), memory(a=said("x"), b=said("x"), c=said("x")))
        assert sorted(answer.status or "" for answer in seen.run.answers) == ["cancelled", "cancelled", "finished"]
        assert seen.run.winner and seen.run.winner.status is Status.FINISHED


async def test_a_lane_stopped_by_the_caller_moves_a_fallback_on(autojump_clock: MockClock) -> None:
    transport = memory(a=[HANG], b=said("x", first=0.1))
    async with fanout.open_fanout("?", Fallback(*words("a", "b")), transport=transport) as running:
        async for tagged in running:
            if tagged.lane == "a" and isinstance(tagged.event, Started):
                running.cancel("a")
    assert running.run.winner and running.run.winner.lane == "b"
    assert running.run["a"].status is Status.CANCELLED


async def test_every_lane_has_its_end_when_the_caller_is_cancelled(autojump_clock: MockClock) -> None:
    transport = memory(a=[0.1, b"x", HANG], b=[HANG], c=[HANG])
    plan = All(*words("a"), Hedge(*words("b", "c"), after=60))
    events: dict[str, list[Any]] = {}
    with trio.move_on_after(1) as scope:
        async with fanout.open_fanout("?", plan, transport=transport) as running:
            try:
                async for tagged in running:
                    events.setdefault(tagged.lane, []).append(tagged.event)
            finally:
                run = running
    assert scope.cancelled_caught
    assert transport.open == 0
    assert events == {"a": [Started(1), Delta("x")], "b": [Started(1)]}
    assert [answer.status for answer in run.run.answers] == ["cancelled", "cancelled", "cancelled"]


async def test_no_lane_of_an_idle_minute_costs_real_time(autojump_clock: MockClock) -> None:
    transport = memory(a=[HANG], b=[b"x", HANG], c=[b"x", 55, b"y", HANG])
    settings = Timeouts(first=60, idle=60, total=90)
    seen = await watch(All(*words("a", "b", "c")), transport, timeouts=settings, retries=0)
    clocks = [answer.error.clock for answer in seen.run.answers if isinstance(answer.error, TimedOut)]
    assert clocks == ["first", "idle", "total"]
    assert seen.end_at("c") == pytest.approx(90)


async def test_the_errors_of_a_refused_race_say_who_was_refused(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x"), b=[0.2, b"!no"])
    with pytest.RaisesGroup(Refused, ServerError) as caught:
        await fanout.race("?", words("a", "b"), transport=transport, accept=lambda _: False, retries=0)
    errors = [error for error in caught.value.exceptions if isinstance(error, ProviderError)]
    assert [(error.lane, error.partial) for error in errors] == [("a", "x"), ("b", "")]


async def test_a_bug_in_a_policy_comes_out_and_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    class Broken(Race):
        def losers(self, *_: Any) -> Any:
            raise ZeroDivisionError

    transport = memory(a=said("x"), b=[HANG])
    raised = False
    try:
        await fanout.ask("?", Broken(*words("a", "b")), transport=transport)
    except* ZeroDivisionError:
        raised = True
    assert raised
    assert transport.open == 0


def test_an_empty_plan_is_refused() -> None:
    async def main() -> None:
        await fanout.ask("?", Race(), transport=memory())

    with pytest.raises(fanout.UsageError, match="at least one lane"):
        trio.run(main)


async def test_content_restarts_the_pace_so_a_lane_that_speaks_is_not_hedged(autojump_clock: MockClock) -> None:
    transport = memory(a=[*said(*"abcdefgh", first=0.5, gap=0.5)], b=said("x", first=9))
    await watch(Hedge(*words("a", "b"), after=0.8), transport)
    assert len(transport.exchanges) == 1
    stalled = memory(a=[0.5, b"one", HANG], b=said("x", first=0.1))
    seen = await watch(Hedge(*words("a", "b"), after=0.8), stalled)
    assert seen.start_at("b") == pytest.approx(1.3)


def cuts(*words: bytes) -> list[list[float | bytes]]:
    """Scripts with the same words after 0.1 s, in one read, in two, and each in its own."""
    first, *rest = words
    return [[0.1, b" ".join(words)], [0.1, first, b" ".join(rest)], [0.1, *words]]


@pytest.mark.parametrize("script", cuts(b"hello", b"more", b"!oops"), ids=["one read", "two", "three"])
async def test_the_first_token_wins_though_its_lanes_failure_follows_in_the_same_read(
    script: Any, autojump_clock: MockClock
) -> None:
    for plan in (Race(*words("a", "b"), on="first_token"), Race(Fallback(*words("a")), *words("b"), on="first_token")):
        seen = await watch(plan, memory(a=script, b=said("x", first=0.2)), retries=0)
        assert seen.run.winner is None
        assert [answer.status for answer in seen.run.answers] == ["failed", "cancelled"]
        assert seen.run["a"].text == "hellomore"


@pytest.mark.parametrize("script", cuts(b"hello", b"more", b"."), ids=["one read", "two", "three"])
async def test_an_answer_whose_first_token_wins_above_may_be_refused_below(
    script: Any, autojump_clock: MockClock
) -> None:
    inner = Race(*words("a"), accept=lambda _: False)
    seen = await watch(Race(inner, *words("b"), on="first_token"), memory(a=script, b=said("x", first=0.2)))
    assert seen.run.winner is None
    assert seen.end_at("b") == pytest.approx(0.1)


class Picky(Race):
    """Drops a lane at its first refusal, and writes down what it was asked about, and how the lane stood then."""

    def __init__(self, *lanes: Any) -> None:
        super().__init__(*lanes)
        self.heeds = frozenset({End, Refusal, Delta})
        self.asked: list[Any] = []

    def losers(self, lane: int, event: Any, lanes: Any) -> Any:
        self.asked.append((lane, type(event), lanes[lane].status))
        return (lane,) if isinstance(event, Refusal) else super().losers(lane, event, lanes)


@pytest.mark.parametrize("script", cuts(b"hm", b"-no", b"x", b"."), ids=["one read", "two", "three"])
async def test_a_lane_that_has_lost_within_a_read_decides_nothing_by_the_rest_of_it(
    script: Any, autojump_clock: MockClock
) -> None:
    plan = Picky(*words("a", "b"))
    seen = await watch(plan, memory(a=script, b=said("y", first=2)))
    assert seen.run.winner and seen.run.winner.lane == "b"
    assert plan.asked == [
        (0, Delta, None),
        (0, Refusal, None),
        (1, Delta, None),
        (1, End, Status.FINISHED),
    ]


class Heedful(All):
    """Is asked about everything."""

    heeds = None  # type: ignore[assignment]

    def __init__(self, *lanes: Any) -> None:
        super().__init__(*lanes)
        self.asked: list[type] = []

    def losers(self, lane: int, event: Any, lanes: Any) -> Any:
        self.asked.append(type(event))
        return ()


@pytest.mark.parametrize("inner", [All, Heedful, Race], ids=lambda inner: inner.__name__)
async def test_only_content_and_the_end_climb_however_they_came(inner: Any, autojump_clock: MockClock) -> None:
    for script in cuts(b"#7", b"x", b"?y", b"#8", b"z", b"."):
        plan = Heedful(inner(Counting("a")))
        await watch(plan, memory(a=script))
        assert plan.asked == [Delta, Reasoning, Delta, End]


async def test_counts_and_titles_break_no_silence(autojump_clock: MockClock) -> None:
    silent: list[Script] = [[0.5, b"#7", HANG], [0.5, b"#7 #8", HANG]]
    for script in silent:
        seen = await watch(Hedge(Counting("a"), *words("b"), after=0.8), memory(a=script, b=said("x")))
        assert seen.start_at("b") == pytest.approx(0.8)
    speaking: list[Script] = [[0.5, b"x", HANG], [0.5, b"#7 x #8", HANG]]
    for script in speaking:
        seen = await watch(Hedge(Counting("a"), *words("b"), after=0.8), memory(a=script, b=said("x")))
        assert seen.start_at("b") == pytest.approx(1.3)


async def test_a_hedge_is_judged_after_what_has_arrived_was_read(autojump_clock: MockClock) -> None:
    for _ in range(20):
        transport = memory(a=[0.8, b"x", 0.8, b"y", 0.8, b"z", 0.5, b"."], b=said("y"))
        await watch(Hedge(*words("a", "b"), after=0.8), transport)
        assert len(transport.exchanges) == 1


@pytest.mark.parametrize(
    ("script", "starts"),
    [([0.5, b"x", 0.5, b"."], [0]), ([0.4, 0.4, b"x ."], [0]), ([HANG], [0, 4])],
    ids=["it speaks", "it was late by our fault", "it is silent"],
)
async def test_the_time_in_which_the_process_was_stopped_is_no_silence(
    script: Any, starts: list[float], autojump_clock: MockClock
) -> None:
    transport = memory(a=script, b=said("y"))
    began = trio.current_time()
    async with fanout.open_fanout("?", Hedge(*words("a", "b"), after=0.8), transport=transport) as running:
        await trio.sleep(0.2)
        autojump_clock.jump(3)
        async for _ in running:
            pass
    assert [exchange.began - began for exchange in transport.exchanges] == pytest.approx(starts)


async def test_a_hedge_that_is_late_reads_for_as_long_as_it_was_late(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    lates: list[float] = []

    async def note(late: float) -> None:
        lates.append(late)

    monkeypatch.setattr("fanout.engine.group.let_read", note)
    async with fanout.open_fanout(
        "?", Hedge(*words("a", "b"), after=0.8), transport=memory(a=[HANG], b=said("x"))
    ) as running:
        await trio.sleep(0.2)
        autojump_clock.jump(3)
        async for _ in running:
            pass
    assert lates == pytest.approx([2.4, 0])


class CountingReader(WordsReader):
    def _event(self, word: str) -> Any:
        return Usage(output=int(word[1:])) if word[:1] == "#" else super()._event(word)


class Counting(Words):
    """`#7` is a usage of 7 tokens."""

    def read(self, head: Head, request: Request | None = None) -> Reader:
        return CountingReader(head)


@pytest.mark.parametrize("script", cuts(b"#7", b"#9", b"!no"), ids=["one read", "two", "three"])
async def test_what_a_failed_try_counted_is_told_and_is_not_of_the_next_ones_answer(
    script: Any, autojump_clock: MockClock
) -> None:
    tries = iter([script, [b"ok ."]])
    plan = Race(LaneSpec("a", Counting("a"), retries=1))
    seen = await watch(plan, MemoryTransport(lambda _: next(tries)))
    assert [type(event) for event in seen.of("a")] == [Started, Usage, Usage, Started, Delta, End]
    assert seen.run.answers[0].tokens == 1


class NoRefusals(Hedge):
    """Gives up a lane at its first refusal."""

    def __init__(self, *lanes: Any, **settings: Any) -> None:
        super().__init__(*lanes, **settings)
        self.heeds = frozenset({End, Refusal})

    def losers(self, lane: int, event: Any, lanes: Any) -> Any:
        return (lane,) if isinstance(event, Refusal) else super().losers(lane, event, lanes)


@pytest.mark.parametrize("on_lose", ["cancel", "keep"])
@pytest.mark.parametrize("after", [inf, 50.0])
async def test_a_policy_that_drops_the_running_lane_starts_the_next(
    on_lose: Any, after: float, autojump_clock: MockClock
) -> None:
    transport = memory(a=[1, b"-no", 5], b=said("x"), c=said("y"))
    seen = await watch(NoRefusals(*words("a", "b", "c"), after=after, on_lose=on_lose), transport)
    assert seen.start_at("b") == 1
    assert seen.run.winner and seen.run.winner.lane == "b"
    assert len(transport.exchanges) == 2


async def test_each_lane_that_is_dropped_starts_one_though_others_run(autojump_clock: MockClock) -> None:
    transport = memory(a=[HANG], b=[3, b"-no", HANG], c=[1, b"-no", HANG], d=said("x"))
    seen = await watch(NoRefusals(*words("a", "b", "c", "d"), after=2.5), transport)
    assert [seen.start_at(lane) for lane in "abcd"] == [0, 2.5, 5, 5.5]


async def test_two_failures_in_one_moment_start_two_lanes(autojump_clock: MockClock) -> None:
    transport = memory(a=[3, b"!no"], b=[1, b"!no"], c=said("x", first=9), d=said("x", first=8))
    seen = await watch(Hedge(*words("a", "b", "c", "d"), after=2), transport, retries=0)
    assert [seen.start_at(lane) for lane in "abcd"] == [0, 2, 3, 3]


async def test_a_quorum_has_no_winner_before_enough_are_good(autojump_clock: MockClock) -> None:
    for last, kept in ((b"!no", 0), (b"z .", 2)):
        transport = memory(a=said("x"), b=[1, b"!no"], c=[2, last])
        plan = Quorum(*words("a", "b", "c"), k=2)
        seen = []
        async with fanout.open_fanout("?", plan, transport=transport, retries=0) as running:
            async for tagged in running:
                seen += [(running.winner, running.run.kept)] if tagged.at < 2 else []
        assert len(seen) > 5
        assert all(early == (None, ()) for early in seen)
        assert len(running.run.kept) == kept
        assert (running.run.winner is None) == (kept == 0)


async def test_cancelling_a_lane_that_waits_starts_no_other(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x", first=1), b=said("y"), c=said("z"))
    async with fanout.open_fanout("?", Fallback(*words("a", "b", "c")), transport=transport) as running:
        running.cancel("c")
        async for _ in running:
            pass
    assert len(transport.exchanges) == 1


async def test_a_kept_plan_that_has_lost_starts_nothing_new(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x", first=0.1), b=[1, b"!no"], c=said("z"), d=[1, b"!no"])
    plan = Race(*words("a"), Fallback(*words("b", "c")), *words("d"), on_lose="keep")
    seen = await watch(plan, transport, retries=5)
    assert len(transport.exchanges) == 3
    assert [answer.status for answer in seen.run.answers] == ["finished", "failed", "cancelled", "failed"]


async def test_each_lane_has_an_error_of_its_own_at_the_deadline(autojump_clock: MockClock) -> None:
    seen = await watch(Fallback(*words("a", "b", "c")), memory(a=[HANG]), deadline=1)
    errors = [answer.error for answer in seen.run.answers if answer.error]
    assert [error.lane for error in errors] == ["a", "b", "c"]
    assert len(set(map(id, errors))) == 3


async def test_a_quorum_whose_answers_are_all_refused_says_so(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x"), b=said("y", first=0.2))
    for k, refused in ((1, ["a", "b"]), (2, ["a"])):
        with pytest.raises(fanout.AllLanesFailed) as caught:
            await fanout.race("?", Quorum(*words("a", "b"), k=k, accept=lambda _: False), transport=transport)
        errors = [error for error in caught.value.exceptions if isinstance(error, Refused)]
        assert [error.lane for error in errors] == refused


async def test_accept_may_say_no_by_raising_refused(autojump_clock: MockClock) -> None:
    def accept(answer: fanout.Answer) -> bool:
        if answer.text != "good":
            raise Refused("no good")
        return True

    transport = memory(a=said("bad"), b=said("good", first=1))
    assert (await fanout.race("?", words("a", "b"), accept=accept, transport=transport)).lane == "b"


@pytest.mark.parametrize("error", [KeyError("mine"), ServerError("mine")], ids=["KeyError", "ServerError"])
async def test_a_bug_in_accept_comes_out_as_itself_however_deep(autojump_clock: MockClock, error: Exception) -> None:
    def accept(_: fanout.Answer) -> bool:
        raise error

    for plan in (Race(*words("a"), accept=accept), Race(Fallback(Hedge(*words("a"), after=1, accept=accept)))):
        transport = memory(a=said("x"))
        with pytest.raises(type(error)) as caught:
            await fanout.ask("?", plan, transport=transport)
        assert caught.value is error
        assert transport.open == 0


async def stopped_early(plan: Any, transport: Any, *lanes: str) -> tuple[fanout.Run, dict[str, float]]:
    """A run in which these lanes are stopped before they have started, and when each request began."""
    with trio.fail_after(10**6):
        async with fanout.open_fanout("?", plan, transport=transport, retries=0) as running:
            for lane in lanes:
                running.cancel(lane)
            async for _ in running:
                pass
    return running.run, {exchange.request.url[7:-1]: exchange.began for exchange in transport.exchanges}


@pytest.mark.parametrize(
    "plan", [Fallback(*words("a", "b")), Hedge(*words("a", "b"), after=5)], ids=["fallback", "hedge"]
)
async def test_where_the_first_lane_is_stopped_before_its_start_the_second_starts_at_once(
    plan: Any, autojump_clock: MockClock
) -> None:
    began = trio.current_time()
    run, starts = await stopped_early(plan, memory(b=said("x")), "a")
    assert run.winner and run.winner.lane == "b"
    assert starts == {"b": began}


async def test_a_lane_stopped_before_its_turn_does_not_take_the_turn_of_the_next(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    transport = memory(a=[1, b"!no"], b=said("x"), c=[1, b"!no"], d=said("x"))
    run, starts = await stopped_early(Fallback(*words("a", "b", "c", "d")), transport, "b")
    assert run.winner and run.winner.lane == "d"
    assert starts == {"a": began, "c": began + 1, "d": began + 2}


async def test_a_hedge_stopped_while_it_waits_for_its_turn_leaves_the_turn_to_the_next(
    autojump_clock: MockClock,
) -> None:
    began = trio.current_time()
    transport = memory(a=[HANG], b=said("x"), c=said("x"))
    async with fanout.open_fanout("?", Hedge(*words("a", "b", "c"), after=0.8), transport=transport) as running:
        await trio.sleep(0.5)
        running.cancel("b")
        async for _ in running:
            pass
    assert running.run.winner and running.run.winner.lane == "c"
    assert transport.exchanges[1].began == began + 0.8


async def test_a_kept_lane_that_has_lost_begins_nothing_when_its_turn_comes(autojump_clock: MockClock) -> None:
    lane = LaneSpec("l", words("l")[0], concurrency=1)
    transport = memory(l=[1, b"x", 1, b"."], c=said("c", first=0.5))
    seen = await watch(Race(lane, lane, *words("c")), transport, on_lose="keep")
    *limited, winner = [answer.status for answer in seen.run.answers]
    assert set(limited) == {"cancelled", "finished"}  # whose turn comes first, Trio decides
    assert winner == "finished"
    assert len(transport.exchanges) == 2


async def test_a_fan_out_and_its_group_show_where_they_are(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x", first=1), b=said("y"))
    async with fanout.open_fanout("?", Fallback(*words("a", "b")), transport=transport) as running:
        await trio.sleep(0.5)
        assert repr(running) == "<Fanout a, b runs, 0.5 s>"
        assert repr(running._group) == "<Group 'fallback' open, 1 of 2 lanes run>"
        async for _ in running:
            pass
        await trio.sleep(9)
        assert repr(running) == "<Fanout a, b over, 1.0 s>"
        assert repr(running._group) == "<Group 'fallback' over, 0 of 2 lanes run>"


async def test_a_policy_sees_how_the_lanes_stand(autojump_clock: MockClock) -> None:
    seen: list[Any] = []

    class Looking(All):
        heeds = frozenset({End})

        def losers(self, lane: int, event: Any, lanes: Any) -> Any:
            seen.append([(stood.status, stood.lost, stood.place) for stood in lanes])
            return (2,) if lane == 1 else ()

    await watch(Looking(*words("a", "b", "c")), memory(a=[2, b"!no"], b=said("x", first=1), c=[HANG]), retries=0)
    finished, failed, cancelled = (Status.FINISHED, False, 1), (Status.FAILED, False, 3), (Status.CANCELLED, True, 2)
    assert seen == [[(None, False, 0), finished, (None, False, 0)], [failed, finished, cancelled]]


async def test_the_errors_of_a_nested_plan_are_those_of_its_lanes(autojump_clock: MockClock) -> None:
    transport = memory(a=[0.1, b"!one"], b=[0.1, b"!two"], c=[0.1, b"!three"])
    with pytest.raises(fanout.AllLanesFailed) as caught:
        await fanout.race("?", Race(Fallback(*words("a", "b")), *words("c")), transport=transport, retries=0)
    assert [str(error) for error in caught.value.exceptions] == ["a: server: one", "b: server: two", "c: server: three"]


async def test_where_nobody_chooses_the_answer_is_of_the_first_that_finished(autojump_clock: MockClock) -> None:
    asked: list[str] = []

    def accept(answer: fanout.Answer) -> bool:
        asked.append(answer.text)
        return True

    transport = memory(a=said("late", first=2), b=said("early", first=1), c=[0.1, b"!no"])
    seen = await watch(Race(All(*words("c", "a", "b")), accept=accept), transport, retries=0)
    assert asked == ["early"]
    assert seen.run.winner and seen.run.winner.lane == "b"


async def test_the_lanes_of_a_race_start_in_one_step(autojump_clock: MockClock) -> None:
    transport = memory(a=[b"x ."], b=[HANG], c=[HANG])
    await watch(Race(*words("a", "b", "c")), transport)
    assert len(transport.exchanges) == 3


async def test_what_a_lane_says_that_has_lost_breaks_no_silence_and_wins_nothing_above(
    autojump_clock: MockClock,
) -> None:
    for piece in (b"x", b"x y"):
        pieces: list[float | bytes] = [0.5, piece]
        chatty: Script = [1, b"-no", *pieces * 20, b"."]
        inner = NoRefusals(*words("a", "b", "c"), after=3, on_lose="keep")
        seen = await watch(Race(inner, *words("d")), memory(a=chatty, b=[HANG], c=said("y"), d=said("z", first=9)))
        assert [seen.start_at(lane) for lane in "abc"] == [0, 1, 4]
    single = memory(a=[1, b"-no", 1, b"x", HANG], b=[1, b"!no"], d=said("z", first=9))
    race = Race(NoRefusals(*words("a", "b"), after=inf, on_lose="keep"), *words("d"), on="first_token")
    seen = await watch(race, single, retries=0)
    assert seen.run.winner and seen.run.winner.lane == "d"


async def test_a_lane_that_is_dropped_at_its_failure_starts_one_other(autojump_clock: MockClock) -> None:
    class Dropping(Fallback):
        def losers(self, lane: int, event: Any, lanes: Any) -> Any:
            failed = isinstance(event, End) and event.status is Status.FAILED
            return (lane,) if failed else super().losers(lane, event, lanes)

    transport = memory(a=[1, b"!no"], b=[1, b"!no"], c=said("x"))
    seen = await watch(Dropping(*words("a", "b", "c")), transport, retries=0)
    assert [seen.start_at(lane) for lane in "abc"] == [0, 1, 2]
    assert seen.run.winner and seen.run.winner.lane == "c"
    with pytest.RaisesGroup(ServerError, ServerError):  # and was not refused
        await fanout.race("?", Dropping(*words("a", "b")), transport=transport, retries=0)


async def test_a_plan_that_never_started_is_cancelled_and_has_not_failed_though_losers_are_kept(
    autojump_clock: MockClock,
) -> None:
    transport = memory(a=said("x", first=1))
    plan = Fallback(*words("a"), Fallback(*words("b", "c")), on_lose="keep")
    async with fanout.open_fanout("?", plan, transport=transport) as running:
        async for _ in running:
            pass
    assert [seat.status for seat in running._group.seats] == [Status.FINISHED, Status.CANCELLED]
    inner = Fallback(*words("b"), Fallback(*words("c", "d")))
    race = Race(*words("a"), inner, on_lose="keep")
    async with fanout.open_fanout("?", race, transport=memory(a=said("x", first=1), b=said("y", first=2))) as running:
        async for _ in running:
            pass
    kept = running._group.seats[1].lane
    assert isinstance(kept, Group)
    assert [seat.status for seat in kept.seats] == [Status.FINISHED, Status.CANCELLED]


@pytest.mark.parametrize(
    ("a", "b", "status"),
    [
        ([1, b"!no"], [HANG], Status.FAILED),
        ([HANG], [HANG], Status.TIMED_OUT),
        ([1, b"!no"], [2, b"!no"], Status.FAILED),
        ([1, b"!no"], said("x"), Status.FINISHED),
    ],
    ids=["failed and late", "late", "failed", "failed and finished"],
)
async def test_a_plan_within_a_plan_ends_as_its_lanes_did(
    a: Script, b: Script, status: Status, autojump_clock: MockClock
) -> None:
    for inner in (All(*words("a", "b")), All(*words("b", "a"))):
        plan = All(inner, *words("c"))
        async with fanout.open_fanout(
            "?", plan, transport=memory(a=a, b=b, c=said("y")), retries=0, timeouts=Timeouts(first=5)
        ) as running:
            async for _ in running:
                pass
        assert running._group.seats[0].status is status


async def test_where_no_lane_runs_any_more_the_next_starts_though_none_has_failed(autojump_clock: MockClock) -> None:
    class InTurn(Quorum):
        pace = inf

    transport = memory(a=said("x", first=1), b=said("y", first=1), c=said("z"))
    seen = await watch(InTurn(*words("a", "b", "c"), k=2), transport, deadline=60)
    assert [seen.start_at(lane) for lane in "ab"] == [0, 1]
    assert [answer.status for answer in seen.run.answers] == ["finished", "finished", "cancelled"]


async def test_on_the_first_token_a_thought_neither_wins_nor_breaks_a_hedges_silence(autojump_clock: MockClock) -> None:
    thinker: Script = [0.01, b"?hm", 1.49, b"late", b"."]
    seen = await watch(Race(*words("r", "fast"), on="first_token"), memory(r=thinker, fast=said("x", first=0.11)))
    assert seen.run.winner and seen.run.winner.lane == "fast"
    seen = await watch(Race(*words("r", "fast"), on="first_thought"), memory(r=thinker, fast=said("x", first=0.11)))
    assert seen.run.winner and seen.run.winner.lane == "r"
    assert [seen.run.winner.ttft, seen.run.winner.ttfo] == pytest.approx([0.01, 1.5])
    seen = await watch(Hedge(*words("r", "fast"), after=0.3), memory(r=thinker, fast=said("x", first=0.11)))
    assert seen.start_at("fast") == pytest.approx(0.3)
    assert seen.run.winner and seen.run.winner.lane == "fast"


@pytest.mark.parametrize("nested", [False, True])
async def test_the_winner_is_known_from_the_verdict_on(autojump_clock: MockClock, *, nested: bool) -> None:
    transport = memory(fast=said(*"abcdef", first=0.1), slow=said("x", first=3))
    fast, slow = words("fast", "slow")
    plan = Race(Race(fast, on="first_token") if nested else fast, slow, on="first_token")
    winners = []
    async with fanout.open_fanout("?", plan, transport=transport) as running:
        async for tagged in running:
            if isinstance(tagged.event, Started | Delta | End):
                winner, run = running.winner, running.run
                assert winner == run.winner
                winners.append((winner.lane, winner.text) if winner else None)
    assert winners[0] is winners[1] is None
    assert winners[2:4] == [("fast", "a"), ("fast", "a")]
    assert winners[-1] == ("fast", "abcdef")


async def test_a_cancelled_lane_whose_accept_is_asked_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    left = []

    async def accept(_: fanout.Answer) -> bool:
        try:
            await trio.sleep_forever()
        finally:
            left.append(trio.current_time())
        raise AssertionError

    transport = memory(a=said("x", first=0.1), b=said("y", first=0.1))
    with trio.move_on_after(1):
        await fanout.race("?", Race(Race(*words("a"), accept=accept), *words("b"), accept=accept), transport=transport)
    assert left == [1, 1]


def learning(plan: Any) -> Connections:
    """Returns connections over services whose answers `plan` gives by name and number."""
    counts: dict[str, int] = {}

    def script(request: Request) -> Script:
        name = request.url.split("/")[2]
        counts[name] = counts.get(name, 0) + 1
        return plan(name, counts[name])  # type: ignore[no-any-return]

    return Connections(MemoryTransport(script))


async def test_a_learnt_hedge_follows_its_service_and_uses_the_fallback_before(autojump_clock: MockClock) -> None:
    connections = learning(lambda name, n: said("x", first=0.2) if name == "b" or n <= 30 else [HANG])
    plan = Hedge(*words("a", "b"), after="p95", fallback=5, on="first_token")
    for _ in range(30):
        assert (await watch(plan, connections)).run.elapsed == pytest.approx(0.2)
    seen = await watch(plan, connections)
    assert seen.start_at("b") == pytest.approx(0.2, rel=0.05)
    fresh = await watch(plan, learning(lambda name, _: [HANG] if name == "a" else said("x")))
    assert fresh.start_at("b") == pytest.approx(5)


async def test_a_learnt_hedge_on_the_finish_waits_as_long_as_the_service_is_usually_silent(
    autojump_clock: MockClock,
) -> None:
    usual = said(*"abcde", first=0.2, gap=1.0)
    connections = learning(lambda name, n: usual if n <= 30 else [0.2, b"a", HANG])
    plan = Hedge(Words("a"), Words("b"), after="p95", fallback=9)
    for _ in range(30):
        await watch(plan, connections)
    seen = await watch(plan, connections)
    assert seen.start_at("b") == pytest.approx(1.2, rel=0.05)  # after a silence of 1 s, and not of 0.2 s


async def test_a_lane_that_was_cut_off_because_it_was_late_is_learnt_as_ended_at_the_cut(
    autojump_clock: MockClock,
) -> None:
    connections = learning(lambda name, n: said("x", first=0.5) if name == "b" or n % 2 else [HANG])
    plan = Hedge(*words("a", "b"), after="p95", fallback=1, on="first_token", budget=inf)
    for _ in range(19):
        await watch(plan, connections)
    assert connections.memory is not None
    assert connections.memory.latencies.count(Key("a", "", None)) == 19  # of which nine were cut off after 1.5 s
    assert connections.memory.latencies.count(Key("b", "", None)) == 9


async def test_nothing_is_learnt_from_the_losers_of_a_race(autojump_clock: MockClock) -> None:
    connections = learning(lambda name, _: said(*"xyz", first=0.1 if name == "a" else 0.15))
    for on in ("finish", "first_token"):
        await watch(Race(*words("a", "b"), on=on), connections)
    assert connections.memory is not None
    assert connections.memory.latencies.count(Key("a", "", None)) == 2
    assert connections.memory.latencies.count(Key("b", "", None)) == 0


async def test_without_a_budget_silence_starts_no_lane_but_a_failure_does(autojump_clock: MockClock) -> None:
    connections = learning(lambda name, n: [9, b"!no"] if name == "a" else said("x"))
    plan = Hedge(*words("a", "b"), after="p95", fallback=1, on="first_token", budget=0)
    starts = [(await watch(plan, connections)).start_at("b") for _ in range(12)]
    assert starts == pytest.approx([1.0] * 10 + [9.0] * 2)


async def test_the_budget_caps_hedges_also_where_a_service_hangs(autojump_clock: MockClock) -> None:
    connections = learning(lambda name, n: [50, b"x ."] if name == "a" else said("x"))
    plan = Hedge(*words("a", "b"), after="p95", fallback=1, on="first_token")
    hedged = [len((await watch(plan, connections)).of("b")) > 1 for _ in range(200)]
    assert sum(hedged) <= 10 + 0.05 * 200


async def test_a_group_within_a_hedge_is_learnt_from_too(autojump_clock: MockClock) -> None:
    connections = learning(lambda name, n: said("x", first=0.2) if n <= 30 or name != "a" else [HANG])
    plan = Hedge(Fallback(*words("a", "b"), on="first_token"), Words("c"), after="p95", fallback=5, on="first_token")
    for _ in range(30):
        await watch(plan, connections)
    assert (await watch(plan, connections)).start_at("c") == pytest.approx(0.2, rel=0.05)


async def test_the_fastest_lane_goes_first_and_the_answers_keep_the_order_of_the_plan(
    autojump_clock: MockClock,
) -> None:
    connections = learning(lambda name, n: said("x", first={"a": 3.0, "b": 0.5, "c": 1.0}[name]))
    plan = Fastest(*words("a", "b", "c"))
    first: list[str] = []
    for _ in range(400):
        seen = await watch(plan, connections)
        assert [answer.lane for answer in seen.run.answers] == ["a", "b", "c"]
        assert seen.run.winner
        first.append(seen.run.winner.lane)
    assert min(first.count(lane) for lane in "abc") >= 20  # until each was known
    assert first[-200:].count("b") > 170


async def test_the_fastest_that_fails_is_followed_by_the_next(autojump_clock: MockClock) -> None:
    connections = learning(lambda name, n: [0.1, b"!no"] if name == "b" and n > 30 else said("x", first=0.5))
    for _ in range(30):
        await watch([Words("b")], connections)
    seen = await watch(Fastest(*words("a", "b"), explore=0), connections)
    assert seen.run.winner and seen.run.winner.lane == "a"
    assert seen.start_at("b") == 0
    assert seen.start_at("a") == pytest.approx(0.1)


async def test_to_cancel_all_ends_a_loser_too_that_runs_on_in_a_group_that_is_over(autojump_clock: MockClock) -> None:
    plan = All(Race(*words("a", "b"), on_lose="keep"), *words("c"))
    transport = memory(a=said("a"), b=said("b", first=50), c=said("c", first=50))
    async with fanout.open_fanout("?", plan, transport=transport) as running:
        await trio.sleep(1)
        running.cancel()
        async for _ in running:
            pass
        assert trio.current_time() == pytest.approx(1)
        assert [answer.status for answer in running.run.answers] == ["finished", "cancelled", "cancelled"]


@pytest.mark.parametrize("deeper", [lambda plan: plan, All])
async def test_nobody_has_won_while_the_group_that_won_has_not_chosen(deeper: Any, autojump_clock: MockClock) -> None:
    plan = Race(deeper(Quorum(*words("a", "b"), k=1)), *words("c"), on="first_token")
    transport = memory(a=[1, b"a1", 5, b"!broken"], b=[2, b"b1", 8, b"."], c=said("c", first=50))
    async with fanout.open_fanout("?", plan, transport=transport, retries=0) as running:
        async for tagged in running:
            assert (running.winner and running.winner.lane) == ("b" if tagged.at > 9 else None)
        assert running.run.winner
        assert running.run.winner.lane == "b"


async def test_the_text_of_a_stream_is_that_of_the_lane_that_a_group_within_chooses(autojump_clock: MockClock) -> None:
    plan = Race(Fallback(*words("a", "b")), *words("c"), on="first_token")
    transport = memory(a=[1, b"a1", 5, b"!broken"], b=said("b1", "b2"), c=said("c", first=50))
    async with fanout.stream("?", plan, transport=transport, retries=0) as text:
        assert "".join([piece async for piece in text]) == "b1b2"
