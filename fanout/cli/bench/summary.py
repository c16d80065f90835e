"""The summary and the page of a run, from its records and from what it tells of itself."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import Any

from fanout.bench.analysis.metrics import objectives
from fanout.bench.analysis.summary import Summary, summarize
from fanout.bench.records.record import Record
from fanout.cli.screen import say
from fanout.errors import UsageError
from fanout.formats.summary import one_line

PATIENCE = 1.0
"""Seconds after which people want to know what takes so long."""


def summed_up(records: Sequence[Record], about: Mapping[str, Any], *, quiet: bool = False) -> Summary:
    """The summary of a run's records. Raises UsageError if there is none.

    Unless `quiet`, it says what it does where it takes longer than PATIENCE.
    """
    lanes = _told(about, "lanes", list) or []
    with _announced(f"summing up {len(records)} requests", quiet=quiet):
        return summarize(
            records,
            lanes=[str(lane["name"]) for lane in lanes if isinstance(lane, Mapping) and "name" in lane],
            objectives=objectives(_told(about, "objectives", str) or ""),
            seed=_told(about, "seed", int) or 0,
            looks=max(1, _told(about, "looks", int) or 1),
            baseline=_told(about, "baseline", str),
            fresh_connections=_told(about, "fresh_connections", bool) or False,
            ignore_eos=_told(about, "ignore_eos", bool) or False,
        )


def _told(about: Mapping[str, Any], name: str, kind: type) -> Any:
    """What a run tells of itself, or None. Raises UsageError for what no run tells: files can be changed."""
    value = about.get(name)
    if value is not None and not isinstance(value, kind):
        raise UsageError(f"the run tells nonsense of its {name}: {one_line(repr(value), 40)}; run.json was changed")
    return value


def page(summary: Summary, records: Sequence[Record], about: Mapping[str, Any]) -> str:
    """The page of a run, for a browser."""
    from fanout.bench.report.page import page as made

    return made(summary, records, about)


@contextmanager
def _announced(what: str, *, quiet: bool) -> Iterator[None]:
    """Says on stderr what goes on, if the block takes long."""
    timer = Timer(PATIENCE, say, [what])
    timer.daemon = True
    if quiet:
        timer.cancel()
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
