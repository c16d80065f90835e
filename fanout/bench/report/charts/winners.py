"""The winners of all prompts: a row a lane, prompts across in the order in which they were asked."""

from collections.abc import Sequence

from attrs import frozen

from fanout.bench.report.charts import amounts, drawing, rows
from fanout.bench.report.markup import Markup

ROW = 44
"""Pixels from one lane to the next."""
TALL = 15
"""Pixels of a cell."""
MOST_COLUMNS = 120
"""Columns across; with more prompts than that, a column is the share of several."""


@frozen
class WinnerRow:
    """A lane's outcome for each prompt: `w` won, `l` lost, `f` failed, `-` not asked."""

    lane: str
    index: int
    outcomes: str


def winners(name: str, lanes: Sequence[WinnerRow]) -> Markup:
    """The chart. The taller a cell is filled from below, the more of its prompts the lane won."""
    prompts = max((len(row.outcomes) for row in lanes), default=0)
    lower = rows.room((row.lane, describe(row)) for row in lanes)
    height = max(1, len(lanes)) * (ROW + lower)
    parts = []
    for place, row in enumerate(lanes):
        top = place * (ROW + lower)
        parts.append(rows.head(row.lane, describe(row), top, lower))
        parts.append(_cells(row, top + lower + 23 + TALL, prompts))
    described = "; ".join(f"{row.lane} {describe(row)}" for row in lanes) or "no lane"
    return drawing.chart(name, f"A row a lane, prompts across. {described}.", height, *parts, bare=True)


def _cells(row: WinnerRow, base: float, prompts: int) -> list[Markup]:
    won, failed = [], []
    columns = min(prompts, MOST_COLUMNS)
    for column in range(columns):
        cell = row.outcomes[column * prompts // columns : (column + 1) * prompts // columns]
        x1, x2 = column / columns, (column + 0.86) / columns
        part = cell.count("w") / len(cell) if cell else 0
        if part:
            won.append((x1, x2, base - TALL * part, base))
        if broken := cell.count("f"):
            failed.append((x1, x2, base - TALL, base - TALL + max(3.0, TALL * broken / len(cell))))
    shapes = [(won, drawing.lane_class(row.index, "won")), (failed, "stalls")]
    parts = [drawing.box(0, 1, base - TALL, TALL, "cells")]
    return parts + [drawing.stretch(drawing.bars(spans), base, class_) for spans, class_ in shapes if spans]


def describe(row: WinnerRow) -> str:
    """The shares of prompts that the lane won and failed, in words."""
    asked = len(row.outcomes) - row.outcomes.count("-")
    failed = row.outcomes.count("f")
    won = f"won {amounts.share(row.outcomes.count('w') / asked if asked else None)} of {asked:,}"
    return f"{won}, {failed:,} failed" if failed else won
