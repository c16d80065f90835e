"""Ranked intervals: a row a lane, the best on top, with what is known of each figure's error."""

from collections.abc import Sequence
from math import isfinite

from attrs import frozen

from fanout.bench.report.charts import amounts, drawing
from fanout.bench.report.charts import rows as heads
from fanout.bench.report.charts.amounts import Writer
from fanout.bench.report.charts.scales import Scale, around
from fanout.bench.report.markup import Markup

ROW = 46
"""Pixels from one lane to the next, where its name and its figure have one line."""


@frozen
class IntervalRow:
    """A lane's figure and its interval.

    `estimate` is None where there is none, and may be infinite; a bound is None where too few requests tell it.
    `note` is said of it beside the figure, or in its place.
    """

    lane: str
    index: int
    estimate: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def intervals(
    name: str,
    rows: Sequence[IntervalRow],
    written: Writer,
    ticks: Writer,
    *,
    more_is_better: bool = False,
    zero: bool = False,
    least: float = 0,
) -> Markup:
    """The chart, at `least` so many pixels high, by which its rows move apart.

    `written` writes figures, `ticks` those at the axis; with `zero` it begins at 0.
    """
    ordered = rank(rows, more_is_better=more_is_better)
    scale = _scale(ordered, zero=zero)
    lower = heads.room((row.lane, describe(row, written)) for row in ordered)
    pitch = max(ROW + lower, least / max(1, len(ordered)))
    height = pitch * max(1, len(ordered))
    parts = [drawing.x_axis(scale, height, ticks)] if any(_is_known(row) for row in ordered) else []
    if ordered and (best := ordered[0].estimate) is not None and isfinite(best):
        parts.append([drawing.line(scale.at(best), 0, scale.at(best), height, "best")])
    for place, row in enumerate(ordered):
        top = place * pitch + (pitch - ROW - lower) / 2
        parts.append(heads.head(row.lane, describe(row, written), top, lower))
        parts.append(_picture(row, top + lower + 32, scale))
    described = "; ".join(f"{row.lane}: {describe(row, written)}" for row in ordered) or "no lane"
    order = "the highest" if more_is_better else "the lowest"
    return drawing.chart(name, f"A row a lane, {order} first. {described}.", height, *parts, bare=True)


def rank(rows: Sequence[IntervalRow], *, more_is_better: bool = False) -> list[IntervalRow]:
    """The best first; those without a figure last."""

    def key(row: IntervalRow) -> tuple[bool, float]:
        value = row.estimate or 0.0
        return row.estimate is None, -value if more_is_better else value

    return sorted(rows, key=key)


def _is_known(row: IntervalRow) -> bool:
    return row.estimate is not None and isfinite(row.estimate)


def _scale(rows: Sequence[IntervalRow], *, zero: bool) -> Scale:
    values = [value for row in rows for value in (row.estimate, row.low, row.high) if value is not None]
    return around(values, log=False if zero else None, zero=zero, room=0.06)


def _picture(row: IntervalRow, y: float, scale: Scale) -> list[Markup]:
    if row.estimate is None:
        return []
    parts = []
    if row.low is not None or row.high is not None:
        low = scale.low if row.low is None else row.low
        high = scale.high if row.high is None else row.high
        class_ = "whisker open" if row.low is None or row.high is None else "whisker"
        parts.append(drawing.line(scale.at(low), y, scale.at(high), y, drawing.lane_class(row.index, class_)))
    if not isfinite(row.estimate):
        return [*parts, drawing.sign("cross", 1, y)]
    return [*parts, drawing.mark(row.index, scale.at(row.estimate), y)]


def describe(row: IntervalRow, written: Writer) -> str:
    """The row's figure in words."""
    if row.estimate is None:
        return row.note or "no figure"
    figure = amounts.with_interval(row.estimate, row.low, row.high, written)
    return f"{figure}, {row.note}" if row.note else figure
