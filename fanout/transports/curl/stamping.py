"""The arrival of bytes by the kernel's own stamps: measured with them, it does not depend on how busy we are.

Linux stamps every segment of a socket with SO_TIMESTAMPNS as it comes in. Just before libcurl reads a socket, two looks
that consume nothing (MSG_PEEK) tell when the oldest of the waiting bytes came, and the newest. It works below TLS and
HTTP/2. The kernel may merge segments that wait; then the newest stamp is that of all, and the two looks tell the same.

The stamps are of CLOCK_REALTIME and become Trio's time here; how far the two clocks lie apart is measured every second,
for they drift by tens of microseconds a minute. Elsewhere than on Linux a stamp is the time just before the read.
"""

import socket
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from typing import Any

import trio
from attrs import define, evolve, field

from fanout.abc import Receiver
from fanout.transports.curl.libcurl import IN, Easy
from fanout.transports.curl.pollers import Poller
from fanout.transports.curl.sockets import Sockets
from fanout.transports.curl.transfer import Transfer
from fanout.transports.stamps import Stamp, StampedReceiver, wants_stamps

OFFSET_AGE = 1.0
"""Seconds for which the clocks' offset is used before it is measured again."""

LARGEST_STEP = 1e-3
"""Seconds by which the offset may differ from the one before; else somebody has set the clock, and no stamp is used."""

_SO_TIMESTAMPNS = 35  # asm-generic/socket.h, the kernel's 64-bit ABIs; Python has no name for it
_STAMP = struct.Struct("=qq")
_ROOM = socket.CMSG_SPACE(_STAMP.size) if hasattr(socket, "CMSG_SPACE") else 0
# Flags as numbers: to combine those of an enum takes longer than to look.
_PEEK = int(socket.MSG_PEEK) | int(getattr(socket, "MSG_DONTWAIT", 0))
_PEEK_SIZE = _PEEK | int(getattr(socket, "MSG_TRUNC", 0))
_QUEUE = 256 << 10  # bytes that the second look may count; with MSG_TRUNC the kernel copies none of them
_TRIES = 20
_TLS_RECORD = 22  # bytes that TLS 1.3 adds to a record; TLS 1.2 adds more


@define(eq=False)
class KernelClock:
    """Turns nanoseconds of CLOCK_REALTIME into Trio's time. Unless it is `sure`, the clock has just been set."""

    sure: bool = True
    _offset: int = 0
    _due: float = -inf

    def look(self, now: float) -> None:
        """Measures the offset again, if it is time to."""
        if now < self._due:
            return
        offset = _measure_offset()
        self.sure = self._due == -inf or abs(offset - self._offset) < LARGEST_STEP * 1e9
        self._offset = offset
        self._due = now + OFFSET_AGE

    def trio_time(self, seconds: int, nanoseconds: int) -> float:
        """Returns the Trio time of this CLOCK_REALTIME."""
        return (seconds * 1_000_000_000 + nanoseconds - self._offset) / 1e9


def _measure_offset() -> int:
    """Measures CLOCK_REALTIME less Trio's time, in nanoseconds.

    It takes the quickest of several readings of the one between two of the other.
    """
    narrowest, offset = inf, 0
    for _ in range(_TRIES):
        before, real, after = trio.current_time(), time.time_ns(), trio.current_time()
        if after - before < narrowest:
            narrowest, offset = after - before, real - round((before + after) * 5e8)
    return offset


LONGEST_WAIT = 0.005
"""Seconds for which bytes wait while many requests begin at once: the kernel merges what waits."""


class StampingSockets(Sockets):
    """Sockets that look at what waits in each before libcurl reads it, and give its stamps to the transfers."""

    def __init__(self, poller: Poller, news: list[Any]) -> None:
        """Takes in `news` the list to which transfers add themselves when libcurl has read something of theirs."""
        self._stamping = StampingPoller(poller)
        super().__init__(self._stamping)
        self._news = news
        self._acted = 0.0

    def act(self) -> int:
        """As Sockets says. Nothing is decoded before all is read: meanwhile the kernel would merge what waits."""
        ready, news = self._stamping.ready(), self._news
        for fd, happened in ready:
            if (multi := self._owners.get(fd)) is None:
                continue
            # A socket that can be written too may be broken, and a look would take away what libcurl has to say of it.
            look = self._stamping.look(fd) if happened == IN else None
            before = len(news)
            multi.act(fd, happened)
            if look is not None and len(news) > before:
                look.tell(news[before:])
        self._acted = trio.current_time()
        return len(ready)

    def tie(self, transfer: Transfer, receiver: Receiver) -> None:
        """As Sockets says; the receiver is told of them if it wants to be."""
        if wants_stamps(receiver):
            transfer.stamped = Stamped(transfer.easy, receiver, transfer.secure, not transfer.request.impersonate)

    def catch_up(self) -> None:
        """As Sockets says: bytes that wait for long are merged by the kernel, with one stamp."""
        if trio.current_time() - self._acted > LONGEST_WAIT:
            self.act()


@define
class Look:
    """The bytes that wait in a socket: their stamp, their number (0 if unknown), and the socket's local address."""

    stamp: Stamp
    size: int
    address: tuple[str, int] | None

    def tell(self, news: Sequence[Any]) -> None:
        """Gives the stamp to the transfers that have news from this socket. libcurl may have read others too."""
        own = [t for t in news if t.stamped is not None and t.stamped.address == self.address]
        stamp = self.stamp
        if len(own) > 1:  # the head and the first bytes of one, or several
            own = list(dict.fromkeys(own))
            stamp.shared = len(own) > 1
        for transfer in own:
            transfer.stamped.take(stamp, self.size, transfer.waiting)


class StampingPoller:
    """A poller that knows when what waits in its sockets arrived; `kernel` says whether the kernel stamps."""

    def __init__(self, inner: Poller) -> None:
        self.kernel = sys.platform == "linux" and sys.maxsize > 1 << 32
        self._inner = inner
        self._clock = KernelClock()
        self._sockets: dict[int, socket.socket | None] = {}
        self._addresses: dict[int, tuple[str, int]] = {}
        self._queue = [bytearray(_QUEUE)]  # never touched, so it takes no memory
        self.fileno = inner.fileno

    def watch(self, fd: int, wanted: int) -> None:
        """As Poller says. libcurl names a socket while it connects, before a response can come."""
        if fd not in self._sockets:
            self._sockets[fd] = _open_stamped(fd, stamping=self.kernel)
        self._inner.watch(fd, wanted)

    def forget(self, fd: int) -> None:
        """As Poller says."""
        _release(self._sockets.pop(fd, None))
        self._addresses.pop(fd, None)
        self._inner.forget(fd)

    def close(self) -> None:
        """As Poller says."""
        for wrapper in self._sockets.values():
            _release(wrapper)
        self._sockets.clear()
        self._inner.close()

    def ready(self) -> list[tuple[int, int]]:
        """As Poller says."""
        if self.kernel:
            self._clock.look(trio.current_time())
        return self._inner.ready()

    def look(self, fd: int) -> Look:
        """Looks at the bytes that wait in the socket, just before they are read: libcurl may close it after that.

        The clocks' offset is as of the last `ready`.
        """
        wrapper = self._sockets.get(fd)
        address = self._addresses.get(fd) or self._find_address(fd)
        if wrapper is not None and self.kernel:
            try:
                first = wrapper.recvmsg(1, _ROOM, _PEEK)[1]
                size, last, _, _ = wrapper.recvmsg_into(self._queue, _ROOM, _PEEK_SIZE)
            except OSError:  # there is nothing, or it has broken this very moment, which looks like its end to libcurl
                first = last = []
            if first and last and self._clock.sure:
                oldest = newest = self._clock.trio_time(*_STAMP.unpack_from(first[0][2]))
                if first != last:
                    newest = self._clock.trio_time(*_STAMP.unpack_from(last[0][2]))
                return Look(Stamp(oldest, newest, trio.current_time()), size, address)
        now = trio.current_time()
        return Look(Stamp(now, now, now, kernel=False), 0, address)

    def _find_address(self, fd: int) -> tuple[str, int] | None:
        """Returns the local address of a socket that is connected, or None."""
        if (wrapper := self._sockets.get(fd)) is None:
            return None
        host, port, *_ = wrapper.getsockname()
        address = self._addresses[fd] = host.partition("%")[0], port
        return address


def _open_stamped(fd: int, *, stamping: bool) -> socket.socket | None:
    """Wraps a descriptor and has it stamped; returns None for the one that wakes libcurl, which is no socket."""
    try:
        wrapper = socket.socket(fileno=fd)
    except OSError:
        return None
    if stamping:
        with suppress(OSError):  # a kernel that does not stamp: its bytes are then said to have no stamp of its own
            wrapper.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    return wrapper


def _release(wrapper: socket.socket | None) -> None:
    """Leaves the descriptor to libcurl: a wrapper that is collected would close it."""
    if wrapper is not None:
        wrapper.detach()


@define(eq=False)
class Stamped:
    """The tie of a transfer to the stamps of its socket, which is known by its local address."""

    easy: Easy
    receiver: StampedReceiver
    tls: bool
    raw: bool
    address: tuple[str, int] | None = None
    _sent: float = 0.0
    _begun: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.easy.before_sending(self._goes_out)

    def _goes_out(self, host: str, port: int) -> None:
        """Notes that there is a connection, and that the request is sent over it now."""
        self.address = host, port
        self._begun = False
        self._sent = trio.current_time()
        self.receiver.note_sent(self._sent, None, None)

    def take(self, stamp: Stamp, size: int, waiting: int) -> None:
        """Tells the receiver the stamp of a read of `waiting` bytes, before which `size` bytes were seen to wait."""
        if not self._begun:
            self._begun = True
            connect, tls, upload = self.easy.took
            self.receiver.note_sent(self._sent + upload, connect, tls)
        if stamp.kernel and self.raw and waiting > size - _TLS_RECORD * self.tls:
            stamp = evolve(stamp, after=trio.current_time())
        self.receiver.note_stamp(stamp)
