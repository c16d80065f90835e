"""The time in which the loop did not run, while somebody waits for a connection: it is not the service's."""

from math import inf

import trio

from fanout.settings.timeouts import LATE

TICK = 0.01
"""Seconds between two looks at the time, while somebody waits."""

TIMES = 12
"""Stalls that one wait is given back at most: after each the sockets are looked at, and no connection needs as many.

So clocks ring also in a loop that is never free.
"""


class Stalls:
    """Tells how long the loop did not run.

    A clock that rings late shows a part of it only, and nothing where the loop is free again just before. So the time
    is looked at every TICK, and what lies between two looks that are more than LATE apart was lost.
    """

    def __init__(self) -> None:
        self._seen = 0.0

    def begin(self) -> None:
        """Begins to look."""
        self._seen = trio.current_time()

    def look(self) -> float:
        """Looks at the time, and returns the seconds that were lost since the last look: mostly 0."""
        now = trio.current_time()
        since, self._seen = now - self._seen, now
        return since if since > LATE else 0.0


class Deadlines:
    """Cancels scopes when their time is over, as their own deadlines would; but what we did not run does not count."""

    def __init__(self) -> None:
        self._stalls = Stalls()
        self._ends: dict[trio.CancelScope, tuple[float, int]] = {}
        self._ticks = False

    def set(self, scope: trio.CancelScope, seconds: float) -> None:
        """Cancels the scope in so many seconds."""
        if seconds == inf:
            return
        if self._ticks:
            self._look()
        else:
            self._ticks = True
            self._stalls.begin()
            trio.lowlevel.spawn_system_task(self._tick)
        self._ends[scope] = trio.current_time() + seconds, 0

    def unset(self, scope: trio.CancelScope) -> None:
        """Does not cancel the scope any more."""
        self._ends.pop(scope, None)

    def _look(self) -> None:
        if lost := self._stalls.look():
            for scope, (at, times) in self._ends.items():
                if times < TIMES:
                    self._ends[scope] = at + lost, times + 1

    def _find_past(self) -> list[trio.CancelScope]:
        now = trio.current_time()
        return [scope for scope, (at, _) in self._ends.items() if at <= now]

    async def _tick(self) -> None:
        while self._ends:
            soonest = min(at for at, _ in self._ends.values())
            await trio.sleep_until(min(soonest, trio.current_time() + TICK))
            self._look()
            if self._find_past():
                await let_read()
                self._look()
                for scope in self._find_past():
                    del self._ends[scope]
                    scope.cancel()
        self._ticks = False


async def let_read() -> None:
    """Lets those read whose sockets can be read: they may be behind this task in this batch of Trio's, but no more."""
    for _ in range(2):
        await trio.lowlevel.checkpoint()
