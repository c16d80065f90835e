"""The picture of a benchmark while it runs: a table on a terminal, a line now and then elsewhere, or nothing."""

import os
import sys
from collections.abc import Sequence
from math import isfinite

import click
import trio

from fanout.bench.analysis.metrics import ALL_TOKENS
from fanout.bench.load.loop import Load
from fanout.bench.report.console import align, seconds
from fanout.bench.run import Board
from fanout.cli.screen.live import region
from fanout.formats.summary import one_line

FRAME_SECONDS = 0.5
"""The time between two pictures: drawing takes processor time from measuring."""

LINE_SECONDS = 10.0
"""The time between two lines, where there is no terminal."""

BLOCKS = "▁▂▃▄▅▆▇█"


def board_for(*, quiet: bool) -> Board | None:
    """The board that suits where stderr goes."""
    if quiet:
        return None
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return make_table_board()
    return show_lines


async def show_lines(load: Load) -> None:
    """Writes a line to stderr now and then."""
    while True:
        await trio.sleep(LINE_SECONDS)
        click.echo(line(load), err=True)


def make_table_board() -> Board:
    """Makes a board that draws a table on stderr, over itself. To be called before the load: it imports rich."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    shown = region(console)

    async def show(load: Load) -> None:
        recent: dict[str, list[float]] = {}
        try:
            while True:
                await trio.sleep(FRAME_SECONDS)
                shown.start()
                width = max(console.size.width - 2, 1)  # a Ctrl-C is echoed as two characters
                text = "\n".join(row[:width] for row in table(load, recent))
                shown.update(Text(text, no_wrap=True, overflow="crop"), refresh=True)
        finally:
            shown.stop()  # also gives the cursor back

    return show


def line(load: Load) -> str:
    """The state of the load in one line."""
    lanes = (
        f"{one_line(name, 30)} {tally.done} done, {tally.errors} failed, TTFT p50 {seconds(tally.ttft) or '-'}"
        for name, tally in load.tallies.items()
    )
    return f"{head(load)}: {'; '.join(lanes)}"


def table(load: Load, recent: dict[str, list[float]]) -> list[str]:
    """The state of the load as a table; `recent` are the medians of the last pictures, by lane."""
    rows = [("lane", "done", "failed", "in flight", "waiting", "TTFT p50", "", "CI", ALL_TOKENS)]
    for name, tally in load.tallies.items():
        past = recent.setdefault(name, [])
        if tally.ttft is not None and isfinite(tally.ttft):
            past[:] = [*past[-11:], tally.ttft]
        rate = tally.rate(trio.current_time())
        rows.append(
            (
                one_line(name, 40),
                str(tally.done),
                str(tally.errors),
                str(tally.in_flight),
                str(tally.waiting) if tally.waiting else "",
                seconds(tally.ttft),
                sparkline(past),
                f"+-{100 * tally.precision:.0f} %" if tally.done and isfinite(tally.precision) else "",
                "" if rate is None else f"{'~' if tally.estimated else ''}{rate:.1f}",
            )
        )
    return [head(load), *align(rows)]


def head(load: Load) -> str:
    """The level of load, its time so far, and the time it may yet take."""
    elapsed = trio.current_time() - load.level_began
    parts = [f"{load.state or 'starting'}, {elapsed:.0f} s"]
    if (left := time_left(load, elapsed)) is not None:
        most = "at most" if load.limits.precision else "about"
        parts.append(f"{most} {left:.0f} s left" if left >= 1 else "ending")
    if load.spent:
        parts.append(f"{load.spent:.4f} USD")
    return ", ".join(parts)


def time_left(load: Load, elapsed: float) -> float | None:
    """Seconds until the level is over at the present speed; None where that cannot be told."""
    ends = []
    if load.limits.seconds is not None:
        ends.append(max(0.0, load.limits.seconds - elapsed))
    least = min((tally.done for tally in load.tallies.values()), default=0)
    if load.limits.requests is not None and least:
        ends.append(elapsed / least * (load.limits.requests - least))
    return min(ends, default=None)


def sparkline(values: Sequence[float]) -> str:
    """The values as a row of blocks, the least as the lowest."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(BLOCKS[int((value - low) / span * (len(BLOCKS) - 1))] for value in values)
