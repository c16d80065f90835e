"""The one contract test: what every transport must do, the scripted one and the real ones alike."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import define, field

from fanout.abc import Head, Request, Transport
from fanout.errors import ConnectError, ProviderError, ResetError, TooLarge
from fanout.secret import Secret
from fanout.transports.curl import CurlTransport
from fanout.transports.httpx import HttpxTransport
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.servers.script import open_script_server


@define
class Scene:
    """A transport, an address behind which the script plays, and the means to see what the service saw."""

    transport: Transport
    url: str
    open: Callable[[], int]
    asked: Callable[[], int]

    async def closed(self) -> None:
        """Waits until the service sees no connection any more."""
        with trio.fail_after(5):
            while self.open():  # noqa: ASYNC110  # the scripted service has no event for it
                await trio.sleep(0.001)


Open = Callable[[Script], AbstractAsyncContextManager[Scene]]


@asynccontextmanager
async def open_memory(script: Script) -> AsyncGenerator[Scene]:
    transport = MemoryTransport({"service": script})
    yield Scene(transport, "http://service/v1", lambda: transport.open, lambda: len(transport.exchanges))


@asynccontextmanager
async def open_httpx(script: Script) -> AsyncGenerator[Scene]:
    async with open_script_server(script) as server, HttpxTransport() as transport:
        yield Scene(transport, f"{server.url}/v1", lambda: server.open, lambda: len(server.requests))


@asynccontextmanager
async def open_curl(script: Script) -> AsyncGenerator[Scene]:
    async with open_script_server(script) as server, CurlTransport() as transport:
        yield Scene(transport, f"{server.url}/v1", lambda: server.open, lambda: len(server.requests))


TRANSPORTS: dict[str, Open] = {"memory": open_memory, "httpx": open_httpx, "curl": open_curl}


@pytest.fixture(params=TRANSPORTS)
def open_scene(request: pytest.FixtureRequest) -> Open:
    return TRANSPORTS[request.param]


@define
class Ears:
    """A receiver that keeps what it is told, and stops or breaks where a test says so."""

    heads: list[Head] = field(factory=list)
    pieces: list[bytes] = field(factory=list)
    times: list[float] = field(factory=list)
    stop_at: bytes | None = None
    break_at: bytes | None = None

    def head(self, head: Head, /) -> None:
        assert not self.pieces
        self.heads.append(head)

    def data(self, data: bytes, /) -> bool:
        assert self.heads
        assert data
        self.pieces.append(data)
        self.times.append(trio.current_time())
        if self.break_at is not None and self.break_at in data:
            raise TooLarge("enough")
        return self.stop_at is not None and self.stop_at in data

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


async def put(scene: Scene, ears: Ears, **fields: Any) -> None:
    await scene.transport.exchange(Request("POST", scene.url, **fields), ears, 5)


async def test_status_and_headers_come_once_and_before_the_body(open_scene: Open) -> None:
    ears = Ears()
    async with open_scene([Head(200, {"x-request-id": "r1"}), b"body"]) as scene:
        await put(scene, ears, body=b"hello")
    (head,) = ears.heads
    assert (head.status, head.headers["x-request-id"]) == (200, "r1")
    assert ears.body == b"body"


async def test_a_stream_arrives_piece_by_piece_as_it_is_sent(open_scene: Open) -> None:
    ears = Ears()
    async with open_scene([b"one", 0.1, b"two", 0.1, b"three"]) as scene:
        await put(scene, ears)
    assert ears.pieces == [b"one", b"two", b"three"]
    assert ears.times[2] - ears.times[0] > 0.15


async def test_an_error_status_comes_with_its_body(open_scene: Open) -> None:
    ears = Ears()
    async with open_scene([Head(429, {"retry-after": "7"}), b'{"error":1}']) as scene:
        await put(scene, ears)
    assert (ears.heads[0].status, ears.heads[0].headers["retry-after"], ears.body) == (429, "7", b'{"error":1}')


async def test_a_body_may_be_empty(open_scene: Open) -> None:
    ears = Ears()
    async with open_scene([Head(200)]) as scene:
        await put(scene, ears)
    assert ears.heads
    assert ears.body == b""


@pytest.mark.parametrize("script", [[HANG], [b"x", HANG]], ids=["before the head", "within the body"])
async def test_a_hanging_service_is_left_at_once_when_cancelled_and_closed(open_scene: Open, script: Script) -> None:
    async with open_scene(script) as scene:
        began = trio.current_time()
        with trio.move_on_after(0.2) as scope:
            await put(scene, Ears())
        assert scope.cancelled_caught
        assert trio.current_time() - began < 2
        await scene.closed()


async def test_a_reset_is_a_typed_error_after_what_had_arrived(open_scene: Open) -> None:
    ears = Ears()
    async with open_scene([b"half", ResetError("gone")]) as scene:
        with pytest.raises(ResetError):
            await put(scene, ears)
    assert ears.body == b"half"


async def test_a_reset_before_the_head_is_a_typed_error(open_scene: Open) -> None:
    ears = Ears()
    async with open_scene([ResetError("gone")]) as scene:
        with pytest.raises(ResetError):
            await put(scene, ears)
    assert not ears.heads


async def test_what_the_receiver_raises_passes_through_and_closes_the_connection(open_scene: Open) -> None:
    async with open_scene([b"one", b"two", HANG]) as scene:
        with pytest.raises(TooLarge, match="enough"):
            await put(scene, Ears(break_at=b"two"))
        await scene.closed()


async def test_a_receiver_that_has_enough_is_told_nothing_more_and_waits_for_nothing(open_scene: Open) -> None:
    ears = Ears(stop_at=b"done")
    async with open_scene([b"done", 0.01, b"more", HANG]) as scene:
        began = trio.current_time()
        await put(scene, ears)
        assert trio.current_time() - began < 2
        assert ears.body == b"done"
        await scene.closed()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_handed_over_and_not_followed(open_scene: Open, status: int) -> None:
    ears = Ears()
    async with open_scene([Head(status, {"location": "/elsewhere"})]) as scene:
        await put(scene, ears, headers={"authorization": Secret("k")}, body=b"prompt")
        assert scene.asked() == 1
    assert ears.heads[0].status == status


async def test_an_unreachable_host_is_a_connect_error_that_names_it(open_scene: Open) -> None:
    async with open_scene([]) as scene:
        with pytest.raises(ConnectError, match=r"nowhere\.invalid") as caught:
            await scene.transport.exchange(Request("POST", "http://nowhere.invalid/"), Ears(), 5)
    assert caught.value.retry_safe
    assert isinstance(caught.value, ProviderError)


async def test_many_exchanges_at_once_do_not_disturb_each_other(open_scene: Open) -> None:
    all_ears = [Ears() for _ in range(20)]
    async with open_scene([b"one", 0.02, b"two"]) as scene, trio.open_nursery() as nursery:
        for ears in all_ears:
            nursery.start_soon(put, scene, ears)
    assert [ears.body for ears in all_ears] == [b"onetwo"] * 20
