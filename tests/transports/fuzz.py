"""Transfers by chance against a loopback server, and what they leave behind.

Run it as `python -m tests.transports.fuzz N SEED http1`, or with `http2`.
"""

import gc
import gzip
import json
import os
import resource
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import trio
from attrs import define, field

from fanout.abc import Head, Request
from fanout.errors import ProviderError, ResetError, TooLarge
from fanout.transports.curl import CurlTransport
from fanout.transports.curl.libcurl import Easy
from fanout.transports.memory import HANG
from tests.servers.http import read_request, reset, serve
from tests.transports.http2 import GOAWAY, RST_STREAM, Frame, Steps, open_http2_server

LANES = 20
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
REFUSED = "http://127.0.0.1:9"

Send = Callable[[bytes], Coroutine[Any, Any, None]]


def body_of(number: int) -> bytes:
    """Returns the service's answer to a request with this number."""
    return Random(number).randbytes(1 + number * 37 % 5000)


def coded(body: bytes, size: int) -> list[bytes]:
    """Chunks of this size."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]


async def play(kind: str, number: int, send: Send, stream: trio.SocketStream) -> bool:
    """Answers one request; whether the connection is kept."""
    body = body_of(number)
    half = body[: len(body) // 2]
    length = HEAD + b"content-length: %d\r\n\r\n" % len(body)
    match kind:
        case "whole":
            await send(length + body)
        case "slow":
            await send(b"HTTP/1.1 100 C\r\n\r\n" + length + half)
            await trio.sleep(0.002)
            await send(body[len(half) :])
        case "chunked":
            for piece in (CHUNKED, *coded(body, 700), b"0\r\nx-trailer: 1\r\n\r\n"):
                await send(piece)
        case "gzip":
            packed = gzip.compress(body)
            await send(HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed)
        case "to the end":
            await send(HEAD + b"\r\n" + body)
            return False
        case "silent":
            return False
        case "cut":
            await send(length + half)
            return False
        case "cut chunk":
            await send(CHUNKED + b"%x\r\n%s" % (len(body), half))
            return False
        case "cut gzip":
            await send(HEAD + b"content-encoding: gzip\r\n\r\n" + gzip.compress(body)[:-5])
            return False
        case "no size":
            await send(CHUNKED + coded(half + b"x", 700)[0] + b"zz\r\n")
            return False
        case "no http":
            await send(b"SSH-2.0\r\n\r\n" + half)
            return False
        case "reset":
            await send(length + half)
            reset(stream)
            return False
        case "reset first":
            reset(stream)
            return False
        case "endless":
            while True:
                await send(length.replace(b"content-length", b"x") + half if half else length)
                await trio.sleep(0.001)
        case "hang":
            await send(length + half)
            await stream.receive_some()
            return False
    return True


def steps_of(request: bytes) -> Steps:
    """As `play`, for HTTP/2. Now and then a connection breaks, for all who share it."""
    kind, number = asked(request)
    body = body_of(number)
    lost = Frame(RST_STREAM, (2).to_bytes(4)) if number % 16 else ResetError("")
    half = body[: len(body) // 2] or b"x"
    gzipped, packed = Head(200, {"content-encoding": "gzip"}), gzip.compress(body)
    steps: dict[str, Steps] = {
        "slow": [0.002, half, 0.002, body[len(half) :]],
        "gzip": [gzipped, packed[:5], 0.001, packed[5:]],
        "goes away": [body[:1], Frame(GOAWAY, ((1 << 31) - 1).to_bytes(4) + bytes(4)), 0.001, body[1:]],
        "cut gzip": [gzipped, packed[:-5]],
        "no gzip": [gzipped, b"no gzip"],
        "refused": [Frame(RST_STREAM, (7).to_bytes(4))],
        "reset first": [lost],
        "reset": [half, 0.001, lost],
        "endless": [step for _ in range(1000) for step in (half, 0.001)],
        "hang": [half, HANG],
    }
    return steps.get(kind, [body])


def asked(request: bytes) -> tuple[str, int]:
    """The kind of answer, and its number."""
    kind, number, _ = request.split(b"/")
    return kind.decode(), int(number)


WHOLE = {
    "http1": ("whole", "slow", "chunked", "gzip", "to the end"),
    "http2": ("whole", "whole", "slow", "gzip", "goes away"),
}
BROKEN = {
    "http1": ("silent", "cut", "cut chunk", "cut gzip", "no size", "no http", "reset", "reset first"),
    "http2": ("cut gzip", "no gzip", "refused", "reset", "reset first"),
}
OPEN = ("endless", "hang")
ACTIONS = ("", "", "cancel", "enough", "raise", "cancel within", "cancel another")


@asynccontextmanager
async def open_server(protocol: str) -> AsyncGenerator[str]:
    if protocol == "http2":

        def script(request: bytes) -> Steps:
            server.bodies.clear()
            server.resets.clear()
            return steps_of(request)

        async with open_http2_server(script) as server:
            yield server.url
        return

    async def handle(stream: trio.SocketStream) -> None:
        while (request := await read_request(stream)) is not None:
            if not await play(*asked(request.body), stream.send_all, stream):
                return

    async with serve(handle) as url:
        yield url


@define(eq=False)
class Ears:
    """A receiver that does by chance what a receiver may do."""

    action: str
    scope: trio.CancelScope
    others: list[trio.CancelScope]
    body: bytearray = field(factory=bytearray)
    heads: int = 0
    enough: bool = False

    def head(self, head: Head, /) -> None:
        """Comes once, and before any data."""
        assert not self.heads
        self.heads += 1

    def data(self, data: bytes, /) -> bool:
        """Never comes after the end."""
        assert self.heads == 1
        assert not self.enough
        assert data
        assert not (self.action == "cancel within" and self.scope.cancel_called)
        self.body += data
        match self.action:
            case "enough":
                self.enough = True
            case "raise":
                raise TooLarge("enough")
            case "cancel within":
                self.scope.cancel()
            case "cancel another":
                self.others[len(self.body) % len(self.others)].cancel()
        return self.enough


@define(eq=False)
class Fuzz:
    """A run: what is left to do, who is at it, and what became of it."""

    count: int
    random: Random
    protocol: str
    url: str
    transport: CurlTransport
    scopes: list[trio.CancelScope]
    done: int = 0
    outcomes: Counter[str] = field(factory=Counter)
    rss: list[int] = field(factory=list)

    async def work(self, lane: int) -> None:
        """Exchanges one after the other."""
        while self.done < self.count:
            self.done += 1
            if self.done % (self.count // 10) == 0:
                self.rss.append(rss())
            await self.exchange(lane, self.done)

    async def exchange(self, lane: int, number: int) -> None:
        """One, by chance."""
        whole = WHOLE[self.protocol]
        kind = self.random.choice(whole * 3 + BROKEN[self.protocol] * 2 + OPEN)
        action = self.random.choice(ACTIONS)
        wait = self.random.random() * 0.005 if action == "cancel" else 0.02 if kind in OPEN else 5
        url = REFUSED if self.random.random() < 0.02 else self.url
        body = f"{kind}/{number}/".encode() + b"x" * (number % 3000)
        with trio.move_on_after(wait) as scope:
            self.scopes[lane] = scope
            ears = Ears(action, scope, self.scopes)
            outcome = await self.outcome(Request("POST", url, body=body), ears)
            shared = self.protocol == "http2" and outcome == "reset"  # with another's connection
            expected = outcome in ("whole", "enough", "raised") if kind in whole else outcome != "whole"
            assert expected or shared or url == REFUSED, (kind, action, outcome)
            assert outcome != "whole" or ears.body == body_of(number), (kind, action)
        if scope.cancelled_caught:
            assert action == "cancel" or kind in OPEN or scope.cancel_called
            assert wait < 5 or trio.current_time() < scope.deadline, (kind, action)
            outcome = "cancelled"
        self.outcomes[outcome] += 1

    async def outcome(self, request: Request, ears: Ears) -> str:
        """The end of an exchange."""
        try:
            await self.transport.exchange(request, ears, 5)
        except ProviderError as error:
            return "raised" if isinstance(error, TooLarge) else error.kind
        return "enough" if ears.enough else "whole"


def rss() -> int:
    """Kilobytes of memory that the process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def fds() -> int:
    """Descriptors that the process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a path object is nothing to count


def easies() -> tuple[int, int]:
    """Handles of libcurl that are still there, and those that are still open."""
    gc.collect()
    found = [thing for thing in gc.get_objects() if isinstance(thing, Easy)]
    return len(found), sum(easy.handle is not None for easy in found)


async def run(count: int, seed: int, protocol: str) -> dict[str, Any]:
    """Runs so many transfers; what was there before and after."""
    before, began = fds(), monotonic()
    async with open_server(protocol) as url:
        async with CurlTransport(prior_knowledge=protocol == "http2") as transport:
            scopes = [trio.CancelScope() for _ in range(LANES)]
            fuzz = Fuzz(count, Random(seed), protocol, url, transport, scopes)
            async with trio.open_nursery() as nursery:
                for lane in range(LANES):
                    nursery.start_soon(fuzz.work, lane)
            await trio.sleep(0.1)  # those with enough end
            (pool,) = transport._pools.values()
            sockets = transport._sockets
            assert sockets is not None
            left = len(pool.transfers) + len(transport._news) + len(transport._drains)
        await trio.sleep(0.05)
    return {
        "seconds": round(monotonic() - began, 1),
        "fds": [before, fds()],
        "rss": fuzz.rss,
        "left": left,
        "owners": len(sockets),
        "easies": easies(),
        "outcomes": dict(fuzz.outcomes),
    }


if __name__ == "__main__":
    print(json.dumps(trio.run(run, int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))  # noqa: T201
