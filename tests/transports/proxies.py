"""Loopback proxies that lead every name to one server."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio

from tests.servers.http import serve


async def _relay(one: trio.SocketStream, other: trio.SocketStream) -> None:
    """Passes bytes on in both directions until either side ends."""

    async def pass_on(source: trio.SocketStream, target: trio.SocketStream) -> None:
        async for data in source:
            await target.send_all(data)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_on, one, other)
        nursery.start_soon(pass_on, other, one)


async def _connect(url: str) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", urlsplit(url).port or 0)


@asynccontextmanager
async def open_http_proxy(target: str) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """Its URL, and the head of every request that it got."""
    asked: list[bytes] = []

    async def handle(stream: trio.SocketStream) -> None:
        head = await stream.receive_some()
        asked.append(head)
        async with await _connect(target) as other:
            if head.startswith(b"CONNECT "):
                await stream.send_all(b"HTTP/1.1 200 Yes\r\nx-proxy: here\r\n\r\n")
            else:
                await other.send_all(head)
            await _relay(stream, other)

    async with serve(handle) as url:
        yield url, asked


@asynccontextmanager
async def open_socks_proxy(target: str) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """RFC 1928: its URL, and every name that it was asked for."""
    asked: list[bytes] = []

    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"\x05\x00")
        request = await stream.receive_some()
        asked.append(request[5:-2])
        async with await _connect(target) as other:
            await stream.send_all(b"\x05\x00\x00\x01" + bytes(6))
            await _relay(stream, other)

    async with serve(handle) as url:
        yield url.replace("http:", "socks5h:"), asked
