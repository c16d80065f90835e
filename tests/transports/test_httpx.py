import os
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from fanout.abc import Request
from fanout.errors import AuthError, ConnectError, ProtocolError, ResetError, TimedOut, UsageError
from fanout.secret import Secret
from fanout.transports.httpx import HttpxTransport
from tests.servers.http import Received, read_request, serve
from tests.servers.script import open_script_server
from tests.transports.test_contract import Ears


@asynccontextmanager
async def open_once_server() -> AsyncGenerator[tuple[str, list[Received]]]:
    """Answers one request a connection, promises to keep it, and closes it as soon as the next request begins."""
    requests: list[Received] = []

    async def handle(stream: trio.SocketStream) -> None:
        request = await read_request(stream)
        assert request
        requests.append(request)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        await stream.receive_some(1)

    async with serve(handle) as url:
        yield url, requests


async def test_a_kept_connection_that_turns_out_closed_costs_no_request() -> None:
    async with open_once_server() as (url, requests), HttpxTransport() as transport:
        for number in range(5):
            ears = Ears()
            await transport.exchange(Request("POST", url, body=b"%d" % number), ears, 5)
            assert ears.body == b"hi"
    assert [request.body for request in requests] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_fresh_connection_that_is_closed_is_not_tried_again() -> None:
    connections = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await read_request(stream)

    async with serve(handle) as url, HttpxTransport() as transport:
        with pytest.raises(ResetError):
            await transport.exchange(Request("POST", url), Ears(), 5)
    assert connections == 1


async def test_a_refused_connection_is_named_with_the_systems_reason() -> None:
    async with HttpxTransport() as transport:
        with pytest.raises(ConnectError, match=r"cannot reach 127\.0\.0\.1: Connection refused"):
            await transport.exchange(Request("POST", "http://127.0.0.1:9/"), Ears(), 5)


async def test_a_server_that_speaks_no_http_is_a_protocol_error() -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    async with serve(handle) as url, HttpxTransport() as transport:
        with pytest.raises(ProtocolError, match="does not speak HTTP"):
            await transport.exchange(Request("POST", url), Ears(), 5)


async def test_credentials_go_over_the_wire_in_clear_and_nowhere_else() -> None:
    request = Request("POST", "", {"authorization": Secret("Bearer canary")})
    async with open_script_server([b"x"]) as server, HttpxTransport() as transport:
        await transport.exchange(Request("POST", server.url, request.headers), Ears(), 5)
        assert server.requests[0].headers["authorization"] == "Bearer canary"
    assert "canary" not in repr(request)


async def test_an_error_carries_no_credential_in_its_chain() -> None:
    request = Request("POST", "http://127.0.0.1:9/", {"authorization": Secret("Bearer canary")})
    async with HttpxTransport() as transport:
        with pytest.raises(ConnectError) as caught:
            await transport.exchange(request, Ears(), 5)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_a_certificate_of_nobody_is_refused_and_its_authority_accepted(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    how = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    command = ["openssl", *how.split(), "-keyout", str(key), "-out", str(certificate)]
    made = await trio.run_process(command, capture_stderr=True, check=False)
    if made.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no openssl command")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def handle(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, context, server_side=True)
        try:
            await secure.receive_some()
            await secure.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        except trio.BrokenResourceError:
            return

    async with serve(handle) as plain_url:
        url = plain_url.replace("http://127.0.0.1", "https://localhost")
        async with HttpxTransport() as transport:
            with pytest.raises(ConnectError, match=r"cannot reach localhost: .*certificate"):
                await transport.exchange(Request("POST", url), Ears(), 5)
        ears = Ears()
        async with HttpxTransport(ca_file=str(certificate)) as transport:
            await transport.exchange(Request("POST", url), ears, 5)
        assert ears.body == b"hi"


async def test_a_proxy_of_the_environment_never_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    ears = Ears()
    async with open_script_server([b"direct"]) as server, HttpxTransport() as transport:
        await transport.exchange(Request("POST", server.url), ears, 5)
    assert ears.body == b"direct"


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "odd://x"])
async def test_a_proxy_that_cannot_be_used_fails_the_lane_and_not_this_machines(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    ears = Ears()
    async with open_script_server([b"direct"]) as server, HttpxTransport() as transport:
        await transport.exchange(Request("POST", server.url), ears, 5)
        with pytest.raises(ConnectError, match="proxy"):
            await transport.exchange(Request("POST", "https://example.invalid/"), Ears(), 5)
    assert ears.body == b"direct"


@pytest.mark.parametrize("host", ["..a..", "x" * 70 + ".com"])
async def test_what_is_no_host_name_is_a_connect_error(host: str) -> None:
    async with HttpxTransport() as transport:
        with pytest.raises(ConnectError, match="no host name"):
            await transport.exchange(Request("POST", f"http://{host}/"), Ears(), 5)


@pytest.mark.parametrize("key", ["canary\r\nx-evil: 1", "canaryÉ", "canary\n"])
async def test_a_key_that_no_header_can_carry_is_an_auth_error_that_does_not_show_it(key: str) -> None:
    request = Request("POST", "http://127.0.0.1:9/", {"authorization": Secret(f"Bearer {key}")})
    async with HttpxTransport() as transport:
        with pytest.raises(AuthError, match="authorization has a character") as caught:
            await transport.exchange(request, Ears(), 5)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_transport_that_is_closed_says_so() -> None:
    async with HttpxTransport() as transport:
        pass
    with pytest.raises(UsageError, match="closed"):
        await transport.exchange(Request("POST", "http://127.0.0.1:9/"), Ears(), 5)


async def test_a_connection_that_does_not_come_about_times_out() -> None:
    # A listener whose backlog is full answers no further SYN.
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    blockers = [trio.socket.socket() for _ in range(4)]
    with listener:
        async with trio.open_nursery() as nursery, HttpxTransport() as transport:
            for blocker in blockers:
                nursery.start_soon(blocker.connect, ("127.0.0.1", port))
            await trio.sleep(0.05)
            with pytest.raises(TimedOut) as caught:
                await transport.exchange(Request("POST", f"http://127.0.0.1:{port}/"), Ears(), 0.2)
            nursery.cancel_scope.cancel()
    for blocker in blockers:
        blocker.close()
    assert caught.value.clock == "connect"
    assert caught.value.retry_safe


@pytest.mark.slow
def test_without_httpx2_httpx_does_the_same() -> None:
    """The contract again, in a process that has no httpx2."""
    code = (
        "import sys; sys.modules['httpx2'] = None\n"
        "import pytest, httpx, fanout.transports.httpx as t\n"
        "assert t.httpx is httpx\n"
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', 'tests/transports/test_contract.py', '-k', 'httpx']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "CI": ""}
    )
    assert done.returncode == 0, done.stdout
