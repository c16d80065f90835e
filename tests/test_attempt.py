"""One lane: its clocks, its retries, its one End."""

from math import inf
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from fanout import Status, Timeouts
from fanout.abc import Flow, Head, Provider, Reply, Request
from fanout.attempt import LANE_BYTES, Attempt, fetch
from fanout.errors import (
    AuthError,
    ProtocolError,
    RateLimited,
    ResetError,
    ServerError,
    TooLarge,
    Truncated,
)
from fanout.events import Delta, End, Event, Reasoning, Refusal, Started
from fanout.prompt import Prompt
from fanout.retry import Budget
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.words import Words, WordsReader, memory, said

OFF = Timeouts(connect=inf, first=inf, idle=inf, total=inf)


class Lane:
    """One attempt, run to its end under the mock clock, and what was heard of it."""

    def __init__(self, script: Script | MemoryTransport, provider: Provider | None = None, **settings: Any) -> None:
        self.transport = script if isinstance(script, MemoryTransport) else memory(a=script)
        settings.setdefault("timeouts", OFF)
        self.attempt = Attempt("a", provider or Words("a"), self.transport, random=Random(0), **settings)
        self.attempt.hear = self.hear
        self.heard: list[tuple[float, Event]] = []

    def hear(self, events: Any, at: float) -> None:
        self.heard += [(at - self.started, event) for event in events]

    async def run(self, until: float = inf) -> "Lane":
        self.started = trio.current_time()
        with trio.fail_after(10**6):
            await self.attempt.run(Prompt.of("?"), until)
        assert [type(event) for _, event in self.heard].count(End) == 1
        assert isinstance(self.heard[-1][1], End)
        return self

    @property
    def end(self) -> End:
        return next(event for _, event in self.heard if isinstance(event, End))

    @property
    def took(self) -> float:
        return self.heard[-1][0]

    @property
    def error(self) -> Any:
        return self.end.error


async def test_an_answer_arrives_event_by_event_with_its_times(autojump_clock: MockClock) -> None:
    lane = await Lane(said("Hel", "lo", first=0.5, gap=0.25)).run()
    assert lane.heard == [
        (0.0, Started(1)),
        (0.5, Delta("Hel")),
        (0.75, Delta("lo")),
        (0.75, End(Status.FINISHED, finish_reason="stop")),
    ]
    answer = lane.attempt.answer
    assert (answer.text, answer.ttft, answer.itl, answer.elapsed) == ("Hello", 0.5, 0.25, 0.75)


async def test_the_first_clock_fires_under_keep_alives(autojump_clock: MockClock) -> None:
    lane = await Lane([0.1, b"~"] * 100, timeouts=Timeouts(first=2)).run()
    assert lane.end.status is Status.TIMED_OUT
    assert (lane.error.clock, lane.error.seconds) == ("first", 2)
    assert lane.took == pytest.approx(2)


async def test_the_idle_clock_starts_anew_with_each_content_and_with_nothing_else(autojump_clock: MockClock) -> None:
    script: Script = [1, b"a", 1.9, b"b", 1, b"~", 0.9, b"~", HANG]
    lane = await Lane(script, timeouts=Timeouts(first=20, idle=2)).run()
    assert lane.error.clock == "idle"
    assert lane.took == pytest.approx(4.9)
    assert lane.error.partial == "ab"
    assert lane.error.lane == "a"


async def test_an_idle_clock_shorter_than_the_first_fires_on_time(autojump_clock: MockClock) -> None:
    lane = await Lane([1, b"a", HANG], timeouts=Timeouts(first=60, idle=2)).run()
    assert lane.took == pytest.approx(3)


async def test_the_total_clock_bounds_a_steady_stream(autojump_clock: MockClock) -> None:
    lane = await Lane([0.3, b"a"] * 1000, timeouts=Timeouts(total=5)).run()
    assert lane.error.clock == "total"
    assert lane.took == pytest.approx(5)
    assert lane.attempt.answer.text == "a" * 16


async def test_a_slow_connection_is_its_own_error_and_safe_to_repeat(autojump_clock: MockClock) -> None:
    transport = MemoryTransport({"a": said("x")}, connecting=9)
    lane = await Lane(transport, timeouts=Timeouts(connect=2)).run()
    assert (lane.end.status, lane.error.clock, lane.error.retry_safe) == (Status.TIMED_OUT, "connect", True)
    assert lane.took == pytest.approx(2)


async def test_a_stream_slower_than_its_floor_is_cut(autojump_clock: MockClock) -> None:
    lane = await Lane([1, b"a"] * 100, timeouts=Timeouts(idle=2, min_tps=2)).run()
    assert lane.error.clock == "min_tps"
    assert lane.took == pytest.approx(6)


async def test_a_stream_of_few_but_long_pieces_is_not_slow(autojump_clock: MockClock) -> None:
    script: list[float | bytes] = [2.5, b"twelve-chars"] * 20
    lane = await Lane([*script, b"."], timeouts=Timeouts(min_tps=1)).run()
    assert lane.end.status is Status.FINISHED


async def test_the_callers_deadline_comes_before_all_clocks(autojump_clock: MockClock) -> None:
    lane = await Lane([HANG]).run(until=trio.current_time() + 3)
    assert lane.error.clock == "deadline"
    assert lane.took == pytest.approx(3)


async def test_reasoning_and_refusals_are_progress(autojump_clock: MockClock) -> None:
    lane = await Lane([1.5, b"?hm", 1.5, b"-no", 1.5, b"."], timeouts=Timeouts(first=2, idle=2)).run()
    assert [event for _, event in lane.heard[1:3]] == [Reasoning("hm"), Refusal("no")]
    assert lane.end.status is Status.FINISHED


async def test_the_end_mark_that_arrives_with_the_timeout_wins(autojump_clock: MockClock) -> None:
    for _ in range(20):
        lane = await Lane([1, b"x", 1, b"."], timeouts=Timeouts(idle=1)).run()
        assert lane.end.status in (Status.FINISHED, Status.TIMED_OUT)
        assert (lane.end.error is None) == (lane.end.status is Status.FINISHED)


async def test_a_stream_cut_before_its_end_mark_is_failed_with_its_text(autojump_clock: MockClock) -> None:
    lane = await Lane([0.1, b"half", 0.1]).run()
    assert isinstance(lane.error, Truncated)
    assert (lane.end.status, lane.error.partial) == (Status.FAILED, "half")


async def test_an_empty_answer_is_no_answer(autojump_clock: MockClock) -> None:
    lane = await Lane([0.1, b"."]).run()
    assert isinstance(lane.error, Truncated)
    assert "without any content" in str(lane.error)


async def test_a_service_that_says_nothing_at_all_is_truncated(autojump_clock: MockClock) -> None:
    assert isinstance((await Lane([]).run()).error, Truncated)


async def test_what_makes_no_sense_becomes_a_protocol_error_with_the_text_so_far(autojump_clock: MockClock) -> None:
    lane = await Lane([b"good", b"%", b"more", HANG]).run()
    assert isinstance(lane.error, ProtocolError)
    assert lane.error.partial == "good"
    assert lane.transport.open == 0


async def test_an_endless_answer_hits_the_lanes_byte_cap(autojump_clock: MockClock) -> None:
    lane = await Lane([b"x" * (LANE_BYTES // 4)] * 100).run()
    assert isinstance(lane.error, TooLarge)
    assert lane.transport.exchanges[0].steps == 5


async def test_a_failure_before_content_is_tried_again(autojump_clock: MockClock) -> None:
    scripts: list[Script] = [[Head(500)], [0.1, b"!busy"], said("x")]
    lane = await Lane(MemoryTransport(lambda _: scripts.pop(0)), retries=2).run()
    assert [event for _, event in lane.heard if isinstance(event, Started)] == [Started(1), Started(2), Started(3)]
    assert lane.attempt.answer.text == "x"


async def test_after_content_nothing_is_tried_again(autojump_clock: MockClock) -> None:
    lane = await Lane([0.1, b"x", b"!busy"], retries=5).run()
    assert len(lane.transport.exchanges) == 1
    assert isinstance(lane.error, ServerError)


async def test_content_in_the_same_read_as_the_error_counts_as_content(autojump_clock: MockClock) -> None:
    lane = await Lane([0.1, b"hello !busy"], retries=5).run()
    assert len(lane.transport.exchanges) == 1
    assert lane.error.partial == "hello"


async def test_a_request_that_cannot_be_made_is_the_callers_matter(autojump_clock: MockClock) -> None:
    class Broken(Words):
        def request(self, prompt: Prompt) -> Request:
            raise TypeError("no such thing")

    lane = await Lane([], Broken("a"), retries=5).run()
    assert lane.error.kind == "invalid_request"
    assert "the request cannot be made: TypeError: no such thing" in str(lane.error)


async def test_what_cannot_succeed_is_not_tried_again(autojump_clock: MockClock) -> None:
    lane = await Lane([AuthError("no key")], retries=5).run()
    assert len(lane.transport.exchanges) == 1


async def test_retry_after_is_slept_exactly(autojump_clock: MockClock) -> None:
    scripts: list[Script] = [[Head(429, {"retry-after": "7"})], said("x", first=1)]
    lane = await Lane(MemoryTransport(lambda _: scripts.pop(0)), retries=1).run()
    assert lane.took == pytest.approx(8)


async def test_a_retry_after_that_does_not_fit_is_reported_and_not_slept(autojump_clock: MockClock) -> None:
    lane = await Lane([Head(429, {"retry-after": "70"})], retries=1, timeouts=Timeouts(first=60)).run()
    assert isinstance(lane.error, RateLimited)
    assert (lane.error.retry_after, lane.took) == (70, 0)


async def test_a_retry_does_not_restart_the_first_clock(autojump_clock: MockClock) -> None:
    scripts: list[Script] = [[2, Head(429, {"retry-after": "1"})], [HANG]]
    transport = MemoryTransport(lambda _: scripts.pop(0))
    lane = await Lane(transport, retries=1, timeouts=Timeouts(first=5)).run()
    assert lane.error.clock == "first"
    assert lane.took == pytest.approx(5)


async def test_an_exhausted_budget_stops_retries(autojump_clock: MockClock) -> None:
    budget = Budget()
    asked = 0
    for _ in range(100):
        lane = await Lane([ResetError("gone")], retries=5, budget=budget).run()
        asked += len(lane.transport.exchanges)
    assert asked == 104  # the first attempts always go; four repeats bring the budget from ten below its half


async def test_cancelling_ends_the_lane_at_once_and_closes_its_exchange(autojump_clock: MockClock) -> None:
    lane = Lane([0.1, b"x", HANG])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await trio.sleep(1)
        lane.attempt.cancel()
        assert lane.end.status is Status.CANCELLED
        before = len(lane.heard)
        await trio.sleep(1)
        assert lane.transport.open == 0
    assert len(lane.heard) == before
    assert lane.attempt.answer.text == "x"


async def test_a_lane_cancelled_before_its_start_sends_nothing(autojump_clock: MockClock) -> None:
    lane = Lane(said("x"))
    lane.started = 0
    lane.attempt.cancel()
    await lane.attempt.run(Prompt.of("?"), inf)
    assert [type(event) for _, event in lane.heard] == [End]
    assert not lane.transport.exchanges


async def test_a_complete_answer_whose_stream_never_ends_is_finished(autojump_clock: MockClock) -> None:
    class Lingering(WordsReader):
        def feed(self, data: bytes, /) -> list[Event]:
            self.complete = True
            return [Delta(data.decode())]

        def close(self, error: Any = None, /) -> list[Event]:
            return [End(Status.FINISHED, finish_reason="stop")]

    class NeverEnding(Words):
        def read(self, head: Head) -> Lingering:
            return Lingering(head)

    lane = await Lane([b"whole", HANG], NeverEnding("a"), timeouts=Timeouts(idle=30)).run()
    assert lane.end.status is Status.FINISHED
    assert lane.took == pytest.approx(2)


class TwoTrips(Words):
    """Fetches a token first, then asks with it."""

    def flow(self, prompt: Prompt) -> Flow:
        reply: Reply = yield Request("GET", "http://token/")
        if reply.head.status != 200:
            raise AuthError("no token")
        return Request("POST", "http://a/", {"x-token": reply.body.decode()})


async def test_a_provider_with_two_round_trips_is_sent_the_first_reply(autojump_clock: MockClock) -> None:
    transport = memory(token=[0.2, b"t0k", b"en"], a=said("x"))
    lane = await Lane(transport, TwoTrips("a")).run()
    assert lane.attempt.answer.text == "x"
    assert transport.exchanges[1].request.headers == {"x-token": "t0ken"}


async def test_a_failure_between_two_trips_ends_the_lane(autojump_clock: MockClock) -> None:
    lane = await Lane(memory(token=[Head(403)], a=said("x")), TwoTrips("a")).run()
    assert isinstance(lane.error, AuthError)
    assert len(lane.transport.exchanges) == 1


async def test_a_reply_that_never_comes_is_truncated() -> None:
    with pytest.raises(Truncated):
        await fetch(memory(a=[]), Request("GET", "http://a/"), 1)
