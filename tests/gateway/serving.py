"""A gateway on a free port of 127.0.0.1, in the test's own loop, before scripted services."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from attrs import define, evolve, field

import fanout
from fanout.catalog.config import Config, GroupTable, LaneTable
from fanout.credentials.secret import Secret
from fanout.gateway.app import Gateway
from fanout.gateway.queueing import Queue
from fanout.gateway.serve import Wish, listen, serve_plain, serve_until, settings


@define(eq=False)
class Served:
    """The running gateway: its address, itself, the lines of its log, and how to stop it."""

    url: str
    port: int
    gateway: Gateway
    log: list[str] = field(factory=list)
    stop: trio.Event = field(factory=trio.Event)


def config_of(lanes: Mapping[str, str] | None = None, groups: Mapping[str, GroupTable] | None = None) -> Config:
    """A configuration with these lanes, by their specs, and groups."""
    return Config({name: LaneTable(spec.partition("=")[2]) for name, spec in (lanes or {}).items()}, dict(groups or {}))


@asynccontextmanager
async def serving(
    config: Config = Config(),  # noqa: B008  # frozen
    *,
    by_hypercorn: bool = False,
    **wishes: Any,
) -> AsyncGenerator[Served]:
    """Serves until the block ends; `wishes` are fields of a Wish."""
    tokens = tuple(Secret(token) for token in wishes.pop("tokens", ()))
    queue = Queue(wishes.pop("most", 256), wishes.pop("waiting", 256))
    wish = Wish(port=0, tokens=tokens, **wishes)
    sock = listen(wish)
    wish = evolve(wish, port=sock.getsockname()[1])
    log: list[str] = []
    gateway = Gateway(wish.guard(), config, queue, partial(fanout.open_transport, wish.transport), log.append)
    served = Served(wish.url, wish.port, gateway, log)
    ready = trio.Event()

    async def wait() -> None:
        await served.stop.wait()
        gateway.stop()

    async with trio.open_nursery() as nursery:
        if by_hypercorn or wish.certificate:
            nursery.start_soon(serve_until, gateway, settings(wish, sock.detach()), wait, ready.set)
        else:
            nursery.start_soon(serve_plain, gateway, sock, wait, ready.set)
        await ready.wait()
        yield served
        served.stop.set()
        nursery.cancel_scope.deadline = trio.current_time() + 5


@define
class Answered:
    """One HTTP response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of its events; a text where it is no JSON."""
        found = [line[6:] for line in self.body.decode().splitlines() if line.startswith("data: ")]
        return [json.loads(data) if data != "[DONE]" else data for data in found]


def raw(method: str, path: str, body: bytes = b"", **headers: str | None) -> bytes:
    """A request as bytes; a header that is None is left out."""
    usual: dict[str, str | None] = {"host": "127.0.0.1", "connection": "close"}
    if method == "POST":
        usual |= {"content-type": "application/json", "content-length": str(len(body))}
    given = {**usual, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1") + body


async def exchange(port: int, request: bytes) -> Answered:
    """Sends a request over a socket of its own, and returns what comes until the connection closes."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(request)
        return parse(await read_all(stream))


async def read_all(stream: trio.SocketStream) -> bytes:
    """All bytes until the end."""
    got = b""
    while data := await stream.receive_some():
        got += data
    return got


def parse(got: bytes) -> Answered:
    """The response in these bytes; a chunked body is put together."""
    head, _, body = got.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
    if headers.get("transfer-encoding") == "chunked":
        body = b"".join(chunks(body))
    return Answered(int(line.split(" ")[1]), headers, body)


def chunks(body: bytes) -> list[bytes]:
    """The chunks of a chunked body: each is a write of the server."""
    found = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        found.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    return [chunk for chunk in found if chunk]


async def post(served: Served, path: str, body: Mapping[str, Any], **headers: str | None) -> Answered:
    """Posts JSON."""
    return await exchange(served.port, raw("POST", path, json.dumps(body).encode(), **headers))


def asking(model: str, **more: Any) -> dict[str, Any]:
    """A body of Chat Completions."""
    return {"model": model, "messages": [{"role": "user", "content": "Why is the sky blue?"}], **more}
