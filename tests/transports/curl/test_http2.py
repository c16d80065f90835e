"""HTTP/2 over TLS, and browsers' habits: connections are shared, and by nobody who should not share them."""

import gzip
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from fanout.abc import Head, Request
from fanout.errors import ProtocolError, ProviderError, ResetError, TooLarge, UsageError
from fanout.transports.curl import CurlTransport, libcurl, transfer
from fanout.transports.curl import transport as curl
from fanout.transports.curl.sockets import Load
from fanout.transports.memory import HANG, Script
from tests.servers.http import serve
from tests.servers.script import open_script_server
from tests.transports.curl.test_cancel import Acting, transfers, until
from tests.transports.curl.test_transport import open_raw_server
from tests.transports.http2 import (
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    Frame,
    Http2Server,
    Steps,
    open_http2_server,
)
from tests.transports.test_contract import Ears
from tests.transports.tls import Certificate, secure_url


def script(body: bytes) -> Script:
    if body in (b"hang", b"break"):
        return [b"a", HANG if body == b"hang" else ResetError("gone")]
    return [Head(200, {"content-type": "text/plain"}), b"one", 0.05, b"two"]


@asynccontextmanager
async def open_pair(certificate: Certificate) -> AsyncGenerator[tuple[Http2Server, CurlTransport, str]]:
    async with (
        open_http2_server(script, certificate.context("h2")) as server,
        CurlTransport(ca_file=str(certificate.path), http2=True) as transport,
    ):
        yield server, transport, secure_url(server.url)


async def test_a_stream_arrives_piece_by_piece_over_one_connection_for_all(certificate: Certificate) -> None:
    async with open_pair(certificate) as (server, transport, url):
        first = Ears()
        await transport.exchange(Request("POST", url, body=b"first"), first, 5)
        assert first.pieces == [b"one", b"two"]
        assert (first.heads[0].status, first.heads[0].headers["content-type"]) == (200, "text/plain")
        all_ears = [Ears() for _ in range(50)]
        async with trio.open_nursery() as nursery:
            for ears in all_ears:
                nursery.start_soon(transport.exchange, Request("POST", url, body=b"x"), ears, 5)
        assert {ears.body for ears in all_ears} == {b"onetwo"}
        assert (server.connections, len(server.bodies)) == (1, 51)


async def test_streams_that_one_read_brings_news_of_count_each_as_a_read(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    class Heavy(Load):
        def is_heavy(self, reads: int, now: float) -> bool:
            counts.append(reads)
            return True  # so that a read brings what has come within 2 ms

    monkeypatch.setattr(curl, "Load", Heavy)
    async with open_pair(certificate) as (_, transport, url):
        await transport.exchange(Request("POST", url), Ears(), 5)
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(transport.exchange, Request("POST", url), Ears(), 5)
    assert max(counts) > 10  # else they would never seem to come often enough to be left to gather


async def test_a_cancelled_stream_is_reset_at_once_and_its_siblings_go_on(certificate: Certificate) -> None:
    sibling = Ears()
    async with open_pair(certificate) as (server, transport, url), trio.open_nursery() as nursery:
        await transport.exchange(Request("POST", url), Ears(), 5)
        nursery.start_soon(transport.exchange, Request("POST", url), sibling, 5)
        with trio.CancelScope() as scope:
            await transport.exchange(Request("POST", url, body=b"hang"), Acting(act=scope.cancel), 5)
        assert scope.cancelled_caught
        with trio.fail_after(5):
            await server.reset_at.wait()
        assert len(server.resets) == 1
        await until(lambda: sibling.body)
        assert transfers(transport) == 1
        nursery.cancel_scope.deadline = trio.current_time() + 2
    assert sibling.body == b"onetwo"
    assert server.connections == 1


async def test_a_stream_of_which_the_receiver_has_enough_is_reset_in_a_moment(certificate: Certificate) -> None:
    async with open_pair(certificate) as (server, transport, url):
        began = trio.current_time()
        await transport.exchange(Request("POST", url, body=b"hang"), Ears(stop_at=b"a"), 5)
        assert trio.current_time() - began < 2
        assert server.resets == []
        with trio.fail_after(curl.DRAIN * 100):
            await server.reset_at.wait()
        await transport.exchange(Request("POST", url), Ears(), 5)
        assert server.connections == 1


async def test_what_a_receiver_raises_resets_its_stream_only(certificate: Certificate) -> None:
    async with open_pair(certificate) as (server, transport, url):
        with pytest.raises(ProviderError, match="enough"):
            await transport.exchange(Request("POST", url, body=b"hang"), Ears(break_at=b"a"), 5)
        with trio.fail_after(5):
            await server.reset_at.wait()
        await transport.exchange(Request("POST", url), Ears(), 5)
        assert server.connections == 1


async def test_a_connection_that_breaks_ends_all_its_streams_with_a_typed_error(certificate: Certificate) -> None:
    errors: list[ResetError] = []
    all_ears = [Ears() for _ in range(6)]

    async def put(url: str, transport: CurlTransport, body: bytes, ears: Ears) -> None:
        try:
            await transport.exchange(Request("POST", url, body=body), ears, 5)
        except ResetError as error:
            errors.append(error)

    async with open_pair(certificate) as (server, transport, url):
        await transport.exchange(Request("POST", url), Ears(), 5)
        async with trio.open_nursery() as nursery:
            for ears in all_ears[:5]:
                nursery.start_soon(put, url, transport, b"hang", ears)
            await until(lambda: all(ears.body for ears in all_ears[:5]))
            await put(url, transport, b"break", all_ears[5])
        assert len(errors) == 6
        assert server.connections == 1
        await transport.exchange(Request("POST", url), Ears(), 5)
        assert server.connections == 2


class Odd:
    """A script that plays these steps to the first request, and an answer to all others."""

    def __init__(self, *steps: Frame | bytes | float) -> None:
        self._steps: Steps = steps

    def __call__(self, body: bytes) -> Steps:
        steps, self._steps = self._steps, [b"one", b"two"]
        return steps


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(4) for value in values)


NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL, CALM = 0, 2, 7, 8, 11  # RFC 9113, 7
ALL = (1 << 31) - 1


async def test_a_stream_that_was_refused_is_sent_again() -> None:
    ears = Ears()
    odd = Odd(Frame(RST_STREAM, numbers(REFUSED_STREAM)))
    async with open_http2_server(odd) as server, CurlTransport(prior_knowledge=True) as transport:
        await transport.exchange(Request("POST", server.url, body=b"x"), ears, 5)
    assert ears.body == b"onetwo"
    assert server.bodies == [b"x", b"x"]


@pytest.mark.parametrize(
    ("before", "code"),  # to end an answer with NO_ERROR says only that the rest of the request is not wanted
    [((), NO_ERROR), ((), INTERNAL_ERROR), ((), CANCEL), ((b"one", 0.01), INTERNAL_ERROR), ((b"one", 0.01), CANCEL)],
)
async def test_a_stream_that_the_service_resets_is_lost_and_its_connection_is_not(
    before: tuple[bytes | float, ...], code: int
) -> None:
    ears = Ears()
    odd = Odd(*before, Frame(RST_STREAM, numbers(code)))
    async with open_http2_server(odd) as server, CurlTransport(prior_knowledge=True) as transport:
        with pytest.raises(ResetError):
            await transport.exchange(Request("POST", server.url), ears, 5)
        await transport.exchange(Request("POST", server.url), Ears(), 5)
        assert server.connections == 1
    assert ears.body == (b"one" if before else b"")


async def test_a_connection_whose_end_is_announced_ends_its_streams_first() -> None:
    ears = Ears()
    odd = Odd(b"one", Frame(GOAWAY, numbers(ALL, NO_ERROR)), 0.01, b"two")
    async with open_http2_server(odd) as server, CurlTransport(prior_knowledge=True) as transport:
        await transport.exchange(Request("POST", server.url), ears, 5)
        await transport.exchange(Request("POST", server.url), Ears(), 5)
        assert server.connections == 2
    assert ears.body == b"onetwo"


async def test_a_stream_that_the_announced_end_leaves_out_is_lost() -> None:
    odd = Odd(b"one", 0.01, Frame(GOAWAY, numbers(0, CALM)), HANG)
    async with open_http2_server(odd) as server, CurlTransport(prior_knowledge=True) as transport:
        with pytest.raises(ResetError):
            await transport.exchange(Request("POST", server.url), Ears(), 5)
        await transport.exchange(Request("POST", server.url), Ears(), 5)


async def test_frames_that_make_no_sense_are_a_protocol_error() -> None:
    odd = Odd(Frame(HEADERS, b"\xff" * 20, END_HEADERS))
    async with open_http2_server(odd) as server, CurlTransport(prior_knowledge=True) as transport:
        with pytest.raises(ProtocolError, match=r"does not speak HTTP as it should: .*COMPRESSION_ERROR"):
            await transport.exchange(Request("POST", server.url), Ears(), 5)
        await transport.exchange(Request("POST", server.url), Ears(), 5)
        assert server.connections == 2


async def test_a_service_may_ask_whether_the_client_is_there() -> None:
    ears = Ears()
    odd = Odd(Frame(PING, bytes(8)), b"one", Frame(PING, bytes(8)), 0.01, b"two")
    async with open_http2_server(odd) as server, CurlTransport(prior_knowledge=True) as transport:
        await transport.exchange(Request("POST", server.url), ears, 5)
    assert ears.body == b"onetwo"


async def test_leaving_the_transport_closes_the_connection_with_all_its_streams(certificate: Certificate) -> None:
    errors: list[str] = []

    async def put(url: str, transport: CurlTransport) -> None:
        try:
            await transport.exchange(Request("POST", url, body=b"hang"), Ears(), 5)
        except ProviderError as error:
            errors.append(str(error))

    async with open_http2_server(script, certificate.context("h2")) as server, trio.open_nursery() as nursery:
        async with CurlTransport(ca_file=str(certificate.path), http2=True) as transport:
            for _ in range(10):
                nursery.start_soon(put, secure_url(server.url), transport)
            await until(lambda: len(server.bodies) == 10)
        await until(lambda: not server.open)
    assert errors == ["reset: the transport was closed"] * 10


async def test_http2_without_tls_where_the_server_is_known_to_speak_it() -> None:
    ears = Ears()
    async with open_http2_server(script) as server, CurlTransport(prior_knowledge=True) as transport:
        await transport.exchange(Request("POST", server.url), ears, 5)
    assert ears.pieces == [b"one", b"two"]


async def test_an_impersonated_request_rides_no_other_connection(certificate: Certificate) -> None:
    async with open_pair(certificate) as (server, transport, url):
        for browser, connections in ((None, 1), ("chrome", 2), ("firefox", 3), ("chrome", 3), (None, 3)):
            ears = Ears()
            await transport.exchange(Request("POST", url, impersonate=browser), ears, 5)
            assert ears.body == b"onetwo"
            assert server.connections == connections


async def test_an_unknown_browser_is_a_usage_error_that_leaves_nothing() -> None:
    async with open_script_server([b"x"]) as server, CurlTransport() as transport:
        for browser in ("netscape", ""):
            with pytest.raises(UsageError, match=f"cannot impersonate '{browser}'; try chrome"):
                await transport.exchange(Request("POST", server.url, impersonate=browser), Ears(), 5)
        assert transport._pools == {}
        assert server.connections == 0


async def test_an_impersonated_request_has_a_browsers_headers_and_its_own() -> None:
    async with open_script_server([b"x"]) as server, CurlTransport() as transport:
        request = Request("POST", server.url, {"x-own": "1"}, b"y", impersonate="chrome")
        await transport.exchange(request, Ears(), 5)
        await transport.exchange(Request("POST", server.url, {"user-agent": "own"}, impersonate="chrome"), Ears(), 5)
        whole, own = (request.headers for request in server.requests)
        assert "Chrome/" in whole["user-agent"]
        assert {"sec-ch-ua", "accept-language", "accept-encoding", "x-own"} <= set(whole)
        assert own["user-agent"] == "own"
        assert "sec-ch-ua" not in own
        assert "upgrade" not in whole


async def test_what_a_browser_takes_encoded_is_decoded() -> None:
    packed = gzip.compress(b"hello" * 100)
    answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    answer += b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)
    async with open_raw_server(answer) as (url, requests), CurlTransport() as transport:
        for headers in ({}, {"user-agent": "own"}, {"user-agent": "own", "accept-encoding": "gzip"}):
            ears = Ears()
            await transport.exchange(Request("POST", url, headers, impersonate="chrome"), ears, 5)
            assert ears.body == b"hello" * 100
    codings = [request.headers["accept-encoding"] for request in requests]
    assert codings == ["gzip, deflate, br, zstd", "gzip, deflate, br, zstd", "gzip"]


async def test_what_grows_without_end_when_libcurl_decodes_it_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "CAP", 1 << 20)
    packed = gzip.compress(bytes(2 << 20))
    answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    ears = Ears()
    async with open_raw_server(answer + packed) as (url, _), CurlTransport() as transport:
        with pytest.raises(TooLarge, match="the decoded body exceeds 1048576 bytes"):
            await transport.exchange(Request("POST", url, impersonate="chrome"), ears, 5)
        assert len(ears.body) <= 1 << 20
        assert not transfers(transport)


async def hello(browser: str | None, *, http2: bool | None = None) -> bytes:
    """The first record of a TLS connection: the client's hello."""
    records: list[bytes] = []

    async def handle(stream: trio.SocketStream) -> None:
        records.append(await stream.receive_some())

    async with serve(handle) as url, CurlTransport(http2=http2) as transport:
        with pytest.raises(ProviderError):
            await transport.exchange(Request("POST", secure_url(url), impersonate=browser), Ears(), 5)
    record = records[0]
    assert (record[0], record[5]) == (22, 1)  # a handshake record with a ClientHello (RFC 8446, 5.1 and 4)
    return record


async def suites(browser: str | None) -> bytes:
    """The cipher suites of the client's hello."""
    record = await hello(browser)
    session = record[43]
    at = 44 + session
    return record[at + 2 : at + 2 + int.from_bytes(record[at : at + 2])]


def is_grease(cipher: bytes) -> bool:
    """RFC 8701: a value that says nothing, which Chrome sends and others do not."""
    return cipher[0] == cipher[1] and cipher[0] & 0x0F == 0x0A


async def test_the_hello_of_an_impersonated_connection_is_a_browsers() -> None:
    own, chrome, firefox = [await suites(browser) for browser in (None, "chrome", "firefox")]
    assert is_grease(chrome[:2])
    assert not is_grease(own[:2])
    assert not is_grease(firefox[:2])
    assert len({own, chrome[2:], firefox}) == 3


ALPN_H2 = b"\x02h2"


@pytest.mark.parametrize(("http2", "browser"), [(None, None), (False, None), (True, None), (False, "chrome")])
async def test_http2_is_offered_where_it_is_asked_for_and_by_browsers(http2: bool | None, browser: str | None) -> None:
    sound = libcurl.speaks_http2_soundly()
    offered = ALPN_H2 in await hello(browser, http2=http2)
    assert offered is (browser is not None or (sound if http2 is None else http2))
