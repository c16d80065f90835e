"""Ends from within: what is cancelled, raised or closed while libcurl is at work, and that nothing of it is left."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import trio
from attrs import define, field

from fanout.abc import Head, Request
from fanout.credentials.secret import Secret
from fanout.errors import ConnectError, ProviderError, ResetError, UsageError
from fanout.transports.curl import CurlTransport
from fanout.transports.curl import transport as curl
from fanout.transports.curl.libcurl import Multi
from fanout.transports.memory import HANG
from fanout.transports.outgoing import name_server
from tests.servers.http import HI, read_request, serve
from tests.servers.script import open_script_server
from tests.transports.lookups import SLOW
from tests.transports.test_contract import Ears
from tests.transports.tls import Certificate, secure_url


def transfers(transport: CurlTransport) -> int:
    return sum(len(pool.transfers) for pool in transport._pools.values())


def sockets() -> int:
    """The number of sockets that this process has open."""
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        try:
            count += str(fd.readlink()).startswith("socket:")
        except OSError:
            continue  # the directory's own descriptor
    return count


@define
class Acting(Ears):
    """A receiver that does something at the first data."""

    act: Callable[[], Any] = print
    found: Any = None

    def data(self, data: bytes, /) -> bool:
        if not self.pieces:
            self.found = self.act()
        return super().data(data)


@define(eq=False)
class Two:
    """A server that hangs on a request for /hang, after its head, and answers every other one in one packet."""

    url: str = ""
    hanging: int = 0
    paths: list[str] = field(factory=list)


@asynccontextmanager
async def open_two() -> AsyncGenerator[Two]:
    two = Two()

    async def handle(stream: trio.SocketStream) -> None:
        while (request := await read_request(stream)) is not None:
            two.paths.append(request.target)
            if request.target == "/hang":
                two.hanging += 1
                try:
                    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
                    await stream.receive_some()
                finally:
                    two.hanging -= 1
                return
            await stream.send_all(HI)

    async with serve(handle) as two.url:
        yield two


async def lose(url: str, transport: CurlTransport, lost: trio.CancelScope) -> None:
    """A lane that hangs until its scope is cancelled."""
    with lost:
        await transport.exchange(Request("POST", f"{url}/hang"), Ears(), 5)


async def until(true: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not true():  # noqa: ASYNC110  # a server has no event for it
            await trio.sleep(0.001)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts sockets in /proc")
async def test_a_sibling_cancelled_within_data_is_closed_before_data_returns() -> None:
    lost = trio.CancelScope()

    def cancel() -> tuple[int, int]:
        before = sockets()
        lost.cancel()
        return before, sockets()

    async with open_two() as two, CurlTransport() as transport, trio.open_nursery() as nursery:
        nursery.start_soon(lose, two.url, transport, lost)
        await until(lambda: two.hanging)
        ears = Acting(act=cancel)
        await transport.exchange(Request("POST", two.url), ears, 5)
        await until(lambda: not two.hanging)
    before, after = ears.found
    assert after == before - 1
    assert lost.cancelled_caught


async def test_an_end_is_heard_though_its_last_data_cancelled_a_sibling() -> None:
    lost = trio.CancelScope()

    async with open_two() as two, CurlTransport() as transport, trio.open_nursery() as nursery:
        nursery.start_soon(lose, two.url, transport, lost)
        await until(lambda: two.hanging)
        ears = Acting(act=lost.cancel)
        with trio.fail_after(5):
            await transport.exchange(Request("POST", two.url), ears, 5)
        assert not transfers(transport)
    assert ears.body == b"hi"


async def test_all_that_a_receiver_cancels_within_data_ends_also_itself() -> None:
    async with open_two() as two, CurlTransport() as transport:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(
                        transport.exchange, Request("POST", f"{two.url}/hang"), Acting(act=scope.cancel), 5
                    )
                await until(lambda: two.hanging == 5)
                await transport.exchange(Request("POST", two.url), Acting(act=scope.cancel), 5)
        assert scope.cancelled_caught
        assert not transfers(transport)
        await until(lambda: not two.hanging)


async def test_a_lane_over_tls_is_closed_at_once(certificate: Certificate) -> None:
    closed = trio.Event()

    async def handle(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, certificate.context(), server_side=True)
        await secure.receive_some()
        await secure.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi")
        with pytest.raises(trio.BrokenResourceError):
            await secure.receive_some()
        closed.set()

    async with serve(handle) as url, CurlTransport(ca_file=str(certificate.path)) as transport:
        ears = Acting()
        with trio.CancelScope() as scope:
            ears.act = scope.cancel
            await transport.exchange(Request("POST", secure_url(url)), ears, 5)
        with trio.fail_after(5):
            await closed.wait()
        assert scope.cancelled_caught


async def test_what_a_receiver_raises_goes_to_its_own_lane_and_to_no_other() -> None:
    ears = Ears(break_at=b"one")
    good = Ears()

    async def fail(url: str, transport: CurlTransport) -> None:
        with pytest.raises(ProviderError, match="enough"):
            await transport.exchange(Request("POST", url), ears, 5)

    async with (
        open_script_server([b"one", 0.01, b"two"]) as server,
        CurlTransport() as transport,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(fail, server.url, transport)
        nursery.start_soon(transport.exchange, Request("POST", server.url), good, 5)
    assert good.body == b"onetwo"


class Stop(BaseException):
    """Not an Exception, as a test framework's own are not."""


@pytest.mark.parametrize("when", ["head", "data"])
async def test_also_what_is_no_exception_goes_to_the_lane(when: str) -> None:
    class Stopping(Ears):
        def head(self, head: Head, /) -> None:
            if when == "head":
                raise Stop
            super().head(head)

        def data(self, data: bytes, /) -> bool:
            raise Stop

    async with open_script_server([b"one", HANG]) as server, CurlTransport() as transport:
        with pytest.raises(Stop):
            await transport.exchange(Request("POST", server.url), Stopping(), 5)
        ears = Ears(stop_at=b"one")
        await transport.exchange(Request("POST", server.url), ears, 5)
        assert ears.body == b"one"


async def test_an_exchange_in_a_shield_still_works_after_its_scope_was_cancelled() -> None:
    ears = Ears()
    async with open_script_server([b"one", 0.01, b"two"]) as server:
        with trio.CancelScope() as scope:
            async with CurlTransport() as transport:
                scope.cancel()
                with trio.CancelScope(shield=True):
                    await transport.exchange(Request("POST", server.url), ears, 5)
                await trio.lowlevel.checkpoint()
    assert ears.body == b"onetwo"
    assert scope.cancelled_caught


async def test_a_cancelled_exchange_sends_nothing() -> None:
    async with open_script_server([b"x"]) as server, CurlTransport() as transport:
        with trio.CancelScope() as scope:
            scope.cancel()
            await transport.exchange(Request("POST", server.url), Ears(), 5)
        assert scope.cancelled_caught
        assert server.connections == 0


async def test_leaving_the_transport_ends_what_others_still_exchange_with_a_typed_error() -> None:
    errors: list[Exception] = []

    async def put(url: str, transport: CurlTransport) -> None:
        try:
            await transport.exchange(Request("POST", url), Ears(), 5)
        except ResetError as error:
            errors.append(error)

    async with open_script_server([b"x", HANG]) as server, trio.open_nursery() as nursery:
        async with CurlTransport() as transport:
            for _ in range(10):
                nursery.start_soon(put, server.url, transport)
            await until(lambda: len(server.requests) == 10)
        await until(lambda: len(errors) == 10)
        await until(lambda: not server.open)
    assert {str(error) for error in errors} == {"reset: the transport was closed"}


async def test_leaving_while_a_receiver_has_enough_and_its_body_goes_on() -> None:
    async with open_script_server([b"done", HANG]) as server:
        async with CurlTransport() as transport:
            await transport.exchange(Request("POST", server.url), Ears(stop_at=b"done"), 5)
            assert transfers(transport) == 1
        await until(lambda: not server.open)
        await trio.sleep(curl.DRAIN * 1.5)  # its time passes after the end


@pytest.mark.parametrize("steps", range(6))
async def test_leaving_at_any_moment_leaves_no_timer_behind(steps: int) -> None:
    async with open_script_server([b"x", HANG]) as server, trio.open_nursery() as nursery:
        async with CurlTransport() as transport:
            nursery.start_soon(transport.exchange, Request("POST", server.url), Ears(), 5)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
            for pool in transport._pools.values():
                pool.wake(0)
        with trio.CancelScope(shield=True):
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            await trio.sleep(0.01)


async def test_a_transport_that_is_entered_and_left_at_once_leaves_nothing() -> None:
    tasks = len(trio.lowlevel.current_root_task().child_nurseries[0].child_tasks)  # type: ignore[union-attr]
    for _ in range(20):
        async with CurlTransport():
            pass
    await trio.testing.wait_all_tasks_blocked()
    assert len(trio.lowlevel.current_root_task().child_nurseries[0].child_tasks) == tasks  # type: ignore[union-attr]


async def test_a_transport_is_entered_once() -> None:
    async with CurlTransport() as transport:
        with pytest.raises(UsageError, match="once"):
            await transport.__aenter__()
    with pytest.raises(UsageError, match="once"):
        await transport.__aenter__()


async def test_two_transports_at_once_do_not_know_each_other() -> None:
    one, two = Ears(), Ears()
    async with open_script_server([b"x", 0.02, b"y"]) as server, CurlTransport() as other:
        async with CurlTransport() as transport, trio.open_nursery() as nursery:
            nursery.start_soon(transport.exchange, Request("POST", server.url), one, 5)
            nursery.start_soon(other.exchange, Request("POST", server.url), two, 5)
        await other.exchange(Request("POST", server.url), Ears(), 5)
        assert server.connections == 2
    assert (one.body, two.body) == (b"xy", b"xy")


async def test_two_hundred_at_once() -> None:
    all_ears = [Ears() for _ in range(200)]
    async with open_script_server([b"one", 0.05, b"two"]) as server, CurlTransport() as transport:
        async with trio.open_nursery() as nursery:
            for ears in all_ears:
                nursery.start_soon(transport.exchange, Request("POST", server.url), ears, 10)
        assert server.connections == 200
        assert not transfers(transport)
    assert {ears.body for ears in all_ears} == {b"onetwo"}


async def test_a_name_that_is_still_being_looked_up_holds_nothing_up() -> None:
    async def put(url: str, transport: CurlTransport) -> None:
        with suppress(ConnectError):  # who looks it up may be quick
            await transport.exchange(Request("POST", url), Ears(), 5)

    async with CurlTransport() as transport:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(put, f"http://n{number}.invalid/", transport)
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert trio.current_time() - began < 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or which("cc") is None, reason="needs a C compiler and LD_PRELOAD")
def test_a_lookup_that_takes_seconds_holds_nothing_up(tmp_path: Path) -> None:
    library = tmp_path / "slow.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, "-x", "c", "-", "-ldl"], input=SLOW, text=True, check=True)
    command = [sys.executable, "-m", "tests.transports.lookups"]
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    cancelled, left, good = json.loads(done.stdout)
    assert good < 1
    assert cancelled < 1.5
    assert left < 1.5


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_that_forks_within_data_goes_on_and_so_does_its_child() -> None:
    command = [sys.executable, "-m", "tests.transports.forks"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found == {"bodies": ["onetwo", "onetwo"], "child": 0, "connections": 2}


def test_an_interrupt_is_heard_at_a_checkpoint_and_leaves_no_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    act = Multi.act
    left: list[int] = []

    def act_and_interrupt(multi: Multi, fd: int, happened: int = 0) -> None:
        act(multi, fd, happened)
        monkeypatch.undo()
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with open_script_server([b"x", HANG]) as server, CurlTransport() as transport:
            monkeypatch.setattr(Multi, "act", act_and_interrupt)
            try:
                await transport.exchange(Request("POST", server.url), Ears(), 5)
            finally:
                left.append(transfers(transport))

    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True):
        trio.run(main)
    assert left == [0]


def test_it_runs_as_a_guest_of_another_loop() -> None:
    ears = Ears()

    async def main() -> None:
        async with open_script_server([b"one", 0.01, b"two"]) as server, CurlTransport() as transport:
            await transport.exchange(Request("POST", server.url), ears, 5)

    async def host() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            main, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=done.set_result
        )
        (await done).unwrap()

    asyncio.run(host())
    assert ears.body == b"onetwo"


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts references")
async def test_an_error_does_not_keep_its_exchange_alive() -> None:
    import gc  # noqa: PLC0415
    import weakref  # noqa: PLC0415

    gc.collect()
    gc.disable()
    try:
        async with CurlTransport() as transport:
            ears = Acting()
            gone = weakref.finalize(ears, lambda: None)
            with pytest.raises(ProviderError):
                await transport.exchange(Request("POST", "http://127.0.0.1:9/"), ears, 5)
            del ears
            await trio.lowlevel.checkpoint()
            assert not gone.alive
    finally:
        gc.enable()


async def test_what_is_cut_off_is_logged_without_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "fanout")

    def messages() -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.name == "fanout"]
        caplog.clear()
        return found

    def break_off() -> None:
        raise ResetError("canary")

    headers = {"authorization": Secret("canary")}
    async with open_two() as two, open_script_server([b"canary", HANG]) as hanging, CurlTransport() as transport:
        first, second = name_server(two.url), name_server(hanging.url)
        await transport.exchange(Request("POST", f"{two.url}/canary", headers), Ears(), 5)
        assert messages() == []  # it came to its end, and the connection stays
        with trio.move_on_after(0.1):
            await transport.exchange(Request("POST", f"{two.url}/hang", headers), Ears(), 5)
        assert messages() == [f"<Transfer {first}: reading the body> is cut off: cancelled"]
        with pytest.raises(ResetError):
            await transport.exchange(Request("POST", two.url, headers), Acting(act=break_off), 5)
        assert messages() == [f"<Transfer {first}: reading the body> is cut off: ResetError"]
        with pytest.raises(ConnectError):
            await transport.exchange(Request("POST", "http://127.0.0.1:9/canary", headers), Ears(), 5)
        assert messages() == ["<Transfer 127.0.0.1:9: waiting for the head> is cut off: connect"]
        await transport.exchange(Request("POST", hanging.url, headers), Ears(stop_at=b"canary"), 5)
        await trio.sleep(curl.DRAIN * 2)
        assert messages() == [f"<Transfer {second}: enough was read> is cut off: its end has not come within 0.05 s"]
        await transport.exchange(Request("POST", hanging.url, headers), Ears(stop_at=b"canary"), 5)
    assert messages() == [f"<Transfer {second}: enough was read> is cut off: the transport was closed"]
