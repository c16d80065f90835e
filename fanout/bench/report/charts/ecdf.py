"""The share of requests that were answered within a time; those that never were are missing from it."""

from bisect import bisect_left
from collections.abc import Sequence
from math import inf

from attrs import frozen

from fanout.bench.report.charts import amounts, drawing
from fanout.bench.report.charts.drawing import Point
from fanout.bench.report.charts.scales import Scale, around, thin
from fanout.bench.report.markup import Markup

HEIGHT = 260
MOST_POINTS = 160
"""Points of a curve; more cannot be told apart."""
MARKED_SHARES = (0.5, 0.9)
"""The shares at which a curve carries its lane's mark."""


@frozen
class Sample:
    """A lane's values; an infinite one is a request that came to nothing."""

    lane: str
    index: int
    values: Sequence[float]


def ecdf(name: str, curves: Sequence[Sample], *, limit: float | None = None) -> Markup:
    """The chart of durations in seconds; `limit` is an objective."""
    ordered = [(curve, sorted(curve.values)) for curve in curves if len(curve.values)]
    scale = around([value for _, values in ordered for value in _ends(values)], log=None)
    written = amounts.log_seconds if scale.log else amounts.seconds_like(scale.high)
    y = Scale(0, 1)
    parts: list[Sequence[Markup]] = [drawing.y_axis(y, HEIGHT, amounts.share)]
    if any(_ends(values) for _, values in ordered):
        parts.append(drawing.x_axis(scale, HEIGHT, written))
    if limit is not None and scale.low < limit < scale.high:
        parts.append(_limit(limit, scale))
    parts.extend(_curve(curve, values, scale) for curve, values in ordered)
    described = "; ".join(_describe(curve.lane, values) for curve, values in ordered) or "no request"
    return drawing.chart(name, f"Share of requests within a time, a curve a lane. {described}.", HEIGHT, *parts)


def _limit(limit: float, scale: Scale) -> list[Markup]:
    at = scale.at(limit)
    return [
        drawing.line(at, 0, at, HEIGHT, "limit"),
        drawing.words(f"limit {amounts.log_seconds(limit)}", at, 12, "t limit halo", anchor="end", dx=-5),
    ]


def _ends(values: Sequence[float]) -> list[float]:
    """The smallest and the largest that is finite."""
    finite = finite_part(values)
    return [finite[0], finite[-1]] if finite else []


def finite_part(ordered: Sequence[float]) -> Sequence[float]:
    """The values without the infinite ones at the end."""
    return ordered[: bisect_left(ordered, inf)]


def _curve(curve: Sample, ordered: Sequence[float], scale: Scale) -> list[Markup]:
    finite = finite_part(ordered)
    reached = len(finite) / len(ordered)
    if not finite:
        return [
            drawing.sign("cross", 1, HEIGHT, drawing.lane_class(curve.index, "bad"), f"{curve.lane}: none was answered")
        ]
    points: list[Point] = [(scale.at(finite[0]), HEIGHT)]
    places = thin(len(finite), MOST_POINTS)
    points.extend((scale.at(finite[index]), HEIGHT * (1 - (index + 1) / len(ordered))) for index in places)
    last = points[-1]
    parts = [drawing.stretch(drawing.steps(points), HEIGHT, drawing.lane_class(curve.index, "curve"))]
    parts.append(drawing.line(*last, 1, last[1], drawing.lane_class(curve.index, "lost" if reached < 1 else "done")))
    if reached < 1:
        title = f"{curve.lane}: {amounts.share(1 - reached)} never"
        parts.append(drawing.sign("cross", 1, last[1], drawing.lane_class(curve.index, "cross"), title))
    return parts + [_mark(curve, finite, len(ordered), at, scale) for at in MARKED_SHARES if at <= reached]


def _mark(curve: Sample, finite: Sequence[float], total: int, at: float, scale: Scale) -> Markup:
    index = min(len(finite) - 1, max(0, round(at * total) - 1))
    title = f"{curve.lane}: {amounts.share(at)} within {amounts.seconds(finite[index])}"
    return drawing.mark(curve.index, scale.at(finite[index]), HEIGHT * (1 - (index + 1) / total), title=title)


def _describe(lane: str, ordered: Sequence[float]) -> str:
    finite = finite_part(ordered)
    if not finite:
        return f"{lane}: none of {len(ordered)} answered"
    half = len(ordered) // 2
    median = amounts.seconds(ordered[half]) if half < len(finite) else "never"
    return f"{lane}: half within {median}, {amounts.share(1 - len(finite) / len(ordered))} never"
