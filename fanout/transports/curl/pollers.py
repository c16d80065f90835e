"""Many sockets behind one descriptor: an epoll or a kqueue, which a Trio task can wait for as for any one socket."""

import select
from contextlib import suppress
from typing import Any, Protocol

from fanout.transports.curl.libcurl import IN, OUT

MAX_EVENTS = 1024
"""Sockets that one look may find ready; the others are found by the next."""


class Poller(Protocol):
    """Sockets, the events to wait for on each, and one descriptor that can be read when something has happened."""

    def fileno(self) -> int:
        """Returns the descriptor."""
        ...

    def watch(self, fd: int, wanted: int) -> None:
        """Waits for these of IN and OUT on the socket, in place of what was waited for before."""
        ...

    def forget(self, fd: int) -> None:
        """Waits for the socket no more."""
        ...

    def ready(self) -> list[tuple[int, int]]:
        """Returns the sockets to which something has happened, with these of IN and OUT; does not wait."""
        ...

    def close(self) -> None:
        """Frees the descriptor."""
        ...


class EpollPoller:
    """Linux's poller."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, int] = {}

    def fileno(self) -> int:
        """Returns the descriptor."""
        return self._epoll.fileno()

    def watch(self, fd: int, wanted: int) -> None:
        """Waits for these of IN and OUT on the socket, in place of what was waited for before."""
        before = self._watched.get(fd)
        if wanted == before:
            return
        if not wanted:  # an epoll would still tell of a hang-up, again and again
            self.forget(fd)
            return
        mask = (select.EPOLLIN if wanted & IN else 0) | (select.EPOLLOUT if wanted & OUT else 0)
        if before is None:
            self._epoll.register(fd, mask)
        else:
            self._epoll.modify(fd, mask)
        self._watched[fd] = wanted

    def forget(self, fd: int) -> None:
        """Waits for the socket no more."""
        if self._watched.pop(fd, None) is not None:
            with suppress(OSError):  # closed already, and thereby forgotten
                self._epoll.unregister(fd)

    def ready(self) -> list[tuple[int, int]]:
        """Returns the sockets to which something has happened, with these of IN and OUT; does not wait."""
        return [(fd, _HAPPENED[mask & 31]) for fd, mask in self._epoll.poll(0, MAX_EVENTS)]

    def close(self) -> None:
        """Frees the descriptor."""
        self._epoll.close()


# EPOLLIN is 1, EPOLLOUT 4, EPOLLERR 8, EPOLLHUP 16. A hang-up is read: as the end, after what came before it.
_HAPPENED = [(IN if mask & (1 | 8 | 16) else 0) | (OUT if mask & (4 | 8) else 0) for mask in range(32)]


class KqueuePoller:
    """The poller of macOS and the BSDs."""

    def __init__(self) -> None:
        self._select: Any = select  # its names are known to a type checker on these systems only
        self._kqueue: Any = self._select.kqueue()
        self._watched: dict[int, int] = {}

    def fileno(self) -> int:
        """Returns the descriptor."""
        return int(self._kqueue.fileno())

    def watch(self, fd: int, wanted: int) -> None:
        """Waits for these of IN and OUT on the socket, in place of what was waited for before."""
        before = self._watched.get(fd, 0)
        changes = [self._make_change(fd, bit, wanted) for bit in (IN, OUT) if (before ^ wanted) & bit]
        if changes:
            self._kqueue.control(changes, 0, 0)
        self._watched[fd] = wanted

    def _make_change(self, fd: int, bit: int, wanted: int) -> Any:
        which = self._select.KQ_FILTER_READ if bit == IN else self._select.KQ_FILTER_WRITE
        return self._select.kevent(fd, which, self._select.KQ_EV_ADD if wanted & bit else self._select.KQ_EV_DELETE)

    def forget(self, fd: int) -> None:
        """Waits for the socket no more."""
        with suppress(OSError):  # closed already, and thereby forgotten
            self.watch(fd, 0)
        self._watched.pop(fd, None)

    def ready(self) -> list[tuple[int, int]]:
        """Returns the sockets to which something has happened, with these of IN and OUT; does not wait."""
        bits = {self._select.KQ_FILTER_READ: IN, self._select.KQ_FILTER_WRITE: OUT}
        return [(event.ident, bits[event.filter]) for event in self._kqueue.control(None, MAX_EVENTS, 0)]

    def close(self) -> None:
        """Frees the descriptor."""
        self._kqueue.close()


if not (hasattr(select, "epoll") or hasattr(select, "kqueue")):
    raise ImportError("this system has neither epoll nor kqueue")


def open_poller() -> Poller:
    """Opens the kind of poller that this system has."""
    return EpollPoller() if hasattr(select, "epoll") else KqueuePoller()
