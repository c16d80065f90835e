"""The pauses between the pieces of an answer: a row a lane, both axes logarithmic, stalls marked."""

from collections.abc import Mapping, Sequence
from math import floor, log10

from attrs import frozen

from fanout.bench.report.charts import amounts, drawing, rows
from fanout.bench.report.charts.scales import Scale
from fanout.bench.report.markup import Markup

ROW = 92
"""Pixels from one lane to the next."""
TALL = 58
"""Pixels of the most frequent duration."""
PER_DECADE = 16
"""Classes of duration for each factor of ten."""
RAREST = 1e-5
"""The smallest share of gaps that is told from none."""


Span = tuple[float, float, float, float]


@frozen
class Gaps:
    """A lane's gaps: how many there are of each class of duration, and its stalls.

    `least` is the shortest stall in seconds, `stalls` their number and `stalled` their seconds; `marks` are the
    quantiles to mark, in seconds by name.
    """

    lane: str
    index: int
    counts: Mapping[int, int]
    least: float | None = None
    stalls: int = 0
    stalled: float = 0.0
    marks: Mapping[str, float] = {}


def class_of(gap: float) -> int:
    """The class of a duration in seconds; all below a microsecond share one."""
    return floor(log10(gap) * PER_DECADE + 1e-9) if gap > 1e-6 else -6 * PER_DECADE


def start_of(index: int) -> float:
    """The shortest duration in a class, in seconds."""
    return float(10.0 ** (index / PER_DECADE))


def gaps(name: str, lanes: Sequence[Gaps]) -> Markup:
    """The chart."""
    shown = [lane for lane in lanes if lane.counts]
    scale = _scale(shown)
    lower = rows.room((lane.lane, describe(lane)) for lane in shown)
    height = max(1, len(shown)) * (ROW + lower)
    parts = [drawing.x_axis(scale, height, amounts.log_seconds)] if shown else []
    for place, lane in enumerate(shown):
        parts.append(_row(lane, (place + 1) * (ROW + lower) - 4, scale))
        parts.append(rows.head(lane.lane, describe(lane), place * (ROW + lower), lower))
    described = "; ".join(f"{lane.lane}: {describe(lane)}" for lane in shown) or "no answer came in pieces"
    return drawing.chart(name, f"Frequency of durations, a row a lane. {described}.", height, *parts, bare=True)


def _scale(lanes: Sequence[Gaps]) -> Scale:
    classes = [index for lane in lanes for index in lane.counts]
    low, high = (min(classes), max(classes) + 1) if classes else (0, 1)
    return Scale(start_of(low), start_of(max(high, low + PER_DECADE)), log=True)


def _row(row: Gaps, base: float, scale: Scale) -> list[Markup]:
    total = sum(row.counts.values())
    most = max(row.counts.values()) / total
    bars: list[Span] = []
    stalls: list[Span] = []
    for index, number in sorted(row.counts.items()):
        start, end = start_of(index), start_of(index + 1)
        tall = TALL * max(0.0, log10(number / total / RAREST) / log10(most / RAREST))
        is_stall = row.least is not None and start >= row.least * 0.999
        (stalls if is_stall else bars).append((scale.at(start), scale.at(end), base, base - max(tall, 1.5)))
    parts = [drawing.line(0, base, 1, base, "axis")]
    shapes = [(bars, drawing.lane_class(row.index, "bars")), (stalls, "stalls")]
    inside = [drawing.stretch(drawing.bars(spans), base, class_) for spans, class_ in shapes if spans]
    return parts + inside + _marks(row, base, scale)


def _marks(row: Gaps, base: float, scale: Scale) -> list[Markup]:
    parts = []
    if row.least is not None and row.stalls:
        at = scale.at(row.least)
        parts.append(drawing.line(at, base - TALL, at, base, "limit"))
    for name, value in row.marks.items():
        at = scale.at(value)
        parts.append(drawing.line(at, base - TALL - 2, at, base, "quantile"))
        parts.append(drawing.words(name, at, base - TALL + 8, "t halo", dx=3))
    return parts


def describe(row: Gaps) -> str:
    """The numbers of gaps and of stalls in words."""
    stalls = f"{row.stalls:,} stalls, {amounts.seconds(row.stalled)}" if row.stalls else "no stall"
    return f"{sum(row.counts.values()):,} gaps, {stalls}"
