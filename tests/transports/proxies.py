"""Loopback proxies that lead every name to one server."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio

from tests.servers.http import serve
from tests.transports.tls import Certificate, secure_url


async def _relay(one: trio.abc.Stream, other: trio.SocketStream) -> None:
    """Passes bytes on in both directions until either side ends."""

    async def pass_on(source: trio.abc.Stream, target: trio.abc.Stream) -> None:
        while data := await source.receive_some():
            await target.send_all(data)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_on, one, other)
        nursery.start_soon(pass_on, other, one)


async def _connect(url: str) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", urlsplit(url).port or 0)


@asynccontextmanager
async def open_http_proxy(
    target: str, certificate: Certificate | None = None
) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """Its URL, and the head of every request that it got. With a certificate it is spoken to in TLS."""
    asked: list[bytes] = []

    async def handle(plain: trio.SocketStream) -> None:
        stream: trio.abc.Stream = plain
        if certificate is not None:
            stream = trio.SSLStream(plain, certificate.context(), server_side=True, https_compatible=True)
        head = bytes(await stream.receive_some())
        asked.append(head)
        async with await _connect(target) as other:
            if head.startswith(b"CONNECT "):
                await stream.send_all(b"HTTP/1.1 200 Yes\r\nx-proxy: here\r\n\r\n")
            else:
                await other.send_all(head)
            await _relay(stream, other)

    async with serve(handle) as url:
        yield url if certificate is None else secure_url(url), asked


@asynccontextmanager
async def open_socks_proxy(target: str, reply: int = 0) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """RFC 1928 and 1929: its URL, and every name and credentials that it was given. It refuses with a `reply` but 0."""
    asked: list[bytes] = []

    async def handle(stream: trio.SocketStream) -> None:
        methods = await stream.receive_some()
        if 2 in methods[2:]:
            await stream.send_all(b"\x05\x02")
            asked.append(bytes(await stream.receive_some()))
            await stream.send_all(b"\x01\x00")
        else:
            await stream.send_all(b"\x05\x00")
        request = await stream.receive_some()
        asked.append(request[5:-2])
        if reply:
            await stream.send_all(b"\x05" + bytes([reply]) + b"\x00\x01" + bytes(6))
            return
        async with await _connect(target) as other:
            await stream.send_all(b"\x05\x00\x00\x01" + bytes(6))
            await _relay(stream, other)

    async with serve(handle) as url:
        yield url.replace("http:", "socks5h:"), asked
