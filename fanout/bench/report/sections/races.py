"""Percentiles of lanes from races, in which losers are cancelled and would have taken longer."""

from fanout.bench.report.charts import amounts
from fanout.bench.report.markup import Markup
from fanout.bench.report.sections import layout, view
from fanout.bench.report.sections.layout import Cell, Table, Term
from fanout.bench.report.sections.view import PERCENTILES, View

SHOWN = ("ttft", "e2e")


def races(shown: View) -> Markup:
    """The section; empty where no race was recorded."""
    found = shown.summary.races
    rows = [
        (lane, *(view.cell(of_lane[metric][name], amounts.seconds) for metric in SHOWN for name in PERCENTILES))
        for lane, of_lane in found.items()
    ]
    if not rows:
        return Markup()
    groups: list[tuple[Cell, int]] = [(None, 1), *((view.term(metric), len(PERCENTILES)) for metric in SHOWN)]
    note = layout.note(
        "From races, and pooled with nothing else: a loser is known only to have taken longer than the winner (Kaplan "
        "and Meier). Where one prompt is hard for all lanes, losers look better than they are."
    )
    head: list[Cell] = ["lane", *(Term(name, "percentile") for _ in SHOWN for name in PERCENTILES)]
    return layout.section("races", "Races", layout.grid(Table(head, rows, groups=groups)), note)
