"""The seam inside the transport: its sockets in one poller, their owners, and the time by which libcurl must go on.

Pools say here what libcurl waits for; one task of the transport waits for the sockets, another for the clock.
"""

from math import inf
from time import perf_counter

import trio

from fanout.abc import Receiver
from fanout.transports.curl.libcurl import Multi
from fanout.transports.curl.pollers import Poller
from fanout.transports.curl.transfer import Transfer

BUSY = 0.0005
"""Seconds between two reads, on average, below which they are left to gather. A race of eight does not get there."""

PAUSE = 0.05
"""Seconds that the time between two reads counts at most, so that after a pause it is soon known how busy it is."""

TICK = 0.002
"""Seconds for which they gather: what comes meanwhile is read in one go, with one wake of the task."""


TURN = 0.004
"""Seconds after which libcurl goes on with other sockets in the next turn only."""


class Sockets:
    """The sockets of all the pools of a transport, in one poller."""

    def __init__(self, poller: Poller) -> None:
        self.clock = Clock()
        self.closed = False
        self._poller = poller
        self._fd = poller.fileno()
        self._owners: dict[int, Multi] = {}
        self._ready: list[tuple[int, int]] = []

    def __len__(self) -> int:
        """The number of sockets that libcurl waits for or has open."""
        return len(self._owners)

    def watch(self, fd: int, wanted: int, owner: Multi) -> None:
        """Waits for these of IN and OUT on a socket of `owner`, in place of what was waited for before."""
        self._owners[fd] = owner
        self._poller.watch(fd, wanted)

    def forget(self, fd: int) -> None:
        """Waits for the socket no more; it is about to be closed."""
        self._owners.pop(fd, None)
        self._poller.forget(fd)

    def fileno(self) -> int:
        """Returns the descriptor that can be read when something has happened to a socket."""
        return self._fd

    async def wait(self) -> None:
        """Waits until something has happened to a socket. Raises trio.ClosedResourceError when this is closed."""
        if self._ready:
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.wait_readable(self._fd)

    def act(self) -> int:
        """Lets libcurl go on with the sockets to which something has happened, for a turn; returns their number."""
        ready, self._ready = self._ready or self._poller.ready(), []
        owners = self._owners
        until = perf_counter() + TURN
        for number, (fd, happened) in enumerate(ready, 1):
            if (multi := owners.get(fd)) is not None:  # else it was closed by one before it
                multi.act(fd, happened)
            if perf_counter() > until:
                self._ready = ready[number:]
                return number
        return len(ready)

    def tie(self, transfer: Transfer, receiver: Receiver) -> None:
        """Ties a transfer that is about to begin to the stamps of its socket, where stamps are taken: not here."""

    def catch_up(self) -> None:
        """Acts too, where bytes that wait for long lose something: not here."""

    def close(self) -> None:
        """Ends the wait for the descriptor and the clock's, and frees the poller."""
        self.closed = True
        trio.lowlevel.notify_closing(self._fd)
        self._poller.close()
        self.clock.close()


class Clock:
    """The one deadline that a task of the transport waits for."""

    def __init__(self) -> None:
        self._due = inf
        self._scope: trio.CancelScope | None = None

    def wake_by(self, due: float) -> None:
        """Makes the wait end at this Trio time or before. It only moves earlier: a spurious wake is the cheaper one."""
        if due < self._due:
            self._due = due
            if self._scope is not None:
                self._scope.deadline = due

    def set(self, due: float) -> None:
        """Sets the Trio time at which the next wait ends, unless this is closed."""
        if self._due != -inf:
            self._due = due

    async def wait(self) -> bool:
        """Waits until it is time; returns False when this is closed."""
        with trio.CancelScope(deadline=self._due) as self._scope:
            await trio.sleep_forever()
        return self._due != -inf

    def close(self) -> None:
        """Ends the wait for good."""
        self.wake_by(-inf)


class Load:
    """The mean time between reads, smoothed over the last 32."""

    def __init__(self) -> None:
        self._gap = PAUSE
        self._last = 0.0

    def is_heavy(self, reads: int, now: float) -> bool:
        """Tells whether so many reads come in so short a time that it pays to let them gather."""
        since = min(now - self._last, PAUSE)
        self._gap += (since / reads - self._gap) * min(1.0, reads / 32)
        self._last = now
        return self._gap < BUSY
