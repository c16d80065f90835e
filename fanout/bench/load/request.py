"""One request of a load: an attempt of the engine, watched from both sides, and what became of it as a record."""

import gc
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import cache, partial
from itertools import count
from math import inf
from typing import Any
from urllib.parse import urlsplit

import trio
from attrs import define, evolve, field

from fanout.abc import Head, Receiver, Request, Transport
from fanout.addresses import is_this_machine
from fanout.answers import Answer
from fanout.bench.load.arrivals import Arrivals
from fanout.bench.records.record import Record, Tape, credible
from fanout.bench.records.timings import told
from fanout.catalog import LaneSpec
from fanout.catalog.config import Config
from fanout.engine.trial import Trial
from fanout.errors import UsageError
from fanout.events import Usage
from fanout.local.server import LocalModel
from fanout.plan import Builder, Connections, Settings
from fanout.prices import cost
from fanout.prompt import Prompt
from fanout.providers.openai import OpenAI
from fanout.timeouts import Timeouts
from fanout.transports.choice import transport_named

_SERVER_TIMES = {"openai-processing-ms": 0.001, "x-envoy-upstream-service-time": 0.001}
"""Response headers in which services say how long they took, and their unit in seconds."""


@define(eq=False)
class Note:
    """What the head of a response tells, and when its first byte came."""

    head: float | None = None
    json: bool = False
    server: dict[str, float] = field(factory=dict)


class _Nobody:
    """Receives what comes before the request has gone out: nothing."""

    def head(self, head: Head, /) -> None:
        raise NotImplementedError

    def data(self, data: bytes, /) -> bool:
        raise NotImplementedError


@define(eq=False)
class _Watched:
    """A transport for one attempt, that notes when its request goes out and when the response begins."""

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
    """Sends requests over `connections`, each of which may take `timeout` seconds, all of them for its first token.

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
        """Puts `prompt` to the lane and tells `ended` what became of it, also if it is cut off by cancelling.

        `known` are fields of the record that nothing here tells.
        """
        note = Note()
        tape = Tape(lane.name, block, trio.current_time(), origin=self.began)
        arrivals = Arrivals(_Nobody(), tape, partial(_see, note), self.fresh)
        connections = evolve(self.connections, transport=_Watched(self.connections.transport, arrivals))
        attempt = Builder(connections, self._settings, None).attempt(lane)
        attempt.hear = arrivals.hear
        try:
            await attempt.run(prompt, inf)
        finally:
            tape.first_byte = note.head
            known |= {name: getattr(arrivals, name) for name in ("connect", "tls", "unpeeked", "lateness")}
            note.server.update(told(arrivals.last_words))
            record = tape.record(server=note.server, **_costs(lane, attempt.answer), **known)
            if note.json and len(record.times) < 2:  # at once: then its only piece is no first token
                record = evolve(record, streamed=False)
            ended(record)


@cache
def _is_here(base_url: str) -> bool:
    return is_this_machine(urlsplit(base_url).hostname)


@asynccontextmanager
async def open_stamped(name: str | None = None, *, reuse: bool = True) -> AsyncGenerator[Connections]:
    """Connections that measurements go over: like `open_transport`, with the kernel's stamps where there are any.

    Without `reuse` each request has a new one. Meanwhile Python's collector leaves alone what was there before: to go
    through it takes tens of milliseconds, in which bytes wait. Raises UsageError for an unknown name, and for curl
    where it cannot run.
    """
    async with _carrier(name, reuse=reuse) as http, LocalModel.open(http) as transport:
        gc.collect()
        gc.freeze()
        try:
            yield Connections(transport)
        finally:
            gc.unfreeze()


def _carrier(name: str | None, *, reuse: bool = True) -> AbstractAsyncContextManager[Transport]:
    usual = transport_named(name)  # says what is the matter, if anything is
    if name != "httpx":
        with suppress(ImportError, OSError):
            from fanout.transports.curl import CurlTransport  # noqa: PLC0415  # not everywhere

            return CurlTransport(stamps=True, reuse=reuse)
    if reuse:
        return usual
    from fanout.transports.httpx import HttpxTransport  # noqa: PLC0415  # 100 ms, and seldom needed

    return HttpxTransport(reuse=False)


def lanes_of(specs: Sequence[LaneSpec], *, twice: bool = False) -> tuple[LaneSpec, ...]:
    """The lanes to measure: names made unique, no retries, one key each; `twice`: the first again, under another name.

    Raises UsageError if there is none.
    """
    if not specs:
        raise UsageError("there is no lane to measure; name some with -m")
    lanes = [*specs, evolve(specs[0], name=f"{specs[0].name}-again")] if twice else list(specs)
    names: set[str] = set()
    unique_lanes = []
    for lane in lanes:
        name = next(n for n in _numbered(lane.name) if n not in names)
        names.add(name)
        unique_lanes.append(evolve(lane, name=name, retries=0, spares=()))
    return tuple(unique_lanes)


def at_full_length(lanes: Sequence[LaneSpec]) -> tuple[LaneSpec, ...]:
    """The lanes, their services asked not to end an answer before its most tokens, as vLLM and its like can be.

    Raises UsageError for lanes whose wire has no such option.
    """
    others = [lane.name for lane in lanes if not isinstance(lane.provider, OpenAI)]
    if others:
        raise UsageError(
            f"--ignore-eos: {', '.join(others)}: only servers of OpenAI's chat completions, such as vLLM, SGLang "
            "and llama.cpp, can be asked for it; bound the answers with --max-tokens alone"
        )
    return tuple(
        evolve(lane, options=evolve(lane.options, body={"ignore_eos": True, **lane.options.body})) for lane in lanes
    )


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}#{number}" for number in count(2))


def price(lane: LaneSpec, given: int, output: int) -> float | None:
    """What a request with so many tokens costs in this lane, in US dollars; None if nobody knows."""
    usage = Usage(input=given, output=output)
    answer = Answer(lane.name, provider=lane.provider.name, model=lane.provider.model, usage=usage)
    return _costs(lane, answer)["cost"]


def _costs(lane: LaneSpec, answer: Answer) -> dict[str, float | None]:
    """What the request cost, and what of that was due before its first token.

    A service's prices are not those of a server on this machine that speaks its language.
    """
    if _is_here(getattr(lane.provider, "base_url", "")):
        return {"cost": None}
    if answer.usage is None:
        return {"cost": cost(answer)}
    usage = credible(answer.usage)
    whole = cost(evolve(answer, usage=usage))
    if whole is None:
        return {"cost": None}
    return {"cost": whole, "prompt_cost": cost(evolve(answer, usage=evolve(usage, output=0)))}
