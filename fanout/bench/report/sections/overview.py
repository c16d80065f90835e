"""The lanes in a few figures: ranked, and all of them in a table."""

from math import isfinite

from fanout.bench.analysis.metrics import ALL_TOKENS, METRICS, SECONDS
from fanout.bench.analysis.summary import LaneSummary
from fanout.bench.report.charts import amounts
from fanout.bench.report.charts.amounts import Writer
from fanout.bench.report.charts.intervals import ROW, intervals
from fanout.bench.report.charts.rows import LINE
from fanout.bench.report.charts.tradeoff import Axis, Spot, tradeoff
from fanout.bench.report.markup import Child, Markup
from fanout.bench.report.sections import layout, view
from fanout.bench.report.sections.layout import Cell, Table, Term
from fanout.bench.report.sections.view import PERCENTILES, View

HEIGHT = 220
"""The least height of the charts, in pixels."""

COLUMNS = (("ttft", ("p50", "p95", "p99")), ("ttfo", ("p50",)), ("gap", ("p50", "p99")), ("itl", ("p50",)))
"""The metrics of the table, before those of whole answers and of speed."""


def overview(shown: View) -> Markup:
    """The section; empty where races were all that was recorded."""
    if not shown.lanes:
        return Markup()
    charts = [_first(shown), _speed(shown), _balance(shown)]
    return layout.section(
        "overview",
        "Lanes",
        layout.grid(table(shown)),
        layout.note("A percentile is shown where there are enough requests for an interval around it. ", _marks(shown)),
        layout.side_by_side(*charts, thirds=charts[-1] is not None),
    )


def _marks(shown: View) -> str:
    guessed = any(lane.estimated for _, lane in shown.lanes)
    return "A ~ marks tokens that were estimated from characters." if guessed else ""


def _first(shown: View) -> Markup:
    name = "Time to first token" if shown.first == "ttft" else "Time to the whole answer"
    rows = [view.row(lane, index, shown.first) for index, lane in shown.lanes]
    chart = intervals(f"{name}, median", rows, amounts.seconds, amounts.log_seconds, least=find_height(shown))
    says = f"Median with its 95 % interval, failures counted as never{shown.at()}; less is better."
    return layout.figure(name, says, chart, _intervals(shown, shown.first))


def _speed(shown: View) -> Markup:
    metric = shown.speed
    rows = [view.row(lane, index, metric) for index, lane in shown.lanes]
    write, least = view.writer_of(metric), find_height(shown)
    chart = intervals("Speed, median", rows, write, amounts.short, more_is_better=True, least=least)
    unit = "Tokens a second after the first piece" if metric == "speed" else "Characters a second"
    says = f"{unit}: median with its 95 % interval, a failure counted as 0{shown.at()}; more is better."
    return layout.figure("Speed", says, chart, _intervals(shown, metric))


def find_height(shown: View) -> float:
    """The height in pixels of the charts beside one another: as much as their rows need."""
    return max(HEIGHT, len(shown.lanes) * (ROW + LINE))


def _intervals(shown: View, metric: str) -> Table:
    write = view.writer_of(metric)
    rows = []
    for _, lane in shown.lanes:
        found = [view.interval(lane, metric, percentile) for percentile in PERCENTILES]
        cells = [text for one in found for text in (view.value(one, write), view.bounds(one, write))]
        rows.append((lane.name, f"{found[0].n:,}", *cells))
    heads = [text for percentile in PERCENTILES for text in (view.term(metric, percentile), "95 % interval")]
    return Table(("lane", "requests", *heads), rows)


def table(shown: View) -> Table:
    """All lanes, a row each."""
    columns = _columns(shown)
    more: list[Cell] = [*([] if _turns(shown) else [Term(ALL_TOKENS, "tps_total")]), Term("stalls", "stall")]
    if shown.summary.fresh_connections:
        more.append(Term("connect, TLS p50", "connect"))
    if shown.summary.objectives:
        more.append(Term("goodput", "goodput"))
    rows = [
        (_name(index, lane), _count_failed(lane), *_cells(lane, columns), *_rest(shown, lane))
        for index, lane in shown.lanes
    ]
    groups: list[tuple[Cell, int]] = [(None, 2), *((_group(metric), len(row)) for metric, row in columns)]
    head = ("lane", Term("failed", "failure"), *(name for _, row in columns for name in row), *more)
    return Table(head, rows, groups=[*groups, (None, len(more))])


def _group(metric: str) -> Term:
    label, unit = METRICS[metric].label, METRICS[metric].unit
    return Term(f"{label}, {unit}" if metric == "speed" else label, metric)


def _columns(shown: View) -> list[tuple[str, tuple[str, ...]]]:
    """The metrics that there are; the time to first output only where a lane reasons before it."""
    thinks = any(_median(lane, "ttfo") != _median(lane, "ttft") for _, lane in shown.lanes)
    columns = [*COLUMNS, (shown.total, ("p50", "p95")), ("speed", ("p50",)), ("characters", ("p50",))]
    return [
        (metric, row)
        for metric, row in columns
        if any(shown.has(lane, metric) for _, lane in shown.lanes) and (metric != "ttfo" or thinks)
    ]


def _median(lane: LaneSummary, metric: str) -> float | None:
    return view.interval(lane, metric, "p50").estimate


def _name(index: int, lane: LaneSummary) -> Child:
    return [layout.swatch(index), lane.name]


def _count_failed(lane: LaneSummary) -> str:
    return f"{lane.failed + lane.timed_out:,} of {lane.requests:,}"


def _cells(lane: LaneSummary, columns: list[tuple[str, tuple[str, ...]]]) -> list[Child]:
    return [
        view.figure(
            lane, metric, percentile, _short(metric), "~" if lane.estimated and metric in ("speed", "itl") else ""
        )
        for metric, row in columns
        for percentile in row
    ]


def _short(metric: str) -> Writer:
    """Speeds have their unit in the head of their column."""
    return amounts.seconds if METRICS[metric].unit == SECONDS else amounts.count


def _rest(shown: View, lane: LaneSummary) -> list[str]:
    guess = "~" if lane.estimated and lane.tps_total is not None else ""
    goodput = [f"{amounts.count(lane.goodput)}/s"] if shown.summary.objectives else []
    opening = [_opening(lane)] if shown.summary.fresh_connections else []
    total = [] if _turns(shown) else [guess + amounts.count(lane.tps_total)]
    return [*total, f"{lane.stalls:,}", *opening, *goodput]


def _turns(shown: View) -> bool:
    """True if each lane also waited for the others, so that its rates are not its own."""
    return shown.summary.takes_turns(shown.level.level)


def _opening(lane: LaneSummary) -> str:
    """The times to open connections, and for their TLS if they had it."""
    connect = amounts.seconds(lane.connect)
    return connect if lane.tls is None else f"{connect}, {amounts.seconds(lane.tls)}"


def _balance(shown: View) -> Markup | None:
    """Speed against latency; nothing where fewer than two lanes have both."""
    spots = []
    for index, lane in shown.lanes:
        first, speed = (view.interval(lane, metric, "p50") for metric in (shown.first, shown.speed))
        if first.estimate is not None and isfinite(first.estimate) and speed.estimate is not None:
            x, y = (first.low, first.high), (speed.low, speed.high)
            spots.append(Spot(lane.name, index, first.estimate, speed.estimate, x, y))
    if len(spots) < 2:
        return None
    times = Axis(f"{METRICS[shown.first].label}, median", amounts.seconds, amounts.log_seconds)
    speeds = Axis(f"{METRICS[shown.speed].unit}, median", view.writer_of(shown.speed), amounts.short)
    chart = tradeoff("Speed against latency", spots, times, speeds, find_height(shown))
    head = ("lane", view.term(shown.first, "p50"), view.term(shown.speed, "p50"))
    rows = [(spot.name, times.written(spot.x), speeds.written(spot.y)) for spot in spots]
    says = "Medians with their 95 % intervals; up and left is better."
    return layout.figure("Speed against latency", says, chart, Table(head, rows))
