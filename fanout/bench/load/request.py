"""One request of a load: an attempt of the engine, between a stamping transport and its own events, as a record."""

import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from math import inf
from typing import Any

import trio
from attrs import define, evolve, field

from fanout import Prompt, Timeouts
from fanout.abc import Head, Receiver, Request, Transport
from fanout.bench.load.arrivals import Arrivals
from fanout.bench.load.lanes import costs
from fanout.bench.records.record import Record
from fanout.bench.records.tape import Tape
from fanout.bench.records.timings import read_timings
from fanout.catalog import LaneSpec
from fanout.catalog.config import Config
from fanout.connections import Connections
from fanout.engine.trial import Trial
from fanout.local.server import LocalModel
from fanout.plan import Builder, Settings
from fanout.transports.choice import choose_transport

_SERVER_TIMES = {"openai-processing-ms": 0.001, "x-envoy-upstream-service-time": 0.001}
"""Response headers with the time that a service took, and their unit in seconds."""


@define(eq=False)
class Note:
    """Facts from the head of a response, and the Trio time of its first byte (`head`)."""

    head: float | None = None
    json: bool = False
    server: dict[str, float] = field(factory=dict)


@define(eq=False)
class _Watched:
    """A transport for one attempt, that puts its Arrivals between itself and the attempt."""

    inner: Transport
    arrivals: Arrivals

    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        """Hands the request on."""
        if not isinstance(receiver, Trial):  # a round trip before the last one
            await self.inner.exchange(request, receiver, connect)
            return
        self.arrivals.pass_to(receiver)
        self.arrivals.tape.sent = trio.current_time()
        await self.inner.exchange(request, self.arrivals, connect)


def _see(note: Note, head: Head, at: float) -> None:
    note.head = at
    note.json = head.headers.get("content-type", "").partition(";")[0].strip() == "application/json"
    for name, unit in _SERVER_TIMES.items():
        try:
            took = float(head.headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= took < inf:
            note.server[name] = took


@define(eq=False)
class Sender:
    """Sends requests over `connections`, each of which may take `timeout` seconds; no other clock ends it.

    Nothing is tried again: a failure is a result. Times of records count from `began`. `fresh` says that each request
    opens a connection of its own: then the time for that is in all its times.
    """

    connections: Connections
    timeout: float
    config: Config = field(factory=Config)
    began: float = field(factory=trio.current_time)
    fresh: bool = False
    _settings: Settings = field(init=False)

    def __attrs_post_init__(self) -> None:
        clocks = Timeouts(first=inf, idle=inf, total=self.timeout)
        self._settings = Settings.of(clocks, 0, "cancel", self.config)

    async def send(
        self, lane: LaneSpec, prompt: Prompt, block: int, ended: Callable[[Record], None], **known: Any
    ) -> None:
        """Puts `prompt` to the lane and calls `ended` with its record, also if it is cut off by cancelling.

        `known` are fields of the record that do not follow from the request.
        """
        note = Note()
        tape = Tape(lane.name, block, trio.current_time(), origin=self.began)
        arrivals = Arrivals(tape, partial(_see, note), self.fresh)
        self.connections.login_for(lane.provider)  # one source of credentials for all requests: it is kept here
        connections = evolve(self.connections, transport=_Watched(self.connections.transport, arrivals))
        attempt = Builder(connections, self._settings, None).attempt(lane)
        attempt.hear = arrivals.hear
        try:
            await attempt.run(prompt, inf)
        finally:
            tape.first_byte = note.head
            known |= {name: getattr(arrivals, name) for name in ("connect", "tls", "unpeeked", "lateness")}
            note.server.update(read_timings(arrivals.last_words))
            record = tape.record(server=note.server, **costs(lane, attempt.answer), **known)
            if note.json and len(record.times) < 2:  # it came whole: its only piece is no first token
                record = evolve(record, streamed=False)
            ended(record)


@asynccontextmanager
async def open_stamped(name: str | None = None, *, reuse: bool = True) -> AsyncGenerator[Connections]:
    """Opens connections for measurements: like `open_transport`, with the kernel's stamps where there are any.

    Without `reuse` each request has a new one. Until they are closed, Python's collector ignores the objects that were
    there before: to go through them takes tens of milliseconds, in which bytes wait. Raises UsageError for an unknown
    name, and for curl where it cannot run.
    """
    async with _carrier(name, reuse=reuse) as http, LocalModel.open(http) as transport:
        gc.collect()
        gc.freeze()
        try:
            yield Connections(transport, memory=None)  # each request is sent, whatever became of those before
        finally:
            gc.unfreeze()


def _carrier(name: str | None, *, reuse: bool = True) -> AbstractAsyncContextManager[Transport]:
    usual = choose_transport(name)  # raises UsageError, also for curl where it cannot run
    if name != "httpx":
        with suppress(ImportError, OSError):
            from fanout.transports.curl import CurlTransport  # noqa: PLC0415  # not everywhere

            return CurlTransport(stamps=True, reuse=reuse)
    if reuse:
        return usual
    from fanout.transports.httpx import HttpxTransport  # noqa: PLC0415  # 100 ms, and seldom needed

    return HttpxTransport(reuse=False)
