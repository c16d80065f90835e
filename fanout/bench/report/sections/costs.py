"""The cost of the run, and of a thousand requests of each lane."""

from fanout.bench.analysis.summary import LaneSummary
from fanout.bench.report.charts import amounts
from fanout.bench.report.charts.intervals import IntervalRow, intervals
from fanout.bench.report.markup import Child, Markup
from fanout.bench.report.sections import layout
from fanout.bench.report.sections.layout import Table, Term
from fanout.bench.report.sections.view import View


def costs(shown: View) -> Markup:
    """The section; empty where races were all that was recorded."""
    if not shown.lanes:
        return Markup()
    table = layout.grid(_table(shown))
    if any(lane.cost_per_1k is not None for _, lane in shown.lanes):
        return layout.section("cost", "Cost", layout.side_by_side(_chart(shown), table))
    unknown = layout.note("No price of these models is known: tokens are all that can be told.")
    return layout.section("cost", "Cost", unknown, table)


def _chart(shown: View) -> Markup:
    rows = [
        IntervalRow(lane.name, index, lane.cost_per_1k, note="no price known" if lane.cost_per_1k is None else "")
        for index, lane in shown.lanes
    ]
    name = "Cost of a thousand requests"
    chart = intervals(name, rows, amounts.dollars, amounts.short_dollars, zero=True)
    table = Table(("lane", name), [(row.lane, amounts.dollars(row.estimate)) for row in rows])
    return layout.figure(None, "US dollars for a thousand requests like these, at list prices.", chart, table)


def _table(shown: View) -> Table:
    head = (
        "lane",
        "cost",
        "per 1,000",
        "per 1 M tokens",
        Term("tokens", "tokens"),
        "reasoning",
        "wasted",
    )
    return Table(head, [_row(lane) for _, lane in shown.lanes])


def _row(lane: LaneSummary) -> list[Child]:
    each = None if lane.cost is None or not lane.tokens else lane.cost / lane.tokens * 1e6
    guess = "~" if lane.estimated else ""
    return [
        lane.name,
        amounts.dollars(lane.cost),
        amounts.dollars(lane.cost_per_1k),
        amounts.dollars(each),
        f"{guess}{lane.tokens:,}",
        amounts.share(lane.reasoning_share),
        f"{lane.wasted:,}",
    ]
