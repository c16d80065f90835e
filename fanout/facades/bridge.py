"""The bridge: how a call gets into fanout's thread, and how what comes of it gets back.

A call is one task there, with a cancel scope. The other side waits for its end, also when it has cancelled it: so
whoever returns leaves nothing behind. Items that a call produces on its way wait in a deque, batch by batch. Either
side announces that it waits, looks once more, and only then sleeps; so the other wakes it once a burst, and neither
takes a lock. Each counter and flag but one is written by one side only; `awaited` is set by the one and cleared by the
other, who then wakes it.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import Context, copy_context
from typing import Generic, TypeVar

import trio

from fanout.errors import AllLanesFailed
from fanout.facades.home import Home, find_home

LIMIT = 256
"""Items that may wait; at so many the producer pauses, until half are taken. One batch may go beyond it."""

T = TypeVar("T")
Wake = Callable[[], None]
"""Wakes the other side; may be called from any thread."""


class Call(Generic[T]):
    """One task in fanout's thread, in a copy of its maker's context, or in `context`. `wake` is called at its end.

    The caller starts it, and waits for `over` before it reads the `result`.
    """

    def __init__(self, work: Callable[[], Awaitable[T]], wake: Wake, context: Context | None = None) -> None:
        self.home: Home = find_home()
        self.over = False
        self.error: BaseException | None = None
        self._values: list[T] = []
        self._work: Callable[[], Awaitable[T]] | None = work
        self._wake = wake
        self._scope = trio.CancelScope()
        self._begun = False
        self._context = copy_context() if context is None else context

    def start(self) -> None:
        """Starts it, from any thread."""
        try:
            self.home.token.run_sync_soon(self._begin)
        except trio.RunFinishedError:
            self._end_without_run()

    def cancel(self) -> None:
        """Cancels it, from any thread; it may not even have started."""
        self.home.soon(self._withdraw)

    def result(self) -> T:
        """Returns its value, once it is over, or raises its exception, with the traceback from there."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # else its frames and this object would hold each other
        return self._values.pop()

    def _begin(self) -> None:
        if self._begun or self.over:
            return
        self._begun = True
        if self.home.leaving:
            self._end_without_run()
        else:
            self._context.run(self.home.start, self._run, self._scope)

    def _withdraw(self) -> None:
        self._scope.cancel()
        if not self._begun:
            self._end_without_run()

    def _end_without_run(self) -> None:
        self.error, self.over = _ended(), True
        self._wake()

    async def _run(self) -> None:
        work, self._work = self._work, None
        assert work is not None
        try:
            with self._scope:
                self._values.append(await work())
        except BaseException as error:  # noqa: ASYNC103, BLE001  # the caller's; here it would end all other calls
            self.error = error
        finally:
            if not self._values and self.error is None:
                self.error = _ended()
            self.over = True
            self._wake()


def _ended() -> BaseException:
    """The end of a call that was cancelled. If its caller has not done it, the process is about to end."""
    return SystemExit("the call was cancelled, because the process ends")


class Crossing(Generic[T]):
    """Items on their way from a task in fanout's thread to one consumer elsewhere, whom `wake` wakes."""

    def __init__(self, home: Home, wake: Wake, limit: int = LIMIT) -> None:
        self.awaited = False
        """The consumer waits, or is about to."""
        self._home = home
        self._wake = wake
        self._limit = limit
        self._batches: deque[Sequence[T]] = deque()
        self._sent = 0
        self._taken = 0
        self._room: trio.Event | None = None
        self._closed = False
        self.failure: Exception | None = None
        """The end of an iteration that raises."""

    def is_ready(self) -> bool:
        """True if `take` need not wait: there are items, or there will be no more."""
        return bool(self._batches) or self._closed

    def take(self) -> Sequence[T] | None:
        """Takes all items that wait, on the consumer's side; an empty sequence if none do, and None at the end."""
        closed = self._closed  # before the items: what comes after it must not be lost
        taken = [item for _ in range(len(self._batches)) for item in self._batches.popleft()]
        if not taken:
            return None if closed else taken
        self._taken += len(taken)
        room = self._room
        if room is not None and self._has_room():
            self._home.soon(room.set)
        return taken

    async def carry(self, take: Callable[[], Awaitable[Sequence[T]]]) -> None:
        """Sends what `take` gives, batch by batch, until it raises; runs in fanout's thread.

        StopAsyncIteration is the end, AllLanesFailed one that the consumer hears of after what waits.
        """
        while True:
            try:
                batch = await take()
            except (StopAsyncIteration, AllLanesFailed) as end:
                self.failure = end if isinstance(end, AllLanesFailed) else None
                self._closed = True
                self._rouse()
                return
            self._batches.append(batch)
            self._sent += len(batch)
            self._rouse()
            if self._sent - self._taken >= self._limit:
                room = self._room = trio.Event()
                if not self._has_room():
                    await room.wait()
                self._room = None

    def _has_room(self) -> bool:
        return self._sent - self._taken <= self._limit // 2

    def _rouse(self) -> None:
        if self.awaited:
            self.awaited = False
            self._wake()


Opened = TypeVar("Opened")


class Block(Generic[Opened]):
    """A context manager of Trio's that one task in fanout's thread holds open while a block elsewhere runs.

    `meanwhile` runs there while it is open, with what the manager gives. `wake` is called when it is open, and when it
    is over.
    """

    def __init__(
        self,
        manager: AbstractAsyncContextManager[Opened],
        wake: Wake,
        meanwhile: Callable[[Opened], Awaitable[None]] | None = None,
        context: Context | None = None,
    ) -> None:
        self._manager = manager
        self._wake = wake
        self._meanwhile = meanwhile
        self._inside = trio.CancelScope()
        self.values: list[Opened] = []
        """The value that the manager has given, once it is open."""
        self.call: Call[None] = Call(self._hold, wake, context)

    @property
    def settled(self) -> bool:
        """True once it is open, or will never be."""
        return bool(self.values) or self.call.over

    def leave(self) -> None:
        """Ends what runs inside, and closes it; from any thread."""
        self.call.home.soon(self._inside.cancel)

    async def _hold(self) -> None:
        async with self._manager as value:
            self.values.append(value)
            self._wake()
            with self._inside:
                if self._meanwhile is not None:
                    await self._meanwhile(value)
                await trio.sleep_forever()
