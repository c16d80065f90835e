"""One request's fan-out, written as it goes: the winner's events from the verdict on, in the client's dialect."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from uuid import uuid4

import trio
from attrs import define, evolve, field

from fanout import api
from fanout.abc import Policy
from fanout.answers import Answer, Run
from fanout.catalog.config import Config
from fanout.connections import Connections
from fanout.errors import AllLanesFailed, ProviderError, Refused, UsageError
from fanout.errors.unwrapped import unwrapping
from fanout.events import CONTENT, Delta, End, Event, Reasoning, Sources, Status, Tagged
from fanout.formats.summary import say_votes
from fanout.gateway.call_ids import CallIds
from fanout.gateway.dialects.asked import Asked
from fanout.gateway.dialects.faults import Fault, fault_of
from fanout.gateway.dialects.writer import Made, Writer, dump, figures_of
from fanout.gateway.names import lanes_of
from fanout.gateway.streams import Headers
from fanout.prompt import Prompt

PATIENCE = 5.0
"""Seconds of silence after which a stream begins, or says that it is still there. Proxies close after 30 and more."""

_WRITTEN = CONTENT | {Sources}

STREAM = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),
)
JSON = (("content-type", "application/json"), ("cache-control", "no-store"))


class Sink(Protocol):
    """Takes a response: of a client, or a tape."""

    @property
    def begun(self) -> bool:
        """True once the head is sent."""
        ...

    async def begin(self, status: int, headers: Headers) -> None:
        """Takes the head."""
        ...

    async def write(self, body: bytes, *, last: bool = False) -> None:
        """Takes a part of the body, or the `last`."""
        ...


@define
class Answering:
    """Answers one request. `headers` go into its head; `note` is told of the answer once it is whole.

    `schema` judges its answers, `fault` is what went wrong, if anything did, `run` has the figures; `over` is False as
    long as the answer may go on.
    """

    asked: Asked
    plan: Policy
    make_writer: Callable[[Asked, Made], Writer]
    make_error: Callable[[Fault], Mapping[str, Any]]
    headers: Sequence[tuple[str, str]] = ()
    note: Callable[[Answer], None] = lambda _: None
    fault: Fault | None = None
    run: Run | None = None
    over: bool = False
    writer: Writer | None = None
    schema: Any = None
    made: Made = field(init=False)
    _before: dict[str, list[Event]] = field(factory=dict)
    _ids: CallIds = field(factory=CallIds)
    _lane: str | None = None
    _spoke_at: float = 0.0

    def __attrs_post_init__(self) -> None:
        tokens = sum(len(message.text) for message in self.asked.prompt.messages) // 4
        self.made = Made(uuid4().hex[:24], int(time.time()), self.asked.model, tokens)

    async def answer(self, sink: Sink, connections: Connections, config: Config) -> bool:
        """Sends the whole answer, or the error. Returns True for an answer."""
        try:
            self.schema = find_schema(self.asked.prompt, self.plan)
            if self.asked.stream:
                await self._stream(sink, connections, config)
            else:
                await self._answer_whole(sink, connections, config)
        except (UsageError, ProviderError) as error:
            await self.fail(sink, fault_of(error))
        self.over = True
        return self.fault is None

    async def fail(self, sink: Sink, fault: Fault) -> None:
        """Sends an error: with its status, or in the body of a response that has begun."""
        self.fault = fault
        if sink.begun:
            await sink.write(self._writer().fail(fault), last=True)
        else:
            await send_error(sink, fault, self.make_error(fault), self.headers)

    async def _answer_whole(self, sink: Sink, connections: Connections, config: Config) -> None:
        run = self.run = await api.ask(
            self.asked.prompt, self.plan, transport=connections, config=config, schema=self.schema
        )
        winner = run.winner
        if winner is None:
            await self.fail(sink, fault_of(_failure(run)))
            return
        winner = self._ids.change_answer(winner)
        self.note(winner)
        self.made.model = winner.model or self.made.model
        body = dump(self._writer().whole(winner, figures_of(run)))
        wasted = ("x-fanout-wasted-tokens", str(run.wasted.tokens))
        own = [*_winner_headers(winner.lane, winner.ttft), wasted, ("content-length", str(len(body)))]
        await sink.begin(200, [*JSON, *self.headers, *own])
        await sink.write(body, last=True)

    async def _stream(self, sink: Sink, connections: Connections, config: Config) -> None:
        with unwrapping():
            async with (
                api.open_fanout(
                    self.asked.prompt, self.plan, transport=connections, config=config, schema=self.schema
                ) as fanout,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._keep_alive, sink)
                await self._take_all(sink, fanout)
                nursery.cancel_scope.cancel()

    async def _take_all(self, sink: Sink, fanout: api.Fanout) -> None:
        while True:
            try:
                tagged = await fanout.take()
            except StopAsyncIteration:
                self.run = fanout.run
                await self.fail(sink, fault_of(_failure(self.run)))
                return
            if await self._take(sink, fanout, tagged):
                return

    async def _take(self, sink: Sink, fanout: api.Fanout, tagged: Sequence[Tagged]) -> bool:
        """Takes the events that have come. Returns True if the answer is over."""
        if self._lane is not None:
            events = [one.event for one in tagged if one.lane == self._lane]
        else:
            for one in tagged:
                if type(one.event) in _WRITTEN or isinstance(one.event, End):
                    self._before.setdefault(one.lane, []).append(one.event)
            # Where a schema judges, the last lane that is left may still be refused.
            answer = fanout.winner if self.schema is not None else fanout.settled or fanout.winner
            if answer is None or not (events := self._before.get(answer.lane, [])):
                return False
            if not any(type(event) in _WRITTEN for event in events) and not _finished(events):
                return False  # it may still fail before it has said anything, which is then told by a status
            self._lane, self._before = answer.lane, {}
            self.made.model = answer.model or self.made.model
            if not sink.begun:
                at = next((one.at for one in tagged if one.lane == answer.lane), None)
                await sink.begin(200, [*STREAM, *self.headers, *_winner_headers(answer.lane, at)])
            events = merge(events)
        events = self._ids.change_events(events)
        end = events[-1] if events and isinstance(events[-1], End) else None
        written = self._writer().feed(events if end is None else events[:-1])
        if end is None:
            await sink.write(written)
            if written:  # what lanes say that is not the answer keeps no connection open
                self._spoke_at = trio.current_time()
            return False
        self.run = fanout.run
        await sink.write(written + self._end(end, self.run, self._lane), last=True)
        return True

    def _end(self, end: End, run: Run, lane: str) -> bytes:
        """The last bytes: of a whole answer, or of one that failed after its beginning."""
        answer = self._ids.change_answer(run[lane])
        if end.status is Status.FINISHED:
            self.note(answer)
            self.made.model = answer.model or self.made.model
            return self._writer().close(answer, figures_of(run))
        self.fault = fault_of(end.error or ProviderError("the answer broke off"))
        return self._writer().fail(self.fault)

    async def _keep_alive(self, sink: Sink) -> None:
        """Begins a stream in which nothing has come for a while, and says from time to time that it is there."""
        self._spoke_at = trio.current_time()
        while True:
            await trio.sleep_until(self._spoke_at + PATIENCE)
            if trio.current_time() < self._spoke_at + PATIENCE:
                continue
            self._spoke_at = trio.current_time()
            writer = self._writer()
            if sink.begun:
                await sink.write(writer.ping())
            else:
                await sink.begin(200, [*STREAM, *self.headers])
                await sink.write(writer.begin() + writer.ping())

    def _writer(self) -> Writer:
        if self.writer is None:
            self.writer = self.make_writer(self.asked, self.made)
        return self.writer


def merge(events: Sequence[Event]) -> list[Event]:
    """Returns the events with neighbouring pieces of the same text as one."""
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, Delta) and isinstance(last, Delta):
            out[-1] = Delta(last.text + event.text)
        elif isinstance(event, Reasoning) and isinstance(last, Reasoning) and last.opaque is None:
            out[-1] = evolve(event, text=last.text + event.text)
        else:
            out.append(event)
    return out


async def send_error(sink: Sink, fault: Fault, body: Mapping[str, Any], headers: Sequence[tuple[str, str]]) -> None:
    """Sends an error as a whole response. Clients that know x-should-retry do not repeat what cannot get better."""
    said = dump(body)
    own = [("content-length", str(len(said))), ("x-should-retry", "true" if fault.retryable else "false")]
    if fault.retry_after is not None:
        own.append(("retry-after", str(max(1, round(fault.retry_after)))))
    await sink.begin(fault.status, [*JSON, *headers, *own])
    await sink.write(said, last=True)


def find_schema(prompt: Prompt, plan: Policy) -> Any:
    """Returns the schema that answers are judged by: the client's, where several lanes give whole answers.

    The answer of a single lane goes to the client as it is: there is no other that could be better. Where the package
    for it is not installed, the services alone heed the schema. Raises UsageError for one that is none.
    """
    schema = prompt.options.schema
    if not schema or not _waits(plan) or len(list(lanes_of(plan))) == 1:
        return None
    from fanout.schema.validate import is_installed  # noqa: PLC0415  # few requests have a schema

    return schema if is_installed() else None


def _waits(plan: Any) -> bool:
    return not isinstance(plan, Policy) or (plan.waits and all(map(_waits, plan.lanes)))


def _finished(events: Sequence[Event]) -> bool:
    return isinstance(end := events[-1], End) and end.status is Status.FINISHED


def _failure(run: Run) -> AllLanesFailed:
    """Every lane's error; an answer that is whole and has nothing but thoughts was refused for that.

    Whole answers of which none has won are those of lanes that did not agree.
    """
    if run.kept:
        said = f"the lanes did not agree: {say_votes(run)}" if run.votes else "no answer has won"
        return AllLanesFailed("no lane gave an answer", [Refused(said)])
    errors = [error for answer in run.answers if (error := answer.error or _refusal(answer)) is not None]
    return AllLanesFailed("no lane gave an answer", errors or [ProviderError("no lane gave an answer")])


def _refusal(answer: Answer) -> Refused | None:
    if answer.status is not Status.FINISHED or answer.answered:
        return None
    error = Refused(f"its answer was empty{f', and ended with {answer.finish_reason}' if answer.finish_reason else ''}")
    error.lane = answer.lane
    return error


def _winner_headers(lane: str, ttft: float | None) -> list[tuple[str, str]]:
    return [("x-fanout-winner", lane), *([] if ttft is None else [("x-fanout-ttft", f"{ttft:.4f}")])]
