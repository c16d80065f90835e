"""For tests of times: what they measure is wrong by chance where the system lets others run in the middle of it."""

import resource
import time
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec

import trio

P = ParamSpec("P")

TIMES = 5


def again(test: Callable[P, Any]) -> Callable[P, Any]:
    """Runs a test up to five times, until its assertions hold, but only if others took the processor meanwhile."""

    @wraps(test)
    async def in_trio(*args: P.args, **kwargs: P.kwargs) -> Any:
        for pause in range(TIMES - 1):
            before = _taken()
            try:
                return await test(*args, **kwargs)
            except AssertionError:
                if _taken() == before:
                    raise
                await trio.sleep(pause / 4)
        return await test(*args, **kwargs)

    @wraps(test)
    def outside(*args: P.args, **kwargs: P.kwargs) -> Any:
        for pause in range(TIMES - 1):
            before = _taken()
            try:
                return test(*args, **kwargs)
            except AssertionError:
                if _taken() == before:
                    raise
                time.sleep(pause / 4)
        return test(*args, **kwargs)

    return in_trio if iscoroutinefunction(test) else outside


def _taken() -> int:
    """The number of times that the processor was taken away from this process and from those that it waited for."""
    return sum(resource.getrusage(who).ru_nivcsw for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
