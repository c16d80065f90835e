"""For tests of times: what they measure is wrong by chance where the system lets others run in the middle of it."""

import time
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec

import trio

P = ParamSpec("P")

TIMES = 5


def again(test: Callable[P, Any]) -> Callable[P, Any]:
    """Runs a test up to five times, until its assertions hold. One that is wrong never holds."""

    @wraps(test)
    async def in_trio(*args: P.args, **kwargs: P.kwargs) -> Any:
        for pause in range(TIMES - 1):
            try:
                return await test(*args, **kwargs)
            except AssertionError:
                await trio.sleep(pause / 4)
        return await test(*args, **kwargs)

    @wraps(test)
    def outside(*args: P.args, **kwargs: P.kwargs) -> Any:
        for pause in range(TIMES - 1):
            try:
                return test(*args, **kwargs)
            except AssertionError:
                time.sleep(pause / 4)
        return test(*args, **kwargs)

    return in_trio if iscoroutinefunction(test) else outside
