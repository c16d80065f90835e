"""The connections that all calls of a process share, opened when the first wants them and kept until the exit."""

import logging

import trio

from fanout.api import open_transport
from fanout.connections import KEEPER, Connections

_log = logging.getLogger("fanout")


class Kept:
    """Holds one set of connections for each name of a transport; each is open in a task of its own."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._open: dict[str | None, Connections] = {}
        self._opening = trio.Lock()

    def serve(self) -> None:
        """Has every call of this Trio run that brings no connections use these."""
        KEEPER.set(self)

    async def connections(self, name: str | None) -> Connections:
        """Returns the connections by the transport of this name. Raises UsageError."""
        async with self._opening:
            if name not in self._open:
                self._open[name] = await self._nursery.start(self._hold, name)
            return self._open[name]

    async def _hold(self, name: str | None, *, task_status: trio.TaskStatus[Connections]) -> None:
        started = False
        try:
            async with open_transport(name) as connections:
                task_status.started(connections)
                started = True
                await trio.sleep_forever()
        except Exception:
            if not started:
                raise
            # A mistake of a transport: the calls that use it fail, the next opens another.
            _log.exception("the connections of all calls are opened anew")
            self._open.pop(name, None)
