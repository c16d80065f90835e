"""The elements of charts: the chart itself, axes, curves, marks and words."""

from collections.abc import Iterable, Sequence

from attrs import frozen

from fanout.bench.report.charts.amounts import Writer
from fanout.bench.report.charts.scales import Scale
from fanout.bench.report.markup import Child, Markup, number, tag

COLOURS = 8
"""Lanes that differ in colour, dashes and mark; the next ones have the same colours with other marks."""

NARROW, WIDE = 280, 526
"""Pixels across that an axis has at least: on a small screen, and where all labels are shown (`.w` in page.css)."""

LETTER, GAP = 7.4, 8
"""Pixels of a letter at an axis, of a wide typeface, and between two labels."""

_WIDTH = 1000
"""The width of the coordinates inside a curve, which is stretched across the chart."""

Point = tuple[float, float]
"""A share of the width from the left, and pixels from the top."""


def chart(label: str, description: str, height: float, *parts: Child, bare: bool = False) -> Markup:
    """A whole chart, with a name and a description for who cannot see it; a `bare` one has no axis at its left."""
    return tag(
        "svg",
        tag("desc", description),
        *parts,
        class_="chart bare" if bare else "chart",
        role="img",
        aria_label=label,
        width="100%",
        height=height,
    )


def lane_class(index: int, *others: str) -> str:
    """The classes of what belongs to this lane."""
    return " ".join((*others, f"l{index % COLOURS}"))


def mark_of(index: int) -> int:
    """The number of the lane's mark."""
    return (index + index // COLOURS) % COLOURS


def across(share: float) -> str:
    """A share of the width as SVG writes it."""
    return f"{number(100 * share)}%"


def words(
    text: Child, x: float, y: float, class_: str | None = None, *, anchor: str | None = None, dx: float = 0
) -> Markup:
    """A line of text at a place, or `dx` pixels beside it."""
    return tag("text", text, x=across(x), y=y, dx=dx or None, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return tag("line", x1=across(x1), y1=y1, x2=across(x2), y2=y2, class_=class_)


def box(x1: float, x2: float, y: float, height: float, class_: str, *inside: Child) -> Markup:
    """A rectangle from `x1` to `x2`."""
    return tag("rect", *inside, x=across(x1), width=across(max(0.0, x2 - x1)), y=y, height=height, class_=class_)


def mark(
    index: int, x: float, y: float, class_: str = "mark", title: str | None = None, *, small: bool = False
) -> Markup:
    """The lane's mark at a place; `title` is shown to a pointer that rests there."""
    return tag(
        "use",
        None if title is None else tag("title", title),
        href=f"#{'s' if small else 'm'}{mark_of(index)}",
        x=across(x),
        y=y,
        class_=lane_class(index, class_),
    )


def sign(name: str, x: float, y: float, class_: str = "bad", title: str | None = None) -> Markup:
    """A sign of an end: a `cross` for a failure, a `clock` for a timeout, a `stop` where we cancelled."""
    return tag("use", None if title is None else tag("title", title), href=f"#{name}", x=across(x), y=y, class_=class_)


def stretch(path: str, height: float, class_: str) -> Markup:
    """A path in coordinates from 0 to 1000 across and pixels down; its lines keep their width."""
    return tag(
        "svg",
        tag("path", d=path, class_=class_),
        viewBox=f"0 0 {_WIDTH} {number(height)}",
        preserveAspectRatio="none",
        width="100%",
        height=height,
        overflow="visible",
    )


def steps(points: Sequence[Point]) -> str:
    """A path that stays on its height until the next point, and changes there."""
    if not points:
        return ""
    return _start(points[0]) + "".join(f"H{_x(x)}V{_y(y)}" for x, y in points[1:])


def straight(points: Sequence[Point]) -> str:
    """A path from point to point."""
    if not points:
        return ""
    return _start(points[0]) + "".join(f"L{_x(x)} {_y(y)}" for x, y in points[1:])


def bars(spans: Iterable[tuple[float, float, float, float]]) -> str:
    """A path of rectangles, each from x to x and from y to y."""
    return "".join(f"M{_x(x1)} {_y(y1)}H{_x(x2)}V{_y(y2)}H{_x(x1)}z" for x1, x2, y1, y2 in spans)


def strokes(places: Iterable[float], top: float, bottom: float) -> str:
    """A path of upright lines at these places."""
    return "".join(f"M{_x(x)} {_y(top)}V{_y(bottom)}" for x in places)


def x_axis(scale: Scale, height: float, written: Writer, name: str = "") -> list[Markup]:
    """The grid's upright lines, their values below, and what they are."""
    main = scale.main_ticks()
    labels = [_Label(scale.at(tick), written(tick), tick in main) for tick in scale.ticks()]
    always = _choose([label for label in labels if label.main], [], NARROW)
    wide = _choose(labels, always, WIDE)
    parts = []
    for label in labels:
        parts.append(line(label.at, 0, label.at, height, "grid" if label.main else "grid w"))
        if label in always or label in wide:
            room = "t" if label in always else "t w"
            parts.append(words(label.text, label.at, height + 17, room, anchor=label.anchor))
    if name:
        parts.append(words(name, 1, height + 34, "t name", anchor="end"))
    return parts


@frozen
class _Label:
    """What is written at a tick; `main` ones are written where there is little room too."""

    at: float
    text: str
    main: bool

    @property
    def anchor(self) -> str:
        """The part of the text that stands at the tick: at the ends of the axis it stays within."""
        return "start" if self.at < 0.03 else "end" if self.at > 0.97 else "middle"

    def span(self, pixels: float) -> tuple[float, float]:
        """The pixels from left to right that it takes, with a gap, on an axis so many pixels long."""
        wide = LETTER * len(self.text) + GAP
        left = self.at * pixels - {"start": GAP / 2, "middle": wide / 2, "end": wide - GAP / 2}[self.anchor]
        return left, left + wide


def _choose(labels: Sequence[_Label], chosen: Sequence[_Label], pixels: float) -> list[_Label]:
    """Adds to the `chosen` labels, from left to right, those that touch no other on an axis so many pixels long."""
    found = list(chosen)
    for label in labels:
        left, right = label.span(pixels)
        others = (other.span(pixels) for other in found if other is not label)
        if label not in found and all(right <= start or end <= left for start, end in others):
            found.append(label)
    return found


def y_axis(scale: Scale, height: float, written: Writer, most: int = 5) -> list[Markup]:
    """The grid's level lines and their values at the left."""
    parts = []
    for tick in scale.ticks(most):
        y = height * (1 - scale.at(tick))
        parts.append(line(0, y, 1, y, "grid"))
        parts.append(words(written(tick), 0, y + 4, "t", anchor="end", dx=-8))
    return parts


def _start(point: Point) -> str:
    return f"M{_x(point[0])} {_y(point[1])}"


def _x(share: float) -> str:
    return number(round(_WIDTH * share, 1))


def _y(pixels: float) -> str:
    return number(round(pixels, 1))
