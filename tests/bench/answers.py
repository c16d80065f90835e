"""Records made up one at a time, for tests of what is computed from them."""

from typing import Any

from fanout.bench.records.record import Record
from fanout.events import Status


def answer(
    lane: str = "a", block: int = 0, first: float = 0.2, gap: float = 0.02, pieces: int = 64, **more: Any
) -> Record:
    """A finished answer with a token of four characters in each piece; `more` are fields of the record."""
    times = tuple(first + index * gap for index in range(pieces))
    fields: dict[str, Any] = {
        "status": Status.FINISHED,
        "sent": float(block),
        "ended": times[-1] if times else first,
        "times": times,
        "kinds": "d" * pieces,
        "sizes": (4,) * pieces,
        "size": 4 * pieces,
        "output": pieces,
        "kernel": pieces,
        "lateness": 0.0001,
    }
    return Record(lane=lane, block=block, **(fields | more))


def failure(lane: str = "a", block: int = 0, ended: float = 0.1, **more: Any) -> Record:
    """A request that ended without a piece."""
    fields: dict[str, Any] = {"status": Status.FAILED, "error": "server", "message": "broken", "sent": float(block)}
    return Record(lane=lane, block=block, ended=ended, **(fields | more))


def timeout(lane: str = "a", block: int = 0, ended: float = 30.0, clock: str = "total", **more: Any) -> Record:
    """A request that one of our clocks ended, without a piece."""
    return failure(lane, block, ended, status=Status.TIMED_OUT, error="timeout", clock=clock, limit=ended, **more)
