"""The connections with one browser's habits, or with nobody's."""

from math import inf
from typing import Any

import trio

from fanout.transports.curl.libcurl import Easy, Multi
from fanout.transports.curl.sockets import Sockets
from fanout.transports.curl.transfer import Transfer

IDLE_CONNECTIONS = 1000
"""Connections that are kept open for later."""


class Pool:
    """The transfers over one set of connections: libcurl would use one that was opened with another browser's habits.

    `due` is the Trio time by which libcurl wants to go on. Unless they `share`, each HTTP/2 transfer has a connection
    of its own.
    """

    def __init__(self, sockets: Sockets, template: Easy, *, share: bool) -> None:
        self.template = template
        self.transfers: dict[Any, Transfer] = {}
        self.due = inf
        self.multi = Multi(self, IDLE_CONNECTIONS, share=share)
        self._unsure = False
        self._sockets = sockets

    def add(self, transfer: Transfer) -> None:
        """Begins a transfer."""
        self.multi.add(transfer.easy)
        self.transfers[transfer.easy.handle] = transfer
        transfer.pool = self

    def remove(self, transfer: Transfer) -> None:
        """Ends a transfer, unless it has ended."""
        if self.transfers.pop(transfer.easy.handle, None) is not None:
            self.multi.remove(transfer.easy)
            self._unsure = True  # libcurl does not tell whether this one still ran
            transfer.easy.close()

    @property
    def some_ended(self) -> bool:
        """True if some transfers may have ended since the last `take_ended`."""
        return self._unsure or self.multi.running < len(self.transfers)

    def take_ended(self) -> list[tuple[Transfer, int]]:
        """Returns the transfers with which libcurl is done, each once, and its codes: 0 is success."""
        self._unsure = False
        ended = [(self.transfers.get(handle), code) for handle, code in self.multi.take_ended()]
        return [(transfer, code) for transfer, code in ended if transfer is not None]

    def watch(self, fd: int, wanted: int) -> None:
        """As libcurl.Watcher says."""
        self._sockets.watch(fd, wanted, self.multi)

    def forget(self, fd: int) -> None:
        """As libcurl.Watcher says."""
        self._sockets.forget(fd)

    def wake(self, delay: float | None) -> None:
        """As libcurl.Watcher says."""
        self.due = inf if delay is None else trio.current_time() + delay
        self._sockets.clock.wake_by(self.due)

    def close(self) -> None:
        """Closes the connections."""
        self.multi.close()
        self.template.close()
