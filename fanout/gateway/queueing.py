"""The bounded queue: so many requests at once, so many that wait, and a clear no with a time to all others."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

LONGEST = 60.0
"""Seconds after which a client is told to come back, at most."""

SHARE = 0.1
"""The share of the latest request in the mean time of requests."""


class Busy(Exception):
    """The queue is full; `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("too many requests are waiting")
        self.retry_after = retry_after


class Queue:
    """Lets `most` requests run at once, and as many as `most_waiting` wait for their turn."""

    def __init__(self, most: int, most_waiting: int) -> None:
        self._limiter = trio.CapacityLimiter(most)
        self._most_waiting = most_waiting
        self._mean = 1.0

    @property
    def running(self) -> int:
        """The number of requests that run."""
        return self._limiter.borrowed_tokens

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""
        return self._limiter.statistics().tasks_waiting

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Waits for a turn, and holds it for the block. Raises Busy where too many wait already."""
        if self._limiter.available_tokens < 1 and self.waiting >= self._most_waiting:
            rounds = 1 + self.waiting / self._limiter.total_tokens
            raise Busy(min(LONGEST, max(1.0, rounds * self._mean)))
        async with self._limiter:
            began = trio.current_time()
            try:
                yield
            finally:
                self._mean += SHARE * (trio.current_time() - began - self._mean)
