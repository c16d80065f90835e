"""Many lanes that start at once, a portion at a time: between two portions the loop looks at sockets and clocks.

What a lane does before its request is on its way takes half a millisecond. A thousand that do it in one step would
send the first request after half a second, and nothing else would run meanwhile.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVarTuple

import trio

PORTION = 8
"""Lanes that may start between two looks at the sockets."""


class Portions:
    """Lets the tasks of one Trio run through in portions, in the order in which they come."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._left = PORTION
        self._waiting: deque[trio.lowlevel.Task] = deque()

    async def take_turn(self) -> None:
        """Returns at once while there is room in this portion, which is no checkpoint; else it waits for the next."""
        if self._left:
            self._left -= 1
            if not self._left:
                self._token.run_sync_soon(self._open_next)
            return
        task = trio.lowlevel.current_task()
        self._waiting.append(task)

        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self._waiting.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _open_next(self) -> None:
        woken = min(PORTION, len(self._waiting))
        for _ in range(woken):
            trio.lowlevel.reschedule(self._waiting.popleft())
        self._left = PORTION - woken
        if not self._left:
            self._token.run_sync_soon(self._open_next)


_portions: trio.lowlevel.RunVar[Portions] = trio.lowlevel.RunVar("fanout's portions")


Args = TypeVarTuple("Args")


async def start(run: Callable[[*Args], Awaitable[None]], *args: *Args) -> None:
    """Runs a lane, after a wait for its portion, mostly none at all."""
    try:
        portions = _portions.get()
    except LookupError:
        portions = Portions()
        _portions.set(portions)
    await portions.take_turn()
    await run(*args)
