"""A run's summary, with a word to the user where it takes long."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import Any

from fanout.bench.analysis.summary import Summary
from fanout.bench.records.record import Record
from fanout.bench.run import sum_up
from fanout.cli.screen.live import say

PATIENCE = 1.0
"""Seconds after which people want to know what takes so long."""


def sum_up_with_notice(records: Sequence[Record], about: Mapping[str, Any], *, quiet: bool = False) -> Summary:
    """Sums up a run's records, and says so on stderr if it takes longer than PATIENCE, unless `quiet`.

    Raises UsageError if there is none.
    """
    with _notice(f"summing up {len(records)} requests", quiet=quiet):
        return sum_up(records, about)


@contextmanager
def _notice(text: str, *, quiet: bool) -> Iterator[None]:
    timer = Timer(PATIENCE, say, [text])
    timer.daemon = True
    if quiet:
        timer.cancel()
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
