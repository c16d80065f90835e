"""A figure at each level of load: a curve a lane, with the limit that was set and the level where it bends."""

from collections.abc import Mapping, Sequence
from math import isfinite

from attrs import frozen

from fanout.bench.report.charts import drawing
from fanout.bench.report.charts.amounts import Writer, short
from fanout.bench.report.charts.drawing import Point
from fanout.bench.report.charts.scales import Scale, around
from fanout.bench.report.markup import Markup

HEIGHT = 220


@frozen
class LoadCurve:
    """A lane's figure at each level: None where there is none. `faint` is drawn thinner, dotted and without marks.

    `band` holds the bounds at each level; `knee` is a level to point at.
    """

    lane: str
    index: int
    values: Mapping[float, float | None]
    faint: bool = False
    band: Mapping[float, tuple[float, float]] = {}
    knee: float | None = None


def sweep(name: str, curves: Sequence[LoadCurve], load: str, written: Writer, *, limit: float | None = None) -> Markup:
    """The chart; `load` says what the levels are, `limit` is drawn as a line across."""
    levels = sorted({level for curve in curves for level in curve.values})
    x = around(levels, log=None if len(levels) > 2 and levels[0] > 0 else False, room=0.03)
    values = [value for curve in curves for value in curve.values.values() if value is not None]
    values += [bound for curve in curves for bounds in curve.band.values() for bound in bounds]
    y = around([*values, *([] if limit is None else [limit])], zero=True)
    parts: list[Sequence[Markup]] = [drawing.y_axis(y, HEIGHT, written), _levels(levels, x, load)]
    parts += [_curve(curve, x, y, written) for curve in curves]
    if limit is not None:
        at = HEIGHT * (1 - y.at(limit))
        parts.append([drawing.line(0, at, 1, at, "limit")])
        parts.append([drawing.words(f"limit {written(limit)}", 0, at - 5, "t limit halo", dx=4)])
    described = "; ".join(_describe(curve, written) for curve in curves if not curve.faint) or "no lane"
    return drawing.chart(name, f"Across: {load}. {described}.", HEIGHT, *parts)


def _levels(levels: Sequence[float], x: Scale, load: str) -> list[Markup]:
    parts, last = [], -1.0
    for level in levels:
        at = x.at(level)
        parts.append(drawing.line(at, 0, at, HEIGHT, "grid"))
        if at - last >= 0.07:
            parts.append(drawing.words(short(level), at, HEIGHT + 17, "t", anchor="middle"))
            last = at
    return [*parts, drawing.words(load, 1, HEIGHT + 34, "t name", anchor="end")]


def _curve(curve: LoadCurve, x: Scale, y: Scale, written: Writer) -> list[Markup]:
    known = {level: value for level, value in sorted(curve.values.items()) if value is not None}
    finite = {level: value for level, value in known.items() if isfinite(value)}

    def place(level: float, value: float) -> Point:
        return x.at(level), HEIGHT * (1 - y.at(value))

    class_ = drawing.lane_class(curve.index, "curve faint" if curve.faint else "curve")
    path = drawing.straight([place(*item) for item in finite.items()])
    parts = [drawing.stretch(path, HEIGHT, class_)] if path else []
    for level, (low, high) in curve.band.items():
        parts.append(
            drawing.line(
                x.at(level),
                place(level, low)[1],
                x.at(level),
                place(level, high)[1],
                drawing.lane_class(curve.index, "error"),
            )
        )
    if curve.faint:
        return parts
    for level, value in known.items():
        title = f"{curve.lane} at {short(level)}: {written(value)}"
        parts.append(_mark(curve, *place(level, value), title, failed=not isfinite(value)))
    if curve.knee in finite:
        at, down = place(curve.knee, finite[curve.knee])
        parts.append(drawing.sign("knee", at, down, drawing.lane_class(curve.index, "ring"), f"{curve.lane}: knee"))
    return parts


def _mark(curve: LoadCurve, at: float, down: float, title: str, *, failed: bool) -> Markup:
    if failed:
        return drawing.sign("cross", at, 0, drawing.lane_class(curve.index, "cross"), title)
    return drawing.mark(curve.index, at, down, title=title)


def _describe(curve: LoadCurve, written: Writer) -> str:
    values = (
        f"{written(value)} at {short(level)}" for level, value in sorted(curve.values.items()) if value is not None
    )
    return f"{curve.lane}: {', '.join(values)}"
