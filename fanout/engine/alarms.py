"""One task that sleeps for the clocks of many lanes."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count
from math import inf

import trio

from fanout.unwrapped import unwrapping

Ring = Callable[[float], None]
"""Called with the Trio time that it was set for, then or as soon after as there is time."""


class Alarms:
    """Calls back at the times that are set. There is no unset: a callback that is no longer wanted ignores the call."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Ring]] = []
        self._number = count()
        self._sleep: trio.CancelScope | None = None

    def set(self, at: float, ring: Ring) -> None:
        """Calls `ring` at the Trio time `at`."""
        heappush(self._heap, (at, next(self._number), ring))
        if self._sleep is not None and at < self._sleep.deadline:
            self._sleep.deadline = at

    async def run(self) -> None:
        """Sleeps and calls back, until it is cancelled."""
        heap = self._heap
        while True:
            with trio.CancelScope(deadline=heap[0][0] if heap else inf) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            while heap and heap[0][0] <= now:
                at, _, ring = heappop(heap)
                ring(at)


@asynccontextmanager
async def open_alarms() -> AsyncGenerator[Alarms]:
    """Opens Alarms that ring for as long as the block lasts."""
    alarms = Alarms()
    with unwrapping():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alarms.run)
            yield alarms
            nursery.cancel_scope.cancel()
