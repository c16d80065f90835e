"""Proxies that the environment names, really used."""

from base64 import b64encode
from functools import partial

import pytest
import trio

from fanout.abc import Request
from fanout.errors import ConnectError, ProviderError, TimedOut
from fanout.secret import Secret
from fanout.transports.curl import CurlTransport
from tests.servers.http import HI, serve
from tests.servers.script import open_script_server
from tests.transports.proxies import open_http_proxy, open_socks_proxy
from tests.transports.test_contract import Ears
from tests.transports.test_curl import say_nothing
from tests.transports.tls import Certificate, say_hi, secure_url

SERVICE = "http://service.invalid/v1"


def first_line(head: bytes) -> bytes:
    return head.split(b"\r\n")[0]


async def test_a_request_in_clear_goes_by_way_of_the_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    ears = Ears()
    async with open_script_server([b"hi"]) as server, open_http_proxy(server.url) as (proxy, asked):
        monkeypatch.setenv("http_proxy", proxy)
        async with CurlTransport() as transport:
            await transport.exchange(Request("POST", SERVICE), ears, 5)
    assert ears.body == b"hi"
    assert [first_line(head) for head in asked] == [b"POST http://service.invalid/v1 HTTP/1.1"]


async def test_a_secure_request_goes_through_a_tunnel_whose_head_is_not_the_answers(
    monkeypatch: pytest.MonkeyPatch, certificate: Certificate
) -> None:
    ears = Ears()
    async with serve(partial(say_hi, certificate)) as url, open_http_proxy(url) as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        async with CurlTransport(ca_file=str(certificate.path)) as transport:
            await transport.exchange(Request("POST", secure_url(url, "service.invalid")), ears, 5)
    assert (len(ears.heads), ears.body) == (1, b"hi")
    assert "x-proxy" not in ears.heads[0].headers
    assert [first_line(head).split(b":")[0] for head in asked] == [b"CONNECT service.invalid"]


async def test_the_credentials_of_service_and_proxy_each_go_to_their_own(
    monkeypatch: pytest.MonkeyPatch, certificate: Certificate
) -> None:
    heard: list[bytes] = []

    async def handle(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, certificate.context(), server_side=True)
        heard.append(bytes(await secure.receive_some()))
        await secure.send_all(HI)

    async with serve(handle) as url, open_http_proxy(url) as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", proxy.replace("//", "//me:secret@"))
        headers: dict[str, str | Secret] = {"authorization": Secret("Bearer canary"), "x-own": "canary"}
        async with CurlTransport(ca_file=str(certificate.path)) as transport:
            await transport.exchange(Request("POST", secure_url(url, "service.invalid"), headers), Ears(), 5)
    assert b"canary" not in asked[0]
    assert b"Proxy-Authorization: Basic " + b64encode(b"me:secret") in asked[0]
    assert b"Bearer canary" in heard[0]
    assert b"proxy" not in heard[0].lower()


async def test_a_proxy_may_be_secure_itself_and_its_authority_is_checked(
    monkeypatch: pytest.MonkeyPatch, certificate: Certificate
) -> None:
    async with serve(partial(say_hi, certificate)) as url:
        monkeypatch.setenv("http_proxy", secure_url(url))
        ears = Ears()
        async with CurlTransport(ca_file=str(certificate.path)) as transport:
            await transport.exchange(Request("POST", SERVICE), ears, 5)
        async with CurlTransport() as transport:
            with pytest.raises(ConnectError, match="certificate"):
                await transport.exchange(Request("POST", SERVICE), Ears(), 5)
    assert ears.body == b"hi"


async def test_a_connection_through_a_proxy_is_used_again(
    monkeypatch: pytest.MonkeyPatch, certificate: Certificate
) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, certificate.context(), server_side=True)
        while await secure.receive_some():
            await secure.send_all(HI)

    async with serve(handle) as url, open_http_proxy(url) as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        async with CurlTransport(ca_file=str(certificate.path)) as transport:
            for _ in range(3):
                await transport.exchange(Request("POST", secure_url(url, "service.invalid")), Ears(), 5)
    assert len(asked) == 1


@pytest.mark.parametrize("secure", [False, True])
async def test_a_request_goes_by_way_of_the_socks_proxy(
    monkeypatch: pytest.MonkeyPatch, certificate: Certificate, secure: bool
) -> None:
    ears = Ears()
    async with (
        open_script_server([b"hi"]) as plain,
        serve(partial(say_hi, certificate)) as tls,
        open_socks_proxy(tls if secure else plain.url) as (proxy, asked),
    ):
        monkeypatch.setenv("ALL_PROXY", proxy)
        async with CurlTransport(ca_file=str(certificate.path)) as transport:
            url = secure_url(tls, "service.invalid") if secure else SERVICE
            await transport.exchange(Request("POST", url), ears, 5)
    assert ears.body == b"hi"
    assert asked == [b"service.invalid"]


async def test_a_proxy_is_asked_neither_for_this_machine_nor_when_told_to_ignore_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_script_server([b"direct"]) as server, open_http_proxy(server.url) as (proxy, asked):
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy)
            monkeypatch.setenv(name.upper(), proxy)
        ears = Ears()
        async with CurlTransport() as transport:
            await transport.exchange(Request("POST", server.url), ears, 5)
        async with CurlTransport(proxies=False) as transport:
            with pytest.raises(ConnectError, match=r"resolve.*service\.invalid"):
                await transport.exchange(Request("POST", SERVICE), Ears(), 5)
        monkeypatch.setenv("no_proxy", "service.invalid")
        async with CurlTransport() as transport:
            with pytest.raises(ConnectError, match=r"resolve.*service\.invalid"):
                await transport.exchange(Request("POST", SERVICE), Ears(), 5)
    assert ears.body == b"direct"
    assert asked == []


@pytest.mark.parametrize(
    ("scheme", "answer", "says"),
    [
        ("http", b"HTTP/1.1 407 No\r\ncontent-length: 2\r\n\r\nno", "407"),
        ("http", b"HTTP/1.1 502 No\r\n\r\n", "502"),
        ("http", b"", "CONNECT"),
        ("socks5h", b"", "SOCKS"),
        ("socks5h", b"\x05\xff", "authentication"),
        ("socks5h", b"HTTP/1.1 400 No\r\n\r\n", "SOCKS"),
    ],
)
async def test_a_proxy_that_refuses_is_a_connect_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, scheme: str, answer: bytes, says: str
) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)

    async with serve(handle) as url:
        monkeypatch.setenv("all_proxy", url.replace("http", scheme))
        async with CurlTransport() as transport:
            with pytest.raises(ConnectError, match=rf"cannot reach example\.invalid by way of the proxy: .*{says}"):
                await transport.exchange(Request("POST", "https://example.invalid/"), Ears(), 5)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_says_nothing_times_out(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    async with serve(say_nothing) as url:
        monkeypatch.setenv("all_proxy", url.replace("http", scheme))
        async with CurlTransport() as transport:
            with pytest.raises(ProviderError) as caught:
                await transport.exchange(Request("POST", "https://example.invalid/"), Ears(), 0.2)
    assert isinstance(caught.value, TimedOut)
