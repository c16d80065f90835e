"""The one contract test: what every transport must do, the scripted one and the real ones alike."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from attrs import define, field

from fanout.abc import Head, Request, Transport
from fanout.credentials.secret import Secret
from fanout.errors import (
    AuthError,
    ConnectError,
    ProtocolError,
    ProviderError,
    ResetError,
    TimedOut,
    TooLarge,
    UsageError,
)
from fanout.transports.curl import CurlTransport
from fanout.transports.httpx import HttpxTransport
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.again import again
from tests.servers.http import HI, Received, read_request, serve
from tests.servers.script import open_script_server
from tests.transports.tls import Certificate, say_hi, secure_url


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
Real = type[HttpxTransport] | type[CurlTransport]


@asynccontextmanager
async def open_memory(script: Script) -> AsyncGenerator[Scene]:
    transport = MemoryTransport({"service": script})
    yield Scene(transport, "http://service/v1", lambda: transport.open, lambda: len(transport.exchanges))


@asynccontextmanager
async def open_real(real: Real, script: Script) -> AsyncGenerator[Scene]:
    async with open_script_server(script) as server, real() as transport:
        yield Scene(transport, f"{server.url}/v1", lambda: server.open, lambda: len(server.requests))


REAL: dict[str, Real] = {"httpx": HttpxTransport, "curl": CurlTransport}
TRANSPORTS: dict[str, Open] = {"memory": open_memory, **{name: partial(open_real, REAL[name]) for name in REAL}}


@pytest.fixture(params=TRANSPORTS)
def open_scene(request: pytest.FixtureRequest) -> Open:
    return TRANSPORTS[request.param]


@pytest.fixture(params=REAL)
def real(request: pytest.FixtureRequest) -> Real:
    """For what only a transport with sockets can show."""
    return REAL[request.param]


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


# What takes sockets to show


@asynccontextmanager
async def open_once_server() -> AsyncGenerator[tuple[str, list[Received]]]:
    """Answers one request a connection, promises to keep it, and closes it as soon as the next request begins."""
    requests: list[Received] = []

    async def handle(stream: trio.SocketStream) -> None:
        request = await read_request(stream)
        assert request
        requests.append(request)
        await stream.send_all(HI)
        await stream.receive_some(1)

    async with serve(handle) as url:
        yield url, requests


async def test_a_kept_connection_that_turns_out_closed_costs_no_request(real: Real) -> None:
    async with open_once_server() as (url, requests), real() as transport:
        for number in range(5):
            ears = Ears()
            await transport.exchange(Request("POST", url, body=b"%d" % number), ears, 5)
            assert ears.body == b"hi"
    assert [request.body for request in requests] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_fresh_connection_that_is_closed_is_not_tried_again(real: Real) -> None:
    connections = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await read_request(stream)

    async with serve(handle) as url, real() as transport:
        with pytest.raises(ResetError):
            await transport.exchange(Request("POST", url), Ears(), 5)
    assert connections == 1


async def test_a_refused_connection_is_named_with_the_systems_reason(real: Real) -> None:
    async with real() as transport:
        with pytest.raises(ConnectError, match=r"cannot reach 127\.0\.0\.1:9: Connection refused"):
            await transport.exchange(Request("POST", "http://127.0.0.1:9/"), Ears(), 5)


async def test_a_server_that_speaks_no_http_is_a_protocol_error(real: Real) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    async with serve(handle) as url, real() as transport:
        with pytest.raises(ProtocolError, match="does not speak HTTP"):
            await transport.exchange(Request("POST", url), Ears(), 5)


@pytest.mark.parametrize("host", ["..a..", "x" * 70 + ".com"])
async def test_what_is_no_host_name_is_a_connect_error(real: Real, host: str) -> None:
    async with real() as transport:
        with pytest.raises(ConnectError, match="no host name"):
            await transport.exchange(Request("POST", f"http://{host}/"), Ears(), 5)


async def test_a_certificate_of_nobody_is_refused_and_its_authority_accepted(
    real: Real, certificate: Certificate
) -> None:
    async with serve(partial(say_hi, certificate)) as plain_url:
        url = secure_url(plain_url)
        async with real() as transport:
            with pytest.raises(ConnectError, match=r"cannot reach localhost:\d+: .*certificate"):
                await transport.exchange(Request("POST", url), Ears(), 5)
        ears = Ears()
        async with real(ca_file=str(certificate.path)) as transport:
            await transport.exchange(Request("POST", url), ears, 5)
        assert ears.body == b"hi"


async def test_credentials_go_over_the_wire_in_clear_and_nowhere_else(real: Real) -> None:
    request = Request("POST", "", {"authorization": Secret("Bearer canary")})
    async with open_script_server([b"x"]) as server, real() as transport:
        await transport.exchange(Request("POST", server.url, request.headers), Ears(), 5)
        assert server.requests[0].headers["authorization"] == "Bearer canary"
    assert "canary" not in repr(request)


async def test_an_error_carries_no_credential_in_its_chain(real: Real) -> None:
    request = Request("POST", "http://127.0.0.1:9/", {"authorization": Secret("Bearer canary")})
    async with real() as transport:
        with pytest.raises(ConnectError) as caught:
            await transport.exchange(request, Ears(), 5)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    traceback = caught.value.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename != __file__:
            assert "canary" not in repr(traceback.tb_frame.f_locals)
        traceback = traceback.tb_next


@pytest.mark.parametrize("key", ["canary\r\nx-evil: 1", "canaryÉ", "canary\n"])
async def test_a_key_that_no_header_can_carry_is_an_auth_error_that_does_not_show_it(real: Real, key: str) -> None:
    request = Request("POST", "http://127.0.0.1:9/", {"authorization": Secret(f"Bearer {key}")})
    async with real() as transport:
        with pytest.raises(AuthError, match="authorization has a character") as caught:
            await transport.exchange(request, Ears(), 5)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "proxy",
    ["socks5://127.0.0.1:9", "odd://me:canary@x", "http://127.0.0.1:9", "http://me:canary@nowhere.invalid:3"],
)
async def test_a_proxy_that_cannot_be_used_fails_the_lane_and_not_this_machines(
    real: Real, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    ears = Ears()
    async with open_script_server([b"direct"]) as server, real() as transport:
        await transport.exchange(Request("POST", server.url), ears, 5)
        with pytest.raises(ConnectError, match="by way of the proxy: ") as caught:
            await transport.exchange(Request("POST", "https://example.invalid/"), Ears(), 5)
    assert ears.body == b"direct"
    assert "canary" not in str(caught.value)


async def test_a_connection_that_does_not_come_about_times_out(real: Real) -> None:
    # A listener whose backlog is full answers no further SYN.
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    blockers = [trio.socket.socket() for _ in range(4)]
    with listener:
        async with trio.open_nursery() as nursery, real() as transport:
            for blocker in blockers:
                nursery.start_soon(blocker.connect, ("127.0.0.1", port))
            await trio.sleep(0.05)
            began = trio.current_time()
            with pytest.raises(TimedOut) as caught:
                await transport.exchange(Request("POST", f"http://127.0.0.1:{port}/"), Ears(), 0.2)
            assert 0.19 < trio.current_time() - began < 5
            nursery.cancel_scope.cancel()
    for blocker in blockers:
        blocker.close()
    assert (caught.value.clock, caught.value.seconds) == ("connect", 0.2)
    assert caught.value.retry_safe


async def test_a_transport_that_is_closed_says_so(real: Real) -> None:
    async with open_script_server([b"x"]) as server:
        async with real() as transport:
            await transport.exchange(Request("POST", server.url), Ears(), 5)
        with pytest.raises(UsageError, match="closed"):
            await transport.exchange(Request("POST", server.url), Ears(), 5)
    with pytest.raises(UsageError, match="closed"):
        await real().exchange(Request("POST", "http://127.0.0.1:9/"), Ears(), 5)


@pytest.mark.slow
@pytest.mark.parametrize("real", [HttpxTransport, CurlTransport])
async def test_a_connection_that_does_not_come_ends_though_we_were_late(real: Real, certificate: Certificate) -> None:
    async def silent(_: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async def keep_busy() -> None:
        for _ in range(20):
            time.sleep(0.1)  # noqa: ASYNC251  # as a caller's code does
            await trio.sleep(0.001)

    async with serve(silent) as url, real(ca_file=str(certificate.path)) as transport, trio.open_nursery() as nursery:
        nursery.start_soon(keep_busy)
        began = trio.current_time()
        with pytest.raises(TimedOut) as caught:
            await transport.exchange(Request("POST", secure_url(url)), Ears(), 0.25)
        assert (caught.value.clock, caught.value.retry_safe) == ("connect", True)
        assert 0.25 < trio.current_time() - began < 1.8
        nursery.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("real", [HttpxTransport, CurlTransport])
async def test_a_connection_that_comes_late_by_our_fault_is_used_whatever_else_begins_then(
    real: Real, certificate: Certificate
) -> None:
    connections = 0

    async def be_slow(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await trio.sleep(0.4)
        secure = trio.SSLStream(stream, certificate.context(), server_side=True)
        await secure.receive_some(1000)
        await secure.send_all(HI)

    async with serve(be_slow) as url, real(ca_file=str(certificate.path)) as transport, trio.open_nursery() as nursery:
        ears = [Ears(), Ears()]
        for each in ears:
            nursery.start_soon(transport.exchange, Request("POST", secure_url(url)), each, 0.6)
            await trio.sleep(0.1)
            time.sleep(1.5)  # noqa: ASYNC251  # as a caller's code does, or who stops the process
    assert [each.body for each in ears] == [b"hi"] * 2
    assert connections == 2


@pytest.mark.slow
@pytest.mark.parametrize("real", [HttpxTransport, CurlTransport])
@pytest.mark.parametrize("busy", [0.0, 0.2], ids=["idle", "busy"])
@again
async def test_a_connection_that_does_not_come_ends_at_its_limit_and_what_we_lost(
    real: Real, busy: float, certificate: Certificate
) -> None:
    async def silent(_: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async def keep_busy() -> None:
        await trio.sleep(0.05)
        time.sleep(busy)  # noqa: ASYNC251  # as a caller's code does

    async with serve(silent) as url, real(ca_file=str(certificate.path)) as transport, trio.open_nursery() as nursery:
        nursery.start_soon(keep_busy)
        began = trio.current_time()
        with pytest.raises(TimedOut, match=r"within 0\.3 s"):
            await transport.exchange(Request("POST", secure_url(url)), Ears(), 0.3)
        assert 0.29 + busy < trio.current_time() - began < 0.4 + busy


@asynccontextmanager
async def open_repeating_server(answer: bytes) -> AsyncGenerator[tuple[str, list[Received]]]:
    """Answers every request on every connection with the same bytes, and keeps the connection open."""
    requests: list[Received] = []

    async def handle(stream: trio.SocketStream) -> None:
        while (received := await read_request(stream)) is not None:
            requests.append(received)
            await stream.send_all(answer)

    async with serve(handle) as url:
        yield url, requests


async def ask_four_times(real: Real, url: str) -> list[bytes | str]:
    said: list[bytes | str] = []
    async with real() as transport:
        for _ in range(4):
            ears = Ears()
            try:
                await transport.exchange(Request("POST", url), ears, 5)
            except ProviderError as error:
                said.append(error.kind)
            else:
                said.append(ears.body)
            await trio.sleep(0.01)
    return said


EVIL = HI.replace(b"hi", b"no")
CHUNKED_HI = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        HI + EVIL,
        CHUNKED_HI + EVIL,
        HI + b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n",
        HI + b"HTTP/1.1 200 OK\r\ncontent-le",
        HI + b"junk junk",
        HI + b"\r\n",
    ],
)
async def test_what_comes_behind_a_body_answers_no_other_request_and_costs_none(real: Real, answer: bytes) -> None:
    async with open_repeating_server(answer) as (url, requests):
        assert await ask_four_times(real, url) == [b"hi"] * 4
        assert len(requests) == 4


@pytest.mark.parametrize("junk", [b"junk", b"\0", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nx"])
async def test_a_request_whose_answer_has_begun_is_not_sent_again(real: Real, junk: bytes) -> None:
    if real is CurlTransport and junk.startswith(b"HTTP/1.1 20") and b"\n" not in junk:
        pytest.skip("libcurl itself asks again where not even the status line was whole, and cannot be told not to")
    requests: list[Received] = []

    async def handle(stream: trio.SocketStream) -> None:
        while (received := await read_request(stream)) is not None:
            requests.append(received)
            if len(requests) == 2:
                await stream.send_all(junk)
                return
            await stream.send_all(HI)

    async with serve(handle) as url:
        said = await ask_four_times(real, url)
    assert said[0] == said[2] == said[3] == b"hi"
    assert said[1] in ("protocol", "reset", b"junk", b"")
    assert len(requests) == 4


async def test_a_service_s_cookies_are_not_sent_back(real: Real) -> None:
    answer = HI.replace(b"\r\n", b"\r\nset-cookie: a=b\r\n", 1)
    async with open_repeating_server(answer) as (url, requests):
        await ask_four_times(real, url)
    assert len(requests) == 4
    assert not any("cookie" in received.headers for received in requests)
