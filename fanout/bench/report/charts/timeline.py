"""The run from its start to its end: what came back, what was under way, what failed, and how fast the lanes were."""

from collections.abc import Sequence
from math import isfinite

from attrs import frozen

from fanout.bench.report.charts import amounts, drawing
from fanout.bench.report.charts.amounts import Writer
from fanout.bench.report.charts.drawing import Point
from fanout.bench.report.charts.scales import Scale, around
from fanout.bench.report.markup import Markup, tag

PANEL = 84
"""Pixels of a panel."""
BETWEEN = 30
"""Pixels between two panels, which hold the lower one's name."""


@frozen
class Pace:
    """A lane's median time to first token in each interval; None where it had no answer."""

    lane: str
    index: int
    medians: Sequence[float | None]


@frozen
class Timeline:
    """The run in intervals of `width` seconds.

    `finished` and `failed` count requests that ended in an interval, `in_flight` is the mean of those under way.
    `borders` are the seconds at which another stage began.
    """

    width: float
    finished: Sequence[int]
    failed: Sequence[int]
    in_flight: Sequence[float]
    paces: Sequence[Pace] = ()
    borders: Sequence[float] = ()


def timeline(name: str, run: Timeline) -> Markup:
    """The chart."""
    length = max(run.width * len(run.finished), 1e-3)
    x = Scale(0, length)
    rates = [number / run.width for number in run.finished]
    panels = [
        _panel("finished requests a second", rates, "area", amounts.short),
        _panel("requests under way", run.in_flight, "area", amounts.short),
        _panel("failures in each interval", run.failed, "area failures", _whole),
    ]
    if any(value is not None for pace in run.paces for value in pace.medians):
        panels.append(_paces(run.paces))
    height = len(panels) * (PANEL + BETWEEN)
    parts = [drawing.x_axis(x, height, amounts.seconds_like(length))]
    parts += [[drawing.line(x.at(at), 0, x.at(at), height, "border")] for at in run.borders]
    parts += [[_move(panel, place)] for place, panel in enumerate(panels)]
    described = (
        f"{sum(run.finished):,} finished and {sum(run.failed):,} failed requests in {amounts.seconds(length)}, "
        f"at most {amounts.short(max(run.in_flight, default=0))} under way"
    )
    return drawing.chart(name, f"Panels with time across. {described}.", height, *parts)


def _whole(value: float) -> str:
    """There is no half of a failure."""
    return amounts.short(value) if value == int(value) else ""


def _move(panel: Sequence[Markup], place: int) -> Markup:
    return tag("g", panel, transform=f"translate(0 {place * (PANEL + BETWEEN) + BETWEEN})")


def _axis(name: str, y: Scale, written: Writer) -> list[Markup]:
    return [drawing.words(name, 0, -8, "t panel"), *drawing.y_axis(y, PANEL, written, most=3)]


def _panel(name: str, values: Sequence[float], class_: str, written: Writer) -> list[Markup]:
    y = around([*values, 1.0] if not any(values) else values, zero=True)
    points = [(index / len(values), PANEL * (1 - y.at(value))) for index, value in enumerate(values)]
    if not points:
        return _axis(name, y, written)
    outline = drawing.steps([(0, PANEL), *points]) + f"H1000V{PANEL}z"
    return [*_axis(name, y, written), drawing.stretch(outline, PANEL, class_)]


def _paces(paces: Sequence[Pace]) -> list[Markup]:
    y = around([value for pace in paces for value in pace.medians if value is not None and isfinite(value)], zero=True)
    parts = _axis("median time to first token", y, amounts.seconds_like(y.high))
    for pace in paces:
        path = "".join(drawing.straight(run) for run in _runs(pace.medians, y))
        parts.append(drawing.stretch(path, PANEL, drawing.lane_class(pace.index, "curve thin")))
    return parts


def _runs(medians: Sequence[float | None], y: Scale) -> list[list[Point]]:
    """The stretches without a hole."""
    runs: list[list[Point]] = [[]]
    for index, value in enumerate(medians):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(((index + 0.5) / len(medians), PANEL * (1 - y.at(value))))
    return [run for run in runs if run]
