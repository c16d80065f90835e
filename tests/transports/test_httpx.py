import logging
import os
import subprocess
import sys

import pytest
import trio

from fanout.abc import Request
from fanout.credentials.secret import Secret
from fanout.errors import ConnectError, UsageError
from fanout.transports.httpx import HttpxTransport
from fanout.transports.memory import HANG
from fanout.transports.outgoing import name_server
from tests.servers.http import read_request, serve
from tests.servers.script import open_script_server
from tests.transports.test_contract import Ears


async def test_a_proxy_of_the_environment_never_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    ears = Ears()
    async with open_script_server([b"direct"]) as server, HttpxTransport() as transport:
        await transport.exchange(Request("POST", server.url), ears, 5)
    assert ears.body == b"direct"


async def test_a_transport_that_is_closed_says_so() -> None:
    async with HttpxTransport() as transport:
        pass
    with pytest.raises(UsageError, match="closed"):
        await transport.exchange(Request("POST", "http://127.0.0.1:9/"), Ears(), 5)


async def test_what_is_cut_off_is_logged_without_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "fanout")
    headers = {"authorization": Secret("canary")}
    async with open_script_server([b"canary", HANG]) as server, HttpxTransport() as transport:
        with trio.move_on_after(0.1):
            await transport.exchange(Request("POST", server.url, headers), Ears(), 5)
        with pytest.raises(ConnectError):
            await transport.exchange(Request("POST", "http://127.0.0.1:9/canary", headers), Ears(), 5)
    assert [record.getMessage() for record in caplog.records if record.name == "fanout"] == [
        f"an exchange with {name_server(server.url)} is cut off: Cancelled",
        "an exchange with 127.0.0.1:9 is cut off: connect",
    ]


async def test_what_is_read_on_of_small_chunks_leaves_others_their_turns() -> None:
    turns = 0

    class Full(Ears):
        def data(self, data: bytes, /) -> bool:
            nonlocal turns
            turns = 0
            return True

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async def send_chunks(stream: trio.SocketStream) -> None:
        await read_request(stream)
        chunks = b"1\r\n:\r\n" * 10_000  # of which a read has 2,700
        await stream.send_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")

    async with serve(send_chunks) as url, HttpxTransport() as transport, trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await transport.exchange(Request("POST", url), Full(), 5)
        nursery.cancel_scope.cancel()
    assert turns > 50


@pytest.mark.slow
def test_without_httpx2_httpx_does_the_same() -> None:
    """The contract again, in a process that has no httpx2."""
    code = (
        "import sys; sys.modules['httpx2'] = None\n"
        "import pytest, httpx, fanout.transports.httpx as t\n"
        "assert t.httpx is httpx\n"
        "contract = ['-q', '-p', 'no:cacheprovider', 'tests/transports/test_contract.py', '-k', 'httpx']\n"
        # It leaves a generator of its own open when a body meets with a closed connection.
        "left = \"ignore:Async generator 'httpx._content.ByteStream.__aiter__':ResourceWarning\"\n"
        "sys.exit(pytest.main([*contract, '-W', left]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "CI": ""}
    )
    assert done.returncode == 0, done.stdout
