"""The benchmark measured against a service that knows what it sent, and when: the trust that this machine deserves.

At each load the figures of the records are compared with those of the service's log; the difference is what the bench
adds. The service has a core of its own where there are several.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from itertools import pairwise

import trio
from attrs import asdict, frozen

from fanout.bench.analysis.metrics import measure
from fanout.bench.analysis.statistics import quantile
from fanout.bench.calibration.truth import Sent, Truth, open_truth
from fanout.bench.load.design.schedule import Closed
from fanout.bench.load.design.workload import load_prompts
from fanout.bench.load.environment import Strain
from fanout.bench.load.lanes import prepare_lanes
from fanout.bench.load.loop import Load
from fanout.bench.load.request import Sender, open_stamped
from fanout.bench.load.setup import Limits, Setup
from fanout.bench.records.record import Record
from fanout.catalog import LaneSpec
from fanout.catalog.config import Config
from fanout.connections import Connections
from fanout.providers.openai import OpenAI

LEVELS = (1, 8, 64, 128, 256, 512)
"""Streams at once."""

EXACT = 0.01
"""The largest error of a percentile up to which a load counts as measured exactly."""

TTFT, GAP, TOKENS = 200, 20, 48
"""The service's answers: milliseconds, milliseconds, and tokens."""

LOAD_SECONDS = 4.0
"""The time that a load lasts, about."""

SPREAD = 0.3
"""The share by which its gaps vary."""

RAMP_SECONDS = 0.002
"""Seconds between the first requests of two streams."""

ERROR_NAMES = ("ttft_p50", "ttft_p99", "gap_p50", "gap_p99")
"""The percentiles that are compared."""


HEAD = f"{'streams':>7} {'TTFT p50':>9} {'p99':>8} {'gap p50':>9} {'p99':>8}  {'stamps':6} {'merged':>7} {'core':>5}"
"""The line above those of a table."""


@frozen
class CalibrationRow:
    """The calibration of one load. `errors` by name: measured over true, less 1; None where nothing was measured.

    `streams` were asked for, `live` answers really were under way at once, at most. `coalesced` and `unpeeked` are
    shares of pieces, `stamp` is that of the pieces (see Record). `lateness` is the p99 of our own
    stamps' lateness in seconds, `lost` the share of requests that did not finish, `cpu` our share of a core.
    """

    streams: int
    live: int
    requests: int
    errors: dict[str, float | None]
    stamp: str
    coalesced: float
    unpeeked: float
    lateness: float | None
    lost: float
    cpu: float | None

    @property
    def worst(self) -> float:
        """The largest error of all."""
        known = [abs(error) for error in self.errors.values() if error is not None]
        return max(known) if len(known) == len(ERROR_NAMES) else float("inf")

    @property
    def exact(self) -> bool:
        """True if this load is measured exactly."""
        return self.worst <= EXACT and not self.lost


@frozen
class Calibration:
    """The loads that were tried, the smallest first."""

    rows: tuple[CalibrationRow, ...]

    @property
    def up_to(self) -> int | None:
        """The most streams up to which every load was exact; None if not even the smallest was."""
        found = None
        for row in self.rows:
            if not row.exact:
                break
            found = row.streams
        return found

    @property
    def verdict(self) -> str:
        """The sentence for people."""
        share = f"{100 * EXACT:g} %"
        if self.up_to is None:
            return (
                f"not exact to {share} even with {self.rows[0].streams} streams" if self.rows else "nothing was tried"
            )
        return f"exact to {share} up to {self.up_to} stream{'s' * (self.up_to != 1)}"

    def to_json(self) -> dict[str, object]:
        """Everything, for programs."""
        rows = [{**asdict(row), "exact": row.exact} for row in self.rows]
        return {"version": 1, "exact_up_to": self.up_to, "within": EXACT, "rows": rows}


def calibrate(
    levels: Sequence[int] = LEVELS,
    *,
    seconds: float = LOAD_SECONDS,
    heard: Callable[[CalibrationRow], object] = lambda _: None,
) -> Calibration:
    """Measures the service at each of these loads for about so long; `heard` is told of each row.

    It runs an event loop of its own for each load. Raises UsageError if the service does not start.
    """
    rows = []
    with open_truth() as truth, _own_cores(truth.pid):
        for streams in sorted(levels):
            row = _row(truth, streams, seconds)
            heard(row)
            rows.append(row)
    return Calibration(tuple(rows))


@contextmanager
def _own_cores(pid: int) -> Iterator[None]:
    """Gives the service the last core and us the others, where that can be said: a real service takes none of ours."""
    if not hasattr(os, "sched_setaffinity") or len(cores := sorted(os.sched_getaffinity(0))) < 2:
        yield
        return
    os.sched_setaffinity(pid, cores[-1:])
    os.sched_setaffinity(0, cores[:-1])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _row(truth: Truth, streams: int, seconds: float) -> CalibrationRow:
    strain = Strain()
    url = truth.base_url(ttft=TTFT, gap=GAP, tokens=TOKENS, jit=SPREAD, seed=streams)
    requests = streams * max(2, round(seconds * 1000 / (TTFT + GAP * TOKENS)))
    records, warm = trio.run(run_load, url, streams, requests)
    sent = sorted(truth.take(), key=lambda answer: answer.asked)
    measured = [record for record in records if not record.warmup]
    pieces = sum(len(record.times) for record in measured) or 1
    late = sorted(record.lateness for record in measured if record.lateness is not None)
    kinds = {record.stamp for record in measured}
    return CalibrationRow(
        streams=streams,
        live=most_at_once(sent[warm:]),
        requests=len(measured),
        errors=percentile_errors(measured, sent[warm:]),
        stamp=kinds.pop() if len(kinds) == 1 else "mixed",
        coalesced=sum(record.coalesced for record in measured) / pieces,
        unpeeked=sum(record.unpeeked for record in measured) / pieces,
        lateness=quantile(late, 0.99) if late else None,
        lost=sum(not record.finished for record in measured) / max(1, len(measured)),
        cpu=strain.figures()["cpu_share"],
    )


async def run_load(
    url: str, streams: int, requests: int, opened: Callable[[], AbstractAsyncContextManager[Connections]] = open_stamped
) -> tuple[list[Record], int]:
    """The records of so many requests by so many streams to the service at `url`; and how many came before, to warm up.

    Each stream's first request opens its connection and is one of these.
    """
    lanes = prepare_lanes([LaneSpec("truth", OpenAI("truth", base_url=url, needs_key=False))])
    setup = Setup(lanes=lanes, workload=load_prompts("builtin:short"), limits=Limits(requests), salt="", warmup=1)
    records: list[Record] = []

    async def keep(record: Record) -> None:
        records.append(record)
        await trio.lowlevel.checkpoint()

    async with opened() as connections:
        await Load(setup, Sender(connections, 60.0, Config()), keep).run([Closed(streams, RAMP_SECONDS * streams)])
    return records, sum(record.warmup for record in records)


def percentile_errors(records: Sequence[Record], sent: Sequence[Sent]) -> dict[str, float | None]:
    """The differences of the records' percentiles from the true ones, as shares of these, by name."""
    measured = [measure(record) for record in records if record.finished]
    true = [answer.times for answer in sent if answer.how == "done"]
    found = {
        "ttft": ([first for m in measured if (first := m["ttft"]) is not None], [times[0] for times in true]),
        "gap": ([gap for m in measured for gap in m.gaps], [b - a for times in true for a, b in pairwise(times)]),
    }
    return {
        f"{name}_p{round(100 * q)}": quantile(sorted(ours), q) / quantile(sorted(theirs), q) - 1
        if ours and theirs
        else None
        for name, (ours, theirs) in found.items()
        for q in (0.5, 0.99)
    }


def most_at_once(sent: Sequence[Sent]) -> int:
    """The most answers that were under way together."""
    live = most = 0
    for _, change in sorted([(a.asked, 1) for a in sent] + [(a.over, -1) for a in sent]):
        live += change
        most = max(most, live)
    return most


def line(row: CalibrationRow) -> str:
    """One row as text: errors in percent of the truth."""
    shown = [f"{'?':>8}" if (e := row.errors[name]) is None else f"{100 * e:>+7.2f}%" for name in ERROR_NAMES]
    core = "?" if row.cpu is None else f"{100 * row.cpu:.0f}%"
    first, second, third, fourth = shown
    lost = f"  {100 * row.lost:.0f} % lost" if row.lost else ""
    short = f"  {row.live} at once" if row.live < row.streams else ""
    return (
        f"{row.streams:>7}  {first} {second}  {third} {fourth}  {row.stamp:6} {100 * row.coalesced:>6.2f}% {core:>5}"
        f"{lost}{short}"
    )
