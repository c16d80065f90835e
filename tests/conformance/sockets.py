"""The cases of raw HTTP/1.1 and HTTP/2: a whole lane, from transport to answer, against a server that plays bytes."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import repeat
from typing import Any

import trio
from attrs import define, field

import fanout
from fanout.abc import Transport
from fanout.events import End, Event
from fanout.transports.curl import CurlTransport
from fanout.transports.httpx import HttpxTransport
from tests.conformance.cases import Case, Cut, cut_at_sizes, prefixes
from tests.conformance.judge import Got
from tests.conformance.lanes import provider_at
from tests.conformance.subjects import got_of
from tests.servers.http import Received, read_request, reset, serve

CLOCKS = fanout.Timeouts(connect=0.7, first=0.7, idle=0.7, total=2)
"""For cases in which one of them is to fire. The others should not fail because the machine is busy."""
PATIENT = fanout.Timeouts(connect=5, first=5, idle=5, total=5)
LONGEST = 2.0
"""Seconds for any case."""
SLACK = 0.5
ALARM = 6.0
GAP = 0.003
STALL = 4.0
SMALL = 4096
"""Bytes of an input that can come byte by byte within the clocks, each in a read of its own."""


@define
class Wire:
    """The server's record: the requests, and the text that was out when each chunk but the first was about to go."""

    requests: list[Received] = field(factory=list)
    texts: list[str] = field(factory=list)


class Http1:
    """A Subject for `http1` cases: a provider, OpenAI's unless the case names another wire, over a transport."""

    can: frozenset[str] = frozenset()

    def __init__(self, open_transport: Callable[[], AbstractAsyncContextManager[Transport]], name: str = "") -> None:
        self._open_transport = open_transport
        self._name = f"{name}, " if name else ""

    def cuts(self, case: Case) -> Iterator[Cut]:
        """As given, in one piece, and byte by byte where that is bearable."""
        chunks = case.chunks
        yield f"{self._name}as given", chunks
        if not case.large and case.gap is None:
            yield f"{self._name}in one piece", [b"".join(chunks)]
            if sum(map(len, chunks)) <= SMALL:
                yield f"{self._name}byte by byte", cut_at_sizes(b"".join(chunks), repeat(1))

    def run(self, case: Case, chunks: Sequence[bytes]) -> Got:
        """Asks once, and says what became of it and what the server saw."""
        got, wire, problems = trio.run(self._ask, case, chunks)
        if case.deadline and list(chunks) == case.chunks:
            ended_there = [trio.run(self._ask, case, [part])[0]["text"] for part in prefixes(chunks)]
            if wire.texts != ended_there[: len(wire.texts)]:
                problems.append("late: what a chunk completes is not out before the next")
        return {**got, "problems": [*problems, *_misbehaviour(case, wire)]}

    async def _ask(self, case: Case, chunks: Sequence[bytes]) -> tuple[Got, Wire, list[str]]:
        wire = Wire()
        events: list[Event] = []
        texts: list[str] = []
        problems: list[str] = []
        with trio.fail_after(ALARM):
            async with self._open_player(case, chunks, wire, texts) as url, self._open_transport() as transport:
                provider = provider_at(case.wire, url)
                began = trio.current_time()
                clocks = _clocks(case, chunks)
                async with fanout.open_fanout("?", [provider], transport=transport, timeouts=clocks, retries=0) as run:
                    async for tagged in run:
                        events.append(tagged.event)
                        texts.append(getattr(tagged.event, "text", ""))
                ends = sum(isinstance(event, End) for event in events)
                if ends != 1:
                    problems.append(f"{ends} Ends")
                if trio.current_time() - began > LONGEST + SLACK:
                    problems.append("overran its clocks")
        answer = run.run.answers[0]
        return {**got_of(answer, events), "complete": answer.status == "finished"}, wire, problems

    def _open_player(
        self, case: Case, chunks: Sequence[bytes], wire: Wire, texts: list[str]
    ) -> AbstractAsyncContextManager[str]:
        return _open_player(case, chunks, wire, texts, read_request)


def _clocks(case: Case, chunks: Sequence[bytes]) -> fanout.Timeouts:
    """Short ones where only they end it: the service holds the connection, and has not said all, or should time out."""
    end = case.fields.get("end", "close")
    whole = b"".join(chunks) == b"".join(case.chunks)
    ends = end in ("close", "reset") or (end == "hold" and whole)
    fires = "timeout" in (case.expect.get("error"), *case.expect.get("error_any", ()))
    return PATIENT if ends and not fires else CLOCKS


class Http2(Http1):
    """The same for `h2` cases: frames in clear, for a transport that knows it beforehand."""

    def _open_player(
        self, case: Case, chunks: Sequence[bytes], wire: Wire, texts: list[str]
    ) -> AbstractAsyncContextManager[str]:
        # One connection only: libcurl goes by itself to another, if the first did not process the request.
        return _open_player(case, chunks, wire, texts, read_preface_and_headers, connections=1)


@asynccontextmanager
async def _open_player(
    case: Case,
    chunks: Sequence[bytes],
    wire: Wire,
    texts: list[str],
    read: Callable[[trio.SocketStream], Awaitable[Received | None]],
    connections: int | None = None,
) -> AsyncGenerator[str]:
    """A server that answers every request on every path of every connection with the case's bytes."""

    async def handle(stream: trio.SocketStream) -> None:
        request = await read(stream)
        if request is None:
            return
        wire.requests.append(request)
        port = stream.socket.getsockname()[1]
        for number, chunk in enumerate(chunks):
            if number and list(chunks) == case.chunks:
                await trio.sleep(case.gap or GAP)
                wire.texts.append("".join(texts))
            await stream.send_all(chunk.replace(b"{port}", str(port).encode()))
        await _end(stream, str(case.fields.get("end", "close")))

    async with serve(handle, connections) as url:
        yield url


async def _end(stream: trio.SocketStream, how: str) -> None:
    if how == "reset":
        await trio.sleep(0.05)
        reset(stream)
    elif how == "stall":
        await trio.sleep(STALL)
    elif how == "hold":
        while await stream.receive_some():
            pass
    else:
        await stream.send_eof()
        with trio.move_on_after(1):
            while await stream.receive_some():
                pass


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS = 1


async def read_preface_and_headers(stream: trio.SocketStream) -> Received | None:
    """Waits until an HTTP/2 client has sent its preface and a frame of headers (RFC 9113, 3.4 and 4.1)."""
    data = b""
    at = len(PREFACE)
    while True:
        while len(data) < at + 9 or len(data) < at + 9 + int.from_bytes(data[at : at + 3]):
            more = await stream.receive_some()
            if not more:
                return None
            data += more
        assert data.startswith(PREFACE)
        if data[at + 3] == HEADERS:
            return Received("POST", "", {}, b"")
        at += 9 + int.from_bytes(data[at : at + 3])


def _misbehaviour(case: Case, wire: Wire) -> Iterator[str]:
    if len(wire.requests) != 1:
        yield f"{len(wire.requests)} requests: {[request.target for request in wire.requests]}"
    forbidden: Any = case.expect.get("no_credentials_at")
    if forbidden and any(request.target == forbidden for request in wire.requests):
        yield f"a request reached {forbidden}"


@asynccontextmanager
async def open_curl() -> AsyncGenerator[Transport]:
    """The curl transport."""
    async with CurlTransport() as transport:
        yield transport


@asynccontextmanager
async def open_curl_h2() -> AsyncGenerator[Transport]:
    """The curl transport, for servers that are known to speak HTTP/2."""
    async with CurlTransport(prior_knowledge=True) as transport:
        yield transport


@asynccontextmanager
async def open_httpx() -> AsyncGenerator[Transport]:
    """The httpx transport."""
    async with HttpxTransport() as transport:
        yield transport
