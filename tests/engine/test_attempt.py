"""One lane: its clocks, its retries, its one End."""

import logging
from collections.abc import Sequence
from math import inf
from random import Random
from typing import Any, ClassVar

import pytest
import trio
from attrs import define, evolve, field, frozen
from trio.testing import MockClock

from fanout import Status, Timeouts
from fanout.abc import Flow, Head, Login, Provider, Reader, Receiver, Reply, Request
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.engine.alarms import Alarms
from fanout.engine.attempt import Attempt
from fanout.engine.keys import Keys
from fanout.engine.retry import Budget
from fanout.errors import (
    AuthError,
    ConnectError,
    LoginRequired,
    NotFound,
    ProtocolError,
    ProviderError,
    RateLimited,
    ResetError,
    ServerError,
    TimedOut,
    TooLarge,
    Truncated,
)
from fanout.events import Delta, End, Event, LoginNeeded, Reasoning, Refusal, Started, Usage
from fanout.prompt import Message, Prompt
from fanout.prompt.history import Turns
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.words import Words, WordsReader, memory, said

OFF = Timeouts(connect=inf, first=inf, idle=inf, total=inf)


class Lane:
    """One attempt, run to its end under the mock clock, and what was heard of it."""

    def __init__(self, script: Script | MemoryTransport, provider: Provider | None = None, **settings: Any) -> None:
        self.transport = script if isinstance(script, MemoryTransport) else memory(a=script)
        settings.setdefault("timeouts", OFF)
        provider = provider or Words("a")
        settings.setdefault("keys", Keys((provider,), login=settings.pop("login", None)))
        self.attempt = Attempt("a", provider, self.transport, random=Random(0), **settings)
        self.attempt.hear = self.hear
        self.heard: list[tuple[float, Event]] = []
        self.started = 0.0
        self.usage_before: Usage | None = None

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
    for clocks in (Timeouts(idle=1), Timeouts(total=2)):
        for _ in range(20):
            lane = await Lane([1, b"x", 1, b"."], timeouts=clocks).run()
            assert lane.end == End(Status.FINISHED, finish_reason="stop")


async def stopped(clock: MockClock, lane: Lane, *stops: tuple[float, float]) -> Lane:
    """Runs a lane while the process is stopped: after so many seconds, for so many."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        for after, seconds in stops:
            await trio.sleep(after)
            clock.jump(seconds)
    return lane


async def test_a_process_that_was_stopped_reads_before_it_judges(autojump_clock: MockClock) -> None:
    for clocks in (Timeouts(first=2), Timeouts(first=2, idle=1), Timeouts(total=3)):
        for _ in range(20):
            lane = Lane([0.5, b"x", 0.5, b"."], timeouts=clocks)
            await stopped(autojump_clock, lane, (0.7, 40))
            assert lane.end.status is Status.FINISHED
            assert lane.took == pytest.approx(40.7)


async def test_a_request_that_was_late_by_our_own_fault_has_that_time_again(autojump_clock: MockClock) -> None:
    busy: list[float | bytes] = [0.3] * 4
    lane = Lane([*busy, b"x", b"."], timeouts=Timeouts(first=1))
    await stopped(autojump_clock, lane, (0.5, 3))
    assert lane.end.status is Status.FINISHED
    silent = Lane([HANG], timeouts=Timeouts(first=1))
    await stopped(autojump_clock, silent, (0.5, 3))
    assert silent.error.clock == "first"
    assert silent.took == pytest.approx(4.5)  # late at 3.5 s, by more than it has in all
    often = Lane([HANG], timeouts=Timeouts(first=1))
    await stopped(autojump_clock, often, (0.5, 1), (0.1, 1), (0.1, 1), (0.1, 1))
    assert often.took == pytest.approx(4.8)  # late a fourth time


@pytest.mark.parametrize(("clocks", "took"), [(Timeouts(idle=1), 4.7), (Timeouts(total=1.5), 3.7)])
async def test_a_silent_stream_has_its_silence_again_and_no_more_in_all(
    clocks: Timeouts, took: float, autojump_clock: MockClock
) -> None:
    lane = Lane([0.5, b"x", HANG], timeouts=clocks)
    await stopped(autojump_clock, lane, (0.7, 3))
    assert lane.end.status is Status.TIMED_OUT
    assert lane.took == pytest.approx(took)


async def test_a_stream_cut_before_its_end_mark_is_failed_with_its_text(autojump_clock: MockClock) -> None:
    lane = await Lane([0.1, b"half", 0.1]).run()
    assert isinstance(lane.error, Truncated)
    assert (lane.end.status, lane.error.partial) == (Status.FAILED, "half")


async def test_an_empty_answer_is_no_answer(autojump_clock: MockClock) -> None:
    lane = await Lane([0.1, b"."]).run()
    assert isinstance(lane.error, Truncated)
    assert "without any content" in str(lane.error)


async def test_a_service_that_says_nothing_at_all_is_truncated(autojump_clock: MockClock) -> None:
    lane = await Lane([]).run()
    assert isinstance(lane.error, Truncated)
    assert "closed the connection without a word" in str(lane.error)


async def test_what_makes_no_sense_becomes_a_protocol_error_with_the_text_so_far(autojump_clock: MockClock) -> None:
    lane = await Lane([b"good", b"%", b"more", HANG]).run()
    assert isinstance(lane.error, ProtocolError)
    assert lane.error.partial == "good"
    assert lane.transport.open == 0


async def test_an_endless_answer_hits_the_lanes_byte_cap(autojump_clock: MockClock) -> None:
    lane = await Lane([*[b"x" * (16 << 20)] * 4, *[b"x"] * 100]).run()
    assert isinstance(lane.error, TooLarge)
    assert "the answer exceeds 67108864 bytes" in str(lane.error)
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


async def test_the_wait_of_a_retry_is_drawn_by_the_lanes_own_chance(autojump_clock: MockClock) -> None:
    scripts: list[Script] = [[Head(500)], said("x", first=1)]
    lane = await Lane(MemoryTransport(lambda _: scripts.pop(0)), retries=1).run()
    assert lane.took == pytest.approx(1 + Random(0).uniform(0, 0.5))


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


async def cut_off(provider: Provider) -> Lane:
    """A lane that was cancelled after its first word."""
    lane = Lane([b"x", HANG], provider)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await trio.sleep(1)
        lane.usage_before = lane.attempt.answer.usage
        lane.attempt.cancel()
    return lane


class CountingReader(WordsReader):
    """Knows at the end how many tokens there were, and whose they are; a second time, it would count others."""

    closed = 0

    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        self.closed += 1
        return [Delta("late"), Usage(3, 2 * self.closed), End(Status.FAILED, error=error)]


class Counting(Words):
    def read(self, head: Head, request: Request | None = None) -> Reader:
        return CountingReader(head)


async def test_a_lane_that_is_cut_off_keeps_what_its_service_has_counted(autojump_clock: MockClock) -> None:
    lane = await cut_off(Counting("a"))
    assert lane.usage_before is None  # it was running: its reader must not be closed
    answer = lane.attempt.answer
    assert (answer.status, answer.text, answer.usage) == (Status.CANCELLED, "x", Usage(3, 2))
    assert lane.heard[-1][1] == End(Status.CANCELLED)
    assert lane.attempt.answer == answer


async def test_a_lane_that_is_late_is_counted_once(autojump_clock: MockClock) -> None:
    lane = await Lane([b"x", HANG], Counting("a"), timeouts=Timeouts(idle=3)).run()
    assert lane.end.status is Status.TIMED_OUT
    assert lane.attempt.answer.usage == lane.attempt.answer.usage == Usage(3, 2)


class BrokenReader(WordsReader):
    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        raise KeyError("usage")


class Broken(Words):
    def read(self, head: Head, request: Request | None = None) -> Reader:
        return BrokenReader(head)


async def test_a_lane_is_cut_off_though_its_reader_makes_no_sense_of_the_rest(autojump_clock: MockClock) -> None:
    lane = await cut_off(Broken("a"))
    assert lane.attempt.answer.text == "x"
    assert lane.end == End(Status.CANCELLED)


async def test_a_lane_that_is_cancelled_by_who_hears_of_its_start_sends_nothing(autojump_clock: MockClock) -> None:
    lane = Lane(said("x"))

    def hear(events: Sequence[Event], at: float) -> None:
        lane.hear(events, at)
        lane.attempt.cancel()

    lane.attempt.hear = hear
    await lane.run()
    assert [type(event) for _, event in lane.heard] == [Started, End]
    assert not lane.transport.exchanges


class Chatty(MemoryTransport):
    """Goes on giving data, whatever the receiver answers, also to one whose lane has just been cancelled."""

    cut: Any = None

    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        await super().exchange(request, receiver, connect)
        if self.cut is not None:
            self.cut()
        assert receiver.data(b"more")


async def test_what_comes_after_the_end_is_of_no_interest(autojump_clock: MockClock) -> None:
    lane = await Lane(Chatty({"a": [1, b"x .", 9, b"y"]})).run()
    assert (lane.attempt.answer.text, lane.took, lane.transport.exchanges[0].steps) == ("x", 1, 2)


async def test_what_comes_after_a_lane_was_cut_off_is_of_no_interest(autojump_clock: MockClock) -> None:
    transport = Chatty({"a": [1, b"x"]})
    lane = Lane(transport)
    transport.cut = lane.attempt.cancel
    await lane.run()
    assert (lane.attempt.answer.text, lane.end.status) == ("x", Status.CANCELLED)


async def test_a_transport_hears_in_the_same_read_that_the_lane_has_been_cut_off(autojump_clock: MockClock) -> None:
    told: list[bool] = []

    class Telling(MemoryTransport):
        async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
            receiver.head(Head(200))
            told.extend(receiver.data(word) for word in (b"~", b"x", b"y"))

    lane = Lane(Telling({}))

    def hear(events: Sequence[Event], at: float) -> None:
        lane.hear(events, at)
        if isinstance(events[-1], Delta):
            lane.attempt.cancel()

    lane.attempt.hear = hear
    await lane.run()
    assert (told, lane.attempt.answer.text) == ([False, True, True], "x")


async def test_a_lane_cancelled_before_its_start_sends_nothing(autojump_clock: MockClock) -> None:
    lane = Lane(said("x"))
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
        def read(self, head: Head, request: Request | None = None) -> Lingering:
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


async def test_the_connection_of_each_trip_is_on_its_clock(autojump_clock: MockClock) -> None:
    for connecting, clock in ((2.5, "connect"), (1.5, None)):
        transport = MemoryTransport({"token": [b"t0ken"], "a": said("x")}, connecting=connecting)
        lane = await Lane(transport, TwoTrips("a"), timeouts=Timeouts(connect=2)).run()
        assert getattr(lane.error, "clock", None) == clock
        assert len(transport.exchanges) == (1 if clock else 2)


async def test_a_service_that_repeats_the_token_of_any_of_its_trips_does_not_show_it(autojump_clock: MockClock) -> None:
    class Tokened(Words):
        def flow(self, prompt: Prompt) -> Flow:
            yield Request("GET", "http://token/", {"x-token": Secret("canary-105c77")})
            yield Request("GET", "http://token/", {"x-token": Secret("canary-7f3a91")})
            return Request("POST", "http://a/", {"x-token": Secret("canary-8a4b02")})

    repeated = b"!canary-105c77-or-canary-7f3a91-is-not-canary-8a4b02"
    lane = await Lane(memory(token=[b"t0ken"], a=[repeated]), Tokened("a")).run()
    assert isinstance(lane.error, ServerError)
    assert "canary" not in str(lane.error)


async def test_a_failure_between_two_trips_ends_the_lane(autojump_clock: MockClock) -> None:
    lane = await Lane(memory(token=[Head(403)], a=said("x")), TwoTrips("a")).run()
    assert isinstance(lane.error, AuthError)
    assert len(lane.transport.exchanges) == 1


# Logins.


@frozen
class Site(Words):
    """Wants a login: its host answers 401 to any cookie but "good"; `stops` is where it is told to stop."""

    base_url: str = "https://a"
    credentials: Credentials | None = None
    stops: str | None = None
    renews: bool = False

    def flow(self, prompt: Prompt) -> Flow:
        if self.credentials is None:
            raise LoginRequired("who are you?", command="fanout login a")
        cookie = self.credentials.cookie or Secret("")
        body = "\n".join(message.text for message in prompt.messages).encode()
        yield from ()
        return Request("POST", "http://a/", {"cookie": cookie}, body)

    def read(self, head: Head, request: Request | None = None) -> WordsReader:
        return RefusingReader(head)

    def farewell(self, request: Request, reader: Reader | None) -> Request | None:
        return Request("DELETE", self.stops) if self.stops else None

    def renewed(self, head: Head) -> Credentials | None:
        return login_as("renewed") if self.renews else None


class RefusingReader(WordsReader):
    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        if not self.ended and self.head.status == 401:
            self.ended = True
            refused = LoginRequired("that is nobody", status=401, command="fanout login a")
            return [End(Status.FAILED, error=refused)]
        return super().close(error)


def login_as(name: str) -> Credentials:
    return Credentials("a", "https://a", {"session": Secret(name)})


@define
class Desk(Login):
    """Gives what it has after some time, or fails, and remembers what it was asked and what it was to keep."""

    has: Credentials | ProviderError | None = None
    takes: float = 0
    breaks: ProviderError | None = None
    asked: list[Credentials | None] = field(factory=list)
    kept: list[Credentials] = field(factory=list)

    async def renew(self, provider: Provider, refused: Credentials | None) -> Credentials | None:
        self.asked.append(refused)
        await trio.sleep(self.takes)
        if isinstance(self.has, ProviderError):
            raise self.has
        return self.has

    async def keep(self, credentials: Credentials) -> None:
        await trio.sleep(0.1)
        if self.breaks:
            raise self.breaks
        self.kept.append(credentials)


def site_transport(*script: Any, stop: Script = ()) -> MemoryTransport:
    """Plays the script to who is logged in."""

    def played(request: Request) -> Script:
        if request.method == "DELETE":
            return stop
        return script if request.plain_headers()["cookie"] == "session=good" else [Head(401)]

    return MemoryTransport(played)


GOOD, BAD = Site("a", credentials=login_as("good")), Site("a", credentials=login_as("bad"))


@pytest.mark.parametrize("provider", [Site("a"), BAD], ids=["none", "refused"])
async def test_a_lane_without_a_login_says_so_and_fails(provider: Site, autojump_clock: MockClock) -> None:
    lane = await Lane(site_transport(), provider, retries=5).run()
    kinds = [type(event) for _, event in lane.heard]
    assert kinds == [Started, LoginNeeded, End]
    assert lane.heard[1][1] == LoginNeeded("fanout login a")
    assert isinstance(lane.error, LoginRequired)
    assert lane.end.status is Status.FAILED


async def test_what_a_service_says_with_its_refusal_comes_before_the_word_that_a_login_is_needed(
    autojump_clock: MockClock,
) -> None:
    class Counted(Site):
        def read(self, head: Head, request: Request | None = None) -> WordsReader:
            return CountedRefusal(head)

    lane = await Lane(site_transport(), Counted("a", credentials=BAD.credentials)).run()
    assert [type(event) for _, event in lane.heard] == [Started, Usage, LoginNeeded, End]


class CountedRefusal(RefusingReader):
    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        return [Usage(3), *super().close(error)]


@pytest.mark.parametrize("provider", [Site("a"), BAD], ids=["none", "refused"])
async def test_other_credentials_are_tried_once(provider: Site, autojump_clock: MockClock) -> None:
    desk = Desk(login_as("good"))
    lane = await Lane(site_transport(*said("x")), provider, login=desk).run()
    assert [event for _, event in lane.heard[:2]] == [Started(1), Started(2)]
    assert lane.attempt.answer.text == "x"
    assert desk.asked == [provider.credentials]


async def test_a_second_refusal_ends_the_lane(autojump_clock: MockClock) -> None:
    desk = Desk(login_as("worse"))
    lane = await Lane(site_transport(), BAD, login=desk, retries=5).run()
    assert [type(event) for _, event in lane.heard] == [Started, Started, LoginNeeded, End]
    assert len(desk.asked) == 1


async def test_where_there_is_no_other_login_the_lane_says_so(autojump_clock: MockClock) -> None:
    lane = await Lane(site_transport(), BAD, login=Desk(), retries=5).run()
    assert [type(event) for _, event in lane.heard] == [Started, LoginNeeded, End]
    assert "that is nobody" in str(lane.error)


@pytest.mark.parametrize(
    "error",
    [
        AuthError("the store is broken"),
        TimedOut("nobody came"),
        ConnectError("the page is gone"),
        LoginRequired("no", command="fanout login a"),
    ],
    ids=lambda error: error.kind,
)
async def test_a_login_that_fails_is_the_lanes_error(error: ProviderError, autojump_clock: MockClock) -> None:
    desk = Desk(error)
    lane = await Lane(site_transport(), BAD, login=desk, retries=5).run()
    needed = [LoginNeeded] if isinstance(error, LoginRequired) else []
    assert [type(event) for _, event in lane.heard] == [Started, *needed, End]
    assert (lane.error, lane.end.status, lane.error.lane) == (error, Status.FAILED, "a")
    assert len(desk.asked) == 1


async def test_the_wait_for_a_person_is_outside_the_lanes_clocks(autojump_clock: MockClock) -> None:
    script = [3, Head(200), b"x", 1.5, b"y", 1.5, b"."]
    timeouts = Timeouts(first=4, idle=2, total=7, min_tps=0.1)
    lane = await Lane(site_transport(*script), BAD, login=Desk(login_as("good"), takes=1000), timeouts=timeouts).run()
    assert lane.attempt.answer.text == "xy"
    assert (lane.attempt.answer.ttft, lane.attempt.answer.elapsed) == (3, 6)
    assert lane.took == 1006


@pytest.mark.parametrize(("timeouts", "after"), [(Timeouts(first=2), 102), (Timeouts(total=3), 103)])
async def test_the_clocks_start_after_the_login(timeouts: Timeouts, after: float, autojump_clock: MockClock) -> None:
    desk = Desk(login_as("good"), takes=100)
    lane = await Lane(site_transport(HANG), Site("a"), login=desk, timeouts=timeouts).run()
    assert lane.end.status is Status.TIMED_OUT
    assert lane.took == pytest.approx(after)


async def test_the_wait_for_a_person_is_inside_the_deadline_of_all_lanes(autojump_clock: MockClock) -> None:
    for provider in (Site("a"), BAD):
        lane = await Lane(site_transport(), provider, login=Desk(takes=1000)).run(until=trio.current_time() + 50)
        assert (lane.end.status, lane.error.clock) == (Status.TIMED_OUT, "deadline")
        assert lane.took == pytest.approx(50)


async def test_cancelling_a_lane_that_waits_for_a_person_ends_it_and_no_other(autojump_clock: MockClock) -> None:
    waiting = Lane(site_transport(), Site("a"), login=Desk(login_as("good"), takes=1000))
    other = Lane(said("x", first=5))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.run)
        nursery.start_soon(other.run)
        await trio.sleep(1)
        waiting.attempt.cancel()
        assert waiting.end.status is Status.CANCELLED
    assert (waiting.took, other.attempt.answer.text) == (1, "x")


def close_when_it_has_asked(lane: Lane) -> None:
    def hear(events: Sequence[Event], at: float) -> None:
        lane.hear(events, at)
        if isinstance(events[0], Started):
            lane.attempt.close()

    lane.attempt.hear = hear


async def test_a_lane_that_is_closed_asks_nobody_to_log_in(autojump_clock: MockClock) -> None:
    desk = Desk(login_as("good"), takes=1000)
    late = Lane(site_transport(*said("x")), Site("a", credentials=login_as("bad")), login=desk)
    close_when_it_has_asked(late)
    await late.run()
    assert (isinstance(late.error, LoginRequired), desk.asked) == (True, [])
    waiting = Lane(site_transport(*said("x")), BAD, login=desk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.run)
        await trio.sleep(1)
        waiting.attempt.close()
    assert (waiting.end.status, waiting.took) == (Status.CANCELLED, 1)


async def test_a_closed_lane_tries_no_other_key(autojump_clock: MockClock) -> None:
    keys = Keys((Words("a"), Words("b")))
    lane = Lane(memory(a=[Head(429)], b=said("x")), Words("a"), keys=keys)
    close_when_it_has_asked(lane)
    await lane.run()
    assert isinstance(lane.error, RateLimited)


async def test_a_lane_that_is_closed_before_it_has_asked_does_not_ask(autojump_clock: MockClock) -> None:
    lane = Lane(said("x"))
    lane.attempt.hear = lambda events, at: lane.heard.extend((at, event) for event in events)
    lane.attempt.close()
    await lane.attempt.run(Prompt.of("?"), inf)
    assert (lane.end.status, lane.transport.exchanges) == (Status.CANCELLED, [])


async def test_a_lane_that_is_closed_between_two_tries_is_not_tried_again(autojump_clock: MockClock) -> None:
    scripts: list[Script] = [[1, Head(429, {"retry-after": "2"})], said("paid for")]
    lane = Lane(MemoryTransport(lambda _: scripts.pop(0)), retries=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await trio.sleep(2)
        lane.attempt.close()
    assert (lane.end.status, lane.took) == (Status.CANCELLED, 2)
    assert len(lane.transport.exchanges) == 1


async def test_a_lane_that_is_closed_as_its_login_comes_is_not_tried_again(autojump_clock: MockClock) -> None:
    for number in range(20):  # whether this comes before the next try is a matter of chance
        lane = Lane(site_transport(*said("x")), BAD, login=Desk(login_as("good"), takes=1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lane.run)
            await trio.sleep(1)
            await trio.lowlevel.checkpoint()
            lane.attempt.close()
            before = len(lane.transport.exchanges)
        assert len(lane.transport.exchanges) == before, number


@pytest.mark.parametrize(
    "has", [login_as("good"), None, AuthError("the store is broken")], ids=["got", "none", "error"]
)
async def test_a_lane_cancelled_in_the_step_in_which_its_login_comes_says_nothing_after_its_end(
    has: Credentials | ProviderError | None, autojump_clock: MockClock
) -> None:
    came = trio.Event()

    class Waiting(Desk):
        async def renew(self, provider: Provider, refused: Credentials | None) -> Credentials | None:
            await came.wait()
            return await super().renew(provider, refused) if has is None else self.give()

        def give(self) -> Credentials:
            if isinstance(has, ProviderError):
                raise has
            assert has
            return has

    lane = Lane(site_transport(*said("x")), BAD, login=Waiting())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await trio.sleep(1)
        came.set()
        lane.attempt.cancel()
    assert [type(event) for _, event in lane.heard] == [Started, End]
    assert (lane.end.status, lane.attempt.answer.elapsed) == (Status.CANCELLED, 1)


async def test_a_lane_whose_turn_does_not_come_before_the_deadline_is_late_and_leaves_nobody(
    autojump_clock: MockClock,
) -> None:
    limiter = trio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait(limiter)
    lane = Lane(said("x"), limiter=limiter)
    left: list[int] = []
    lane.attempt.leave = lambda: left.append(1)
    await lane.run(until=trio.current_time() + 3)
    assert (lane.end.status, lane.error.clock, lane.took) == (Status.TIMED_OUT, "deadline", 3)
    assert (left, lane.transport.exchanges, lane.attempt.answer.elapsed) == ([], [], None)


async def test_a_lane_that_waits_for_its_turn_is_not_on_its_clocks(autojump_clock: MockClock) -> None:
    limiter = trio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait(limiter)
    lane = Lane(said("x", first=1), limiter=limiter, timeouts=Timeouts(first=2, idle=2, total=2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await trio.sleep(10)
        limiter.release_on_behalf_of(limiter)
    assert (lane.end.status, lane.took, lane.attempt.answer.elapsed) == (Status.FINISHED, 11, 1)


async def test_a_reader_is_made_for_the_request_that_it_reads_the_answer_of(autojump_clock: MockClock) -> None:
    seen: list[Request | None] = []

    class Looking(Words):
        def read(self, head: Head, request: Request | None = None) -> WordsReader:
            seen.append(request)
            return WordsReader(head)

    lane = await Lane(said("x"), Looking("a")).run()
    assert seen == [lane.transport.exchanges[0].request]


async def test_a_lane_cancelled_in_the_step_in_which_its_turn_comes_says_nothing_after_its_end(
    autojump_clock: MockClock,
) -> None:
    limiter = trio.CapacityLimiter(1)
    for number in range(20):
        lane = Lane(said("x"), limiter=limiter)
        limiter.acquire_on_behalf_of_nowait(lane)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lane.run)
            await trio.sleep(1)
            limiter.release_on_behalf_of(lane)
            lane.attempt.cancel()
        assert [type(event) for _, event in lane.heard] == [End], number
        assert (lane.transport.exchanges, lane.attempt.answer.elapsed, limiter.borrowed_tokens) == ([], None, 0)


async def test_an_answer_that_follows_an_empty_one_may_take_its_time(autojump_clock: MockClock) -> None:
    scripts: list[Script] = [[0.1, b"."], [1, b"a", 1, b"b", 1, b"c", 1, b"."]]
    lane = await Lane(MemoryTransport(lambda _: scripts.pop(0)), retries=1).run()
    assert (lane.end.status, lane.attempt.answer.text) == (Status.FINISHED, "abc")


async def test_an_empty_answer_whose_stream_stays_open_does_not_cut_short_the_next(autojump_clock: MockClock) -> None:
    class Mute(WordsReader):
        def feed(self, data: bytes, /) -> list[Event]:
            self.complete = True
            return []

        def close(self, error: ProviderError | None = None, /) -> list[Event]:
            return [End(Status.FINISHED, "stop")]

    class First(Words):
        def read(self, head: Head, request: Request | None = None) -> WordsReader:
            return Mute(head) if len(lane.transport.exchanges) == 1 else WordsReader(head)

    scripts: list[Script] = [[0.1, b"x", 1.5], [3, b"a", 3, b"b", 3, b"."]]
    lane = Lane(MemoryTransport(lambda _: scripts.pop(0)), First("a"), retries=1)
    await lane.run()
    assert (lane.end.status, lane.attempt.answer.text) == (Status.FINISHED, "ab")


async def test_a_pause_after_an_empty_answer_may_be_longer_than_a_complete_one_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    class Slow(WordsReader):
        def close(self, error: ProviderError | None = None, /) -> list[Event]:
            if self.ended:
                return []
            return [End(Status.FAILED, error=ServerError("busy", retry_after=5))]

        def feed(self, data: bytes, /) -> list[Event]:
            if data == b"whole":
                self.complete = True
                return []
            return super().feed(data)

    class Busy(Words):
        def read(self, head: Head, request: Request | None = None) -> WordsReader:
            return Slow(head)

    scripts: list[Script] = [[b"whole", 1], said("x")]
    lane = await Lane(MemoryTransport(lambda _: scripts.pop(0)), Busy("a"), retries=1).run()
    assert lane.end.status is Status.FINISHED
    assert lane.took == pytest.approx(6.1)


@pytest.mark.parametrize("keys", [1, 2])
async def test_a_clock_that_fires_while_a_refusal_hangs_ends_the_lane_with_its_error(
    keys: int, autojump_clock: MockClock
) -> None:
    pool = Keys((Words("a"), Words("b"))[:keys])
    lane = await Lane(memory(a=[0.1, Head(429), HANG], b=said("x")), keys=pool, timeouts=Timeouts(first=2)).run()
    assert (lane.end.status, lane.took) == (Status.FAILED, 2)
    assert isinstance(lane.error, RateLimited)


async def test_a_clock_that_fires_while_another_login_might_be_got_ends_the_lane_with_its_error(
    autojump_clock: MockClock,
) -> None:
    desk = Desk(login_as("good"))
    transport = MemoryTransport(lambda _: [0.1, Head(401), HANG])
    lane = await Lane(transport, BAD, login=desk, timeouts=Timeouts(first=2)).run()
    assert (lane.end.status, lane.took, desk.asked) == (Status.FAILED, 2, [])
    assert isinstance(lane.error, LoginRequired)


async def test_a_clock_that_fires_still_counts_against_the_budget(autojump_clock: MockClock) -> None:
    budget = Budget()
    await Lane([HANG], timeouts=Timeouts(first=2), budget=budget).run()
    assert budget.tokens == 9


@pytest.mark.parametrize(("retries", "requests"), [(0, 2), (1, 3)])
async def test_a_lane_with_two_keys_does_not_ask_for_ever(
    retries: int, requests: int, autojump_clock: MockClock
) -> None:
    transport = MemoryTransport(lambda _: [0.1, Head(429, {"retry-after": "0.05"})])
    lane = await Lane(transport, keys=Keys((Words("a"), Words("b"))), retries=retries).run()
    assert len(transport.exchanges) == requests
    assert isinstance(lane.error, RateLimited)


async def test_what_a_service_says_of_its_login_does_not_show_it(autojump_clock: MockClock) -> None:
    for secret in (
        login_as("canary-7f3a91"),
        Credentials("a", "https://a", secrets={"token": Secret("canary-7f3a91")}),
    ):
        lane = await Lane(MemoryTransport(lambda _: [b"!canary-7f3a91"]), evolve(GOOD, credentials=secret)).run()
        assert "canary" not in str(lane.error)


async def test_a_service_that_repeats_the_login_of_an_earlier_try_does_not_show_it_either(
    autojump_clock: MockClock,
) -> None:
    scripts: list[Script] = [[Head(401)], [b"!canary-7f3a91-is-not-canary-8a4b02"]]
    provider = evolve(GOOD, credentials=login_as("canary-7f3a91"))
    desk = Desk(login_as("canary-8a4b02"))
    lane = await Lane(MemoryTransport(lambda _: scripts.pop(0)), provider, login=desk).run()
    assert isinstance(lane.error, ServerError)
    assert "canary" not in str(lane.error)


async def test_renewed_credentials_are_kept_after_the_answer(autojump_clock: MockClock) -> None:
    desk = Desk()
    lane = await Lane(site_transport(*said("x")), evolve(GOOD, renews=True), login=desk).run()
    assert desk.kept == [login_as("renewed")]
    assert lane.took == pytest.approx(0.1)


async def test_a_lane_that_lost_keeps_what_the_service_renewed_too(autojump_clock: MockClock) -> None:
    desk = Desk()
    lane = Lane(site_transport(1, b"x", HANG), evolve(GOOD, renews=True), login=desk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await trio.sleep(2)
        lane.attempt.cancel()
    assert desk.kept == [login_as("renewed")]


async def test_nothing_is_kept_of_an_answer_that_did_not_come(autojump_clock: MockClock) -> None:
    desk = Desk()
    for script in ([Head(500)], [Head(200), b"!no"], [Head(302)]):
        await Lane(site_transport(*script), evolve(GOOD, renews=True), login=desk).run()
    assert desk.kept == []


async def test_only_a_response_that_succeeds_is_asked_for_what_it_renewed(autojump_clock: MockClock) -> None:
    asked: list[int] = []

    class Noting(Site):
        def renewed(self, head: Head) -> Credentials | None:
            asked.append(head.status)
            return None

    statuses = (200, 201, 299, 300, 302, 401, 500)
    for status in statuses:
        await Lane(site_transport(Head(status), b"x"), Noting("a", credentials=GOOD.credentials)).run()
    assert asked == [200, 201, 299]


async def test_a_store_that_fails_costs_no_answer(autojump_clock: MockClock) -> None:
    desk = Desk(breaks=AuthError("the disk is full"))
    lane = await Lane(site_transport(*said("x")), evolve(GOOD, renews=True), login=desk).run()
    assert lane.end.status is Status.FINISHED


# What is logged.


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert {(record.name, record.levelno) for record in caplog.records} <= {("fanout", logging.DEBUG)}
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


async def test_retries_keys_forms_logins_and_ends_are_logged_without_content(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "fanout")
    scripts: list[Script] = [[1, Head(429, {"retry-after": "2"})], said("x")]
    await Lane(MemoryTransport(lambda _: scripts.pop(0)), retries=1).run()
    assert logged(caplog) == ["a: try 1 failed (rate_limit), the next follows in 2 s", "a: finished in try 2"]
    keys = Keys((Words("a"), Words("b")))
    await Lane(memory(a=[Head(429, {"retry-after": "5"})], b=said("x")), keys=keys).run()
    assert logged(caplog) == [
        "a: key 1 of 2 rests for 5 s after rate_limit",
        "a: try 1 failed (rate_limit), the next follows in 0 s",
        "a: finished in try 2",
    ]
    await Lane(site_transport(*said("x")), BAD, login=Desk(login_as("good"))).run()
    assert logged(caplog) == [
        "a: try 1 failed (auth), the next follows with another login",
        "a: goes on with other credentials",
        "a: finished in try 2",
    ]
    await cut_off(Words("a"))
    assert logged(caplog) == ["a: cancelled in try 1"]
    await Lane([1, b"secret words !secret"]).run()
    assert logged(caplog) == ["a: failed in try 1 (server)"]


async def test_another_form_of_the_request_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Fussy(Words):
        def adapted(self, error: ProviderError) -> Provider | None:
            return Words("b") if self.name == "a" else None

    caplog.set_level(logging.DEBUG, "fanout")
    await Lane(memory(a=[Head(500)], b=said("x")), Fussy("a")).run()
    assert logged(caplog)[0] == "a: takes another form of the request after server"


# Farewells.

STOPPING = evolve(GOOD, stops="http://a/stop")


def farewells(lane: Lane) -> list[float]:
    """The times at which the service was told to stop, in seconds after the start."""
    return [
        exchange.began - lane.started
        for exchange in lane.transport.exchanges
        if exchange.request.url == "http://a/stop"
    ]


async def test_a_lane_that_is_cut_off_says_farewell(autojump_clock: MockClock) -> None:
    lane = Lane(site_transport(1, b"x", HANG, stop=[0.2, Head(204)]), STOPPING)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await trio.sleep(2)
        lane.attempt.cancel()
        assert lane.took == 2
    assert farewells(lane) == [2]
    assert trio.current_time() - lane.started == pytest.approx(2.2)
    assert lane.transport.exchanges[1].whole


@pytest.mark.parametrize(("script", "read"), [([1, b"x", HANG], True), ([HANG], False)], ids=["begun", "silent"])
async def test_a_farewell_knows_what_was_asked_and_what_reads_the_answer(
    script: Script, read: bool, autojump_clock: MockClock
) -> None:
    known: list[tuple[Request, Reader | None]] = []

    class Noting(Site):
        def farewell(self, request: Request, reader: Reader | None) -> Request | None:
            known.append((request, reader))
            return super().farewell(request, reader)

    lane = Lane(site_transport(*script), Noting("a", credentials=GOOD.credentials, stops="http://a/stop"))
    with trio.move_on_after(2):
        await lane.run()
    ((request, reader),) = known
    assert request == lane.transport.exchanges[0].request
    assert isinstance(reader, RefusingReader) is read
    assert farewells(lane) == [2]


async def test_a_lane_cut_off_from_outside_says_farewell_for_a_second_at_most(autojump_clock: MockClock) -> None:
    cases: list[tuple[Script, float]] = [([0.2, Head(204)], 0.2), ([HANG], 1)]
    for stop, takes in cases:
        lane = Lane(site_transport(1, b"x", HANG, stop=stop), STOPPING)
        began = trio.current_time()
        with trio.move_on_after(2):
            await lane.run()
        assert (farewells(lane), lane.end.status) == ([2], Status.CANCELLED)
        assert trio.current_time() - began == pytest.approx(2 + takes)


async def test_a_lane_that_is_late_says_farewell(autojump_clock: MockClock) -> None:
    lane = await Lane(site_transport(1, b"x", HANG), STOPPING, timeouts=Timeouts(idle=3)).run()
    assert (farewells(lane), lane.end.status) == ([4], Status.TIMED_OUT)


@pytest.mark.parametrize(
    "script",
    [
        [1, b"x", b"."],
        [1, b"x"],
        [1, b"!no"],
        [1, b"x", b"!no"],
        [Head(500)],
        [ResetError("gone")],
        [b"x", ResetError("gone")],
        [],
    ],
    ids=["whole", "cut", "error", "late error", "status", "reset", "late reset", "nothing"],
)
async def test_a_service_that_has_ended_is_told_nothing(script: Script, autojump_clock: MockClock) -> None:
    lane = await Lane(site_transport(*script), STOPPING).run()
    assert farewells(lane) == []


async def test_a_whole_answer_whose_stream_stays_open_is_no_reason_for_a_farewell(autojump_clock: MockClock) -> None:
    class Whole(WordsReader):
        def feed(self, data: bytes, /) -> list[Event]:
            self.complete = True
            return [Delta("whole")]

        def close(self, error: ProviderError | None = None, /) -> list[Event]:
            return [End(Status.FINISHED, "stop")]

    class Lingering(Site):
        def read(self, head: Head, request: Request | None = None) -> WordsReader:
            return Whole(head)

    assert STOPPING.credentials
    lane = await Lane(
        site_transport(b"x", HANG), Lingering("a", credentials=STOPPING.credentials, stops="http://a/stop")
    ).run()
    assert (lane.end.status, lane.took, farewells(lane)) == (Status.FINISHED, 2, [])


async def test_a_lane_cut_off_while_the_rest_of_its_answer_is_awaited_says_no_farewell(
    autojump_clock: MockClock,
) -> None:
    class Patient(MemoryTransport):
        async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
            await super().exchange(request, receiver, connect)
            await trio.sleep(0.5)

    for word in (b"x .", b"!no", b"x !no"):
        transport = Patient(site_transport(1, word, HANG).scripts)
        lane = Lane(transport, STOPPING)
        with trio.move_on_after(1.2):
            await lane.run()
        assert farewells(lane) == []


async def test_a_lane_that_ends_itself_says_farewell(autojump_clock: MockClock) -> None:
    for script in ([b"good", b"%", HANG], [b"x" * (32 << 20)] * 9):
        lane = await Lane(site_transport(*script), STOPPING).run()
        assert isinstance(lane.error, ProtocolError | TooLarge)
        assert farewells(lane) == [0]


async def test_a_lane_cancelled_by_its_own_last_read_says_farewell(autojump_clock: MockClock) -> None:
    lane = Lane(site_transport(1, b"x", b"y", HANG), STOPPING)

    def hear(events: Sequence[Event], at: float) -> None:
        lane.hear(events, at)
        if isinstance(events[-1], Delta):
            lane.attempt.cancel()

    lane.attempt.hear = hear
    await lane.run()
    assert farewells(lane) == [1]


async def test_a_farewell_that_makes_no_sense_or_fails_is_left_unsaid(autojump_clock: MockClock) -> None:
    class Odd(Site):
        def farewell(self, request: Request, reader: Reader | None) -> Request | None:
            raise LookupError("no such chat")

    class Refusing(Site):
        def farewell(self, request: Request, reader: Reader | None) -> Request | None:
            raise LoginRequired("not any more")

    for provider in (Odd("a", credentials=GOOD.credentials), Refusing("a", credentials=GOOD.credentials), STOPPING):
        lane = Lane(site_transport(1, b"x", HANG, stop=[ResetError("gone")]), provider)
        with trio.move_on_after(2):
            await lane.run()
        assert lane.end.status is Status.CANCELLED


async def test_a_lane_that_is_cut_off_between_two_tries_says_no_farewell(autojump_clock: MockClock) -> None:
    lane = Lane(site_transport(1, Head(429, {"retry-after": "9"})), STOPPING, retries=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await trio.sleep(5)
        lane.attempt.cancel()
    assert (lane.end.status, lane.attempt.tries, farewells(lane)) == (Status.CANCELLED, 1, [])


# Conversations.


async def test_a_lane_goes_on_from_what_was_said(autojump_clock: MockClock) -> None:
    seen: list[Prompt] = []

    class Noting(Words):
        def request(self, prompt: Prompt) -> Request:
            seen.append(prompt)
            return super().request(prompt)

    turns = Turns((Message("user", "hi"), Message("assistant", "hello")), {"chat": "1"})
    lane = await Lane(said("x"), Noting("a"), turns=turns).run()
    assert [message.text for message in seen[0].messages] == ["hi", "hello", "?"]
    assert seen[0].state == {"chat": "1"}
    assert lane.attempt.prompt == seen[0]


async def test_an_answer_says_whose_it_is(autojump_clock: MockClock) -> None:
    lane = Lane(said("x"), Words("a", "large"), elsewhere=True)
    answer = (await lane.run()).attempt.answer
    assert (answer.lane, answer.provider, answer.model, answer.elsewhere) == ("a", "a", "large", True)
    assert Lane([]).attempt.answer.elsewhere is False
    assert Lane([]).attempt.prompt is None


class Marked(Words):
    """A provider whose answers bear its mark."""

    maker: ClassVar[Any] = {"mark": "of a"}


async def test_what_a_service_must_have_back_is_kept_under_its_providers_mark(autojump_clock: MockClock) -> None:
    lane = await Lane([1, b"?thought", 1, b"x ."], Marked("a")).run()
    assert lane.attempt.answer.opaque == {"mark": "of a", "parts": []}


async def test_a_lane_sets_its_clocks_with_the_alarms_that_all_share(autojump_clock: MockClock) -> None:
    class Shared(Alarms):
        count = 0

        def set(self, at: float, ring: Any) -> None:
            self.count += 1
            super().set(at, ring)

    alarms = Shared()
    await Lane(said("x"), timeouts=Timeouts(first=5), alarms=alarms).run()
    assert alarms.count > 0


async def test_the_prompt_of_a_try_that_may_have_been_read_is_counted_as_waste(autojump_clock: MockClock) -> None:
    for error, repeated in ((ServerError("x"), 1), (ConnectError("x"), 0)):
        scripts: Any = iter([[1, error], said("x")])
        lane = await Lane(MemoryTransport(lambda _, scripts=scripts: next(scripts)), retries=1).run()  # type: ignore[misc]
        assert (lane.attempt.answer.text, lane.attempt.answer.repeated) == ("x", repeated)


class Asking(Words):
    """Asks an address of its own."""

    url: str = "http://a/models/m?key=canary?"

    def request(self, prompt: Prompt) -> Request:
        if not self.url:
            raise NotFound("no such model")
        return Request("POST", self.url)


async def test_where_nothing_was_found_the_error_names_the_address_without_its_query(autojump_clock: MockClock) -> None:
    lane = await Lane([1, NotFound("no such model")], Asking("a")).run()
    assert (lane.error.url, lane.error.lane) == ("http://a/models/m", "a")
    other = await Lane([1, AuthError("no")], Asking("a")).run()
    assert not hasattr(other.error, "url")


async def test_where_nothing_was_asked_the_error_names_no_address(autojump_clock: MockClock) -> None:
    provider = Asking("a")
    provider.url = ""
    lane = await Lane([], provider).run()
    assert (type(lane.error), lane.error.url) == (NotFound, "")


async def test_a_lane_that_comes_too_late_for_its_turn_says_so(autojump_clock: MockClock) -> None:
    limiter = trio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("another lane")
    lane = await Lane(said("x"), limiter=limiter).run(until=trio.current_time() + 1)
    assert "the deadline of all lanes together passed before its turn came" in str(lane.error)
    assert lane.took == 1


class Clumsy(Words):
    """Fails to adapt itself to an error."""

    def adapted(self, error: ProviderError) -> Provider | None:
        raise KeyError("x")


@pytest.mark.internal
async def test_a_provider_that_fails_at_its_own_time_out_has_failed(autojump_clock: MockClock) -> None:
    lane = await Lane([HANG], Clumsy("a"), timeouts=Timeouts(first=1)).run()
    assert (lane.end.status, type(lane.error)) == (Status.FAILED, ProtocolError)


class RaisingReader(WordsReader):
    def feed(self, data: bytes, /) -> list[Event]:
        raise RateLimited("slow down")

    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        raise KeyError("x")


class Raising(Words):
    """Its reader raises whatever comes."""

    def read(self, head: Head, request: Request | None = None) -> Reader:
        return RaisingReader(head)


async def test_the_error_that_a_reader_raises_is_the_lanes_whatever_else_fails_then(autojump_clock: MockClock) -> None:
    lane = await Lane([1, b"x"], Raising("a")).run()
    assert (type(lane.error), str(lane.error)) == (RateLimited, "a: rate_limit: slow down")


async def test_bytes_of_a_refusal_and_an_empty_read_begin_no_answer(autojump_clock: MockClock) -> None:
    scripts: list[Script] = [[1, Head(500), b"x", HANG], [1, b"", HANG]]
    for script in scripts:
        lane = await Lane(script, timeouts=Timeouts(first=3), patient=True).run()
        assert lane.took == 3
    lane = await Lane([1, b"~", HANG], timeouts=Timeouts(first=3), patient=True).run()
    assert lane.took == 4


def test_a_lane_asks_whom_its_group_has_named() -> None:
    attempt = Lane([]).attempt

    def is_alone() -> bool:
        return True

    attempt.alone = is_alone
    assert attempt.alone is is_alone
