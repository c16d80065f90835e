"""The clients whose cost is measured: what each does with many streams at once, timed round by round.

All count the pieces of content, and fail unless every stream brought exactly as many as were sent. Those that only
count do less than fanout, whose events are tagged, timed, judged and kept.
"""

import asyncio
import ctypes
import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from select import EPOLLIN, epoll
from socket import IPPROTO_TCP, TCP_NODELAY, create_connection, socket
from ssl import SSLContext, SSLWantReadError, create_default_context
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

import orjson
import trio
from attrs import define, field, frozen

sys.path.insert(0, str(Path(__file__).parent.parent))

import fanout
from benchmarks.ways import H2, PLAIN, TLS
from fanout import Prompt
from fanout.abc import Head
from fanout.providers.openai import OpenAI

QUESTION = "Why is the sky blue?"
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]
BODY = orjson.dumps({"model": "m", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}})
HEADERS = {"content-type": "application/json", "accept": "text/event-stream"}

PATIENT = fanout.Timeouts(connect=300, first=300, idle=300)
"""Thousands of streams that begin at once may wait long for their turn of the one core."""

READ = 64 << 10
"""Bytes of one read, where we choose."""


@define
class Round:
    """So many streams at once, from a service at `url` that sends each so many chunks of content; timed as a block."""

    url: str
    streams: int
    chunks: int
    cpu_us: float = field(default=0.0, init=False)
    wall_s: float = field(default=0.0, init=False)
    reads: int | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        gc.collect()
        self.wall_s, self.reads, self.cpu_us = -time.monotonic(), _socket_reads(), -_cpu_us()
        return self

    def __exit__(self, *exc: object) -> None:
        self.cpu_us += _cpu_us()
        self.wall_s += time.monotonic()
        reads = _socket_reads()
        self.reads = None if reads is None or self.reads is None else reads - self.reads

    def saw(self, counts: Iterable[int]) -> None:
        """Fails unless every stream brought every chunk."""
        found = Counter(counts)
        wanted = {self.chunks: self.streams}
        assert found == wanted, f"streams by chunks of content: {dict(found)}, not {wanted}"


def _cpu_us() -> float:
    used = getrusage(RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


def _socket_reads() -> int | None:
    """The reads of this process that brought bytes, if `native/reads.c` is preloaded."""
    count = getattr(ctypes.CDLL(None), "socket_reads", None)
    return None if count is None else int(count())


def resident_kb(name: str) -> int:
    """A line of this process's memory account: VmRSS is now, VmHWM the most there was."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


class Pieces:
    """The least that counts content: cut at blank lines, parse, look. HTTP's framing lies between, and is skipped."""

    __slots__ = ("count", "done", "rest")

    def __init__(self) -> None:
        self.count = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> None:
        """Takes the bytes of one read."""
        *frames, self.rest = (self.rest + data).split(b"\n\n")
        for frame in frames:
            start = frame.find(b"data: ") + 6
            if frame.startswith(b"[DONE]", start):
                self.done = True
                continue
            choices = orjson.loads(frame[start:])["choices"]
            if choices and choices[0]["delta"].get("content"):
                self.count += 1

    @property
    def over(self) -> bool:
        """True if the chunked body has ended too, so that its connection can be used again."""
        return self.done and self.rest.endswith(b"0\r\n\r\n")


class Framed(Pieces):
    """The same through a front, which puts anything into a chunk of HTTP's: so these are undone first."""

    __slots__ = ("coded", "ended", "head")

    def __init__(self) -> None:
        super().__init__()
        self.coded = b""
        self.head = True
        self.ended = False

    def feed(self, data: bytes) -> None:
        """Takes the bytes of one read."""
        coded = self.coded + data
        at = coded.find(b"\r\n\r\n") + 4 if self.head else 0
        self.head = self.head and at < 4
        parts = []
        while not self.head and (end := coded.find(b"\r\n", at)) >= 0:
            size = int(coded[at:end], 16)
            stop = end + 2 + size
            if stop + 2 > len(coded):
                break
            self.ended = not size
            parts.append(coded[end + 2 : stop])
            at = stop + 2
        self.coded = coded[at:] if not self.head else coded
        super().feed(b"".join(parts))

    @property
    def over(self) -> bool:
        """True once the body has ended."""
        return self.ended


def request_bytes(url: str) -> bytes:
    """The request as it goes over the wire."""
    parts = urlsplit(url)
    head = [f"POST {parts.path}/v1/chat/completions HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(BODY)}"]
    head += [f"{name}: {value}" for name, value in HEADERS.items()]
    return "\r\n".join([*head, "", ""]).encode() + BODY


def _connected(url: str, context: SSLContext | None = None) -> socket:
    """Connects; over TLS it is a socket that does not wait."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    connection = create_connection((parts.hostname, parts.port))
    connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    if parts.scheme == "https":
        assert context
        connection = context.wrap_socket(connection, server_hostname=parts.hostname)
        connection.setblocking(False)
    return connection


Session = Callable[[Sequence[Round]], None]
"""Opens a client, runs the rounds with it, and closes it."""


def floor(rounds: Sequence[Round]) -> None:
    """One thread, one epoll, sockets as they are, or Python's `ssl` around them."""
    sockets: list[socket] = []
    context = create_default_context() if rounds[0].url.startswith("https:") else None
    with epoll() as ready:
        for each in rounds:
            with each:
                while len(sockets) < each.streams:
                    sockets.append(_connected(each.url, context))
                    ready.register(sockets[-1], EPOLLIN)
                each.saw(_floor_round(each, sockets[: each.streams], ready))
    for connection in sockets:
        connection.close()


def _floor_round(each: Round, sockets: Sequence[socket], ready: epoll) -> list[int]:
    request = request_bytes(each.url)
    for connection in sockets:
        connection.sendall(request)
    receivers = {connection.fileno(): connection.recv for connection in sockets}
    kind = Framed if each.url.startswith("https:") else Pieces
    pieces = {fd: kind() for fd in receivers}
    left = len(pieces)
    while left:
        for fd, _ in ready.poll():
            try:
                data = receivers[fd](READ)
            except SSLWantReadError:  # a part of a record, or a ticket for a later session
                continue
            assert data, "the server hung up"
            pieces[fd].feed(data)
            left -= pieces[fd].over
    return [piece.count for piece in pieces.values()]


async def bare_trio(rounds: Sequence[Round]) -> None:
    """A task for each stream, which reads its socket; no HTTP, no channel."""
    sockets: list[trio.socket.SocketType] = []
    for each in rounds:
        with each:
            while len(sockets) < each.streams:
                sockets.append(trio.socket.from_stdlib_socket(_connected(each.url)))
            pieces = [Pieces() for _ in range(each.streams)]
            request = request_bytes(each.url)
            async with trio.open_nursery() as nursery:
                for connection, piece in zip(sockets, pieces, strict=False):
                    nursery.start_soon(_read_all, connection, request, piece)
            each.saw(piece.count for piece in pieces)
    for connection in sockets:
        connection.close()


async def _read_all(connection: trio.socket.SocketType, request: bytes, pieces: Pieces) -> None:
    await connection.send(request)
    while not pieces.over:
        data = await connection.recv(READ)
        assert data, "the server hung up"
        pieces.feed(data)


TRANSPORTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "curl": ("CurlTransport", {"http2": True}),  # which is then the front's choice: by default HTTP/1.1 may be all
    "httpx": ("HttpxTransport", {}),
}


def transport(name: str) -> Any:
    """A transport of fanout's by its module's name, to be entered."""
    kind, settings = TRANSPORTS[name]
    return getattr(import_module(f"fanout.transports.{name}"), kind)(**settings)


def lane(url: str) -> OpenAI:
    """The service at `url` as a provider."""
    return OpenAI("m", base_url=f"{url}/v1", needs_key=False)


async def fanout_events(carrier: str, rounds: Sequence[Round]) -> None:
    """The whole engine: all lanes at once, and a consumer of the tagged events."""
    async with transport(carrier) as carries:
        for each in rounds:
            with each:
                counts: Counter[str] = Counter()
                ends: list[fanout.End] = []
                plan = fanout.All(*[lane(each.url)] * each.streams)
                async with fanout.open_fanout(QUESTION, plan, transport=carries, timeouts=PATIENT) as events:
                    async for tagged in events:
                        event = tagged.event
                        if type(event) is fanout.Delta:
                            counts[tagged.lane] += 1
                        elif type(event) is fanout.End:
                            ends.append(event)
                errors = [end.error for end in ends if end.error]
                assert not errors, f"{len(errors)} of {each.streams} streams failed: {errors[0]}"
                each.saw(counts.values())


async def fanout_answers(carrier: str, rounds: Sequence[Round]) -> None:
    """The engine without the channel: the answers of all lanes."""
    async with transport(carrier) as carries:
        for each in rounds:
            with each:
                lanes = [lane(each.url)] * each.streams
                answers = await fanout.gather(QUESTION, lanes, transport=carries, timeouts=PATIENT)
                each.saw(answer.chunks for answer in answers)


class Ears:
    """Receives a response, and decodes it if there is a reader; the layers below the engine, measured alone."""

    def __init__(self, provider: OpenAI, *, decode: bool) -> None:
        self.count = 0
        self._provider = provider
        self._decode = decode
        self._reader: Any = None

    def head(self, head: Head, /) -> None:
        """The response begins."""
        if self._decode:
            self._reader = self._provider.read(head)

    def data(self, data: bytes, /) -> bool:
        """The bytes of one read."""
        if self._reader is not None:
            for event in self._reader.feed(data):
                self.count += type(event) is fanout.Delta
        return False


async def transport_alone(carrier: str, rounds: Sequence[Round], *, decode: bool) -> None:
    """The transport without the engine: a task for each stream, and nobody is told of events."""
    async with transport(carrier) as carries:
        for each in rounds:
            with each:
                provider = lane(each.url)
                request = provider.request(Prompt.of(QUESTION))
                ears = [Ears(provider, decode=decode) for _ in range(each.streams)]
                async with trio.open_nursery() as nursery:
                    for ear in ears:
                        nursery.start_soon(carries.exchange, request, ear, 300.0)
                if decode:
                    each.saw(ear.count for ear in ears)


async def httpx2(rounds: Sequence[Round]) -> None:
    """One client, on Trio; a task for each stream."""
    module: Any = import_module("httpx2")
    limits = module.Limits(max_connections=None, max_keepalive_connections=None)
    # Without the environment it would not heed that either, in which the authorities are.
    verify = create_default_context()
    async with module.AsyncClient(limits=limits, timeout=None, trust_env=False, verify=verify) as client:
        for each in rounds:
            with each:
                pieces = [Pieces() for _ in range(each.streams)]
                async with trio.open_nursery() as nursery:
                    for piece in pieces:
                        nursery.start_soon(_httpx2_stream, client, each.url, piece)
                each.saw(piece.count for piece in pieces)


async def _httpx2_stream(client: Any, url: str, pieces: Pieces) -> None:
    async with client.stream("POST", f"{url}/v1/chat/completions", headers=HEADERS, content=BODY) as response:
        async for data in response.aiter_bytes():
            pieces.feed(data)


async def _rounds_of_tasks(rounds: Sequence[Round], stream: Callable[[str], Awaitable[int]]) -> None:
    for each in rounds:
        with each:
            each.saw(await asyncio.gather(*(stream(each.url) for _ in range(each.streams))))


async def aiohttp(rounds: Sequence[Round]) -> None:
    """One session; a task for each stream."""
    module: Any = import_module("aiohttp")
    async with module.ClientSession(connector=module.TCPConnector(limit=0)) as session:
        await _rounds_of_tasks(rounds, partial(_aiohttp_stream, session))


async def _aiohttp_stream(session: Any, url: str) -> int:
    pieces = Pieces()
    async with session.post(f"{url}/v1/chat/completions", headers=HEADERS, data=BODY) as response:
        async for data in response.content.iter_any():
            pieces.feed(data)
    return pieces.count


async def openai(rounds: Sequence[Round]) -> None:
    """One client; a task for each stream."""
    module: Any = import_module("openai")
    async with module.AsyncOpenAI(api_key="k", max_retries=0, base_url="http://127.0.0.1") as client:
        await _rounds_of_tasks(rounds, partial(_openai_stream, client))


async def _openai_stream(client: Any, url: str) -> int:
    here = client.with_options(base_url=f"{url}/v1")
    usage = {"include_usage": True}
    chunks = await here.chat.completions.create(model="m", messages=MESSAGES, stream=True, stream_options=usage)
    return await count_content(chunks)


async def count_content(chunks: Any) -> int:
    """The number of the chunks with content."""
    count = 0
    async for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            count += 1
    return count


async def litellm(rounds: Sequence[Round]) -> None:
    """`acompletion`, in a task for each stream."""
    await _rounds_of_tasks(rounds, _litellm_stream)


async def _litellm_stream(url: str) -> int:
    complete = import_module("litellm").acompletion
    return await count_content(
        await complete(model="openai/m", messages=MESSAGES, stream=True, api_base=f"{url}/v1", api_key="k")
    )


def on_trio(session: Callable[[Sequence[Round]], Awaitable[None]]) -> Session:
    """An async session, run by Trio."""
    return lambda rounds: trio.run(session, rounds)


def on_asyncio(session: Callable[[Sequence[Round]], Any]) -> Session:
    """An async session, run by asyncio."""
    return lambda rounds: asyncio.run(session(rounds))


def on_uvloop(session: Callable[[Sequence[Round]], Any]) -> Session:
    """An async session, run by asyncio on uvloop."""

    def run(rounds: Sequence[Round]) -> None:
        with asyncio.Runner(loop_factory=import_module("uvloop").new_event_loop) as runner:
            runner.run(session(rounds))

    return run


@frozen
class Client:
    """A client: how it runs, what the table says of it, the modules that it needs, and the ways that it knows."""

    run: Session
    says: str
    needs: tuple[str, ...] = ()
    ways: tuple[str, ...] = (PLAIN, TLS)

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed."""
        return tuple(name for name in self.needs if not is_there(name))


def is_there(module: str) -> bool:
    """True if a module could be imported."""
    return find_spec(module) is not None


def _over_curl(session: Callable[..., Awaitable[None]], says: str) -> Client:
    return Client(on_trio(partial(session, "curl")), says, ("fanout.transports.curl", "curl_cffi"), (PLAIN, TLS, H2))


CLIENTS = {
    "floor": Client(floor, "one thread, epoll, split, orjson"),
    "trio": Client(on_trio(bare_trio), "bare Trio, a task per stream, no HTTP", ways=(PLAIN,)),
    "fanout-curl": _over_curl(fanout_events, "fanout over curl, tagged events"),
    "fanout-curl-gather": _over_curl(fanout_answers, "fanout over curl, answers only"),
    "curl-alone": _over_curl(partial(transport_alone, decode=False), "its transport, bytes only"),
    "curl-decoded": _over_curl(partial(transport_alone, decode=True), "its transport and decoder"),
    "fanout-httpx": Client(on_trio(partial(fanout_events, "httpx")), "fanout over httpx, tagged events"),
    "fanout-httpx-gather": Client(on_trio(partial(fanout_answers, "httpx")), "fanout over httpx, answers only"),
    "httpx2": Client(on_trio(httpx2), "httpx2 on Trio, `aiter_bytes`, only counts", ("httpx2",)),
    "aiohttp": Client(on_asyncio(aiohttp), "aiohttp, asyncio, only counts", ("aiohttp",)),
    "aiohttp-uvloop": Client(on_uvloop(aiohttp), "aiohttp, uvloop, only counts", ("aiohttp", "uvloop")),
    "openai": Client(on_asyncio(openai), "openai SDK, asyncio, only counts", ("openai",)),
    "litellm": Client(on_asyncio(litellm), "litellm `acompletion`, asyncio, only counts", ("litellm",)),
}
"""Every client by name. All decode JSON; the plain HTTP clients with the floor's own lines."""

DISTRIBUTIONS = ["fanout", "trio", "orjson", "httpx", "httpx2", "curl_cffi", "aiohttp", "uvloop", "openai", "litellm"]


def child_task(arguments: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """The client and the task, if this process is a child of `load.child`."""
    if arguments[1:2] != ["--child"]:
        return None
    _, _, client, task = arguments
    return client, json.loads(task)


def leave(result: Mapping[str, Any]) -> NoReturn:
    """Gives the parent the result and ends at once: litellm's threads and caches may take seconds to say goodbye."""
    print(json.dumps(result), flush=True)
    os._exit(0)


def work(client: Client, task: Mapping[str, Any]) -> NoReturn:
    """Does a child's task: rounds as (url, streams, chunks), where each may have a `fresh` client."""
    rounds = [Round(*each) for each in task["rounds"]]
    for name in client.needs:
        import_module(name)
    start_kb = resident_kb("VmRSS")
    for part in [[each] for each in rounds] if task.get("fresh") else [rounds]:
        client.run(part)
    took = [{"cpu_us": each.cpu_us, "wall_s": each.wall_s, "reads": each.reads} for each in rounds]
    leave({"rounds": took, "rss_kb": resident_kb("VmHWM"), "rss_start_kb": start_kb})


if __name__ == "__main__" and (asked := child_task(sys.argv)):
    work(CLIENTS[asked[0]], asked[1])
