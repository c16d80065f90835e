"""A fault stays in its lane: the others go on, whatever its code raises, and a bug of the caller comes out."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import fanout
from fanout import All, Fallback, Race, Status
from fanout.abc import Flow, Head, Policy, Receiver, Request
from fanout.catalog import LaneSpec
from fanout.connections import Connections
from fanout.credentials import Credentials
from fanout.engine.attempt import Attempt
from fanout.errors import InternalError, RateLimited, UsageError
from fanout.events import Delta, End, Event
from fanout.prompt import Prompt
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.engine.test_attempt import GOOD, Desk, Lane, Site, login_as
from tests.words import Words, WordsReader, memory, said, watch, words


def endless() -> Any:
    return endless()


def assertion() -> Any:
    raise AssertionError("bug")


def attribute() -> Any:
    nothing: Any = []
    return nothing.bug


def group() -> Any:
    raise ExceptionGroup("bug", [OSError("bug")])


def memory_error() -> Any:
    raise MemoryError("bug")


def no_args() -> Any:
    class Odd(Exception):
        @property
        def args(self) -> Any:  # type: ignore[override]
            raise LookupError("bug")

    raise Odd


BUGS: list[Callable[[], Any]] = [endless, assertion, attribute, group, memory_error, no_args]


class Bug(Exception):
    """No kind of exception that anybody knows."""


def bug(*_: Any) -> Any:
    raise Bug("secret words")


class BuggyReader(WordsReader):
    """Fails where its provider says: `feed` at `%`, in `close`, or when it is asked if the answer is complete."""

    def __init__(self, head: Head, where: str, bug: Callable[[], Any]) -> None:
        self.where, self.bug = where, bug
        super().__init__(head)

    def _event(self, word: str) -> Event | None:
        return self.bug() if self.where == "feed" and word == "%" else super()._event(word)

    def close(self, error: Any = None, /) -> list[Event]:
        return self.bug() if self.where == "close" else super().close(error)

    @property
    def complete(self) -> bool:
        return self.bug() if self.where == "complete" else False

    @complete.setter
    def complete(self, value: bool) -> None: ...


class Buggy(Words):
    """Fails in one of its methods, or its reader does."""

    def __init__(self, name: str, where: str, bug: Callable[[], Any] = bug) -> None:
        super().__init__(name)
        self.where, self.bug = where, bug

    def flow(self, prompt: Prompt) -> Flow:
        if self.where == "flow":
            self.bug()
        return self.trips(prompt)

    def trips(self, prompt: Prompt) -> Flow:
        if self.where == "trip":
            yield Request("GET", "http://token/")
            self.bug()
        return self.request(prompt)

    def request(self, prompt: Prompt) -> Request:
        return self.bug() if self.where == "request" else super().request(prompt)

    def read(self, head: Head, request: Request | None = None) -> WordsReader:
        return self.bug() if self.where == "read" else BuggyReader(head, self.where, self.bug)

    def renewed(self, head: Head) -> Any:
        return self.bug() if self.where == "renewed" else None

    def adapted(self, error: Any) -> Any:
        return self.bug() if self.where == "adapted" else None

    def farewell(self, request: Request, reader: Any) -> Any:
        return self.bug() if self.where == "farewell" else None


SCRIPTS: dict[str, Any] = {"feed": [0.1, b"x", b"%"], "close": [0.1, b"x"], "adapted": [0.1, Head(500)]}
ENDING = ["request", "flow", "trip", "read", "renewed", "feed", "complete", "close", "adapted"]


@pytest.mark.internal
@pytest.mark.parametrize("raised", BUGS, ids=lambda raised: raised.__name__)
@pytest.mark.parametrize("where", ENDING)
async def test_whatever_a_providers_code_raises_ends_its_lane_and_no_other(
    where: str, raised: Callable[[], Any], autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    script = SCRIPTS.get(where, [0.1, b"x", 0.1, b"y", HANG])
    transport = memory(a=script, token=[b"t"], b=said("fine", first=0.5))
    seen = await watch(All(Buggy("a", where, raised), *words("b")), transport, retries=3)
    answer = seen.run.answers[0]
    assert (answer.status, seen.run.answers[1].text) == (Status.FAILED, "fine")
    assert isinstance(answer.error, InternalError)
    assert answer.error.__cause__ is not None
    assert (answer.error.lane, answer.error.retryable) == ("a", False)
    assert sum(exchange.request.url == "http://a/" for exchange in transport.exchanges) <= 1
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(errors) == 1 and "bug" not in errors[0]


@pytest.mark.internal
async def test_a_reader_without_an_end_is_a_mistake(autojump_clock: MockClock) -> None:
    for events in ([], [Delta("x")]):
        lane = Buggy("a", "close", lambda events=events: events)  # type: ignore[misc]
        (answer,) = (await watch(All(lane), memory(a=[0.1, b"x"]), retries=0)).run.answers
        assert isinstance(answer.error, InternalError)
        assert "last event is no End" in str(answer.error.__cause__)


@pytest.mark.internal
async def test_a_provider_that_defines_no_request_is_a_mistake_of_its_author(autojump_clock: MockClock) -> None:
    class Unfinished(Words):
        request = fanout.abc.Provider.request

    run = await fanout.ask("?", Race(Unfinished("a"), *words("b")), transport=memory(b=said("x")))
    assert run.winner and run.winner.lane == "b"
    assert "defines neither request nor flow" in str(run["a"].error)


def say_nothing(_: Any) -> Any:
    raise AttributeError("nothing")


@pytest.mark.parametrize("field", ["name", "model", "base_url", "maker"])
@pytest.mark.parametrize("value", [property(say_nothing), property(lambda _: 3)], ids=["raises", "no text"])
async def test_a_provider_that_cannot_say_what_it_is_is_refused_before_anything_is_sent(field: str, value: Any) -> None:
    if field == "maker" and value.fget is not say_nothing:
        pytest.skip("any value will do")
    kind = type("Shy", (Words,), {field: value, "__init__": lambda _self: None})
    transport = memory(b=said("x"))
    with pytest.raises(UsageError, match="the provider Shy cannot be used: "):
        await fanout.ask("?", Race(kind(), *words("b")), transport=transport)
    assert not transport.exchanges


@pytest.mark.internal
@pytest.mark.parametrize("error", [Bug("x"), KeyError("x"), TypeError("x")], ids=lambda error: type(error).__name__)
async def test_whatever_a_transport_raises_ends_the_lane(error: Exception, autojump_clock: MockClock) -> None:
    class Odd(MemoryTransport):
        async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
            if request.url == "http://a/":
                raise error
            await super().exchange(request, receiver, connect)

    run = await fanout.ask("?", All(*words("a", "b")), transport=Odd({"b": said("x")}))
    assert isinstance(run["a"].error, InternalError)
    assert run["a"].error.__cause__ is error
    assert run["b"].text == "x"


async def test_a_transport_that_is_closed_is_the_callers_mistake(autojump_clock: MockClock) -> None:
    async with fanout.open_transport("httpx") as closed:
        pass
    with pytest.raises(UsageError, match="closed"):
        await fanout.ask("?", Race(*words("a")), transport=closed)


@pytest.mark.internal
async def test_a_farewell_or_a_login_that_fails_hurts_nobody(autojump_clock: MockClock) -> None:
    class Careless(Desk):
        async def renew(self, provider: Any, refused: Any) -> Any:
            return bug()

        async def keep(self, credentials: Credentials) -> None:
            bug()

    class Renewing(Site):
        def renewed(self, head: Head) -> Credentials:
            return login_as("renewed")

    with trio.move_on_after(1):
        await fanout.ask("?", Race(Buggy("a", "farewell")), transport=memory(a=[HANG]))
    wanting = await Lane(MemoryTransport(lambda _: [Head(401)]), GOOD, login=Careless()).run()
    assert isinstance(wanting.error, InternalError)
    lane = await Lane(
        MemoryTransport(lambda _: said("x")), Renewing("a", credentials=login_as("good")), login=Careless()
    ).run()
    assert lane.end.status is Status.FINISHED


@pytest.mark.internal
async def test_the_count_of_a_loser_whose_reader_fails_is_not_known(autojump_clock: MockClock) -> None:
    plan = Race(Buggy("a", "close"), *words("b"))
    run = await fanout.ask("?", plan, transport=memory(a=[0.1, b"x", HANG], b=said("y", first=1)))
    assert (run["a"].status, run["a"].chunks) == (Status.CANCELLED, 1)


# The caller's own code.


async def within_a_day(plan: Policy, transport: MemoryTransport, do: Callable[[fanout.Fanout], Any]) -> fanout.Run:
    """Runs a plan; after a second `do` is called, and what it raises is caught."""
    began = trio.current_time()
    with trio.fail_after(86400):
        async with fanout.open_fanout("?", plan, transport=transport, deadline=60) as running:
            await trio.sleep(1)
            with pytest.raises(Bug):
                do(running)
            async for _ in running:
                pass
    assert transport.open == 0
    assert running.run.elapsed == pytest.approx(trio.current_time() - began)
    return running.run


def accepts_no_x(answer: fanout.Answer) -> bool:
    return bug() if answer.text == "x" else True


async def test_an_accept_that_raises_while_the_caller_stops_a_lane_leaves_no_lane_without_clocks(
    autojump_clock: MockClock,
) -> None:
    plan = Race(All(*words("a", "b")), *words("c"), accept=accepts_no_x)
    run = await within_a_day(plan, memory(a=said("x"), b=[HANG], c=[5, b"late ."]), lambda r: r.cancel("b"))
    assert run.winner and (run.winner.lane, run.elapsed) == ("c", 5)


class Raising(Fallback):
    """Fails when it is told that a lane was cancelled."""

    def losers(self, lane: int, event: Event, lanes: Any) -> Any:
        cancelled = isinstance(event, End) and event.status is Status.CANCELLED
        return bug() if cancelled else super().losers(lane, event, lanes)


async def test_a_policy_that_raises_while_the_caller_stops_a_lane_has_been_told(autojump_clock: MockClock) -> None:
    run = await within_a_day(Raising(*words("a", "b")), memory(a=[HANG], b=said("y")), lambda r: r.cancel("a"))
    assert run.winner and run.winner.lane == "b"
    assert run.elapsed == pytest.approx(1.1)


async def test_a_policy_that_raises_at_the_deadline_leaves_no_lane_without_its_end(autojump_clock: MockClock) -> None:
    class AtTheDeadline(Fallback):
        def losers(self, lane: int, event: Event, lanes: Any) -> Any:
            return bug() if lane == 1 else ()

    scripts: list[Script] = [[HANG], [1, b"!no"]]
    for script in scripts:
        plan = AtTheDeadline(*words("a", "b", "c"))
        with pytest.raises(Bug):
            async with fanout.open_fanout("?", plan, transport=memory(a=script), deadline=1, retries=0) as running:
                async for _ in running:
                    pass
        assert None not in [answer.status for answer in running.run.answers]


async def test_a_group_whose_last_lane_the_caller_stops_is_over_though_its_policy_raises(
    autojump_clock: MockClock,
) -> None:
    run = await within_a_day(Raising(*words("a")), memory(a=[HANG]), lambda r: r.cancel("a"))
    assert (run.winner, run.elapsed) == (None, 1)


async def test_where_one_lane_cannot_be_stopped_without_a_bug_the_others_are_stopped_all_the_same(
    autojump_clock: MockClock,
) -> None:
    class AtTwo(Raising):
        pace = 0.0

    plan = Race(*words("w"), AtTwo(*words("a", "b", "c")), on_lose="cancel")
    transport = memory(w=said("w", first=2), a=[HANG], b=[HANG], c=[HANG])
    seen = await watch(plan, transport)
    assert seen.run.elapsed == pytest.approx(2)
    waiting = Race(*words("w"), Raising(*words("a", "b", "c")), on_lose="keep")
    transport = memory(w=said("w", first=2), a=[1, b"y", 5, b"."])
    with trio.fail_after(86400), pytest.raises(Bug):
        await fanout.ask("?", waiting, transport=transport)
    assert transport.open == 0


async def test_a_bug_is_raised_though_its_own_lane_has_just_been_stopped(autojump_clock: MockClock) -> None:
    class Patient(MemoryTransport):
        async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
            await super().exchange(request, receiver, connect)
            await trio.sleep(0.01)

    lane = Attempt("a", Words("a"), Patient({"a": [1, b"x", HANG]}))

    def hear(events: Any, at: float) -> None:
        if isinstance(events[-1], Delta):
            lane.cancel()
            bug()

    lane.hear = hear
    with pytest.raises(Bug):
        await lane.run(Prompt.of("?"), 100)


async def test_a_bug_ends_the_exchange_at_once(autojump_clock: MockClock) -> None:
    heard: list[Any] = []
    lane = Attempt("a", Words("a"), memory(a=[1, b"x", 1, b"y", HANG]))

    def hear(events: Any, at: float) -> None:
        heard.append(events)
        if isinstance(events[-1], Delta):
            bug()

    lane.hear = hear
    with pytest.raises(Bug):
        await lane.run(Prompt.of("?"), 100)
    assert (trio.current_time(), heard[1]) == (1, [Delta("x")])


# The caller leaves.


class Noted(Race):
    """Writes down what it is asked about."""

    def __init__(self, *lanes: Any, asked: list[Any], **settings: Any) -> None:
        super().__init__(*lanes, **settings)
        self.asked = asked
        self.heeds = None

    def losers(self, lane: int, event: Event, lanes: Any) -> Any:
        self.asked.append(event)
        return super().losers(lane, event, lanes)


async def test_when_the_caller_leaves_no_policy_is_asked_and_nothing_wins(autojump_clock: MockClock) -> None:
    for others in ("c", "") * 10:
        asked: list[Any] = []
        inner = Noted(*words("b", "d"), asked=asked)
        plan = Noted(All(*words("a"), inner), *words(*others), asked=asked)
        transport = memory(a=said("x"), b=[HANG], c=[HANG], d=[HANG])
        async with fanout.open_fanout("?", plan, transport=transport) as running:
            await trio.sleep(1)
            asked.clear()
        assert (asked, running.run.winner, running.run.kept) == ([], None, ())
        assert [answer.status for answer in running.run.answers][:3] == ["finished", "cancelled", "cancelled"]


class Stopping(Words):
    def farewell(self, request: Request, reader: Any) -> Any:
        return Request("DELETE", "http://stop/")


@pytest.mark.parametrize("plan", [Fallback, Race], ids=lambda plan: plan.__name__)
async def test_all_lanes_end_when_the_caller_leaves_and_not_after_the_farewells(
    plan: type[Policy], autojump_clock: MockClock
) -> None:
    transport = memory(a=[HANG], b=[HANG], c=[HANG], stop=[HANG])
    with trio.move_on_after(2):
        async with fanout.open_fanout(
            "?", All(plan(Stopping("a"), *words("b")), *words("c")), transport=transport
        ) as running:
            async for _ in running:
                pass
    assert trio.current_time() == pytest.approx(3)
    assert running.run.elapsed == pytest.approx(2)


async def test_a_call_that_is_cancelled_before_it_begins_asks_nothing_and_says_no_farewell(
    autojump_clock: MockClock,
) -> None:
    transport = memory(a=[HANG], stop=[HANG])
    with trio.CancelScope() as scope:
        scope.cancel()
        await fanout.ask("?", Race(Stopping("a")), transport=transport)
    assert (transport.exchanges, trio.current_time()) == ([], 0)


# What a failure teaches.


class Limiting(Words):
    """`!` is a rate limit of 100 s, and so is a 429."""

    def read(self, head: Head, request: Request | None = None) -> WordsReader:
        return LimitedReader(head)


class LimitedReader(WordsReader):
    def feed(self, data: bytes, /) -> list[Event]:
        events = super().feed(data)
        for event in events:
            if isinstance(event, End) and event.error:
                event.error = RateLimited("limited", retry_after=100)
        return events


LIMITED = Head(429, {"retry-after": "100"})


@pytest.mark.parametrize(
    ("script", "plan"),
    [
        ([LIMITED, HANG], lambda lane: Race(lane)),
        ([b"word", 0.1, b"!"], lambda lane: Race(lane)),
        ([1, LIMITED, b"no"], lambda lane: Race(*words("w"), lane, on_lose="keep")),
        ([0.05, LIMITED, HANG], lambda lane: Race(*words("w"), lane)),
    ],
    ids=["a clock fires", "after the first word", "lost and kept", "lost and cut off"],
)
async def test_a_limited_key_rests_however_its_lane_ended(
    script: Any, plan: Callable[[Any], Policy], autojump_clock: MockClock
) -> None:
    lane = LaneSpec("l", Limiting("one"), spares=(Limiting("two"),), retries=0, timeouts=fanout.Timeouts(first=2))
    inner = memory(one=script, two=said("y"), w=said("q"))
    connections = Connections(inner)
    await fanout.ask("?", plan(lane), transport=connections)
    inner.exchanges.clear()
    await fanout.ask("?", Race(lane), transport=connections)
    assert [exchange.request.url for exchange in inner.exchanges] == ["http://two/"]


@pytest.mark.parametrize(("status", "tokens"), [(500, 9), (400, 9), (399, 10)])
async def test_a_loser_that_was_refused_counts_against_its_budget_and_no_other(
    status: int, tokens: int, autojump_clock: MockClock
) -> None:
    connections = Connections(memory(a=[0.05, Head(status), HANG], b=said("x"), c=[0.05, b"y", HANG], d=[HANG]))
    await fanout.ask("?", Race(*words("a", "b", "c", "d")), transport=connections)
    budgets = {name.split()[0]: budget.tokens for name, budget in connections.budgets.items()}
    assert budgets == {"a": tokens, "b": 10, "c": 10, "d": 10}
