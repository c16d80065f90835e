"""For tests of times: what they measure is wrong by chance where the system lets others run in the middle of it."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec

import trio

P = ParamSpec("P")

TIMES = 5


def again(test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Runs a test up to five times, until its assertions hold. One that is wrong never holds."""

    @wraps(test)
    async def run(*args: P.args, **kwargs: P.kwargs) -> None:
        for pause in range(TIMES - 1):
            try:
                return await test(*args, **kwargs)
            except AssertionError:
                await trio.sleep(pause / 4)
        return await test(*args, **kwargs)

    return run
