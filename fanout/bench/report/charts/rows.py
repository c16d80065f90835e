"""The heads of rows: a lane's name at the left, its figure at the right, or below where both have no room."""

from collections.abc import Iterable

from fanout.bench.report.charts import drawing
from fanout.bench.report.markup import Markup

NARROW = 340
"""Pixels that a chart has on a small screen."""
LINE = 16
"""Pixels from the name to a figure below it."""

_NAME, _FIGURE = 8.1, 7.0
"""Pixels of a letter of a wide typeface."""


def room(heads: Iterable[tuple[str, str]]) -> int:
    """The pixels by which rows' pictures begin lower, so that no name touches its figure: 0 or LINE."""
    crowded = any(_NAME * len(name) + _FIGURE * len(figure) > NARROW for name, figure in heads)
    return LINE if crowded else 0


def shorten(name: str, most: int = 44) -> str:
    """The name, without its middle where it is longer than a small screen."""
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def head(name: str, figure: str, top: float, lower: float) -> list[Markup]:
    """The two texts of a row that begins at `top`; the figure is so much `lower`, as `room` said or more."""
    below = lower > 0
    return [
        drawing.words(shorten(name), 0, top + 17, "lane halo"),
        drawing.words(figure, 0 if below else 1, top + 17 + lower, "value halo", anchor=None if below else "end"),
    ]
