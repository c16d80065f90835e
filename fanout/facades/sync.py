"""The calls for programs without a loop: each runs in fanout's thread, while the thread that makes it waits.

An interrupt (KeyboardInterrupt) cancels the call, and comes out when nothing of that is left.
"""

import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from functools import partial, wraps
from typing import Any, ParamSpec, Self, TypeVar

from fanout import api
from fanout.errors import UsageError
from fanout.events import Tagged
from fanout.facades.bridge import Block, Call
from fanout.facades.outside import Inner, Item, Outside, OutsideFanout, OutsideStream

P = ParamSpec("P")
T = TypeVar("T")
Seen = TypeVar("Seen", bound=Outside[Any, Any])


def _end(call: Call[Any], end: Callable[[], None], over: threading.Event) -> None:
    """Has `end` end the call, and waits until it is over; in a forked process there is nothing to end."""
    if call.home.here:
        end()
        while not call.over:
            over.clear()
            if not call.over:
                over.wait()


def _check_thread(name: str, call: Call[Any]) -> None:
    """Raises UsageError in fanout's own thread, such as in `accept`, which would wait for itself."""
    if call.home.is_current():
        raise UsageError(f"fanout.sync.{name} waits, and must not in a function that fanout calls, such as accept")


def run(name: str, work: Callable[[], Awaitable[T]]) -> T:
    """Runs `work` in fanout's thread, and returns what it returns or raises what it raises."""
    flag = threading.Event()
    call = Call(work, flag.set)
    _check_thread(name, call)
    try:
        call.start()
        flag.wait()
    except BaseException:
        _end(call, call.cancel, flag)
        raise
    return call.result()


def _cross(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Returns the same function, which waits."""

    @wraps(function)
    def crossing(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(function.__name__, partial(function, *args, **kwargs))

    return crossing


@contextmanager
def hold(name: str, block: Block[T], flag: threading.Event) -> Generator[T]:
    """Opens `block`, whose wake is `flag.set`, and closes it, here and in fanout's thread."""
    call, end = block.call, block.call.cancel
    _check_thread(name, call)
    try:
        call.start()
        flag.wait()
        if block.values:
            end = block.leave
            yield block.values[0]
    except GeneratorExit:  # it was never left: whichever thread tidies up must not wait
        if call.home.here:
            end()
        raise
    except BaseException as error:  # noqa: ASYNC103  # only an Exception gives way to another
        _end(call, end, flag)
        if call.error in (None, error) or not isinstance(error, Exception):
            call.error = None
            raise
        call.result()
    else:
        _end(call, end, flag)
        call.result()


def _cross_manager(function: Callable[P, AbstractAsyncContextManager[T]]) -> Callable[P, AbstractContextManager[T]]:
    """Returns the same context manager for `with`, which gives the same value."""

    @wraps(function)
    @contextmanager
    def crossing(*args: P.args, **kwargs: P.kwargs) -> Generator[T]:
        flag = threading.Event()
        with hold(function.__name__, Block(function(*args, **kwargs), flag.set), flag) as value:
            yield value

    return crossing


class Iteration(Outside[Inner, Item]):
    """The iteration in a thread."""

    def __init__(self, manager: AbstractAsyncContextManager[Inner], flag: threading.Event) -> None:
        super().__init__(manager, flag.set)
        self._flag = flag

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        while not self._at_hand:
            self._refill()
        return self._at_hand.popleft()

    def _refill(self) -> None:
        self._home.check()
        if not self._is_ready():
            self._flag.clear()
            self._crossing.awaited = True
            if not self._is_ready():
                self._flag.wait()
        if not self._take():
            raise StopIteration


class Fanout(Iteration[api.Fanout, Tagged], OutsideFanout):
    """A running fan-out: iterate over it for the Tagged events of all lanes, until all have ended."""


class Stream(Iteration[api.Stream, str], OutsideStream):
    """The text of the lane that wins, as it comes: iterate over it, once."""


def _cross_iteration(
    function: Callable[P, AbstractAsyncContextManager[Inner]], kind: Callable[[Any, threading.Event], Seen]
) -> Callable[P, AbstractContextManager[Seen]]:
    """Returns the same context manager for `with`, with items that cross to a `kind`."""

    @wraps(function)
    @contextmanager
    def crossing(*args: P.args, **kwargs: P.kwargs) -> Generator[Seen]:
        flag = threading.Event()
        seen = kind(function(*args, **kwargs), flag)
        with hold(function.__name__, seen.block, flag):
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
