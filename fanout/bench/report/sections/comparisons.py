"""The lanes' differences on the same prompts, and who won which."""

from collections.abc import Sequence

from fanout.bench.analysis.metrics import METRICS
from fanout.bench.analysis.summary import Comparison
from fanout.bench.report.charts import amounts
from fanout.bench.report.charts.forest import Pair, change, forest
from fanout.bench.report.charts.winners import WinnerRow, winners
from fanout.bench.report.markup import Child, Markup, tag
from fanout.bench.report.sections import layout
from fanout.bench.report.sections.digest import outcomes
from fanout.bench.report.sections.layout import Table, Term
from fanout.bench.report.sections.view import View

MOST_PAIRS = 10
"""Pairs that are drawn; where there are more, only those with the leading lane."""


def differences(shown: View) -> Markup:
    """The section; empty where there is nothing to compare."""
    metrics = list(dict.fromkeys(comparison.metric for comparison in shown.level.comparisons))
    if not metrics:
        return Markup()
    baseline = shown.summary.baseline
    against = f"All against {baseline}. " if baseline else ""
    note = layout.note(
        f"{against}Over the same prompts{shown.at()}: what the first lane takes over what the second takes, a trimmed "
        "mean of ratios with its 95 % interval. A filled mark is a verdict, corrected for all pairs; a hollow one is "
        "none."
    )
    charts = [_forest(shown, metric) for metric in metrics]
    return layout.section("differences", "Differences", note, layout.side_by_side(*charts, thirds=len(metrics) > 2))


def _forest(shown: View, metric: str) -> Markup:
    found, name = shown.comparisons(metric), METRICS[metric].label
    drawn = [one for one in found if len(found) <= MOST_PAIRS or shown.leader in (one.first, one.second)]
    chart = forest(f"Differences in {name}", [_pair(shown, one) for one in drawn])
    rows = [_row(one) for one in found]
    head = ("pair", "change", "95 % interval", Term("wins", "wins"), Term("p", "p"), "failures", "pairs", "verdict")
    return layout.figure(
        name,
        f"Left: the first lane takes less.{_note_left_out(shown, len(found) - len(drawn))}",
        chart,
        Table(head, rows),
    )


def _note_left_out(shown: View, pairs: int) -> str:
    return f" The {pairs} pairs without {shown.leader} are in the data only." if pairs else ""


def _pair(shown: View, one: Comparison) -> Pair:
    ratio = one.difference.ratio
    ahead = one.first if ratio.estimate is None or ratio.estimate <= 1 else one.second
    note = f"needs {ratio.needs:,} pairs" if ratio.estimate is None and ratio.needs else ""
    verdict = one.verdict in ("faster", "slower")
    return Pair(one.first, one.second, shown.index(ahead), ratio.estimate, ratio.low, ratio.high, verdict, note)


def _row(one: Comparison) -> Sequence[Child]:
    found = one.difference
    low, high = found.ratio.low, found.ratio.high
    return (
        f"{one.first} against {one.second}",
        amounts.NONE if found.ratio.estimate is None else change(found.ratio.estimate),
        amounts.NONE if low is None or high is None else f"{change(low)} to {change(high)}",
        amounts.share(found.wins),
        _p(found.p),
        f"{found.failures[0]:,} and {found.failures[1]:,}",
        f"{found.n:,}",
        one.sentence,
    )


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else amounts.digits(p, 2)


def wins(shown: View) -> Markup:
    """The section on who won which prompt; empty where there is only one lane."""
    if len(shown.names) < 2:
        return Markup()
    found = outcomes(shown.digest, shown.names)
    rows = [WinnerRow(lane, index, found[lane]) for index, lane in enumerate(shown.names)]
    if not any("w" in row.outcomes for row in rows):
        return Markup()
    by = f"By {METRICS[shown.first].label}{shown.at()}."
    says = f"{by} A filled cell is a prompt that the lane won, a red top one that failed."
    cells = [(row.lane, *(f"{row.outcomes.count(letter):,}" for letter in "wlf-")) for row in rows]
    table = Table(("lane", "won", "lost", "failed", "not asked"), cells)
    chart = layout.figure("Who won which prompt", says, winners("Who won which prompt", rows), table)
    return layout.section(
        "wins", "Wins", chart, tag("h3", "Share of prompts on which the row beats the column"), _matrix(shown)
    )


def _matrix(shown: View) -> Markup:
    names = shown.names
    shares = {(one, other): win_share(shown, one, other) for one in names for other in names if one != other}
    rows = [(_head(shown, one), *(_cell(shares.get((one, other))) for other in names)) for one in names]
    return layout.grid(Table(("", *names), rows), "matrix")


def _head(shown: View, lane: str) -> Child:
    return [layout.swatch(shown.index(lane)), lane]


def _cell(share: float | None) -> Markup:
    if share is None:
        return tag("span", amounts.NONE, class_="faint")
    return tag("span", amounts.share(share), class_=f"heat h{round(share * 10)}")


def win_share(shown: View, one: str, other: str) -> float | None:
    """The share of prompts on which a lane was better; ties count half, and what failed loses."""
    mine, theirs = shown.digest.seen[one].by_block, shown.digest.seen[other].by_block
    blocks = mine.keys() & theirs.keys()
    if not blocks:
        return None
    return sum((mine[block] < theirs[block]) + 0.5 * (mine[block] == theirs[block]) for block in blocks) / len(blocks)
