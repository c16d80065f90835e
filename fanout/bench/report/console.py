"""A run's summary as lines of text: a table for each level of load, and sentences below it; plain or Markdown."""

import re
from collections.abc import Iterable, Mapping, Sequence
from math import inf, isinf

from fanout.bench.analysis.metrics import ALL_TOKENS, METRICS
from fanout.bench.analysis.statistics import Interval
from fanout.bench.analysis.summary import LaneSummary, Level, Summary
from fanout.formats.markdown import escape
from fanout.formats.summary import one_line
from fanout.formats.terminal import sanitise
from fanout.formats.wrapping import wrap

CLOSED = "closed loop: service time, not response time"
"""The caution of closed loops: they send nothing while they wait, and so meet slow periods more rarely than users."""

Cells = tuple[str, ...]

_DROPPED = ("ITL p50", ALL_TOKENS, "95 % CI", METRICS["tps_user"].short, "TLS p50", "connect p50", "done")
"""The heads of columns in the order in which they go where there is no room."""

_OF_A_LANE = re.compile(r"((?:at [\d.]+, )?[^\s:]+): (.+)", re.DOTALL)
"""A warning that begins with its lane."""


def lines(summary: Summary, width: int | None = None) -> list[str]:
    """The summary as lines for a terminal of so many columns, or for a log.

    Where there is no room, columns are left out, and sentences broken between words.
    """
    out: list[str] = []
    missing: dict[str, None] = {}
    for level in summary.levels:
        if len(summary.levels) > 1:
            out += ["", f"{_load(level.level, open_loop=summary.open_loop)}"]
        table, dropped = _fit_columns(_drop_empty(_table(summary, level)), width)
        missing |= dict.fromkeys(dropped)
        out += align(table)
        out += _broken(_errors(level.lanes), width)
        out += _broken(map(_safe, _verdicts(level)), width)
    left = [f"no room here for {', '.join(missing)}; a wider window, --json and report.html have it"] if missing else []
    return [*out, *_broken([*map(_safe, remarks(summary)), *left], width)]


def _broken(sentences: Iterable[str], width: int | None) -> list[str]:
    """The sentences as lines; what goes on in the next one is set in."""
    if width is None:
        return list(sentences)
    return [
        f"  {line}" if number else line
        for sentence in sentences
        for number, line in enumerate(wrap(sentence, width - 2))
    ]


def _fit_columns(rows: Sequence[Cells], width: int | None) -> tuple[list[Cells], list[str]]:
    """The rows without the columns that have no room, and the heads of these."""
    columns = list(zip(*rows, strict=True))
    dropped = []
    for head in _DROPPED:
        if width is None or sum(max(map(len, column)) + 2 for column in columns) - 2 <= width:
            break
        kept = [column for column in columns if column[0] != head]
        dropped += [head] if len(kept) < len(columns) else []
        columns = kept
    return list(zip(*columns, strict=True)), dropped


def markdown(summary: Summary, title: str) -> str:
    """The summary as a Markdown document, in which nothing that services or lanes say is a mark of Markdown."""
    out = [f"# {_escape(title)}", ""]
    for level in summary.levels:
        if len(summary.levels) > 1:
            out += [f"## {_load(level.level, open_loop=summary.open_loop)}", ""]
        rows = _drop_empty(_table(summary, level))
        body = [_cells([_escape(lane), *cells]) for lane, *cells in rows[1:]]
        out += [_cells(rows[0]), _cells(["---", *["---:"] * (len(rows[0]) - 1)]), *body, ""]
        said = [*_errors(level.lanes), *_verdicts(level)]
        out += [*(f"* {_escape(sentence)}" for sentence in said), *([""] if said else [])]
    return "\n".join([*out, *(f"* {_escape(remark)}" for remark in remarks(summary)), ""])


def remarks(summary: Summary) -> list[str]:
    """The remarks below the tables."""
    said = [] if summary.open_loop or any(CLOSED in warning for warning in summary.warnings) else [CLOSED]
    if few := _too_few(summary):
        (at, number), *others = few.items()
        said.append("".join([f"{at} needs {number} requests a lane", *(f", {at} {number}" for at, number in others)]))
    stamps = sorted({lane.trust.stamp for level in summary.levels for lane in level.lanes.values()})
    said.append(f"arrivals are stamped by: {', '.join(stamps)}")
    if any(lane.estimated for level in summary.levels for lane in level.lanes.values()):
        said.append("~ marks figures with tokens that are estimated, for the service counted none")
    return [*said, *_merge_warnings(summary)]


def seconds(value: float | None) -> str:
    """A time for people: 812 µs, 21.5 ms, 1.24 s."""
    if value is None:
        return ""
    if isinf(value):
        return "never"
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if abs(value) * factor < 1000 and (factor == 1e3 or abs(value) < 1e-3):
            return f"{value * factor:.3g} {unit}" if abs(value) * factor < 100 else f"{value * factor:.0f} {unit}"
    return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"


def _verdicts(level: Level) -> list[str]:
    """All verdicts in the main metric, which comes first; in others those that say something."""
    main = level.comparisons[0].metric if level.comparisons else ""
    return [c.sentence for c in level.comparisons if c.metric == main or c.verdict in ("faster", "slower")]


def _merge_warnings(summary: Summary) -> list[str]:
    """The warnings; one that several lanes or levels share comes once."""
    wheres: dict[str, list[str]] = {}
    for warning in summary.warnings:
        match = _OF_A_LANE.fullmatch(warning)
        wheres.setdefault(match[2] if match else warning, []).append(match[1] if match else "")
    many = sum(len(level.lanes) for level in summary.levels)
    return [
        f"{'all lanes' if 1 < len(where) == many else '; '.join(where)}: {text}" if where[0] else text
        for text, where in wheres.items()
    ]


def _load(level: float | None, *, open_loop: bool) -> str:
    if level is None:
        return "trace"
    if open_loop:
        return f"{level:g} requests a second"
    return "1 stream a lane" if level == 1 else f"{level:g} streams a lane"


def _table(summary: Summary, level: Level) -> list[Cells]:
    return [_head(summary), *(_row(lane, summary, level) for lane in level.lanes.values())]


def _tails(summary: Summary) -> list[str]:
    """The percentiles beyond the median that are shown: those for which any lane has enough requests."""
    return [at for at in ("p95", "p99") if at not in _too_few(summary)]


def _too_few(summary: Summary) -> dict[str, int]:
    """The other ones, and how many requests they need."""
    found = [lane.figures["ttft"].all for level in summary.levels for lane in level.lanes.values()]
    needed = {
        at: max((one[at].needs or 0 for one in found), default=0)
        for at in ("p95", "p99")
        if all(one[at].estimate is None for one in found)
    }
    return {at: number for at, number in needed.items() if number}


def _head(summary: Summary) -> Cells:
    whole = "response p50" if summary.open_loop else "e2e p50"
    goodput = ("goodput",) if summary.objectives else ()
    opening = ("connect p50", "TLS p50") if summary.fresh_connections else ()
    change = ("difference",) if summary.baseline else ()
    return (
        "lane",
        "done",
        "failed",
        *change,
        *opening,
        "TTFT p50",
        "95 % CI",
        *_tails(summary),
        whole,
        "ITL p50",
        METRICS["tps_user"].short,
        ALL_TOKENS,
        *goodput,
    )


def _row(lane: LaneSummary, summary: Summary, level: Level) -> Cells:
    ttft = lane.figures["ttft"].all
    whole = lane.figures["response" if summary.open_loop else "e2e"].all["p50"]
    mark = "~" if lane.estimated else ""
    speed = lane.figures["tps_user"].all["p50"].estimate
    goodput = ("" if lane.goodput is None else f"{lane.goodput:.3g}/s",) if summary.objectives else ()
    opening = (seconds(lane.connect), seconds(lane.tls)) if summary.fresh_connections else ()
    return (
        one_line(lane.name, 40),
        str(lane.finished),
        str(lane.requests - lane.finished),
        *((_change(lane.name, level, summary.baseline),) if summary.baseline else ()),
        *opening,
        _quantile(ttft["p50"]),
        _range(ttft["p50"]),
        *(_quantile(ttft[at]) for at in _tails(summary)),
        _quantile(whole),
        _quantile(lane.figures["itl"].all["p50"]),
        "" if speed is None else f"{mark}{speed:.1f}",
        "" if summary.takes_turns(level.level) or lane.tps_total is None else f"{mark}{lane.tps_total:.1f}",
        *goodput,
    )


def _change(lane: str, level: Level, baseline: str) -> str:
    """The difference of the lane's main metric from the baseline's, if there is a verdict."""
    if lane == baseline:
        return "baseline"
    found = next((c for c in level.comparisons if c.first == lane), None)
    if found is None or found.verdict == "withheld":
        return "" if found is None else "no verdict"
    ratio = found.difference.ratio.estimate
    return "none" if found.verdict == "none" or ratio is None else f"{100 * (ratio - 1):+.0f} %"


def _quantile(interval: Interval) -> str:
    if interval.estimate is None and interval.needs and interval.n:
        return f"needs {interval.needs}"
    return seconds(interval.estimate)


def _range(interval: Interval) -> str:
    if interval.low is None or interval.high is None or isinf(interval.low):
        return ""
    low, high = seconds(interval.low), seconds(interval.high)
    same = low.rpartition(" ")[2] == high.rpartition(" ")[2]
    return f"{low.rpartition(' ')[0] if same and interval.high < inf else low}-{high}"


def _errors(lanes: Mapping[str, LaneSummary]) -> list[str]:
    return [
        f"  {one_line(lane.name, 40)}: {errors.count} x {errors.kind}: {one_line(errors.sample, 160)}"
        for lane in lanes.values()
        for errors in lane.errors
    ]


def align(rows: Sequence[Cells]) -> list[str]:
    """The rows as columns: names to the left, figures to the right. Columns that are empty are left out."""
    filled = _drop_empty(rows)
    widths = [max(map(len, column)) for column in zip(*filled, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in filled
    ]


def _drop_empty(rows: Sequence[Cells]) -> list[Cells]:
    """The rows without the columns that are empty but for their heads."""
    return list(zip(*(column for column in zip(*rows, strict=True) if any(column[1:])), strict=True))


def _cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _safe(sentence: str) -> str:
    """A sentence as one line that a terminal may be given: lanes have any names."""
    return " ".join(sanitise(sentence).split())


def _escape(sentence: str) -> str:
    """The same for a Markdown document, however long it is."""
    return " ".join(map(escape, _safe(sentence).split()))
