"""Two figures of several things against each other, with what is known of their errors."""

from collections.abc import Sequence
from math import isfinite

from attrs import frozen

from fanout.bench.report.charts import drawing
from fanout.bench.report.charts.amounts import Writer
from fanout.bench.report.charts.drawing import Point
from fanout.bench.report.charts.scales import Scale, around
from fanout.bench.report.markup import Markup

HEIGHT = 280

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels, on a small screen."""

_WIDTH = 280
"""Pixels across on a small screen, beside the axis."""
_LETTER = 8.1
"""Pixels of a letter."""


@frozen
class Spot:
    """A thing's two figures; bounds are of 95 % intervals, None where unknown. Spots of one `path` are joined."""

    name: str
    index: int
    x: float
    y: float
    x_bounds: tuple[float | None, float | None] = (None, None)
    y_bounds: tuple[float | None, float | None] = (None, None)
    path: str | None = None


@frozen
class Axis:
    """The name of an axis, and the writers of its values and of those at its ticks."""

    name: str
    written: Writer
    ticks: Writer
    log: bool | None = None
    zero: bool = False


def tradeoff(name: str, spots: Sequence[Spot], x: Axis, y: Axis, height: float = HEIGHT) -> Markup:
    """The chart, so many pixels high, of those spots that have two finite figures.

    Names that have no room are left to the pointer.
    """
    shown = [spot for spot in spots if isfinite(spot.x) and isfinite(spot.y)]
    across = _scale(x, [value for spot in shown for value in (spot.x, *spot.x_bounds)])
    up = _scale(y, [value for spot in shown for value in (spot.y, *spot.y_bounds)])
    parts: list[Sequence[Markup]] = [[drawing.words(y.name, 0, -10, "t panel")]]
    if shown:
        parts += [drawing.y_axis(up, height, y.ticks), drawing.x_axis(across, height, x.ticks, x.name)]
    parts += [_path(row, across, up, height) for row in _paths(shown)]
    parts += [_errors(spot, across, up, height) for spot in shown]
    places = [(across.at(spot.x), height * (1 - up.at(spot.y))) for spot in shown]
    for spot, (at, down) in zip(shown, places, strict=True):
        title = f"{spot.name}: {x.written(spot.x)}, {y.written(spot.y)}"
        parts.append([drawing.mark(spot.index, at, down, title=title)])
    parts.append(_names([spot.name for spot in shown], places))
    described = "; ".join(f"{spot.name}: {x.written(spot.x)}, {y.written(spot.y)}" for spot in shown) or "nothing"
    return drawing.chart(name, f"Across: {x.name}. Up: {y.name}. {described}.", height, *parts)


def _scale(axis: Axis, values: Sequence[float | None]) -> Scale:
    return around([value for value in values if value is not None], log=axis.log, zero=axis.zero, room=0.08)


def _paths(spots: Sequence[Spot]) -> list[list[Spot]]:
    joined: dict[str, list[Spot]] = {}
    for spot in spots:
        if spot.path is not None:
            joined.setdefault(spot.path, []).append(spot)
    return list(joined.values())


def _path(row: Sequence[Spot], across: Scale, up: Scale, height: float) -> list[Markup]:
    points = [(across.at(spot.x), height * (1 - up.at(spot.y))) for spot in row]
    return [drawing.stretch(drawing.straight(points), height, drawing.lane_class(row[0].index, "curve thin"))]


def _errors(spot: Spot, across: Scale, up: Scale, height: float) -> list[Markup]:
    x, y = across.at(spot.x), height * (1 - up.at(spot.y))
    parts, class_ = [], drawing.lane_class(spot.index, "error")
    left, right = spot.x_bounds
    if left is not None and right is not None:
        parts.append(drawing.line(across.at(left), y, across.at(right), y, class_))
    low, high = spot.y_bounds
    if low is not None and high is not None:
        parts.append(drawing.line(x, height * (1 - up.at(low)), x, height * (1 - up.at(high)), class_))
    return parts


def _names(names: Sequence[str], places: Sequence[Point]) -> list[Markup]:
    """Each name beside its mark, on the first side where it touches no other name and no other mark."""
    taken = [(x * _WIDTH - 6, y - 6, x * _WIDTH + 6, y + 6) for x, y in places]
    parts = []
    for name, (x, y) in zip(names, places, strict=True):
        for side, below in ((1, -8), (-1, -8), (1, 17), (-1, 17)):
            left = x * _WIDTH + (10 if side > 0 else -10 - _LETTER * len(name))
            around_it = (left, y + below - 11, left + _LETTER * len(name), y + below + 3)
            inside = around_it[0] > -40 and around_it[2] < _WIDTH + 16 and around_it[1] > -6
            if inside and not any(_touch(around_it, other) for other in taken):
                taken.append(around_it)
                anchor = "start" if side > 0 else "end"
                parts.append(drawing.words(name, x, y + below, "lane halo", anchor=anchor, dx=10 * side))
                break
    return parts


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
