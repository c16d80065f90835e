"""Proxies, really used: the environment's and a request's own, by both transports."""

import logging
import re
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from attrs import evolve

from fanout.abc import Request
from fanout.credentials.secret import Secret
from fanout.errors import ConnectError, ProviderError, ResetError, TimedOut
from fanout.transports import httpx
from fanout.transports.httpx import HttpxTransport
from tests.servers.http import HI, reset, serve
from tests.servers.script import open_script_server
from tests.transports.curl.test_transport import say_nothing
from tests.transports.proxies import open_http_proxy, open_socks_proxy
from tests.transports.test_contract import REAL, Ears, Real
from tests.transports.tls import Certificate, say_hi, secure_url

SERVICE = "http://service.invalid/v1"
SECURE = "https://service.invalid/v1"

Via = Callable[[str], str | None]


@pytest.fixture(params=REAL)
def real(request: pytest.FixtureRequest) -> Real:
    return REAL[request.param]


@pytest.fixture(params=["environment", "own"])
def via(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Via:
    """Names a proxy in one of the two ways; returns what the request has to say of it."""

    def name(proxy: str) -> str | None:
        if request.param == "own":
            monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")  # which is not asked
            monkeypatch.setenv("no_proxy", "*")
            return proxy
        monkeypatch.setenv("all_proxy", proxy)
        return None

    return name


async def ask(real: Real, url: str, proxy: str | None, connect: float = 5, **settings: Any) -> Ears:
    ears = Ears()
    async with real(**settings) as transport:
        await transport.exchange(Request("POST", url, body=b"{}", proxy=proxy), ears, connect)
    return ears


def first_line(head: bytes) -> bytes:
    return head.split(b"\r\n")[0]


def address_of(url: str) -> str:
    return url.rpartition("/")[2]


async def keep_saying_hi(certificate: Certificate, stream: trio.SocketStream) -> None:
    secure = trio.SSLStream(stream, certificate.context(), server_side=True)
    while await secure.receive_some():
        await secure.send_all(HI)


async def test_a_request_in_clear_goes_by_way_of_the_http_proxy(real: Real, via: Via) -> None:
    async with open_script_server([b"hi"]) as server, open_http_proxy(server.url) as (proxy, asked):
        ears = await ask(real, SERVICE, via(proxy))
    assert ears.body == b"hi"
    assert [first_line(head) for head in asked] == [b"POST http://service.invalid/v1 HTTP/1.1"]


@pytest.mark.parametrize("secure_proxy", [False, True])
async def test_a_secure_request_goes_through_a_tunnel_whose_head_is_not_the_answers(
    real: Real, via: Via, certificate: Certificate, secure_proxy: bool
) -> None:
    tls = certificate if secure_proxy else None
    async with serve(partial(say_hi, certificate)) as url, open_http_proxy(url, tls) as (proxy, asked):
        ears = await ask(real, secure_url(url, "service.invalid"), via(proxy), ca_file=str(certificate.path))
    assert (len(ears.heads), ears.body) == (1, b"hi")
    assert "x-proxy" not in ears.heads[0].headers
    assert [first_line(head).split(b":")[0] for head in asked] == [b"CONNECT service.invalid"]


async def test_the_credentials_of_service_and_proxy_each_go_to_their_own(
    real: Real, via: Via, certificate: Certificate
) -> None:
    heard: list[bytes] = []

    async def handle(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, certificate.context(), server_side=True)
        heard.append(bytes(await secure.receive_some()))
        await secure.send_all(HI)

    async with serve(handle) as url, open_http_proxy(url) as (proxy, asked):
        own = via(proxy.replace("//", "//m%20e:s%40cret@"))
        headers: dict[str, str | Secret] = {"authorization": Secret("Bearer canary"), "x-own": "canary"}
        request = Request("POST", secure_url(url, "service.invalid"), headers, proxy=own)
        async with real(ca_file=str(certificate.path)) as transport:
            await transport.exchange(request, Ears(), 5)
    assert b"canary" not in asked[0]
    assert b"Proxy-Authorization: Basic " + b64encode(b"m e:s@cret") in asked[0]
    assert b"Bearer canary" in heard[0]
    assert b"proxy" not in heard[0].lower()


async def test_a_proxy_may_be_secure_itself_and_its_authority_is_checked(
    real: Real, via: Via, certificate: Certificate
) -> None:
    async with serve(partial(say_hi, certificate)) as url:
        own = via(secure_url(url))
        assert (await ask(real, SERVICE, own, ca_file=str(certificate.path))).body == b"hi"
        for service in (SERVICE, SECURE):
            with pytest.raises(ConnectError, match=r"by way of the proxy: .*certificate.* \(proxy localhost:\d+\)"):
                await ask(real, service, own)


async def test_a_connection_through_a_proxy_is_used_again(real: Real, via: Via, certificate: Certificate) -> None:
    async with (
        serve(partial(keep_saying_hi, certificate)) as url,
        open_http_proxy(url) as (proxy, asked),
        real(ca_file=str(certificate.path)) as transport,
    ):
        request = Request("POST", secure_url(url, "service.invalid"), proxy=via(proxy))
        for _ in range(3):
            await transport.exchange(request, Ears(), 5)
    assert len(asked) == 1


@pytest.mark.parametrize("secure", [False, True])
async def test_a_request_goes_by_way_of_the_socks_proxy(
    real: Real, via: Via, certificate: Certificate, secure: bool
) -> None:
    async with (
        open_script_server([b"hi"]) as plain,
        serve(partial(say_hi, certificate)) as tls,
        open_socks_proxy(tls if secure else plain.url) as (proxy, asked),
    ):
        url = secure_url(tls, "service.invalid") if secure else SERVICE
        ears = await ask(real, url, via(proxy), ca_file=str(certificate.path))
    assert ears.body == b"hi"
    assert asked == [b"service.invalid"]


async def test_a_socks_proxy_is_given_its_credentials(real: Real, via: Via) -> None:
    async with open_script_server([b"hi"]) as server, open_socks_proxy(server.url) as (proxy, asked):
        ears = await ask(real, SERVICE, via(proxy.replace("//", "//me:secret@")))
    assert ears.body == b"hi"
    assert asked == [b"\x01\x02me\x06secret", b"service.invalid"]


async def test_a_proxy_is_asked_neither_for_this_machine_nor_when_told_to_ignore_it(
    real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_script_server([b"direct"]) as server, open_http_proxy(server.url) as (proxy, asked):
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy)
            monkeypatch.setenv(name.upper(), proxy)
        assert (await ask(real, server.url, None)).body == b"direct"
        with pytest.raises(ConnectError, match=r"cannot reach service\.invalid: ") as ignored:
            await ask(real, SERVICE, None, proxies=False)
        with pytest.raises(ConnectError, match=r"cannot reach service\.invalid: ") as own:
            await ask(real, SERVICE, "none")
        monkeypatch.setenv("no_proxy", "service.invalid")
        with pytest.raises(ConnectError, match=r"cannot reach service\.invalid: ") as excepted:
            await ask(real, SERVICE, None)
    assert asked == []
    assert not any("proxy" in str(caught.value) for caught in (ignored, own, excepted))


async def test_a_proxy_of_ones_own_stands_also_before_this_machine_and_where_the_environments_are_ignored(
    real: Real,
) -> None:
    async with open_script_server([b"hi"]) as server, open_http_proxy(server.url) as (proxy, asked):
        assert (await ask(real, server.url, proxy, proxies=False)).body == b"hi"
    assert len(asked) == 1


async def test_no_connection_of_one_proxy_is_used_for_another(real: Real, certificate: Certificate) -> None:
    async with (
        serve(partial(keep_saying_hi, certificate)) as url,
        open_http_proxy(url) as (one, asked),
        open_http_proxy(url) as (two, asked_two),
        open_socks_proxy(url) as (three, asked_three),
        real(ca_file=str(certificate.path)) as transport,
    ):

        async def count(proxy: str | None) -> tuple[int, int, int]:
            """The number of connections that each proxy has got, after two requests by way of this one."""
            for _ in range(2):
                ears = Ears()
                await transport.exchange(Request("POST", secure_url(url), proxy=proxy), ears, 5)
                assert ears.body == b"hi"
            return len(asked), len(asked_two), len(asked_three)

        assert await count("none") == (0, 0, 0)
        assert await count(one) == (1, 0, 0)
        assert await count(two) == (1, 1, 0)
        assert await count(three) == (1, 1, 1)
        assert await count(one.replace("//", "//me:one@")) == (2, 1, 1)
        assert await count(one.replace("//", "//me:two@")) == (3, 1, 1)
        assert await count(one.replace("//", "//you:two@")) == (4, 1, 1)
        assert [await count(proxy) for proxy in (None, "none", one, two, three)] == [(4, 1, 1)] * 5


async def test_requests_at_once_each_go_their_own_way(real: Real) -> None:
    async with (
        open_script_server([b"one", 0.05, b"one"]) as one,
        open_script_server([b"two", 0.05, b"two"]) as two,
        open_http_proxy(one.url) as (first, _),
        open_http_proxy(two.url) as (second, _),
        real() as transport,
        trio.open_nursery() as nursery,
    ):
        all_ears = [Ears() for _ in range(10)]
        for number, ears in enumerate(all_ears):
            request = Request("POST", SERVICE, proxy=(first, second)[number % 2])
            nursery.start_soon(transport.exchange, request, ears, 5)
    assert [ears.body for ears in all_ears] == [b"oneone", b"twotwo"] * 5


async def test_clients_of_many_proxies_are_bounded_and_none_is_closed_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpx, "CLIENTS", 2)
    async with open_script_server([b"x", 0.2, b"y"]) as server, HttpxTransport() as transport:

        async def through(user: str, ears: Ears) -> None:
            await transport.exchange(Request("POST", SERVICE, proxy=proxy.replace("//", f"//{user}:x@")), ears, 5)

        async with open_http_proxy(server.url) as (proxy, _):
            slow = [Ears() for _ in range(3)]
            async with trio.open_nursery() as nursery:
                for number, ears in enumerate(slow):
                    nursery.start_soon(through, f"slow{number}", ears)
            assert [ears.body for ears in slow] == [b"xy"] * 3
            for number in range(5):
                await through(f"quick{number}", Ears(stop_at=b"x"))
            assert len(transport._clients) == 2


# Who failed


async def answer(bytes_: bytes, stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.send_all(bytes_)
    await trio.sleep(0.02)


async def reset_at_once(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    reset(stream)


async def blame(real: Real, url: str, proxy: str | None, connect: float = 5, **settings: Any) -> ProviderError:
    """The error of a request that fails before it was sent; with everything that libraries log."""
    with pytest.raises((ConnectError, TimedOut)) as caught:
        await ask(real, url, proxy, connect, **settings)
    assert caught.value.retry_safe
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize("service", [SERVICE, SECURE])
@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
async def test_a_proxy_that_is_not_there_is_to_blame(real: Real, via: Via, scheme: str, service: str) -> None:
    error = await blame(real, service, via(f"{scheme}://me:canary@127.0.0.1:9"))
    assert error.message == ("cannot reach service.invalid by way of the proxy: Connection refused (proxy 127.0.0.1:9)")


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_whose_name_nobody_knows_is_to_blame(real: Real, via: Via, scheme: str) -> None:
    error = await blame(real, SECURE, via(f"{scheme}://me:canary@nowhere.invalid:3128"))
    assert error.message.startswith("cannot reach service.invalid by way of the proxy: ")
    assert error.message.endswith("(proxy nowhere.invalid:3128)")
    assert "canary" not in str(error)


TABLE = [
    ("http", b"HTTP/1.1 407 No\r\ncontent-length: 2\r\n\r\nno", "407"),
    ("http", b"HTTP/1.1 407 canary\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n", "asks for credentials"),
    ("http", b"HTTP/1.1 403 canary\r\n\r\n", "403"),
    ("http", b"HTTP/1.1 502 No\r\n\r\n", "502"),
    ("http", b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", "503"),
    ("http", b"", "CONNECT"),
    ("http", b"SSH-2.0-OpenSSH\r\n\r\n", "CONNECT"),
    ("https", b"HTTP/1.1 400 No\r\n\r\n", "(ssl|tls)"),
    ("socks5h", b"", "SOCKS"),
    ("socks5h", b"\x05\xff", "auth"),
    ("socks5h", b"HTTP/1.1 400 No\r\n\r\n", "SOCKS"),
]


@pytest.mark.parametrize(("scheme", "said", "says"), TABLE)
async def test_a_proxy_that_refuses_is_to_blame(real: Real, via: Via, scheme: str, said: bytes, says: str) -> None:
    async with serve(partial(answer, said)) as url:
        error = await blame(real, SECURE, via(url.replace("http:", f"{scheme}:")))
    words = rf"cannot reach service\.invalid by way of the proxy: .*{says}.* \(proxy {address_of(url)}\)"
    assert re.fullmatch(words, error.message, re.IGNORECASE), error.message
    assert "canary" not in error.message


async def test_an_http_proxy_that_asks_for_credentials_before_it_forwards_is_to_blame(real: Real, via: Via) -> None:
    said = b"HTTP/1.1 407 canary\r\nproxy-authenticate: Basic\r\ncontent-length: 6\r\n\r\ncanary"
    async with serve(partial(answer, said)) as url:
        error = await blame(real, SERVICE, via(url))
    assert error.message == (
        "cannot reach service.invalid by way of the proxy: "
        f"it asks for credentials, or for others (407) (proxy {address_of(url)})"
    )


@pytest.mark.parametrize("reply", [1, 2, 3, 4, 5, 6, 7, 8, 99])
async def test_a_socks_proxy_that_does_not_reach_the_service_is_to_blame(real: Real, via: Via, reply: int) -> None:
    async with open_socks_proxy("", reply) as (proxy, _):
        error = await blame(real, SECURE, via(proxy))
    assert "by way of the proxy: " in error.message
    assert error.message.endswith(f"(proxy {address_of(proxy)})")


async def test_a_socks_proxy_that_wants_other_credentials_is_to_blame_and_none_are_shown(real: Real, via: Via) -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"\x05\x02")
        await stream.receive_some()
        await stream.send_all(b"\x01\x01")

    async with serve(refuse) as url:
        error = await blame(real, SECURE, via(url.replace("http://", "socks5h://me:canary@")))
    assert "by way of the proxy: " in error.message
    assert "canary" not in error.message


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_resets_the_connection_before_there_is_a_tunnel_is_to_blame(
    real: Real, via: Via, scheme: str
) -> None:
    async with serve(reset_at_once) as url:
        error = await blame(real, SECURE, via(url.replace("http:", f"{scheme}:")))
    assert "by way of the proxy: " in error.message


@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
async def test_a_proxy_that_says_nothing_is_to_blame_when_the_connect_clock_fires(
    real: Real, via: Via, scheme: str
) -> None:
    async with serve(say_nothing) as url:
        error = await blame(real, SECURE, via(url.replace("http:", f"{scheme}:")), 0.2)
    assert isinstance(error, TimedOut)
    assert (error.clock, error.seconds) == ("connect", 0.2)
    assert error.message == (
        f"no connection to service.invalid by way of the proxy within 0.2 s (proxy {address_of(url)})"
    )


@pytest.mark.parametrize("kind", ["http", "https", "socks"])
async def test_tls_that_fails_behind_a_proxy_is_the_services_failure(
    real: Real, via: Via, certificate: Certificate, kind: str
) -> None:
    tls = certificate if kind == "https" else None
    async with serve(partial(say_hi, certificate)) as url:
        opened = open_socks_proxy(url) if kind == "socks" else open_http_proxy(url, tls)
        async with opened as (proxy, asked):
            error = await blame(real, "https://other.invalid/", via(proxy), ca_file=str(certificate.path))
            assert re.match(r"cannot reach other\.invalid: .*", error.message)
            assert error.message.endswith(f" (behind the proxy {address_of(proxy)})")
    assert len(asked) == 1


@pytest.mark.parametrize("kind", ["http", "https", "socks"])
async def test_a_service_that_speaks_no_tls_behind_a_proxy_is_to_blame_itself(
    real: Real, via: Via, certificate: Certificate, kind: str
) -> None:
    async with serve(partial(answer, b"HTTP/1.1 400 No\r\n\r\n")) as url:
        opened = (
            open_socks_proxy(url) if kind == "socks" else open_http_proxy(url, certificate if kind == "https" else None)
        )
        async with opened as (proxy, _):
            error = await blame(real, SECURE, via(proxy), ca_file=str(certificate.path))
    assert error.message.startswith("cannot reach service.invalid: ")
    assert error.message.endswith(f" (behind the proxy {address_of(proxy)})")


@pytest.mark.parametrize("kind", ["http", "https", "socks"])
async def test_a_service_behind_a_proxy_that_says_nothing_times_out_itself(
    real: Real, via: Via, certificate: Certificate, kind: str
) -> None:
    async with serve(say_nothing) as url:
        opened = (
            open_socks_proxy(url) if kind == "socks" else open_http_proxy(url, certificate if kind == "https" else None)
        )
        async with opened as (proxy, asked):
            error = await blame(real, SECURE, via(proxy), 0.4, ca_file=str(certificate.path))
    assert asked
    assert isinstance(error, TimedOut)
    assert error.message == f"no connection to service.invalid within 0.4 s (behind the proxy {address_of(proxy)})"


@pytest.mark.parametrize("secure", [False, True])
async def test_a_request_that_was_sent_is_never_said_to_be_safe_to_repeat(
    real: Real, via: Via, certificate: Certificate, secure: bool
) -> None:
    """Neither on a new connection nor on one that was used before; a proxy was there, and that is said."""
    requests = 0

    async def handle(plain: trio.SocketStream) -> None:
        nonlocal requests
        stream: Any = trio.SSLStream(plain, certificate.context(), server_side=True) if secure else plain
        await stream.receive_some()
        await stream.send_all(HI)
        while await stream.receive_some():
            requests += 1
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi")
            reset(plain)
            return

    async with (
        serve(handle) as url,
        open_http_proxy(url) as (proxy, _),
        real(ca_file=str(certificate.path)) as transport,
    ):
        request = Request("POST", secure_url(url, "service.invalid") if secure else SERVICE, proxy=via(proxy))
        await transport.exchange(request, Ears(), 5)
        with pytest.raises(ResetError, match=rf"service\.invalid.* \(behind the proxy {address_of(proxy)}\)") as caught:
            await transport.exchange(request, Ears(), 5)
    assert not caught.value.retry_safe
    assert requests == 1


async def test_an_answer_of_the_service_with_407_is_an_answer(real: Real, via: Via, certificate: Certificate) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, certificate.context(), server_side=True)
        await secure.receive_some()
        await secure.send_all(b"HTTP/1.1 407 No\r\ncontent-length: 2\r\n\r\nno")

    async with serve(handle) as url, open_http_proxy(url) as (proxy, _):
        ears = await ask(real, secure_url(url, "service.invalid"), via(proxy), ca_file=str(certificate.path))
    assert (ears.heads[0].status, ears.body) == (407, b"no")


@pytest.mark.parametrize(
    "text", ["odd://me:canary@x", "http://me:canary@x:99999999", "http://me:canary", "http://[::1"]
)
async def test_an_address_in_the_environment_that_is_none_is_told_without_its_credentials(
    real: Real, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("https_proxy", text)
    error = await blame(real, SECURE, None)
    assert "by way of the proxy" in error.message
    assert "canary" not in str(error)


async def test_credentials_of_a_proxy_stand_in_no_message_no_repr_and_no_log(
    real: Real, caplog: pytest.LogCaptureFixture, certificate: Certificate
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        serve(partial(say_hi, certificate)) as url,
        open_socks_proxy(url) as (socks, asked),
        open_http_proxy(url) as (http, heads),
        real(ca_file=str(certificate.path)) as transport,
    ):
        for proxy in (socks, http):
            request = Request("POST", secure_url(url), proxy=proxy.replace("//", "//canary:bird@"))
            assert "canary" not in repr(request)
            assert "bird" not in repr(request)
            await transport.exchange(request, Ears(), 5)
            with pytest.raises(ConnectError) as caught:
                await transport.exchange(evolve(request, proxy="http://canary:bird@127.0.0.1:9"), Ears(), 5)
            traceback = caught.value.__traceback__
            while traceback is not None:
                if traceback.tb_frame.f_code.co_filename != __file__:
                    assert "canary" not in repr(traceback.tb_frame.f_locals)
                traceback = traceback.tb_next
        assert b"canary" in b"".join(asked)
        assert b64encode(b"canary:bird") in b"".join(heads)
        assert not [
            record for record in caplog.records if "canary" in record.getMessage() or "bird" in record.getMessage()
        ]
    assert b64encode(b"canary:bird").decode() not in caplog.text
