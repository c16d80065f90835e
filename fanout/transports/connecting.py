"""One task that ends the wait for connections which do not come in time, for many requests."""

from heapq import heappop, heappush
from itertools import count
from math import inf

import trio
from attrs import define, field

from fanout.settings.timeouts import Leniency


@define(eq=False)
class Wait:
    """The wait of one request for its connection: `scope` is cancelled after so many seconds, unless it is `over`."""

    seconds: float
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    over: bool = False
    _leniency: Leniency = field(factory=Leniency)

    def end(self, late: float) -> float:
        """Ends it; or returns for how many seconds it goes on, since it is we who are so many seconds late.

        What a service has said meanwhile waits in the socket, and the steps to a connection take several reads.
        """
        more = 0.0 if self.over else self._leniency.pardon(late, self.seconds)
        if not more and not self.over:
            self.scope.cancel()
        return more


class Waits:
    """Those that have begun, and the time of the next. A deadline of a scope could not be put off once it is past."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Wait]] = []
        self._number = count()
        self._sleep = trio.CancelScope()
        self._closed = False

    def open(self) -> None:
        """Starts the task. A system task, because requests may go on in a shielded scope when others are cancelled."""
        trio.lowlevel.spawn_system_task(self._run)

    def begin(self, seconds: float) -> Wait:
        """Begins a wait of so many seconds."""
        wait = Wait(seconds)
        if seconds < inf:
            self._push(trio.current_time() + seconds, wait)
        return wait

    def close(self) -> None:
        """Ends the task."""
        self._closed = True
        self._sleep.cancel()

    def _push(self, due: float, wait: Wait) -> None:
        heappush(self._heap, (due, next(self._number), wait))
        self._sleep.deadline = min(self._sleep.deadline, due)

    async def _run(self) -> None:
        heap = self._heap
        while not self._closed:
            with trio.CancelScope(deadline=heap[0][0] if heap else inf) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            while heap and heap[0][0] <= now:
                due, _, wait = heappop(heap)
                if more := wait.end(now - due):
                    self._push(now + more, wait)
