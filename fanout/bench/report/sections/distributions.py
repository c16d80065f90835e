"""The distributions of the times of requests and of gaps."""

from math import log10

from fanout.bench.analysis.metrics import METRICS, STALL_FACTOR, STALL_SECONDS
from fanout.bench.analysis.summary import LaneSummary
from fanout.bench.report.charts import amounts
from fanout.bench.report.charts.ecdf import Sample, ecdf
from fanout.bench.report.charts.gaps import Gaps, gaps, start_of
from fanout.bench.report.charts.tail import SHARES, tail
from fanout.bench.report.markup import Markup
from fanout.bench.report.sections import layout, view
from fanout.bench.report.sections.layout import Table, Term
from fanout.bench.report.sections.view import PERCENTILES, View

TABLE_SHARES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""The shares in the table behind a distribution."""

TAIL = 20
"""Requests of a lane without which there is no tail to show."""


def distributions(shown: View) -> Markup:
    """The section."""
    metrics = [metric for metric in ("ttft", shown.total) if _curves(shown, metric)]
    charts = [_ecdf(shown, metric) for metric in metrics]
    if metrics and max(len(curve.values) for curve in _curves(shown, metrics[0])) >= TAIL:
        charts.append(_tail(shown, metrics[0]))
    return layout.section(
        "distributions", "Distributions", layout.side_by_side(*charts, thirds=len(charts) > 2), _gaps(shown)
    )


def _curves(shown: View, metric: str) -> list[Sample]:
    curves = []
    for index, name in enumerate(shown.names):
        seen = shown.digest.seen[name]
        curves.append(Sample(name, index, seen.ttft if metric == "ttft" else seen.total))
    streams = metric != "ttft" or shown.digest.streams
    return [curve for curve in curves if len(curve.values)] if streams else []


def _ecdf(shown: View, metric: str) -> Markup:
    curves = _curves(shown, metric)
    name = "Time to first token" if metric == "ttft" else f"Time to the end ({METRICS[metric].label})"
    chart = ecdf(f"{name}: share of requests", curves, limit=shown.summary.objectives.get(metric))
    says = f"Share of requests answered within a time{shown.at()}. What a curve lacks to 100 % failed."
    return layout.figure(name, says, chart, _table(curves), lanes=shown.names)


def _table(curves: list[Sample]) -> Table:
    rows = []
    for curve in curves:
        ordered = sorted(curve.values)
        places = [min(len(ordered) - 1, int(share * len(ordered))) for share in TABLE_SHARES]
        rows.append((curve.lane, f"{len(ordered):,}", *(amounts.seconds(ordered[place]) for place in places)))
    heads = [f"{share * 100:g} %" for share in TABLE_SHARES]
    return Table(("lane", "requests", *heads), rows, "Of this sample; intervals are in the table of lanes.")


def _tail(shown: View, metric: str) -> Markup:
    curves = _curves(shown, metric)
    chart = tail(f"Percentiles of {METRICS[metric].label}", curves)
    says = f"To the right, ever fewer requests are slower{shown.at()}. A cross: from here on, failures."
    head = [f"p{share * 100:g}" for share in SHARES]
    rows = []
    for curve in curves:
        ordered = sorted(curve.values)
        values = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in SHARES]
        enough = [len(ordered) * (1 - share) >= 1 - 1e-9 for share in SHARES]
        cells = [amounts.seconds(one) if many else amounts.NONE for one, many in zip(values, enough, strict=True)]
        rows.append((curve.lane, *cells))
    return layout.figure("The slowest requests", says, chart, Table(("lane", *head), rows), lanes=shown.names)


def _gaps(shown: View) -> Markup | None:
    rows = [_row(shown, index, lane) for index, lane in shown.lanes]
    if not any(row.counts for row in rows):
        return None
    says = (
        "How often which gap between two pieces occurs; both axes are logarithmic. Stalls are marked: longer than "
        f"{STALL_FACTOR:g} typical gaps and {STALL_SECONDS * 1000:g} ms{shown.at()}."
    )
    return layout.figure("Gaps", says, gaps("Gaps between pieces", rows), _gap_table(shown, rows))


def _row(shown: View, index: int, lane: LaneSummary) -> Gaps:
    found = {name: view.interval(lane, "gap", name).estimate for name in ("p50", "p99")}
    typical = found["p50"]
    marks = {name: one for name, one in found.items() if one is not None and log10(one or 1) < 6}
    least = None if typical is None else max(STALL_FACTOR * typical, STALL_SECONDS)
    return Gaps(lane.name, index, shown.digest.seen[lane.name].gaps, least, lane.stalls, lane.stall_seconds, marks)


def _gap_table(shown: View, rows: list[Gaps]) -> Table:
    head = [view.term("gap", percentile) for percentile in PERCENTILES]
    body = []
    for (_, lane), row in zip(shown.lanes, rows, strict=True):
        values = [view.value(view.interval(lane, "gap", percentile), amounts.seconds) for percentile in PERCENTILES]
        longest = amounts.seconds(start_of(max(row.counts) + 1)) if row.counts else amounts.NONE
        number = f"{sum(row.counts.values()):,}"
        body.append((lane.name, number, *values, longest, f"{row.stalls:,}", amounts.seconds(row.stalled)))
    return Table(("lane", "gaps", *head, "all below", Term("stalls", "stall"), "stalled for"), body)
