"""Requests as they went: a prompt a group, its lanes below one another, time across."""

from collections.abc import Sequence

from attrs import frozen

from fanout.bench.report.charts import amounts, drawing
from fanout.bench.report.charts.scales import Scale
from fanout.bench.report.markup import Markup, tag

LANE_PIXELS = 13
"""Pixels from one lane to the next."""
HEAD_PIXELS = 20
"""Pixels of a prompt's own line."""
NEAREST = 1 / 300
"""A share of the width: pieces of content that are nearer to one another are drawn as one."""

REACH = 1.25
"""The chart reaches so many times as far as the longest finished request."""
END_SIGNS = {"cancelled": "stop", "timed_out": "clock"}
"""The signs of what ended a request; a cross for all others."""


@frozen
class Bar:
    """One request, in seconds after it was sent.

    Its connection took `before` seconds to open, before that or, if they are `counted`, at the beginning. `thought` and
    `times` are those of the pieces of reasoning and of the answer; `end` is finished, failed, timed_out or cancelled.
    """

    lane: str
    index: int
    before: float
    first_byte: float | None
    thought: Sequence[float]
    times: Sequence[float]
    ended: float
    end: str
    words: str = ""
    counted: bool = False


@frozen
class PromptBars:
    """The requests of one prompt, in the lanes' order."""

    name: str
    bars: Sequence[Bar]


def waterfall(name: str, groups: Sequence[PromptBars]) -> Markup:
    """The chart."""
    bars = [bar for group in groups for bar in group.bars]
    scale = _scale(bars)
    height = sum(HEAD_PIXELS + LANE_PIXELS * len(group.bars) for group in groups) + 6
    parts = [drawing.x_axis(scale, height, amounts.seconds_like(scale.high))] if bars else []
    if scale.low < 0:
        parts.append([drawing.line(scale.at(0), 0, scale.at(0), height, "axis")])
    ticks: dict[str, str] = {}
    top = 0.0
    for group in groups:
        parts.append([drawing.words(group.name, 0, top + 15, "t halo")])
        for place, bar in enumerate(group.bars):
            middle = top + HEAD_PIXELS + (place + 0.5) * LANE_PIXELS
            parts.append([tag("g", tag("title", bar.words), _bar(bar, middle, scale))])
            _add_ticks(ticks, bar, middle, scale)
        top += HEAD_PIXELS + LANE_PIXELS * len(group.bars)
    parts.append([drawing.stretch(path, height, class_) for class_, path in ticks.items()])
    described = f"{len(groups)} prompts, {len(bars)} requests; the table has their times"
    return drawing.chart(name, f"A line a request, time across. {described}.", height, *parts, bare=True)


def _scale(bars: Sequence[Bar]) -> Scale:
    """A scale as long as the finished ones need; one that took far longer, such as a timeout, leaves the chart."""
    finished = [bar.ended for bar in bars if bar.end == "finished"]
    last = max((bar.ended for bar in bars), default=1.0)
    last = min(last, REACH * max(finished, default=last))
    return Scale(-max((bar.before for bar in bars if not bar.counted), default=0.0), max(last, 1e-3) * 1.03)


def _bar(bar: Bar, y: float, scale: Scale) -> list[Markup]:
    first = min([*bar.thought[:1], *bar.times[:1]], default=None)
    byte = bar.first_byte if bar.first_byte is not None else bar.ended if first is None else first

    def thick(start: float, end: float, pixels: float, class_: str) -> Markup:
        return drawing.box(scale.at(start), scale.at(end), y - pixels / 2, pixels, class_)

    opened = min(bar.before, byte, bar.ended) if bar.counted else 0.0
    parts = [thick(0 if bar.counted else -bar.before, opened, 4, "connect")] if bar.before else []
    parts.append(thick(opened, min(byte, bar.ended), 2, drawing.lane_class(bar.index, "wait")))
    if first is not None:
        parts.append(thick(byte, first, 4, drawing.lane_class(bar.index, "head")))
        parts.append(thick(first, bar.ended, 1.5, drawing.lane_class(bar.index, "tokens")))
        parts.append(drawing.mark(bar.index, scale.at(first), y, small=True))
    if bar.end != "finished":
        class_ = "stopped" if bar.end == "cancelled" else "bad"
        parts.append(drawing.sign(END_SIGNS.get(bar.end, "cross"), scale.at(bar.ended), y, class_))
    if bar.ended > scale.high:
        words = f"{amounts.seconds(bar.ended)} →"
        parts.append(drawing.words(words, 1, y + 4, "t halo", anchor="end", dx=-10))
    return parts


def _add_ticks(ticks: dict[str, str], bar: Bar, y: float, scale: Scale) -> None:
    """Adds the pieces to one path a lane: a page has thousands of them."""
    for times, half, kind in ((bar.thought, 2.5, "ticks thought"), (bar.times, 4.0, "ticks")):
        if times:
            path = drawing.strokes(_apart([scale.at(at) for at in times]), y - half, y + half)
            class_ = drawing.lane_class(bar.index, kind)
            ticks[class_] = ticks.get(class_, "") + path


def _apart(places: Sequence[float]) -> list[float]:
    """Drops places that would be drawn on top of one another."""
    kept: list[float] = []
    for place in places:
        if not kept or place - kept[-1] >= NEAREST:
            kept.append(place)
    return kept
