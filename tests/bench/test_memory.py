"""A long run needs no more memory than a short one, but for a few bytes a request."""

import gc
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fanout.bench.load.design.schedule import Closed
from fanout.bench.records import store
from fanout.bench.records.record import Record, to_line
from fanout.ledger.journal import open_journal
from fanout.transports.memory import Script
from tests.bench.loads import bench

PIECES: Script = [b" ".join([b"word"] * 64), b"."]
"""An answer of 64 pieces: its record would take some kilobytes of memory."""

STEP = 50


async def recorded(place: Path, requests: int, look: Callable[[int], None], answer: Script = PIECES) -> int:
    """Sends so many requests, keeps them, and calls `look` now and then; returns how many were kept."""
    with store.open_store(place, create=True) as kept:
        begun = kept.begin({})
        async with open_journal(partial(kept.add, begun.id)) as journal:
            run = bench({"a": answer, "b": answer}, "a", "b", requests=requests // 2)
            run.transport.exchanges = Forgetful()

            async def put(record: Record) -> None:
                number = journal.taken + 1
                await journal.put(to_line(record))
                if number % STEP == 0:
                    await journal.flush()
                    look(number)

            run.load.sink = put
            await run.run(Closed(8))
        return kept.count(begun.id)


class Forgetful(list):  # type: ignore[type-arg]  # of a test's transport
    """Keeps nothing of what happened."""

    def append(self, item: object, /) -> None:
        return


@pytest.mark.slow
async def test_requests_are_kept_on_the_disk_and_not_in_memory(tmp_path: Path) -> None:
    sizes: dict[int, int] = {}

    def look(taken: int) -> None:
        gc.collect()
        sizes[taken] = tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        assert await recorded(tmp_path / "bench", 4 * STEP, look) == 4 * STEP
    finally:
        tracemalloc.stop()
    assert (sizes[4 * STEP] - sizes[STEP]) / (3 * STEP) < 200
