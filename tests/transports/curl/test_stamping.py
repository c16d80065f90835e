import os
import socket
import struct
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import pytest
import trio
from attrs import define, field

from fanout.abc import Head, Request
from fanout.errors import ConnectError, ResetError
from fanout.transports.curl import CurlTransport, stamping
from fanout.transports.curl.libcurl import IN
from fanout.transports.curl.pollers import open_poller
from fanout.transports.curl.stamping import KernelClock, Look, Stamped, StampingPoller, StampingSockets
from fanout.transports.stamps import Stamp
from tests.servers.http import read_request, serve
from tests.transports.curl.test_cancel import until
from tests.transports.http2 import open_http2_server
from tests.transports.test_contract import Ears
from tests.transports.tls import Certificate, secure_url


@pytest.fixture(scope="module", autouse=True)
def kernel_that_stamps() -> Iterator[None]:
    """Waits until the kernel stamps: for the first socket that wants it, it begins a moment later (a work queue)."""
    if sys.platform != "linux":
        yield
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setsockopt(socket.SOL_SOCKET, stamping._SO_TIMESTAMPNS, 1)
        own.bind(("127.0.0.1", 0))
        for _ in range(1000):
            own.sendto(b"x", own.getsockname())
            if own.recvmsg(1, stamping._ROOM)[1]:
                break
            time.sleep(0.001)
        yield


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps")
BUSY = 0.02
"""Seconds for which the client's thread has other things to do."""


@define(eq=False)
class Watch:
    """A receiver that keeps the stamps of what it is told."""

    reads: list[tuple[bytes, Stamp | None]] = field(factory=list)
    starts: list[tuple[float, float | None, float | None]] = field(factory=list)
    first: Stamp | None = None
    _stamp: Stamp | None = None

    def note_sent(self, at: float, connect: float | None, tls: float | None) -> None:
        self.starts.append((at, connect, tls))

    def note_stamp(self, stamp: Stamp) -> None:
        self._stamp = stamp

    def head(self, head: Head) -> None:
        self.first = self._stamp

    def data(self, data: bytes) -> bool:
        self.reads.append((data, self._stamp))
        self._stamp = None
        return False

    @property
    def stamps(self) -> list[Stamp]:
        assert all(stamp is not None for _, stamp in self.reads)
        return [stamp for _, stamp in self.reads if stamp is not None]


def busy() -> None:
    time.sleep(BUSY)


@asynccontextmanager
async def open_slow_reader(
    *bursts: tuple[bytes, ...], certificate: Certificate | None = None
) -> AsyncGenerator[tuple[str, list[float]]]:
    """Sends each burst's pieces one after the other, and keeps this process from reading for a while after each piece.

    Gives its URL and the Trio times of the sends.
    """
    sent: list[float] = []

    async def handle(stream: Any) -> None:
        if certificate:
            stream = trio.SSLStream(stream, certificate.context(), server_side=True, https_compatible=True)
        while await read_request(stream):
            await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for burst in bursts:
                await trio.sleep(0.01)
                for piece in burst:
                    sent.append(trio.current_time())
                    data = b"%x\r\n%b\r\n" % (len(piece), piece)
                    if certificate:
                        await stream.send_all(data)
                    else:
                        os.write(stream.socket.fileno(), data)  # and no checkpoint, at which the client would read
                    busy()
            await trio.sleep(0.01)  # else the kernel might merge the end with what comes before it
            await stream.send_all(b"0\r\n\r\n")

    async with serve(handle) as url:
        yield secure_url(url) if certificate else url, sent


async def ask(transport: CurlTransport, url: str, receiver: Any) -> None:
    with trio.fail_after(10):
        await transport.exchange(Request("POST", url, body=b"x"), receiver, 5)


@LINUX
async def test_a_stamp_tells_when_the_bytes_came_however_late_they_are_read() -> None:
    watch = Watch()
    async with open_slow_reader((b"one",), (b"two",)) as (url, sent), CurlTransport(stamps=True) as transport:
        await ask(transport, url, watch)
    assert [data for data, _ in watch.reads] == [b"one", b"two"]
    for stamp, at in zip(watch.stamps, sent, strict=True):
        assert stamp.kernel
        assert stamp.after is None
        assert at - 0.0005 < stamp.first == stamp.last < at + BUSY / 2
        assert stamp.seen > at + BUSY * 0.9


@LINUX
async def test_a_read_of_several_pieces_tells_of_the_oldest_and_the_newest_that_the_kernel_knows() -> None:
    watch = Watch()
    async with open_slow_reader((b"a",), (b"b", b"c")) as (url, sent), CurlTransport(stamps=True) as transport:
        for _ in range(3):
            await ask(transport, url, watch)
    for (data, stamp), at in zip(watch.reads, sent, strict=False):
        if data == b"bc":
            assert stamp is not None
            assert stamp.last - stamp.first > BUSY * 0.9 or stamp.first == stamp.last
            assert at - 0.0005 < stamp.last
    assert b"".join(data for data, _ in watch.reads) == b"abc" * 3


async def test_the_start_is_when_the_request_goes_out_and_new_connections_are_told_of() -> None:
    fresh, reused = Watch(), Watch()
    async with open_slow_reader((b"x",)) as (url, _), CurlTransport(stamps=True) as transport:
        asked = trio.current_time()
        await ask(transport, url, fresh)
        await ask(transport, url, reused)
    (early, *_), (sent, connect, tls) = fresh.starts
    assert asked < early <= sent
    assert connect is not None
    assert 0 < connect < sent - asked
    assert tls is None
    assert reused.starts[-1][1:] == (None, None)


async def test_a_tls_connection_is_stamped_too_and_tells_how_long_its_handshake_took(certificate: Certificate) -> None:
    watch = Watch()
    async with (
        open_slow_reader((b"one",), (b"two",), certificate=certificate) as (url, sent),
        CurlTransport(stamps=True, ca_file=str(certificate.path)) as transport,
    ):
        await ask(transport, url, watch)
    *_, (_, connect, tls) = watch.starts
    assert connect is not None and tls is not None
    assert tls > 0
    if sys.platform == "linux":
        assert [stamp.kernel for stamp in watch.stamps] == [True, True]
        assert all(at - 0.0005 < stamp.last < at + BUSY / 2 for stamp, at in zip(watch.stamps, sent, strict=True))


async def test_elsewhere_a_stamp_is_the_time_just_before_the_read_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    watch = Watch()
    async with open_slow_reader((b"x",)) as (url, sent), CurlTransport(stamps=True) as transport:
        await ask(transport, url, watch)
    (stamp,) = watch.stamps
    assert not stamp.kernel
    assert sent[0] < stamp.first == stamp.last == stamp.seen


async def test_receivers_that_want_no_stamps_get_none() -> None:
    ears, watch = Ears(), Watch()
    async with open_slow_reader((b"x",)) as (url, _):
        async with CurlTransport(stamps=True) as transport:
            await ask(transport, url, ears)
        async with CurlTransport() as transport:
            await ask(transport, url, watch)
            assert not isinstance(transport._sockets, StampingSockets)
    assert ears.body == b"x"
    assert (watch.starts, watch.reads) == ([], [(b"x", None)])


@pytest.mark.parametrize(("stamped", "connections"), [(True, 3), (False, 1)])
async def test_with_stamps_each_http2_request_has_a_connection_of_its_own(stamped: bool, connections: int) -> None:
    async with (
        open_http2_server(lambda _: [0.02, b"x"]) as server,
        CurlTransport(prior_knowledge=True, stamps=stamped) as transport,
    ):
        await ask(transport, server.url, Watch())
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask, transport, server.url, Watch())
        assert server.connections == connections


@LINUX
async def test_an_answer_that_comes_with_the_end_of_its_connection_is_stamped() -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await trio.sleep(0.01)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi")

    watch = Watch()
    async with serve(handle) as url, CurlTransport(stamps=True) as transport:
        await ask(transport, url, watch)
    assert watch.stamps[0].kernel


@pytest.mark.parametrize(("longest", "reads"), [(0.0, [b"x"]), (60.0, [])])
async def test_while_many_requests_begin_at_once_what_others_bring_is_read_in_between(
    longest: float, reads: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamping, "LONGEST_WAIT", longest)
    streams: list[trio.SocketStream] = []

    async def hold(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n")
        streams.append(stream)
        await trio.sleep_forever()

    watch = Watch()
    async with serve(hold) as url, CurlTransport(stamps=True) as transport, trio.open_nursery() as nursery:
        nursery.start_soon(ask, transport, url, watch)
        await until(lambda: watch.first is not None)
        os.write(streams[0].socket.fileno(), b"x")
        another = transport._begin(Request("POST", url), Watch(), 5)  # no checkpoint lies before or in it
        assert [data for data, _ in watch.reads] == reads
        transport._end(another)
    assert [data for data, _ in watch.reads] == [b"x"]


async def test_a_broken_connection_is_named_as_it_is_without_stamps() -> None:
    async with CurlTransport(stamps=True) as transport:
        with pytest.raises(ConnectError, match=r"cannot reach 127\.0\.0\.1:\d+: Connection refused"):
            await ask(transport, "http://127.0.0.1:9/", Watch())

        async def reset(stream: trio.SocketStream) -> None:
            await read_request(stream)
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nwhole, or not?")
            await trio.sleep(0.01)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        async with serve(reset) as url:
            with pytest.raises(ResetError):
                await ask(transport, url, Watch())


@pytest.fixture
def poller() -> Iterator[StampingPoller]:
    poller = StampingPoller(open_poller())
    yield poller
    poller.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
        with ours, theirs:
            yield ours, theirs


async def test_what_wakes_libcurl_is_no_socket_and_does_no_harm(poller: StampingPoller) -> None:
    reader, writer = os.pipe()
    poller.watch(reader, IN)
    os.write(writer, b"x")
    assert poller.ready() == [(reader, IN)]
    look = poller.look(reader)
    assert (look.stamp.kernel, look.size, look.address) == (False, 0, None)
    poller.forget(reader)
    os.close(reader)
    os.close(writer)


async def test_a_socket_belongs_to_libcurl_whatever_becomes_of_the_poller(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    for forgotten in (True, False):
        poller = StampingPoller(open_poller())
        poller.watch(ours.fileno(), IN)
        if forgotten:
            poller.forget(ours.fileno())
        poller.close()
        del poller
        theirs.send(b"x")
        assert ours.recv(1) == b"x"


@LINUX
async def test_looking_takes_nothing_away_and_tells_how_much_there_is(
    poller: StampingPoller, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    poller.watch(ours.fileno(), IN)
    assert not poller.look(ours.fileno()).stamp.kernel  # nothing is there
    theirs.send(b"hello")
    look = poller.look(ours.fileno())
    assert (look.size, look.address, look.stamp.kernel) == (5, ours.getsockname(), True)
    assert ours.recv(9) == b"hello"


@LINUX
async def test_while_the_clock_jumps_no_stamp_of_the_kernel_is_used(
    poller: StampingPoller, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    poller.watch(ours.fileno(), IN)
    theirs.send(b"x")
    poller.ready()
    assert poller.look(ours.fileno()).stamp.kernel
    real = stamping._measure_offset()
    monkeypatch.setattr(stamping, "OFFSET_AGE", 0)
    monkeypatch.setattr(stamping, "_measure_offset", lambda: real + 2_000_000)
    poller._clock._due = -1.0
    poller.ready()
    assert not poller.look(ours.fileno()).stamp.kernel
    poller.ready()
    assert poller.look(ours.fileno()).stamp.kernel  # the next second's offset is like the one before


def test_the_clock_s_offset_is_measured_again_every_second_and_may_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = iter([5_000, 25_000, 1_000_000_000])
    monkeypatch.setattr(stamping, "_measure_offset", lambda: next(offsets))
    clock = KernelClock()
    clock.look(10.0)
    clock.look(10.9)
    assert (clock.sure, clock.trio_time(1, 5_000)) == (True, 1.0)
    clock.look(11.0)
    assert (clock.sure, clock.trio_time(1, 25_000)) == (True, 1.0)
    clock.look(12.0)
    assert not clock.sure


async def test_the_offset_is_that_between_the_two_clocks() -> None:
    assert stamping._measure_offset() / 1e9 == pytest.approx(time.time() - trio.current_time(), abs=0.001)


class Open:
    """An easy handle whose connection was there before."""

    took = (None, None, 0.0)

    def before_sending(self, call: Any) -> None:
        self.call = call


@define(eq=False)
class Heard:
    """A transfer that has news."""

    stamped: Stamped | None
    waiting: int = 100


HERE = ("127.0.0.1", 5)


async def heard(address: tuple[str, int] = HERE, *, tls: bool = False, raw: bool = True) -> tuple[Heard, Watch]:
    watch = Watch()
    easy: Any = Open()
    stamped = Stamped(easy, watch, tls, raw)
    easy.call(*address)
    return Heard(stamped), watch


async def test_a_stamp_is_given_only_to_what_came_over_its_own_socket() -> None:
    own, told = await heard()
    other, untold = await heard(("127.0.0.1", 6))
    Look(Stamp(1.0, 2.0, 3.0), 100, HERE).tell([own, other, own, Heard(None)])
    assert told._stamp == Stamp(1.0, 2.0, 3.0)
    assert untold._stamp is None


async def test_responses_that_share_a_connection_are_said_to() -> None:
    (one, first), (two, second) = await heard(), await heard()
    Look(Stamp(1.0, 2.0, 3.0), 200, HERE).tell([one, two])
    assert first._stamp is not None and first._stamp.shared
    assert second._stamp is not None and second._stamp.shared


@pytest.mark.parametrize(
    ("size", "tls", "raw", "later"),
    [(100, False, True, False), (99, False, True, True), (122, True, True, False), (121, True, True, True),
     (50, False, False, False)],
)  # fmt: skip
async def test_bytes_that_came_after_the_look_are_told_of(size: int, tls: bool, raw: bool, later: bool) -> None:
    one, watch = await heard(tls=tls, raw=raw)
    before = trio.current_time()
    Look(Stamp(1.0, 2.0, 3.0), size, HERE).tell([one])
    assert watch._stamp is not None
    assert (watch._stamp.first, watch._stamp.last) == (1.0, 2.0)
    assert (watch._stamp.after is not None) == later
    assert not later or before <= (watch._stamp.after or inf)
