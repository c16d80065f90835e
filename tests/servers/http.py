"""The loop of every loopback server: it binds to 127.0.0.1, reads requests, answers them, and ends with its block."""

import json
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

import trio
from attrs import define

HI = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
"""A whole answer whose end is known."""


@define
class Received:
    """One HTTP request as it came. Header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def serve(
    handle: Callable[[trio.SocketStream], Awaitable[None]], connections: int | None = None
) -> AsyncGenerator[str]:
    """Serves every connection by `handle` until the block ends; gives the server's URL.

    After so many `connections`, if a number is given, it listens no more.
    """
    left = connections

    async def handle_connection(stream: trio.SocketStream) -> None:
        nonlocal left
        if left is not None:
            left -= 1
            if not left:
                await listeners[0].aclose()
        async with stream:
            try:
                await handle(stream)
            except* trio.BrokenResourceError:
                pass  # the client has gone, which is its right

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(_accept, handle_connection, listeners, nursery)
        yield f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


class Server(Protocol):
    """A server that is run by `running`, which sets its address."""

    url: str

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serves one connection."""


AnyServer = TypeVar("AnyServer", bound=Server)


@asynccontextmanager
async def running(server: AnyServer) -> AsyncGenerator[AnyServer]:
    """Serves on a free port of 127.0.0.1 until the block ends."""
    async with serve(server.handle) as server.url:
        yield server


async def _accept(
    handle: Callable[[trio.SocketStream], Awaitable[None]],
    listeners: list[trio.SocketListener],
    nursery: trio.Nursery,
) -> None:
    try:
        await trio.serve_listeners(handle, listeners, handler_nursery=nursery)
    except* trio.ClosedResourceError:
        pass  # it listens no more


async def read_request(stream: trio.SocketStream, begun: bytes = b"") -> Received | None:
    """The next request of a connection, of which `begun` has been read, or None at the connection's end."""
    head = bytearray(begun)
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some()
        if not data:
            return None
        head += data
    raw, _, body = bytes(head).partition(b"\r\n\r\n")
    line, *fields = raw.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    while len(body) < int(headers.get("content-length", 0)):
        data = await stream.receive_some()
        if not data:
            return None
        body += data
    return Received(method, target, headers, body)


async def answer_all(stream: trio.SocketStream, answer: Callable[[Received], Awaitable[bytes | None]]) -> None:
    """Answers every request of a connection by `answer`, which returns what `play` returns."""
    begun: bytes | None = b""
    while begun is not None and (request := await read_request(stream, begun)) is not None:
        begun = await answer(request)


async def play(
    stream: trio.SocketStream, script: Callable[[], Awaitable[bool]], gone: Callable[[], None] = lambda: None
) -> bytes | None:
    """Awaits `script` while the client is connected; one that hangs up ends it, and `gone` is called.

    Returns what has been read of the next request, or None where there can be none: the client hung up in the midst, or
    `script` returned False.
    """
    begun = b""
    again = False

    async def watch() -> None:
        nonlocal begun
        with suppress(trio.BrokenResourceError):
            begun = await stream.receive_some()
        if not begun:
            gone()
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        again = await script()
        nursery.cancel_scope.cancel()
    return begun if again else None


async def respond(
    stream: trio.SocketStream, status: int, body: bytes | str, *headers: str, media_type: str = "application/json"
) -> None:
    """Answers with a whole body."""
    data = body.encode() if isinstance(body, str) else body
    head = [f"HTTP/1.1 {status} .", f"content-type: {media_type}", f"content-length: {len(data)}", *headers, "", ""]
    await stream.send_all("\r\n".join(head).encode() + data)


async def respond_json(stream: trio.SocketStream, status: int, value: Any, *headers: str) -> None:
    """Answers with one JSON document."""
    await respond(stream, status, json.dumps(value), *headers)


def chunk(data: bytes) -> bytes:
    """The data as one chunk of a chunked body; without data, its end."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def reset(stream: trio.SocketStream) -> None:
    """Makes the coming close a reset."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
