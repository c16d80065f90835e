import gzip
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from fanout.abc import Request
from fanout.errors import (
    ConnectError,
    ProtocolError,
    ProviderError,
    ResetError,
    TimedOut,
    TooLarge,
    Truncated,
)
from fanout.transports.curl import CurlTransport, pool
from fanout.transports.curl import transport as curl
from tests.servers.http import HI, Received, read_request, serve
from tests.servers.script import open_script_server
from tests.transports.curl.test_cancel import transfers, until
from tests.transports.test_contract import Ears
from tests.transports.tls import Certificate, say_hi, secure_url


@asynccontextmanager
async def open_raw_server(*answers: bytes, keep: bool = True) -> AsyncGenerator[tuple[str, list[Received]]]:
    """Sends these bytes to every request, one after the other; then it closes, or waits for the next."""
    requests: list[Received] = []

    async def handle(stream: trio.SocketStream) -> None:
        while (request := await read_request(stream)) is not None:
            requests.append(request)
            for answer in answers:
                await stream.send_all(answer)
            if not keep:
                return

    async with serve(handle) as url:
        yield url, requests


async def say_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def ask(url: str, method: str = "POST", **fields: object) -> Ears:
    ears = Ears()
    async with CurlTransport() as transport:
        with trio.fail_after(10):
            await transport.exchange(Request(method, url, **fields), ears, 5)  # type: ignore[arg-type]
    return ears


async def test_a_connection_is_used_again() -> None:
    async with open_script_server([b"x"]) as server, CurlTransport() as transport:
        for _ in range(5):
            await transport.exchange(Request("POST", server.url, body=b"y"), Ears(), 5)
        assert (server.connections, len(server.requests)) == (1, 5)


async def test_a_connection_is_used_again_when_the_receiver_had_enough_just_before_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(curl, "DRAIN", 5)
    async with open_script_server([b"done", 0.01, b"more"]) as server, CurlTransport() as transport:
        for _ in range(3):
            await transport.exchange(Request("POST", server.url), Ears(stop_at=b"done"), 5)
            await until(lambda: not transfers(transport))
        assert server.connections == 1


async def test_so_many_connections_are_kept_for_later_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_CONNECTIONS", 5)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(open_script_server([b"x"])) for _ in range(7)]
        transport = await stack.enter_async_context(CurlTransport())
        for server in servers:
            await transport.exchange(Request("POST", server.url), Ears(), 5)
            await trio.sleep(0.005)  # libcurl tells the oldest by milliseconds
        await until(lambda: sum(server.open for server in servers) == 5)
        await trio.sleep(0.02)
        assert [server.open for server in servers] == [0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", ProtocolError, "does not speak HTTP"),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n" + b"x" * 1000, ProtocolError, "there is no response"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\nx",
            ProtocolError,
            "not asked for: gzip, chunked",
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nx", ProtocolError, "chunk"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: zebra\r\n\r\nx", ProtocolError, "not asked for: 'zebra'"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\nxyz", ProtocolError, "broken"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(b"hi")[:-3], Truncated, "no end"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", ResetError, "before the answer was over"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", ResetError, "before the answer was over"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 400_000 + b"\r\n\r\n", TooLarge, "more than is allowed"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: " + (b"a" * 4000 + b"\r\nx: ") * 100 + b"\r\n\r\n", TooLarge, "headers"),
        (b"HTTP/1.1 100 C\r\nx: y\r\n\r\n" * 1_001 + HI, TooLarge, "over 1000 heads of 1xx"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_a_typed_error(
    answer: bytes, error: type[ProviderError], says: str
) -> None:
    async with open_raw_server(answer, keep=False) as (url, _):
        with pytest.raises(error, match=says):
            await ask(url)


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 204 None\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 None\r\ncontent-length: 5\r\n\r\n", 304, b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-encoding: gzip\r\n\r\n", 200, b""),
        (b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + HI, 200, b"hi"),
        (b"HTTP/1.1 103 Early\r\n\r\n" * 999 + HI, 200, b"hi"),
        (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi"),
        (b"HTTP/1.1 200 OK\nx: y\ncontent-length: 2\n\nhi", 200, b"hi"),
        (b"HTTP/1.1 200 OK\r\nHTTP/2: y\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi"),
    ],
)
async def test_an_answer_whose_end_is_known_needs_no_close(answer: bytes, status: int, body: bytes) -> None:
    async with open_raw_server(answer) as (url, requests), CurlTransport() as transport:
        for _ in range(2):
            ears = Ears()
            with trio.fail_after(5):
                await transport.exchange(Request("POST", url), ears, 5)
            assert (ears.heads[0].status, ears.body) == (status, body)
        assert len(requests) == 2


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nhi", 200, b"hi"),
        (b"HTTP/1.1 401 No\r\nconnection: close\r\nwww-authenticate: Basic\r\n\r\nno", 401, b"no"),
        (b"HTTP/1.1 407 No\r\nproxy-authenticate: Basic\r\n\r\nno", 407, b"no"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(b"hi"), 200, b"hi"),
    ],
)
async def test_an_answer_may_end_with_its_connection(answer: bytes, status: int, body: bytes) -> None:
    async with open_raw_server(answer, keep=False) as (url, _):
        ears = await ask(url)
    assert (ears.heads[0].status, ears.body) == (status, body)


async def test_an_answer_to_head_has_no_body() -> None:
    async with open_raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n") as (url, requests):
        ears = await ask(url, "HEAD")
    assert requests[0].method == "HEAD"
    assert (ears.heads[0].headers["content-length"], ears.body) == ("5", b"")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("body", [b"", b"a\0b"])
async def test_every_method_goes_out_with_its_body_and_its_headers_only(method: str, body: bytes) -> None:
    async with open_raw_server(HI) as (url, requests):
        ears = await ask(
            f"{url}/a/../b?q=%20", method, body=body, headers={"x-empty": "", "x-blank": " ", "accept": "a/b"}
        )
    assert ears.body == b"hi"
    (request,) = requests
    assert (request.method, request.target, request.body) == (method, "/a/../b?q=%20", body)
    length = {} if method == "GET" and not body else {"content-length": str(len(body))}
    host = url.removeprefix("http://")
    assert request.headers == {
        "host": host,
        "user-agent": "fanout",
        "accept": "a/b",
        "x-empty": "",
        "x-blank": "",
        **length,
    }


async def test_a_long_body_is_sent_without_being_asked_for() -> None:
    body = bytes(range(256)) * 5_000
    async with open_raw_server(HI) as (url, requests):
        ears = await ask(url, body=body)
    assert ears.body == b"hi"
    assert requests[0].body == body
    assert "expect" not in requests[0].headers


@pytest.mark.parametrize("length", [b"content-length: 2\r\n", b"connection: close\r\n"])
async def test_an_answer_that_comes_before_the_request_is_sent_is_heard(length: bytes) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some(1000)
        await stream.send_all(b"HTTP/1.1 413 Too long\r\n" + length + b"\r\nno")
        await stream.send_eof()
        with trio.move_on_after(2):  # a close at once would be a reset, which discards what was sent
            while await stream.receive_some():
                pass

    async with serve(handle) as url:
        ears = await ask(url, body=b"x" * 8_000_000)
    assert (ears.heads[0].status, ears.body) == (413, b"no")


async def test_a_reset_in_the_middle_of_a_request_is_a_typed_error() -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some(1000)

    async with serve(handle) as url:
        with pytest.raises(ResetError):
            await ask(url, body=b"x" * 8_000_000)


async def test_a_body_in_pieces_is_decoded_read_by_read() -> None:
    one, two = (b"%x\r\n%s\r\n" % (len(data), data) for data in (gzip.compress(b"one"), gzip.compress(b"two")))
    ears = Ears()

    async def handle(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n")
        await stream.send_all(one)
        await until(lambda: ears.pieces)
        await stream.send_all(two + b"0\r\nx-trailer: y\r\n\r\n")

    async with serve(handle) as url, CurlTransport() as transport:
        await transport.exchange(Request("POST", url), ears, 5)
    assert ears.pieces == [b"one", b"two"]
    assert "x-trailer" not in ears.heads[0].headers


@pytest.mark.parametrize("coding", ["length", "chunks", "the end"])
async def test_a_large_body_arrives_whole_and_in_order(coding: str) -> None:
    body = b"".join(b"%08d" % number for number in range(500_000))
    pieces = [body[at : at + 9_999] for at in range(0, len(body), 9_999)]
    head = {"length": b"content-length: %d\r\n" % len(body), "chunks": b"transfer-encoding: chunked\r\n"}
    if coding == "chunks":
        pieces = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]
    answer = b"HTTP/1.1 200 OK\r\n" + head.get(coding, b"") + b"\r\n"
    async with open_raw_server(answer, *pieces, keep=False) as (url, _):
        ears = await ask(url)
    assert ears.body == body


async def test_every_cookie_is_told_of() -> None:
    answer = b"HTTP/1.1 200 So be it\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\ncontent-length: 0\r\n\r\n"
    async with open_raw_server(answer) as (url, requests), CurlTransport() as transport:
        ears = Ears()
        await transport.exchange(Request("POST", url), ears, 5)
        await transport.exchange(Request("POST", url), Ears(), 5)
    assert (ears.heads[0].set_cookie, ears.heads[0].reason) == (("a=1", "b=2"), "So be it")
    assert "cookie" not in requests[1].headers


async def test_a_certificate_of_another_name_is_refused(certificate: Certificate) -> None:
    async with (
        serve(partial(say_hi, certificate)) as url,
        CurlTransport(ca_file=str(certificate.path)) as transport,
    ):
        await transport.exchange(Request("POST", secure_url(url)), Ears(), 5)
        with pytest.raises(ConnectError, match=r"cannot reach other\.localhost:\d+: .*subject name"):
            await transport.exchange(Request("POST", secure_url(url, "other.localhost")), Ears(), 5)


async def test_the_file_of_authorities_that_the_environment_names_is_used(
    monkeypatch: pytest.MonkeyPatch, certificate: Certificate
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    async with serve(partial(say_hi, certificate)) as url:
        assert (await ask(secure_url(url))).body == b"hi"


async def test_a_file_of_authorities_that_is_not_there_is_named_and_nothing_else_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.pem"
    async with open_raw_server(HI) as (url, _), CurlTransport(ca_file=str(path)) as transport:
        with pytest.raises(ConnectError, match=rf"cannot reach localhost:\d+: .*CAfile: {path} CApath: /dev/null"):
            await transport.exchange(Request("POST", secure_url(url)), Ears(), 5)
        ears = Ears()
        await transport.exchange(Request("POST", url), ears, 5)
        assert ears.body == b"hi"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost/v1", "no host name"),
        ("ftp://localhost/", "ftp"),
        ("file:///etc/hostname", "no host name"),
        ("http://a b/", "URL"),
        ("http://localhost:99999/", "URL|port"),
        ("http://nowhere.invalid/", "resolve"),
    ],
)
async def test_an_address_that_leads_nowhere_is_a_connect_error(url: str, says: str) -> None:
    with pytest.raises(ConnectError, match=says) as caught:
        await ask(url)
    assert caught.value.retry_safe


async def test_a_tls_handshake_that_stands_still_times_out() -> None:
    async with serve(say_nothing) as url, CurlTransport() as transport:
        with pytest.raises(TimedOut, match=r"no connection to localhost:\d+ within 0\.2 s"):
            await transport.exchange(Request("POST", secure_url(url)), Ears(), 0.2)


async def test_the_connect_clock_is_not_that_of_the_answer() -> None:
    ears = Ears()
    async with open_script_server([b"one", 0.2, b"two"]) as server, CurlTransport() as transport:
        await transport.exchange(Request("POST", server.url), ears, 0.1)
    assert ears.body == b"onetwo"
