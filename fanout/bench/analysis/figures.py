"""One metric of one lane: its percentiles with and without the requests that failed, and the trust it deserves."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from statistics import fmean, median

from attrs import frozen

from fanout.bench.analysis.metrics import METRICS, Measurements
from fanout.bench.analysis.statistics import QUANTILES, Interval, gap_intervals, quantile, quantile_interval
from fanout.bench.records.record import Record
from fanout.events import Status

MOST_COALESCED = 0.005
"""The share of pieces without an exact stamp of the kernel up to which a lane's times are trusted."""

MOST_LATENESS = 0.01
"""The lateness of our own stamps (p99) up to which they are trusted, as a share of the metric's median."""


@frozen
class Figure:
    """One metric of one lane, in its own unit (docs/metrics.md).

    `all` counts a request that did not finish as infinitely long (a speed: as 0), `finished` leaves it out; both hold
    an Interval for each of p50, p90, p95, p99. `mean` is over finished requests. `n` counts the requests in `all`.
    `beyond` holds, for a percentile that is infinite, the value that it is known to exceed. `trusted` says that the
    stamps are good enough for this metric.
    """

    mean: float | None
    all: Mapping[str, Interval]
    finished: Mapping[str, Interval]
    n: int
    beyond: Mapping[str, float]
    trusted: bool


@frozen
class Trust:
    """The stamps of a lane's pieces: `stamp` is kernel, user or mixed. The rest is shares of pieces, and seconds.

    `coalesced` pieces may be stamped too late, `unpeeked` ones have only our own stamp though the kernel's was asked
    for. `lateness` is how much later than the kernel's our own stamps were. `trusted` is of the lane's main metric, and
    `reason` says why not.
    """

    stamp: str
    coalesced: float
    unpeeked: float
    lateness_p50: float | None
    lateness_p99: float | None
    trusted: bool
    reason: str | None


@frozen
class Stamps:
    """The stamps of a lane's pieces, counted; `lateness` is in seconds, in ascending order."""

    pieces: int
    kernel: int
    coalesced: int
    unpeeked: int
    lateness: tuple[float, ...]

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Stamps":
        """Counts them over the records."""
        return cls(
            pieces=sum(len(record.times) for record in records),
            kernel=sum(record.kernel for record in records),
            coalesced=sum(record.coalesced for record in records),
            unpeeked=sum(record.unpeeked for record in records),
            lateness=tuple(sorted(record.lateness for record in records if record.lateness is not None)),
        )

    def trusts(self, size: float | None) -> bool:
        """True if they are good enough for a metric of this typical size in seconds."""
        if self.pieces and (self.pieces - self.kernel + self.coalesced) / self.pieces < MOST_COALESCED:
            return True
        late = self.lateness_at(0.99)
        return late is not None and size is not None and late < MOST_LATENESS * size

    def lateness_at(self, q: float) -> float | None:
        """A percentile of the lateness, of however few requests."""
        return quantile(self.lateness, q) if self.lateness else None

    def trust(self, size: float | None) -> Trust:
        """Judges them, for a lane whose main metric is of this typical size in seconds."""
        trusted = self.trusts(size)
        stamp = "user" if not self.kernel else "kernel" if self.kernel == self.pieces else "mixed"
        return Trust(
            stamp=stamp,
            coalesced=self.coalesced / self.pieces if self.pieces else 0.0,
            unpeeked=self.unpeeked / self.pieces if self.pieces else 0.0,
            lateness_p50=self.lateness_at(0.5),
            lateness_p99=self.lateness_at(0.99),
            trusted=trusted,
            reason=None if trusted else self._doubt(),
        )

    def _doubt(self) -> str:
        late = self.lateness_at(0.99)
        if not self.pieces:
            return "no content came"
        if not self.kernel:
            return "the stamps are our own, and nothing tells how late they are"
        share = (self.pieces - self.kernel + self.coalesced) / self.pieces
        doubt = f"{100 * share:.1f} % of the pieces have no exact stamp of the kernel"
        return doubt if late is None else f"{doubt}, and our own are up to {late * 1000:.1f} ms late (p99)"


def typical(measured: Measurements, metric: str) -> float | None:
    """The median of the known values of a metric, of however few requests."""
    if METRICS[metric].of is None:
        return _median([gap for request in measured for gap in request.gaps])
    return _median(_values(measured, metric))


def all_figures(measured: Measurements, stamps: Stamps, seed: int) -> dict[str, Figure]:
    """Every metric by name; one that does not exist in this lane has n = 0."""
    pace = stamps.trusts(typical(measured, "itl"))
    found = {}
    for name, metric in METRICS.items():
        if metric.of is None:
            found[name] = gap(measured, stamps, seed)
        elif metric.better == "higher":
            found[name] = speed(measured, name, trusted=pace)
        else:
            found[name] = latency(measured, name, stamps)
    return found


def latency(measured: Measurements, metric: str, stamps: Stamps) -> Figure:
    """The figure of a metric of which lower values are better."""
    values = _values(measured, metric)
    finished = _values_of_finished(measured, values)
    lost = [request.record for request in measured if not request.record.finished]
    if not finished and len(lost) < len(measured):
        lost = []  # the finished ones do not have it: it does not exist here
    every = finished + [inf] * len(lost)
    percentiles = _percentiles(every)
    least = _lower_bound(finished, lost, metric)
    return Figure(
        mean=fmean(finished) if finished else None,
        all=percentiles,
        finished=_percentiles(finished),
        n=len(every),
        beyond={name: least for name, found in percentiles.items() if found.estimate == inf},
        trusted=stamps.trusts(_median(values)),
    )


def _lower_bound(finished: Sequence[float], lost: Sequence[Record], metric: str) -> float:
    """The value that unfinished requests are known to exceed; those that timed out took at least until then."""
    known = max(finished, default=0.0)
    if METRICS[metric].to_end and all(record.status is Status.TIMED_OUT for record in lost):
        return max(known, min((record.ended for record in lost), default=0.0))
    return known


def speed(measured: Measurements, metric: str, *, trusted: bool) -> Figure:
    """The figure of a metric of which higher values are better."""
    finished = _values_of_finished(measured, _values(measured, metric))
    lost = sum(not request.record.finished for request in measured)
    every = finished + [0.0] * (lost if finished or lost == len(measured) else 0)
    return Figure(
        fmean(finished) if finished else None, _percentiles(every), _percentiles(finished), len(every), {}, trusted
    )


def gap(measured: Measurements, stamps: Stamps, seed: int) -> Figure:
    """The figure of the gaps between pieces, pooled; a request that timed out in silence ends with an infinite one."""
    finished = [request.gaps for request in measured if request.record.finished]
    every = [(*request.gaps, inf) if request.record.clock == "idle" else request.gaps for request in measured]
    pooled = [length for gaps in finished for length in gaps]
    intervals = gap_intervals(every, seed)
    return Figure(
        mean=fmean(pooled) if pooled else None,
        all=intervals,
        finished=intervals if every == finished else gap_intervals(finished, seed),
        n=sum(map(bool, every)),
        beyond={name: max(pooled, default=0.0) for name, found in intervals.items() if found.estimate == inf},
        trusted=stamps.trusts(typical(measured, "gap")),
    )


def _values(measured: Measurements, metric: str) -> list[float | None]:
    return [request[metric] for request in measured]


def _values_of_finished(measured: Measurements, values: Sequence[float | None]) -> list[float]:
    """The known values of the requests that finished."""
    return [
        value for request, value in zip(measured, values, strict=True) if value is not None and request.record.finished
    ]


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _percentiles(values: Sequence[float]) -> dict[str, Interval]:
    return {name: quantile_interval(values, q) for name, q in QUANTILES.items()}
