"""The failures by kind, each with a message as the service sent it."""

from fanout.bench.analysis.summary import ErrorCount, LaneSummary
from fanout.bench.report.charts import amounts
from fanout.bench.report.markup import Markup, tag
from fanout.bench.report.sections import layout
from fanout.bench.report.sections.view import View


def errors(shown: View) -> Markup:
    """The section; it says so where nothing failed, and is empty where races were all that was recorded."""
    if not shown.lanes:
        return Markup()
    found = [
        _kind(lane, error, level.level)
        for level in shown.summary.levels
        for lane in level.lanes.values()
        for error in lane.errors
    ]
    if not found:
        return layout.section("errors", "Errors", tag("p", "No request failed."))
    says = "Failed requests count as infinitely long in every percentile. Of each kind, the first message as it came:"
    return layout.section("errors", "Errors", layout.note(says), tag("ul", found, class_="errors"))


def _kind(lane: LaneSummary, error: ErrorCount, level: float | None) -> Markup:
    part = amounts.share(error.count / lane.requests if lane.requests else None)
    requests = amounts.several(error.count, "request")
    load = "" if level is None else f", load {amounts.short(level)}"
    head = tag("p", tag("b", lane.name), f"{load}: ", tag("b", error.kind, class_="bad"), f", {requests} ({part})")
    return tag("li", head, layout.foreign(error.sample) if error.sample else None)
