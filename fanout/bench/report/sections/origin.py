"""The origin of the figures: clocks, the services' own timings, the machine, and the command that made them."""

from collections.abc import Mapping

from fanout.bench.analysis.metrics import METRICS
from fanout.bench.report.charts import amounts
from fanout.bench.report.markup import Markup, tag
from fanout.bench.report.sections import layout, verdict
from fanout.bench.report.sections.layout import Table
from fanout.bench.report.sections.view import View


def clocks(shown: View) -> Markup:
    """The section on time stamps, and on what the services say themselves."""
    if not shown.lanes:
        return Markup()
    rows = [
        (
            lane.name,
            timing.name,
            amounts.seconds(timing.server),
            METRICS[timing.metric].label if timing.metric else amounts.NONE,
            amounts.seconds(timing.ours),
            amounts.seconds(None if timing.ours is None else timing.ours - timing.server),
            f"{timing.n:,}",
        )
        for _, lane in shown.lanes
        for timing in lane.server
    ]
    head = ("lane", "the service's", "median", "ours", "median", "network and client", "requests")
    theirs = [tag("h3", "The services' own timings"), layout.grid(Table(head, rows))] if rows else None
    trust = layout.grid(verdict.trust_table(shown))
    return layout.section("clocks", "Clocks", trust, theirs, folded="Time stamps, lane by lane")


def origin(about: Mapping[str, object]) -> Markup:
    """The section with the command, and everything else that is known of the run."""
    command = about.get("command")
    rows = [
        (key.replace("_", " "), text) for key, value in about.items() if key != "command" and (text := _text(value))
    ]
    return layout.section(
        "origin",
        "To do it again",
        tag("pre", tag("code", str(command)), tabindex="0") if command else None,
        layout.grid(Table(("of the run", ""), rows), "about") if rows else None,
    )


def _text(value: object) -> str:
    """A value as people read it; nothing for one that is not there."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text}" for key, item in value.items() if (text := _text(item)))
    if isinstance(value, list | tuple):
        return "; ".join(text for item in value if (text := _text(item)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return amounts.count(value)
    return "" if value is None else str(value)
