"""A run as the sections look at it."""

from math import isfinite

from attrs import frozen

from fanout.bench.analysis.metrics import METRICS, SECONDS
from fanout.bench.analysis.statistics import Interval
from fanout.bench.analysis.summary import Comparison, LaneSummary, Level, Summary
from fanout.bench.report.charts import amounts
from fanout.bench.report.charts.amounts import Writer
from fanout.bench.report.charts.intervals import IntervalRow
from fanout.bench.report.markup import Child, tag
from fanout.bench.report.sections.digest import Digest
from fanout.bench.report.sections.layout import Term

PERCENTILES = ("p50", "p90", "p95", "p99")


@frozen
class View:
    """A summary and a digest of the same records; lanes have an index, which decides their colour and mark."""

    summary: Summary
    digest: Digest

    @property
    def level(self) -> Level:
        """The lightest load, or the only one."""
        return self.summary.levels[0]

    @property
    def names(self) -> list[str]:
        """The lanes, in the order in which they are shown; of races, where there is nothing else."""
        return lanes_of(self.summary)

    @property
    def lanes(self) -> list[tuple[int, LaneSummary]]:
        """The lanes with their indices."""
        return list(enumerate(self.level.lanes.values()))

    @property
    def total(self) -> str:
        """The metric of whole answers: in an open loop the wait before sending belongs to it."""
        return "response" if self.summary.open_loop else "e2e"

    @property
    def first(self) -> str:
        """The metric that decides: the time to first token, or that of whole answers where nothing was streamed."""
        return "ttft" if self.digest.streams else self.total

    @property
    def speed(self) -> str:
        """The metric of speed that there is."""
        known = (metric for metric in ("speed", "characters") if any(self.has(lane, metric) for _, lane in self.lanes))
        return next(known, "characters")

    @property
    def leader(self) -> str | None:
        """The lane with the best median of the metric that decides; None where there is no median."""
        medians = [(interval(lane, self.first, "p50").estimate, lane.name) for _, lane in self.lanes]
        return min(((median, name) for median, name in medians if median is not None), default=(0.0, None))[1]

    def index(self, lane: str) -> int:
        """The lane's index; one that is not shown gets the next."""
        names = self.names
        return names.index(lane) if lane in names else len(names)

    def has(self, lane: LaneSummary, metric: str) -> bool:
        """True if the lane has any figure of this metric."""
        return metric in lane.figures and lane.figures[metric].n > 0

    def comparisons(self, metric: str) -> list[Comparison]:
        """The comparisons in this metric."""
        return [comparison for comparison in self.level.comparisons if comparison.metric == metric]

    def at(self) -> str:
        """The load that distributions are of, for the end of a sentence; empty where there was only one."""
        if len(self.summary.levels) < 2 or self.level.level is None:
            return ""
        return f", {self.load(self.level.level)}"

    def load(self, level: float) -> str:
        """A level of load in words."""
        if self.summary.open_loop:
            return f"at {amounts.short(level)} request{'s' * (level != 1)} a second"
        return f"with {amounts.short(level)} request{'s' * (level != 1)} under way"


def lanes_of(summary: Summary) -> list[str]:
    """The names of the lanes that are shown."""
    return list(summary.lanes) or list(summary.races)


def interval(lane: LaneSummary, metric: str, percentile: str) -> Interval:
    """A percentile of all requests, failures among them."""
    figure = lane.figures.get(metric)
    if figure is None or percentile not in figure.all:
        return Interval(None, None, None, 0)
    return figure.all[percentile]


def writer_of(metric: str) -> Writer:
    """The writer of the metric's figures."""
    unit = METRICS[metric].unit
    return amounts.seconds if unit == SECONDS else amounts.rate(unit)


def value(found: Interval, write: Writer) -> str:
    """The estimate, or how many requests it would need."""
    if found.estimate is not None:
        return write(found.estimate)
    return f"needs {found.needs:,}" if found.needs and found.n else amounts.NONE


def cell(found: Interval, write: Writer) -> Child:
    """The estimate for a table, pale where there is none."""
    text = value(found, write)
    return tag("span", text, class_="faint") if found.estimate is None else text


def figure(lane: LaneSummary, metric: str, percentile: str, write: Writer, guess: str = "") -> Child:
    """A percentile for a table, after a `guess` sign; of one that is infinite, what it is known to exceed."""
    found = interval(lane, metric, percentile)
    if found.estimate is None:
        return cell(found, write)
    if isfinite(found.estimate):
        return guess + write(found.estimate)
    least = lane.figures[metric].beyond.get(percentile)
    return write(found.estimate) if least is None else f">{write(least)}"


def bounds(found: Interval, write: Writer) -> str:
    """The interval, or that there is none."""
    return amounts.between(found.low, found.high, write)


def row(lane: LaneSummary, index: int, metric: str, percentile: str = "p50") -> IntervalRow:
    """The lane's row of a chart of intervals."""
    found = interval(lane, metric, percentile)
    note = f"needs {found.needs:,} requests, has {found.n:,}" if found.estimate is None and found.n else ""
    return IntervalRow(lane.name, index, found.estimate, found.low, found.high, note)


def term(metric: str, percentile: str = "") -> Term:
    """A column's head, which links to the definition."""
    return Term(f"{METRICS[metric].label} {percentile}".strip(), metric)
