"""The table below the answers: a line for every lane, and below it why it gave none; pure text, with a style a line."""

from collections.abc import Iterator, Sequence
from typing import Literal

from attrs import frozen
from rich.cells import cell_len

from fanout.answers import Answer, Run
from fanout.formats.summary import (
    describe_judging,
    describe_waste,
    explain,
    figures,
    first_words,
    has_thought,
    is_failure,
    money,
    notes,
    one_line,
    state,
    total,
)
from fanout.formats.wrapping import fit, pad

Style = Literal["plain", "winner", "failed"]

_DROPPED = (5, 6, 7, 4, 3)
"""The other columns, in the order in which they go where there is no room: speed, tokens, cost, total, TTFT."""
_NAME = 40


@frozen
class Line:
    """A line of the table, and how it should look on a terminal."""

    text: str
    style: Style = "plain"


def lines(run: Run, width: int | None = None) -> list[Line]:
    """The table, the notes on answers, and what was wasted, none wider than `width` cells; None: as wide as it needs.

    The winner is marked with *. Where there is no room, figures are left out, the speed first, and reasons are cut off.
    """
    winner = run.winner.lane if run.winner else None
    priced = any(answer.cost for answer in run.answers)  # where all is for nothing, nobody asks
    rows = [_row(answer, won=answer.lane == winner, priced=priced) for answer in run.answers]
    out: list[Line] = []
    for answer, row in zip(run.answers, _align(rows, width), strict=True):
        style: Style = "winner" if answer.lane == winner else "failed" if is_failure(answer) else "plain"
        out.append(Line(fit(row, width), style))
        below = first_words(answer) if has_thought(answer) else "", explain(answer)
        out += [Line(fit(f"     {words}", width), style) for words in below if words]
    return [*out, *(Line(fit(text, width)) for text in (*notes(run), *describe_judging(run), *describe_waste(run)))]


def _row(answer: Answer, *, won: bool, priced: bool) -> tuple[str, ...]:
    first, rate, tokens = figures(answer)
    if has_thought(answer):
        first = ""  # two times have a line of their own
    cost = "" if answer.cost is None or not priced else money(answer.cost)
    return ("*" if won else " ", one_line(answer.lane, _NAME), state(answer), first, total(answer), rate, tokens, cost)


def _align(rows: Sequence[tuple[str, ...]], width: int | None) -> Iterator[str]:
    """Makes columns of the rows: words to the left, figures to the right; those that are empty are left out."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    shown = [place for place, wide in enumerate(widths) if wide]
    for dropped in _DROPPED:
        if width is None or sum(widths[place] + 2 for place in shown) - 2 <= width:
            break
        shown = [place for place in shown if place != dropped]
    for row in rows:
        cells = (pad(row[place], widths[place], right=place > 2) for place in shown)
        yield "  ".join(cells).rstrip()
