"""Percentiles up to the last: the slowest requests, of which a distribution's picture shows nothing."""

from collections.abc import Sequence
from math import ceil, isfinite, log10

from fanout.bench.report.charts import amounts, drawing
from fanout.bench.report.charts.ecdf import Sample
from fanout.bench.report.charts.scales import Scale, around
from fanout.bench.report.markup import Markup

HEIGHT = 260
SHARES = (0.5, 0.9, 0.99, 0.999, 0.9999)
STEPS = 40
"""Points for each tenfold rarity."""


def tail(name: str, curves: Sequence[Sample]) -> Markup:
    """The chart of durations in seconds: across, ever rarer requests; up, how long the better of them take."""
    ordered = [(curve, sorted(curve.values)) for curve in curves if len(curve.values)]
    most = max((len(values) for _, values in ordered), default=1)
    x = Scale(0, max(1.0, log10(most)))
    points = [(curve, _points(values)) for curve, values in ordered]
    y = around([value for _, row in points for _, value in row], log=None)
    written = amounts.log_seconds if y.log else amounts.seconds_like(y.high)
    parts: list[Sequence[Markup]] = [drawing.y_axis(y, HEIGHT, written)]
    parts += [_tick(share, x) for share in SHARES if _rarity(share) <= x.high + 1e-9]
    parts.extend(_curve(curve, row, x, y) for curve, row in points)
    described = "; ".join(f"{curve.lane}: {_describe(values)}" for curve, values in ordered) or "no request"
    return drawing.chart(name, f"Percentiles, a curve a lane. {described}.", HEIGHT, *parts)


def _rarity(share: float) -> float:
    return -log10(1 - share)


def _points(ordered: Sequence[float]) -> list[tuple[float, float]]:
    """Rarities and the durations that belong to them, infinite ones too; as far as there is a request for them."""
    last = log10(len(ordered))
    rarities = [index / STEPS for index in range(ceil(last * STEPS))] + [last]
    return [(rarity, _at(ordered, 1 - 10**-rarity)) for rarity in rarities]


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, max(0, ceil(share * len(ordered) - 1e-9) - 1))]


def _curve(curve: Sample, row: Sequence[tuple[float, float]], x: Scale, y: Scale) -> list[Markup]:
    reached = [(x.at(rarity), HEIGHT * (1 - y.at(value))) for rarity, value in row if isfinite(value)]
    parts = [drawing.stretch(drawing.straight(reached), HEIGHT, drawing.lane_class(curve.index, "curve"))]
    if len(reached) < len(row):
        at = reached[-1][0] if reached else 0.0
        parts.append(
            drawing.sign(
                "cross", at, 0, drawing.lane_class(curve.index, "cross"), f"{curve.lane}: from here on failures"
            )
        )
    for share in SHARES[:4]:
        if _rarity(share) <= row[-1][0] and isfinite(value := _value(row, share)):
            title = f"{curve.lane}: p{share * 100:g} {amounts.seconds(value)}"
            parts.append(drawing.mark(curve.index, x.at(_rarity(share)), HEIGHT * (1 - y.at(value)), title=title))
    return parts


def _value(row: Sequence[tuple[float, float]], share: float) -> float:
    return min(row, key=lambda point: abs(point[0] - _rarity(share)))[1]


def _tick(share: float, x: Scale) -> list[Markup]:
    at = x.at(_rarity(share))
    return [
        drawing.line(at, 0, at, HEIGHT, "grid"),
        drawing.words(f"p{share * 100:g}", at, HEIGHT + 17, "t", anchor="middle"),
    ]


def _describe(ordered: Sequence[float]) -> str:
    return ", ".join(
        f"p{share * 100:g} {amounts.seconds(_at(ordered, share))}"
        for share in SHARES
        if len(ordered) * (1 - share) >= 1 - 1e-9
    )
