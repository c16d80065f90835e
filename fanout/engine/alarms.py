"""One task that sleeps for the clocks of many lanes."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count
from math import inf

import trio

from fanout.errors.unwrapped import unwrapping

Ring = Callable[[float], bool | None]
"""Called with the Trio time that it was set for, then or as soon after as there is time.

Where it would act on what has not come, it returns True, and is called again when what has come has been read.
"""

MAX_LOOKS = 1000
"""Looks at the sockets after which what had come counts as read."""

MAX_LOOKING = 1.0
"""Seconds for which that goes on at most, and for no longer than we have been late."""

SLOW = 0.1
"""Seconds of a look after which it is no look: the caller's own code takes so long, a service's flood does not."""

MAX_SLOW = 32
"""Looks that are none; in a loop that is never free, clocks ring all the same."""


async def let_read(late: float) -> None:
    """Lets the transports read what has arrived, where something that is due would be judged `late` by so many seconds.

    When the loop has been busy, or the process stopped, Trio runs in one batch and in any order the tasks whose sockets
    can be read and those whose time has come. A task that waits for one look at the sockets is in the batch of those
    that they woke; for two, it comes after them. Where we are late, more has come than one read takes. And a look
    during which the loop was busy with what one lane has brought is none for the others, whose turn comes after it.
    """
    now = trio.current_time()
    until = now + min(late, MAX_LOOKING)
    looks = slow = 0
    while looks < 2 or (looks < MAX_LOOKS and now < until):
        before = now
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        if now - before >= SLOW and slow < MAX_SLOW:
            slow += 1
            looks = (
                0  # anew: between the end of a batch and the beginning of the next nothing is seen of who runs in both
            )
            until += now - before
        else:
            looks += 1


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

    def close(self) -> None:
        """Forgets all that is set: watches and alarms know each other, and a cycle waits for the garbage collector."""
        self._heap.clear()

    async def run(self) -> None:
        """Sleeps and calls back, until it is cancelled."""
        heap = self._heap
        while True:
            with trio.CancelScope(deadline=heap[0][0] if heap else inf) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            unsure = []
            while heap and heap[0][0] <= now:
                at, _, ring = heappop(heap)
                if ring(at):
                    unsure.append((at, ring))
            if unsure:
                await let_read(now - unsure[0][0])
                for at, ring in unsure:
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
    alarms.close()
