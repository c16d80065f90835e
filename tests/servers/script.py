"""Plays a MemoryTransport's script over a real socket, so that one test fits every transport."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import trio
from attrs import define, field

from fanout.abc import Head
from fanout.errors import ResetError
from fanout.transports.memory import EVENT_STREAM, Script
from tests.servers.http import Received, answer_all, chunk, play, reset, serve


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
        async def answer(request: Received) -> bytes | None:
            server.requests.append(request)
            return await play(stream, partial(_play, stream, script))

        server.connections += 1
        server.open += 1
        try:
            await answer_all(stream, answer)
        finally:
            server.open -= 1

    async with serve(handle) as server.url:
        yield server


async def _play(stream: trio.SocketStream, script: Script) -> bool:
    begun = False
    for step in script:
        if isinstance(step, ResetError):
            await trio.sleep(0.05)  # let what was sent arrive: a reset discards it
            reset(stream)
            return False
        if isinstance(step, Head) or (isinstance(step, bytes) and not begun):
            head = step if isinstance(step, Head) else EVENT_STREAM
            fields = "".join(f"{name}: {value}\r\n" for name, value in head.headers.items())
            await stream.send_all(f"HTTP/1.1 {head.status} .\r\n{fields}transfer-encoding: chunked\r\n\r\n".encode())
            begun = True
        if isinstance(step, bytes):
            await stream.send_all(chunk(step))
        elif isinstance(step, int | float):
            await trio.sleep(step)
    if begun:
        await stream.send_all(chunk(b""))
    return True
