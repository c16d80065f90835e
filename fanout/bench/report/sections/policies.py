"""The results that races, hedges and fallbacks over these lanes would have had."""

from collections.abc import Mapping
from math import isfinite

from fanout.bench.analysis.statistics import Interval
from fanout.bench.analysis.whatif import WhatIf
from fanout.bench.report.charts import amounts
from fanout.bench.report.charts.intervals import IntervalRow, intervals
from fanout.bench.report.charts.tradeoff import Axis, Spot, tradeoff
from fanout.bench.report.markup import Child, Markup, tag
from fanout.bench.report.sections import layout, view
from fanout.bench.report.sections.layout import Cell, Table, Term
from fanout.bench.report.sections.view import View


def policies(shown: View) -> Markup:
    """The section; empty where no policy could be replayed."""
    found = shown.summary.what_if
    if not any(len(one.policy.lanes) > 1 for one in found):
        return Markup()
    percentile = next((name for name in ("p95", "p90", "p50") if _is_known(found, name)), None)
    charts = [_ranking(shown, found, percentile), _balance(shown, found, percentile)] if percentile else []
    order = max((one.policy.lanes for one in found), key=len)
    return layout.section(
        "policies",
        "Policies",
        tag("p", _recommendation(shown.summary.recommended), class_="verdict"),
        layout.note(
            f"Replayed from these records{shown.at()}. Policies ask the lanes in this order: "
            f"{', '.join(order)}. A loser counts until it would have been cancelled; extra requests, "
            "tokens and cost are means for each prompt."
        ),
        layout.side_by_side(*charts),
        layout.grid(_table(found)),
    )


def title(one: WhatIf) -> str:
    """The policy in a few words."""
    name = one.policy.name
    if name == "alone":
        return one.policy.lanes[0]
    return f"hedge {amounts.seconds(one.policy.pace, 2)}" if name == "hedge" else name


def _recommendation(one: WhatIf | None) -> str:
    if one is None:
        return (
            "No hedge is recommended: few extra requests would not have made the tail shorter, as far as can be told."
        )
    better = one.total.get("p95")
    tail = f" p95 would have been {amounts.seconds(better.estimate)}." if better and better.estimate is not None else ""
    return (
        f"Recommended: hedge after {amounts.seconds(one.policy.pace, 2)}, {', then '.join(one.policy.lanes)}: "
        f"{amounts.count(one.requests)} extra requests a prompt.{tail}"
    )


def _times(one: WhatIf) -> Mapping[str, Interval]:
    return one.total if one.policy.on == "finish" else one.first


def _is_known(found: tuple[WhatIf, ...], percentile: str) -> bool:
    values = (_times(one)[percentile].estimate for one in found)
    return any(value is not None and isfinite(value) for value in values)


def _ranking(shown: View, found: tuple[WhatIf, ...], percentile: str) -> Markup:
    what = _what(found)
    rows = []
    for one in found:
        times = _times(one)[percentile]
        extra = f"{amounts.short(one.requests)} extra" if one.requests else ""
        rows.append(IntervalRow(title(one), _index(shown, one), times.estimate, times.low, times.high, extra))
    chart = intervals(f"Policies: time to {what}, {percentile}", rows, amounts.seconds, amounts.log_seconds)
    cells = [
        (row.lane, amounts.seconds(row.estimate), amounts.between(row.low, row.high, amounts.seconds)) for row in rows
    ]
    says = f"The {percentile} with its 95 % interval, and extra requests for each prompt; less is better."
    return layout.figure(
        f"Time to {what}, {percentile}", says, chart, Table(("policy", percentile, "95 % interval"), cells)
    )


def _balance(shown: View, found: tuple[WhatIf, ...], percentile: str) -> Markup:
    spots = []
    for one in sorted(found, key=lambda one: (len(one.policy.lanes) == 1, one.policy.pace)):
        value, several = _times(one)[percentile].estimate, len(one.policy.lanes) > 1
        if value is not None:
            spots.append(
                Spot(title(one), _index(shown, one), one.requests, value, path="policies" if several else None)
            )
    extra = Axis("extra requests a prompt", amounts.count, amounts.short, log=False, zero=True)
    times = Axis(f"time to {_what(found)}, {percentile}", amounts.seconds, amounts.log_seconds)
    chart = tradeoff("Policies: latency against extra requests", spots, extra, times)
    rows = [(spot.name, amounts.count(spot.x), amounts.seconds(spot.y)) for spot in spots]
    says = "Lanes alone, and policies over all of them from fallback to race; down and left is better."
    return layout.figure(
        "Latency against extra requests", says, chart, Table(("policy", "extra requests", percentile), rows)
    )


def _what(found: tuple[WhatIf, ...]) -> str:
    return "the whole answer" if found[0].policy.on == "finish" else "the first token"


def _index(shown: View, one: WhatIf) -> int:
    """A lane alone has its own colour, all policies have the next."""
    return len(shown.names) if len(one.policy.lanes) > 1 else shown.index(one.policy.lanes[0])


def _table(found: tuple[WhatIf, ...]) -> Table:
    groups: list[tuple[Cell, int]] = [(None, 1), ("first token", 2), ("whole answer", 3), (None, 6)]
    more = ("extra requests", "tokens", "wasted", "cost", "failed", "prompts")
    head = (Term("policy", "policy"), "p50", "p95", "p50", "p95", "p99", *more)
    return Table(head, [_row(one) for one in found], groups=groups)


def _row(one: WhatIf) -> list[Child]:
    cells = [(one.first, "p50"), (one.first, "p95"), (one.total, "p50"), (one.total, "p95"), (one.total, "p99")]
    times = [view.cell(row[name], amounts.seconds) if name in row else amounts.NONE for row, name in cells]
    spent = [amounts.count(one.requests), amounts.count(one.tokens), amounts.count(one.wasted)]
    return [title(one), *times, *spent, amounts.dollars(one.cost), amounts.share(one.failed), f"{one.n:,}"]
