"""The calls for asyncio: each runs in fanout's thread, while the task that awaits it leaves its loop free.

Cancelled, a task cancels its call, and goes on when nothing of that is left. A loop may end and another begin, and
several may run at once: nothing here belongs to a loop for longer than a call.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import Context, copy_context
from functools import partial, wraps
from typing import Any, ParamSpec, Self, TypeVar

import anyio
import trio

from fanout import api
from fanout.abc import WAITING
from fanout.errors import Refused, UsageError
from fanout.events import Tagged
from fanout.facades.bridge import Block, Call
from fanout.facades.outside import Inner, Item, Outside, OutsideFanout, OutsideStream

P = ParamSpec("P")
LOOK = 1.0
"""Seconds between two looks at whether the loop of an async `accept` is still there."""

LEAVE = 1.0
"""Seconds that an async `accept` has to end which is cancelled."""

T = TypeVar("T")
Seen = TypeVar("Seen", bound=Outside[Any, Any])


def find_loop() -> asyncio.AbstractEventLoop | None:
    """Returns the loop that runs in this thread, if one does."""
    with suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


class Flag:
    """An event of the loop that runs here, which any thread may set."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self.clear = self._event.clear
        self.wait = self._event.wait

    def set(self) -> None:
        """Sets it. A loop that is closed has nobody who waits."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    def make_context(self) -> Context:
        """A copy of the context that is current, in which async functions of the caller's are awaited by its loop."""
        context = copy_context()
        context.run(WAITING.set, self._await)
        return context

    async def _await(self, verdict: Awaitable[bool]) -> bool:
        """Has the loop await `verdict`, while a task of fanout's thread waits for it."""
        token, over = trio.lowlevel.current_trio_token(), trio.Event()
        tasks: list[asyncio.Task[bool]] = []

        async def wait() -> bool:
            return await verdict

        def tell(_: object) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(over.set)

        def start() -> None:
            tasks.append(self._loop.create_task(wait(), context=context))
            tasks[0].add_done_callback(tell)

        context = copy_context()
        context.run(WAITING.set, None)  # in its loop it waits for itself, and so does what it calls
        try:
            self._loop.call_soon_threadsafe(start)
            while not over.is_set():
                with trio.move_on_after(LOOK):
                    await over.wait()
                if not over.is_set():
                    self._loop.call_soon_threadsafe(int)  # raises if the loop is closed, which tells nobody
        except RuntimeError:
            if not tasks and isinstance(verdict, Coroutine):
                verdict.close()  # else Python warns that nobody has awaited it
            raise Refused("the loop that accept was to run in is closed") from None
        except trio.Cancelled:
            with trio.move_on_after(LEAVE, shield=True), suppress(RuntimeError):
                self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())
                await over.wait()
            raise
        if tasks[0].cancelled():
            raise Refused("accept was cancelled")
        return tasks[0].result()

    async def end(self, call: Call[Any], end: Callable[[], None]) -> None:
        """Has `end` end the call, and waits until it is over, however often the task is cancelled meanwhile.

        Does not wait where it could not: in a forked process, and for a coroutine that is destroyed after its loop.
        """
        if not call.home.here:
            return
        end()
        if find_loop() is not self._loop:
            return
        cancelled = None
        with anyio.CancelScope(shield=True):  # the scopes of anyio, thus of Starlette, would cancel at every turn
            while not call.over:
                self.clear()
                if not call.over:
                    try:
                        await self.wait()
                    except asyncio.CancelledError as error:  # noqa: ASYNC103  # raised below
                        cancelled = error
        if cancelled is not None:
            raise cancelled


def _check_loop(name: str) -> None:
    """Raises UsageError where asyncio does not run, with the function of this name that is the one to use."""
    if find_loop() is None:
        here, usage = ("Trio", "fanout") if trio.lowlevel.in_trio_run() else ("no loop", "fanout.sync")
        raise UsageError(f"fanout.aio.{name} is for asyncio, and here runs {here}: use {usage}.{name}(…)")


async def run(work: Callable[[], Awaitable[T]]) -> T:
    """Runs `work` in fanout's thread, and returns what it returns or raises what it raises."""
    flag = Flag()
    call = Call(work, flag.set, flag.make_context())
    try:
        call.start()
        await flag.wait()
    except BaseException:
        await flag.end(call, call.cancel)  # noqa: ASYNC102  # it shields itself, and lanes limit their clean-up
        raise
    return call.result()


def _cross(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Returns the same function for asyncio."""

    @wraps(function)
    async def crossing(*args: P.args, **kwargs: P.kwargs) -> T:
        _check_loop(function.__name__)
        return await run(partial(function, *args, **kwargs))

    return crossing


@asynccontextmanager
async def hold(block: Block[T], flag: Flag) -> AsyncGenerator[T]:
    """Opens `block`, whose wake is `flag.set`, and closes it, here and in fanout's thread."""
    call, end = block.call, block.call.cancel
    try:
        call.start()
        await flag.wait()
        if block.values:
            end = block.leave
            yield block.values[0]
    except BaseException as error:  # noqa: ASYNC103  # only an Exception gives way to another
        await flag.end(call, end)  # noqa: ASYNC102  # as in run
        if call.error in (None, error) or not isinstance(error, Exception):
            call.error = None
            raise
        call.result()
    else:
        await flag.end(call, end)
        call.result()


def _cross_manager(
    function: Callable[P, AbstractAsyncContextManager[T]],
) -> Callable[P, AbstractAsyncContextManager[T]]:
    """Returns the same context manager for asyncio, which gives the same value."""

    @wraps(function)
    @asynccontextmanager
    async def crossing(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T]:
        _check_loop(function.__name__)
        flag = Flag()
        async with hold(Block(function(*args, **kwargs), flag.set), flag) as value:
            yield value

    return crossing


class Iteration(Outside[Inner, Item]):
    """The iteration in a loop of asyncio's."""

    def __init__(self, manager: AbstractAsyncContextManager[Inner], flag: Flag) -> None:
        super().__init__(manager, flag.set, flag.make_context())
        self._flag = flag

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while not self._at_hand:
            await self._refill()
        return self._at_hand.popleft()

    async def _refill(self) -> None:
        if self._is_ready():
            await asyncio.sleep(0)
        else:
            self._flag.clear()
            self._crossing.awaited = True
            if not self._is_ready():
                await self._flag.wait()
        if not self._take():
            raise StopAsyncIteration


class Fanout(Iteration[api.Fanout, Tagged], OutsideFanout):
    """A running fan-out: iterate over it for the Tagged events of all lanes, until all have ended."""


class Stream(Iteration[api.Stream, str], OutsideStream):
    """The text of the lane that wins, as it comes: iterate over it, once."""


def _cross_iteration(
    function: Callable[P, AbstractAsyncContextManager[Inner]], kind: Callable[[Any, Flag], Seen]
) -> Callable[P, AbstractAsyncContextManager[Seen]]:
    """Returns the same context manager for asyncio, with items that cross to a `kind`."""

    @wraps(function)
    @asynccontextmanager
    async def crossing(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Seen]:
        _check_loop(function.__name__)
        flag = Flag()
        seen = kind(function(*args, **kwargs), flag)
        async with hold(seen.block, flag):
            yield seen

    return crossing


ask = _cross(api.ask)
check_keys = _cross(api.check_keys)
fetch_file = _cross(api.fetch_file)
gather = _cross(api.gather)
list_models = _cross(api.list_models)
open_fanout = _cross_iteration(api.open_fanout, Fanout)
open_transport = _cross_manager(api.open_transport)
race = _cross(api.race)
stream = _cross_iteration(api.stream, Stream)
