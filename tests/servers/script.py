"""Plays a MemoryTransport's script over a real socket, so that one test fits every transport."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
from attrs import define, field

from fanout.abc import Head
from fanout.errors import ResetError
from fanout.transports.memory import EVENT_STREAM, Script
from tests.servers.http import Received, read_request, reset, serve


@define(eq=False)
class ScriptServer:
    """The running server: its address, the requests it got, and how many connections are open."""

    url: str = ""
    requests: list[Received] = field(factory=list)
    connections: int = 0
    open: int = 0


@asynccontextmanager
async def open_script_server(script: Script) -> AsyncGenerator[ScriptServer]:
    """Plays `script` to every request until the block ends. A ResetError step resets the connection."""
    server = ScriptServer()

    async def handle(stream: trio.SocketStream) -> None:
        server.connections += 1
        server.open += 1
        try:
            begun = b""
            while (request := await read_request(stream, begun)) is not None:
                server.requests.append(request)
                begun = await _play_while_connected(stream, script)
        finally:
            server.open -= 1

    async with serve(handle) as server.url:
        yield server


async def _play_while_connected(stream: trio.SocketStream, script: Script) -> bytes:
    """A client that hangs up ends the script, as with a real service. Returns what was read of the next request."""
    played = False
    begun = b""

    async def watch() -> None:
        nonlocal begun
        begun = await stream.receive_some()
        if not begun:
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await _play(stream, script)
        played = True
        nursery.cancel_scope.cancel()
    if not played:
        raise trio.BrokenResourceError
    return begun


async def _play(stream: trio.SocketStream, script: Script) -> None:
    begun = False
    for step in script:
        if isinstance(step, ResetError):
            await trio.sleep(0.05)  # let what was sent arrive: a reset discards it
            reset(stream)
            raise trio.BrokenResourceError
        if isinstance(step, Head) or (isinstance(step, bytes) and not begun):
            head = step if isinstance(step, Head) else EVENT_STREAM
            fields = "".join(f"{name}: {value}\r\n" for name, value in head.headers.items())
            await stream.send_all(f"HTTP/1.1 {head.status} .\r\n{fields}transfer-encoding: chunked\r\n\r\n".encode())
            begun = True
        if isinstance(step, bytes):
            await stream.send_all(b"%x\r\n%s\r\n" % (len(step), step))
        elif isinstance(step, int | float):
            await trio.sleep(step)
    if begun:
        await stream.send_all(b"0\r\n\r\n")
