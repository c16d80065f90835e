"""The head of the page: the verdict, and the trust that its clock deserves."""

from collections.abc import Mapping, Sequence
from math import isfinite

from fanout.bench.analysis.summary import LaneSummary
from fanout.bench.report.charts import amounts
from fanout.bench.report.markup import Child, Markup, tag
from fanout.bench.report.sections import layout, view
from fanout.bench.report.sections.view import View

MOST_SENTENCES = 4
"""Sentences at the top, and warnings; the others are further down, or folded."""


def verdict(shown: View, about: Mapping[str, object]) -> Markup:
    """The head of the page."""
    return tag(
        "header",
        tag("p", "fanout bench", class_="name"),
        tag("h1", _title(shown.names, shown.summary.baseline)),
        tag("p", _facts(shown, about), class_="facts"),
        [tag("p", said, class_="verdict" if first else "more") for first, said in _first(sentences(shown))],
        _trust(shown),
        _warnings(shown),
    )


def _first(said: Sequence[Child]) -> list[tuple[bool, Child]]:
    return [(place == 0, words) for place, words in enumerate(said)]


def _title(names: Sequence[str], baseline: str | None) -> str:
    if baseline is not None:
        others = [name for name in names if name != baseline]
        return f"{_list(others)} against {baseline}"
    return " against ".join(names) if len(names) <= 3 else _list(names)


def _list(names: Sequence[str]) -> str:
    if len(names) <= 3:
        return ", ".join(names)
    return f"{', '.join(names[:2])} and {len(names) - 2} more"


def _facts(shown: View, about: Mapping[str, object]) -> str:
    levels = [lane for level in shown.summary.levels for lane in level.lanes.values()]
    requests = sum(lane.requests for lane in levels)
    start = about.get("start")
    kind = "open loop" if shown.summary.open_loop else "closed loop"
    facts = [
        str(start) if start else None,
        amounts.several(requests, "request"),
        f"{amounts.seconds(shown.digest.end)}",
        kind,
        "a new connection for each request" if shown.summary.fresh_connections else None,
        f"compared with {shown.summary.baseline}" if shown.summary.baseline else None,
    ]
    if len(shown.summary.levels) > 1:
        facts.append(f"{len(shown.summary.levels)} levels of load")
    return " · ".join(fact for fact in facts if fact)


def sentences(shown: View) -> list[Child]:
    """The verdicts on the figure that decides, those of the leading lane first; of one lane, what it reached."""
    if not shown.lanes:
        return [["Nothing but races was recorded; what they tell is under ", tag("a", "Races", href="#races"), "."]]
    found = shown.comparisons(shown.first)
    if not found:
        return [_alone(shown, lane) for _, lane in shown.lanes[:MOST_SENTENCES]]
    found.sort(key=lambda comparison: shown.leader not in (comparison.first, comparison.second))
    said: list[Child] = [comparison.sentence for comparison in found[:MOST_SENTENCES]]
    if len(found) > MOST_SENTENCES:
        said.append(["The other pairs are under ", tag("a", "Differences", href="#differences"), "."])
    return said


def _alone(shown: View, lane: LaneSummary) -> str:
    found = view.interval(lane, shown.first, "p50")
    if found.estimate is None:
        return f"{lane.name} has too few requests for a median: {lane.requests:,} of the 6 that it needs."
    failed = amounts.share(lane.failure_share.estimate)
    if not isfinite(found.estimate):
        return f"{lane.name} answered less than half of its requests: {failed} failed."
    what = "first token" if shown.first == "ttft" else "whole answer"
    median = amounts.seconds(found.estimate)
    known = "" if found.low is None else f" (95 % interval {view.bounds(found, amounts.seconds)})"
    return f"{lane.name}: {what} after {median} in the median{known}; {failed} of requests failed."


def _trust(shown: View) -> Markup:
    lanes = [lane for _, lane in shown.lanes]
    if not lanes:
        return Markup()
    doubted = [lane for lane in lanes if not lane.trust.trusted]
    stamps = " and ".join(sorted({lane.trust.stamp for lane in lanes}))
    if not doubted:
        badge = tag("b", "Trusted", class_="badge good")
        return tag("p", badge, f" {stamps} time stamps; {_lateness(lanes)}", class_="trust")
    badge = tag("b", "Not trusted" if len(doubted) == len(lanes) else "Partly trusted", class_="badge doubt")
    reasons = [tag("li", tag("b", lane.name), ": ", lane.trust.reason or "no reason given") for lane in doubted]
    return tag("div", tag("p", badge, f" {stamps} time stamps"), tag("ul", reasons), class_="trust")


def _lateness(lanes: Sequence[LaneSummary]) -> str:
    known = [lane.trust.lateness_p99 for lane in lanes if lane.trust.lateness_p99 is not None]
    coalesced = max(lane.trust.coalesced for lane in lanes)
    late = f"fanout itself was late by {amounts.seconds(max(known))} (p99), which they leave out; " if known else ""
    return f"{late}{amounts.share(coalesced)} of pieces merged with others"


def _warnings(shown: View) -> Markup | None:
    """The other warnings; `_trust` shows the reasons for distrust."""
    told = [lane.trust.reason for _, lane in shown.lanes if lane.trust.reason]
    rest = [words for words in shown.summary.warnings if not any(reason in words for reason in told)]
    items = [tag("li", words) for words in rest]
    more = None
    if len(items) > MOST_SENTENCES:
        inside = tag("ul", items[MOST_SENTENCES:])
        more = tag("li", tag("details", tag("summary", f"{len(items) - MOST_SENTENCES} more"), inside))
    return tag("ul", items[:MOST_SENTENCES], more, class_="warnings") if items else None


def trust_table(shown: View) -> layout.Table:
    """Every lane's time stamps."""
    rows = [
        (
            lane.name,
            lane.trust.stamp,
            amounts.share(lane.trust.coalesced),
            amounts.share(lane.trust.unpeeked),
            amounts.seconds(lane.trust.lateness_p50),
            amounts.seconds(lane.trust.lateness_p99),
            "yes" if lane.trust.trusted else lane.trust.reason or "no",
        )
        for _, lane in shown.lanes
    ]
    head = ("lane", "stamps", "coalesced", "unpeeked", "late p50", "late p99", "trusted")
    return layout.Table(head, rows)
