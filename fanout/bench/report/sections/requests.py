"""The courses of some of the requests."""

from collections.abc import Sequence

from fanout.bench.records.record import Record
from fanout.bench.report.charts import amounts
from fanout.bench.report.charts.waterfall import Bar, PromptBars, waterfall
from fanout.bench.report.markup import Child, Markup, tag
from fanout.bench.report.sections import layout
from fanout.bench.report.sections.layout import Table, Term
from fanout.bench.report.sections.view import View

END_WORDS = {"finished": "finished", "failed": "failed", "timed_out": "timed out", "cancelled": "cancelled"}


def requests(shown: View) -> Markup:
    """The section."""
    groups = [_group(shown, block, records) for block, records in shown.digest.blocks.items() if records]
    if not groups:
        return Markup()
    every = amounts.several(len(shown.digest.asked), "prompt")
    says = (
        f"{len(groups)} of {every} from the whole run{shown.at()}. Pale: waiting for the first byte; strong: from it "
        "to the first token, which has the lane's mark; each tick is a piece of the answer, a short one of reasoning. "
        "A cross is a failure, a clock a timeout, a square a cancellation."
        f"{' Grey, at the start: opening the connection.' if shown.summary.fresh_connections else ''}"
    )
    chart = waterfall("Requests over time", [group for group, _ in groups])
    rows = [row for _, rows in groups for row in rows]
    head = ("prompt", "lane", "connect", Term("TTFB", "ttfb"), Term("TTFT", "ttft"), "pieces", "ended", "how")
    figure = layout.figure(None, says, chart, Table(head, rows), lanes=shown.names)
    some = amounts.several(len(groups), "prompt")
    return layout.section("requests", "Requests", figure, folded=f"The course of {some}, request by request")


def _group(shown: View, block: int, records: Sequence[Record]) -> tuple[PromptBars, list[Sequence[Child]]]:
    records = sorted(records, key=lambda record: shown.index(record.lane))
    name = f"prompt {block}"
    rows: list[Sequence[Child]] = [(name, *_cells(record)) for record in records]
    return PromptBars(name, [_bar(shown, record) for record in records]), rows


def _before(record: Record) -> float:
    return (record.connect or 0.0) + (record.tls or 0.0)


def _bar(shown: View, record: Record) -> Bar:
    pieces = list(zip(record.times, record.kinds, strict=True))
    first = f", first token after {amounts.seconds(record.times[0])}" if record.times and record.streamed else ""
    why = f", {record.error}" if record.error else ""
    ending = f"{END_WORDS[record.status]} after {amounts.seconds(record.ended)}"
    return Bar(
        record.lane,
        shown.index(record.lane),
        _before(record),
        record.first_byte,
        [at for at, kind in pieces if kind == "r"],
        [at for at, kind in pieces if kind != "r"],
        record.ended,
        str(record.status),
        f"{record.lane}{first}: {ending}{why}",
        counted=shown.summary.fresh_connections,
    )


def _cells(record: Record) -> tuple[Child, ...]:
    ending = END_WORDS[record.status] + (f": {record.error}" if record.error else "")
    first = record.times[0] if record.times and record.streamed else None
    return (
        record.lane,
        amounts.seconds(_before(record) or None),
        amounts.seconds(record.first_byte),
        amounts.seconds(first),
        f"{len(record.times):,}",
        amounts.seconds(record.ended),
        tag("span", ending, class_=None if record.finished else "bad"),
    )
