"""The one tagged channel: many lanes append batches, one consumer iterates.

A producer never waits: `put` is synchronous, appends one batch a read, and wakes the consumer if it is parked. All
producers that run before the consumer does share that one wake. The channel is unbounded in events, because an
answer is finite and kept anyway, and because a slow reader must neither slow a provider nor falsify its timings; each
lane bounds its own bytes.
"""

from collections import deque
from collections.abc import Sequence

import trio

from fanout.events import Event, Tagged


class Channel:
    """Iterates over Tagged events until it is closed and drained. `zero` is the Trio time that `at` counts from."""

    def __init__(self, zero: float = 0.0) -> None:
        self.zero = zero
        self._batches: list[tuple[str, float, Sequence[Event]]] = []
        self._at_hand: deque[Tagged] = deque()
        self._parked: trio.lowlevel.Task | None = None
        self._closed = False
        self._taking = False

    def put(self, lane: str, events: Sequence[Event], at: float) -> None:
        """Appends the events of one read, which arrived in `lane` at Trio time `at`."""
        self._batches.append((lane, at, events))
        if self._parked is not None:
            self._wake()

    def close(self) -> None:
        """Ends the iteration after what is there: nothing more will come."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._parked is not None:
            trio.lowlevel.reschedule(self._parked)
            self._parked = None

    def __repr__(self) -> str:
        waiting = len(self._at_hand) + sum(len(events) for _, _, events in self._batches)
        return f"<Channel {'closed' if self._closed else 'open'}, {waiting} events wait>"

    def __aiter__(self) -> "Channel":
        return self

    async def __anext__(self) -> Tagged:
        while not self._at_hand:
            await self._refill()
        return self._at_hand.popleft()

    async def take(self) -> Sequence[Tagged]:
        """Waits until there are events, and takes all that are there. Raises StopAsyncIteration after the last."""
        while not self._at_hand:
            await self._refill()
        taken, self._at_hand = self._at_hand, deque()
        return taken

    async def _refill(self) -> None:
        if self._taking:
            raise trio.BusyResourceError("a channel has one consumer; another task is waiting on it")
        self._taking = True
        try:
            await self._take_everything()
        finally:
            self._taking = False

    async def _take_everything(self) -> None:
        """Takes all that is there, after one checkpoint; a Tagged is made here, off the producers' path."""
        if self._batches or self._closed:
            await trio.lowlevel.checkpoint()
        else:
            await self._park()
        batches, self._batches = self._batches, []
        append, zero = self._at_hand.append, self.zero
        for lane, at, events in batches:
            since = at - zero
            for event in events:
                append(Tagged(lane, since, event))
        if not self._at_hand and self._closed:
            raise StopAsyncIteration

    async def _park(self) -> None:
        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self._parked = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._parked = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)
