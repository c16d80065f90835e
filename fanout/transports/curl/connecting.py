"""The transfers that wait for a connection: those for which libcurl's own clock would ring falsely are judged here."""

from itertools import islice
from math import inf

import trio

from fanout.transports.curl.transfer import Transfer
from fanout.transports.stalls import TICK, Stalls, let_read

GLANCE = 64
"""Transfers of which one tick finds out whether they are connected: that takes a microsecond each."""


class Connecting:
    """Gives transfers back what they lose of the time for their connection while we do not run ourselves.

    libcurl looks at its clocks before it looks at its sockets, and knows nothing of our absence. So `look` comes before
    each call of it.
    """

    def __init__(self) -> None:
        self._stalls = Stalls()
        self._waiting: dict[Transfer, None] = {}
        self._pardoned: dict[Transfer, None] = {}

    def add(self, transfer: Transfer) -> float:
        """Starts the connection's clock; returns the Trio time by which the next `look` must come."""
        now = trio.current_time()
        transfer.connect_by = now + transfer.connect
        if not self._waiting:
            self._stalls.begin()
        self._waiting[transfer] = None
        return now + TICK

    def forget(self, transfer: Transfer) -> None:
        """Knows nothing more of a transfer that is over."""
        self._waiting.pop(transfer, None)
        self._pardoned.pop(transfer, None)

    def look(self) -> None:
        """Puts off the verdict on all that wait, by the time in which we did not run since the last look."""
        if not self._waiting:
            return
        if lost := self._stalls.look():
            for transfer in self._waiting:
                if transfer.is_connecting and transfer.put_off(lost):
                    self._pardoned[transfer] = None

    async def find_late(self) -> list[Transfer]:
        """Returns those without a connection whose time is over, when what has come for them has been read.

        For all that were never put off libcurl's own clock is right.
        """
        if self._find_past():
            await let_read()
            self.look()
        return self._find_past()

    def _find_past(self) -> list[Transfer]:
        if not self._pardoned:
            return []
        now = trio.current_time()
        self._pardoned = {transfer: None for transfer in self._pardoned if transfer.is_connecting}
        return [transfer for transfer in self._pardoned if transfer.connect_by <= now]

    def due(self) -> float:
        """Returns the Trio time by which the next `look` must come; infinity if nothing waits."""
        for transfer in list(islice(self._waiting, GLANCE)):
            del self._waiting[transfer]
            if transfer.is_connecting:
                self._waiting[transfer] = None  # behind the others, for which there was no glance
        if not self._waiting:
            return inf
        soonest = min((transfer.connect_by for transfer in self._pardoned), default=inf)
        return min(soonest, trio.current_time() + TICK)
