"""The effects of the load: the levels of a sweep, and the run over time."""

from collections.abc import Callable, Mapping, Sequence
from math import inf

from attrs import evolve

from fanout.bench.analysis.metrics import ALL_TOKENS, METRICS
from fanout.bench.analysis.summary import LaneSummary
from fanout.bench.report.charts import amounts
from fanout.bench.report.charts.amounts import Writer
from fanout.bench.report.charts.sweep import LoadCurve, sweep
from fanout.bench.report.charts.timeline import timeline
from fanout.bench.report.charts.tradeoff import Axis, Spot, tradeoff
from fanout.bench.report.markup import Child, Markup
from fanout.bench.report.sections import layout, view
from fanout.bench.report.sections.layout import Table, Term
from fanout.bench.report.sections.view import View

Of = Callable[[LaneSummary], float | None]
"""A figure of a lane."""


def levels(shown: View) -> Markup:
    """The section on a sweep; empty where there was only one level."""
    if len(shown.summary.levels) < 2:
        return Markup()
    latencies = [
        _latency(shown, metric) for metric in (shown.first, "itl") if _curves(shown, _percentile(metric, "p50"))
    ]
    charts: list[Child] = [_throughput(shown), *latencies, _balance(shown)]
    return layout.section("load", "Load", layout.side_by_side(*charts), layout.grid(_table(shown)))


def _load(shown: View) -> str:
    return "requests a second asked for" if shown.summary.open_loop else "requests under way"


def _percentile(metric: str, percentile: str) -> Of:
    return lambda lane: view.interval(lane, metric, percentile).estimate


def _curves(shown: View, of: Of) -> list[LoadCurve]:
    """The figure of each lane at each level; nothing where no lane has it."""
    curves = []
    for index, name in enumerate(shown.names):
        rows = ((level.level, level.lanes.get(name)) for level in shown.summary.levels)
        values = {at: of(lane) for at, lane in rows if at is not None and lane is not None}
        curves.append(LoadCurve(name, index, values))
    return curves if any(value is not None for curve in curves for value in curve.values.values()) else []


def _throughput(shown: View) -> Markup:
    delays = {curve.lane: curve.values for curve in _curves(shown, _percentile(shown.total, "p50"))}
    curves = _curves(shown, lambda lane: lane.rate)
    good = [evolve(curve, faint=True) for curve in _curves(shown, lambda lane: lane.goodput)]
    bent = [evolve(curve, knee=knee(curve.values, delays.get(curve.lane, {}))) for curve in curves]
    chart = sweep("Throughput", [*good, *bent], _load(shown), amounts.short)
    dotted = " Dotted: goodput, those within the objectives." if good else ""
    says = f"Finished requests a second.{dotted} A ring: the knee, the most throughput for its latency."
    return layout.figure("Throughput", says, chart, _by_level(shown, [*bent, *good], amounts.count), lanes=shown.names)


def knee(rates: Mapping[float, float | None], delays: Mapping[float, float | None]) -> float | None:
    """The level with the largest throughput over latency (Kleinrock's power); None if that is the first or the last.

    At an end it is not known to be a maximum.
    """
    powers = {at: rate / delay for at, rate in rates.items() if rate is not None and (delay := delays.get(at))}
    if not powers:
        return None
    best = max(powers, key=powers.__getitem__)
    return None if best in (min(powers), max(powers)) else best


def _latency(shown: View, metric: str) -> Markup:
    slow = [evolve(curve, faint=True) for curve in _curves(shown, _percentile(metric, "p95"))]
    typical = [
        evolve(curve, band=_bounds(shown, curve.lane, metric)) for curve in _curves(shown, _percentile(metric, "p50"))
    ]
    curves = [*slow, *typical]
    limit = shown.summary.objectives.get(metric)
    highest = max((value for curve in curves for value in curve.values.values() if value and value < 1e9), default=1.0)
    chart = sweep(METRICS[metric].label, curves, _load(shown), _like(highest), limit=limit)
    dotted = ", dotted the 95th percentile" if slow else ""
    says = f"Median with its 95 % interval{dotted}; failures count as never. A cross: never."
    return layout.figure(
        METRICS[metric].label, says, chart, _by_level(shown, curves, amounts.seconds), lanes=shown.names
    )


def _bounds(shown: View, name: str, metric: str) -> dict[float, tuple[float, float]]:
    """The intervals of the lane's medians, where they have two ends."""
    rows = ((level.level, level.lanes.get(name)) for level in shown.summary.levels)
    found = {at: view.interval(lane, metric, "p50") for at, lane in rows if at is not None and lane is not None}
    return {
        at: (one.low, one.high)
        for at, one in found.items()
        if one.low is not None and one.high is not None and one.high < inf
    }


def _like(highest: float) -> Writer:
    write = amounts.seconds_like(highest)
    return lambda value: write(value) if value < inf else "never"


def _by_level(shown: View, curves: Sequence[LoadCurve], write: Writer) -> Table:
    """The figures of a chart, a column a level; what is drawn dotted has its row too."""
    levels = [level.level for level in shown.summary.levels if level.level is not None]
    rows = []
    for curve in curves:
        values = (curve.values.get(level) for level in levels)
        cells = [amounts.NONE if value is None else write(value) for value in values]
        rows.append((curve.lane + (", dotted" if curve.faint else ""), *cells))
    return Table(("lane", *map(amounts.short, levels)), rows)


def _balance(shown: View) -> Markup:
    spots = []
    for index, name in enumerate(shown.names):
        for level in shown.summary.levels:
            lane = level.lanes.get(name)
            delay = None if lane is None else view.interval(lane, shown.first, "p50").estimate
            if lane is not None and delay is not None and lane.rate is not None and level.level is not None:
                spots.append(Spot(amounts.short(level.level), index, lane.rate, delay, path=name))
    rates = Axis("finished requests a second", amounts.short, amounts.short, zero=True, log=False)
    delays = Axis(f"{METRICS[shown.first].label}, median", amounts.seconds, amounts.log_seconds)
    chart = tradeoff("Latency against throughput", spots, rates, delays)
    says = "A point a level, with its load beside it; right and down is better."
    rows = [(spot.path, spot.name, rates.written(spot.x), delays.written(spot.y)) for spot in spots]
    table = Table(("lane", "load", "requests/s", view.term(shown.first, "p50")), rows)
    return layout.figure("Latency against throughput", says, chart, table, lanes=shown.names)


def _table(shown: View) -> Table:
    columns = [(shown.first, "p50"), (shown.first, "p95"), ("itl", "p50"), (shown.total, "p50"), (shown.total, "p95")]
    rows = []
    for level in shown.summary.levels:
        for name, lane in level.lanes.items():
            cells = [view.cell(view.interval(lane, *column), amounts.seconds) for column in columns]
            at = amounts.NONE if level.level is None else amounts.short(level.level)
            turns = shown.summary.takes_turns(level.level)
            pace = [amounts.NONE if turns else amounts.count(x) for x in (lane.rate, lane.goodput, lane.tps_total)]
            rows.append((name, at, f"{lane.requests:,}", amounts.share(lane.failure_share.estimate), *pace, *cells))
    rates = ("requests/s", Term("goodput", "goodput"), Term(ALL_TOKENS, "tps_total"))
    heads = [view.term(*column) for column in columns]
    return Table(("lane", "load", "requests", Term("failed", "failure"), *rates, *heads), rows)


def over_time(shown: View) -> Markup:
    """The section on the run from its start to its end."""
    run = shown.digest.timeline
    if not run.finished:
        return Markup()
    says = "All requests, warm-up among them, in equal intervals" + (
        "; upright lines: the load changes." if run.borders else "."
    )
    every = max(1, len(run.finished) // 20)
    rows = []
    for start in range(0, len(run.finished), every):
        part = slice(start, start + every)
        finished, failed, busy = run.finished[part], run.failed[part], run.in_flight[part]
        mean = amounts.count(sum(busy) / len(busy))
        rows.append((amounts.seconds(start * run.width), f"{sum(finished):,}", f"{sum(failed):,}", mean))
    table = Table(("from", "finished", "failed", "under way, mean"), rows)
    figure = layout.figure(None, says, timeline("The run over time", run), table, lanes=shown.names)
    return layout.section("time", "Over time", figure)
