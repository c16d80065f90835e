"""The server of HTTP/1.1, before an application that does as a test wants."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from fanout.gateway import http1
from fanout.gateway.serve import Wish, listen
from tests.gateway.serving import parse, read_all

App = Callable[[Any, Any, Any], Awaitable[None]]
HOST = b"host: localhost\r\n"


async def answer(send: Any, body: bytes = b"hello", *headers: tuple[bytes, bytes]) -> None:
    """A whole response in two pieces."""
    await send({"type": "http.response.start", "status": 200, "headers": [*headers]})
    await send({"type": "http.response.body", "body": body[:2], "more_body": True})
    await send({"type": "http.response.body", "body": body[2:], "more_body": False})


async def read_body(receive: Any) -> bytes | None:
    """The whole body of a request; None if the client has left before its end."""
    body: bytes = b""
    while True:
        message: dict[str, Any] = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the method, the path and the body."""
    body = await read_body(receive)
    if body is not None:
        await answer(send, b"%s %s %s" % (scope["method"].encode(), scope["raw_path"], body))


@asynccontextmanager
async def served(app: App, *, idle: float = 5, unread: float = 5) -> AsyncGenerator[tuple[int, trio.Event]]:
    """The port of the running server, and what stops it."""
    sock = listen(Wish(port=0))
    stop = trio.Event()
    async with trio.open_nursery() as nursery:

        async def run(task_status: Any) -> None:
            await http1.serve(app, sock, stop.wait, idle=idle, unread=unread, grace=0.5, task_status=task_status)

        port = sock.getsockname()[1]
        await nursery.start(run)
        with trio.fail_after(20):
            yield port, stop
        stop.set()


async def ask(port: int, *pieces: bytes) -> bytes:
    """Everything that comes in answer to these pieces, until the connection is closed."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        for piece in pieces:
            await stream.send_all(piece)
            await trio.sleep(0.01)
        return await read_all(stream)


async def test_a_body_is_chunked_and_a_piece_is_a_chunk() -> None:
    async with served(echo) as (port, _):
        got = await ask(port, b"GET /x HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")
    assert got.endswith(b"\r\n\r\n2\r\nGE\r\n5\r\nT /x \r\n0\r\n\r\n")
    assert "date" in parse(got).headers


@pytest.mark.parametrize("request_line", [b"GET /x HTTP/1.0", b"HEAD /x HTTP/1.1"])
async def test_who_cannot_read_chunks_gets_none(request_line: bytes) -> None:
    async with served(echo) as (port, _):
        got = await ask(port, request_line + b"\r\n" + HOST + b"connection: close\r\n\r\n")
    head, _, body = got.partition(b"\r\n\r\n")
    assert body == (b"GET /x " if b"GET" in request_line else b"")
    assert b"connection: close" in head.lower()


async def test_a_length_that_is_told_is_kept() -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await answer(send, b"hello", (b"content-length", b"5"))

    async with served(app) as (port, _):
        got = await ask(port, b"GET / HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")
    assert got.endswith(b"\r\n\r\nhello")


async def test_requests_that_are_sent_ahead_are_answered_in_their_order() -> None:
    one = b"POST /%d HTTP/1.1\r\n" + HOST + b"content-length: 1\r\n\r\n%d"
    last = b"GET /9 HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n"
    async with served(echo) as (port, _):
        got = await ask(port, b"".join(one % (n, n) for n in range(5)) + last)
    assert [got.index(b" /%d " % n) for n in (*range(5), 9)] == sorted(got.index(b" /%d " % n) for n in (*range(5), 9))
    assert got.count(b"HTTP/1.1 200") == 6


async def test_a_body_comes_in_any_pieces_and_after_a_100() -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"connection: close\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n"
    async with served(echo) as (port, _):
        got = await ask(port, head, b"01234", b"56789")
        chunked = b"POST / HTTP/1.1\r\n" + HOST + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        other = await ask(port, chunked, b"3\r\nabc\r\n", b"0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 100 ")
    assert b"0123456789" in got
    assert parse(other).body == b"POST / abc"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n\r\n",  # without a host
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: +1\r\n\r\na",
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"x: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"x: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    ],
)
async def test_what_two_servers_might_read_differently_is_refused_and_nothing_behind_it_is_read(
    request_bytes: bytes,
) -> None:
    async with served(echo) as (port, _):
        got = await ask(port, request_bytes + b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
        assert b"smuggled" not in got
        status = parse(got).status
        assert 400 <= status < 600
        assert status != 500
        assert (await ask(port, b"GET / HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")).count(b"200") == 1


async def test_a_body_that_nobody_reads_costs_its_client_the_connection_and_not_the_answer() -> None:
    async def app(_: Any, __: Any, send: Any) -> None:
        await answer(send, b"no", (b"connection", b"close"))

    async with served(app) as (port, _):
        head = b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 300000\r\n\r\n"
        got = await ask(port, head + b"x" * 300_000)
    assert parse(got).status == 200


@pytest.mark.parametrize("begun", [False, True])
async def test_a_mistake_of_the_application_ends_one_connection(begun: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/bad":
            await echo(scope, receive, send)
            return
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        async with served(app) as (port, _):
            got = await ask(port, b"GET /bad HTTP/1.1\r\n" + HOST + b"\r\n")
            assert parse(got).status == (200 if begun else 500)
            assert not got.endswith(b"0\r\n\r\n")
            assert b"ZeroDivision" not in got
            assert b"200" in await ask(port, b"GET / HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")
    assert "ZeroDivisionError" in caplog.text


async def test_a_client_that_reads_nothing_is_cut_off_and_its_application_hears_of_it() -> None:
    left = trio.Event()

    async def app(_: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})

        async def watch() -> None:
            assert (await receive())["type"] == "http.disconnect"
            left.set()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            while True:
                await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
                await trio.lowlevel.checkpoint()

    async with served(app, unread=0.2) as (port, _):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            await left.wait()


async def test_a_piece_that_was_cut_by_a_cancellation_is_sent_before_the_next() -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with trio.move_on_after(0.1):
            await send({"type": "http.response.body", "body": b"a" * 20_000_000, "more_body": True})
        await send({"type": "http.response.body", "body": b"the end", "more_body": False})

    async with served(app) as (port, _):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")
            await trio.sleep(0.3)
            body = parse(await read_all(stream)).body
    assert len(body) == 20_000_007
    assert body.endswith(b"athe end")


async def test_a_connection_without_a_request_ends_when_it_is_idle_or_the_server_stops() -> None:
    async with served(echo, idle=0.1) as (port, _):
        assert await ask(port, b"GET / HT") == b""
    async with served(echo) as (port, stop):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await trio.sleep(0.05)
            stop.set()
            assert await stream.receive_some() == b""
