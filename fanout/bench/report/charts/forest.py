"""Differences between lanes on the same prompts: a row a pair, no difference in the middle."""

from collections.abc import Sequence
from math import isfinite, log

from attrs import frozen

from fanout.bench.report.charts import amounts, drawing, rows
from fanout.bench.report.charts.scales import Scale, around
from fanout.bench.report.markup import Markup, tag

ROW = 62
"""Pixels from one pair to the next, where a name and the figure have one line."""


@frozen
class Pair:
    """Two lanes: the first's figure over the second's, its interval, and whether there is a verdict on it.

    Below 1 the first lane takes less. `ahead` is the index of the lane that seems better. None is what is not known.
    """

    first: str
    second: str
    ahead: int
    ratio: float | None
    low: float | None = None
    high: float | None = None
    verdict: bool = False
    note: str = ""


def forest(name: str, pairs: Sequence[Pair]) -> Markup:
    """The chart."""
    scale = _scale(pairs)
    lower = rows.room((pair.first, describe(pair)) for pair in pairs)
    height = max(1, len(pairs)) * (ROW + lower)
    parts = [_axis(scale, height)]
    for place, pair in enumerate(pairs):
        top = place * (ROW + lower)
        parts.append(rows.head(pair.first, describe(pair), top, 2 * lower))
        second = [tag("tspan", "against ", class_="faint"), rows.shorten(pair.second, 36)]
        parts.append([drawing.words(second, 0, top + 17 + rows.LINE, "lane halo")])
        parts.append(_picture(pair, top + lower + 48, scale))
    described = "; ".join(f"{pair.first} against {pair.second}: {describe(pair)}" for pair in pairs) or "no pair"
    meaning = "A row a pair of lanes; left of the middle the first lane takes less"
    return drawing.chart(name, f"{meaning}. {described}.", height, *parts, bare=True)


def _scale(pairs: Sequence[Pair]) -> Scale:
    """All of them, and no difference somewhere between."""
    values = [value for pair in pairs for value in (pair.ratio, pair.low, pair.high) if value is not None]
    known = [value for value in values if value > 0 and isfinite(value)]
    low, high = min([*known, 1 / 1.05]), max([*known, 1.05])
    room = (high / low) ** 0.08
    return Scale(low / room, high * room, log=True)


def _axis(scale: Scale, height: float) -> list[Markup]:
    """The middle and round changes: percentages, or multiples where the differences are large."""
    parts = [drawing.line(scale.at(1), 0, scale.at(1), height, "axis")]
    changes = around([scale.low - 1, scale.high - 1], room=0)
    ticks = [1 + change for change in changes.ticks(6)] if scale.high < 3 else scale.ticks(7)
    places: list[float] = []
    for tick in sorted({*ticks, 1.0}, key=lambda tick: abs(log(tick)) if tick > 0 else 9):
        if not scale.low <= tick <= scale.high or any(abs(scale.at(tick) - place) < 0.16 for place in places):
            continue
        places.append(scale.at(tick))
        parts.append(drawing.line(places[-1], 0, places[-1], height, "grid"))
        parts.append(drawing.words(_write_tick(tick), places[-1], height + 17, "t", anchor="middle"))
    return parts


def _write_tick(ratio: float) -> str:
    if abs(ratio - 1) < 1e-9:
        return "equal"
    return change(ratio) if ratio < 3 else f"{amounts.short(ratio)} {amounts.TIMES}"


def _picture(pair: Pair, y: float, scale: Scale) -> list[Markup]:
    if pair.ratio is None:
        return []
    low = scale.low if pair.low is None else pair.low
    high = scale.high if pair.high is None else pair.high
    class_ = "whisker" if pair.verdict else "whisker faint"
    return [
        drawing.line(scale.at(low), y, scale.at(high), y, drawing.lane_class(pair.ahead, class_)),
        drawing.mark(pair.ahead, scale.at(pair.ratio), y, "mark" if pair.verdict else "mark hollow"),
    ]


def describe(pair: Pair) -> str:
    """The difference in words: a change in per cent, or a multiple where it is large."""
    if pair.ratio is None:
        return pair.note or "too few pairs"
    largest = max(value for value in (pair.ratio, pair.high) if value is not None)
    return amounts.with_interval(pair.ratio, pair.low, pair.high, multiple if largest >= 3 else change)


def change(ratio: float) -> str:
    """A ratio as a change in per cent."""
    return f"{amounts.with_sign((ratio - 1) * 100)} %" if isfinite(ratio) else "∞"


def multiple(ratio: float) -> str:
    """A ratio as a multiple."""
    return f"{amounts.digits(ratio, 2)} {amounts.TIMES}" if isfinite(ratio) else "∞"
