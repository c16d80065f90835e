"""What a benchmark looks like while it runs: a table on a terminal, a line now and then elsewhere, or nothing."""

import os
import sys
from collections.abc import Sequence
from math import isfinite
from typing import Self

import click
import trio

from fanout.bench.load.loop import Load
from fanout.bench.report.console import aligned, seconds
from fanout.cli.screen import region
from fanout.formats.summary import one_line

FRAME = 0.5
"""Seconds between two pictures: drawing takes processor time from measuring."""

INTERVAL = 10.0
"""Seconds between two lines where there is no terminal."""

BLOCKS = "▁▂▃▄▅▆▇█"


class Board:
    """Shows nothing."""

    def __init__(self, load: Load) -> None:
        self.load = load

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.clear()

    async def redraw(self) -> None:
        """Shows how the load stands, until cancelled."""
        await trio.sleep_forever()

    def clear(self) -> None:
        """Takes the picture away."""


class Lines(Board):
    """A line on stderr now and then."""

    async def redraw(self) -> None:
        """Writes a line."""
        while True:
            await trio.sleep(INTERVAL)
            click.echo(line(self.load), err=True)


class Live(Board):
    """A table on stderr, drawn over itself."""

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        from rich.console import Console

        self._recent: dict[str, list[float]] = {}
        self._console = Console(stderr=True, highlight=False)
        self._region = region(self._console)

    async def redraw(self) -> None:
        """Draws the table twice a second."""
        from rich.text import Text

        while True:
            await trio.sleep(FRAME)
            self._region.start()
            width = max(self._console.size.width - 2, 1)  # a Ctrl-C is echoed as two characters
            text = "\n".join(row[:width] for row in table(self.load, self._recent))
            self._region.update(Text(text, no_wrap=True, overflow="crop"), refresh=True)

    def clear(self) -> None:
        """Takes the table away and gives the cursor back."""
        self._region.stop()


def board_for(load: Load, *, quiet: bool) -> Board:
    """What suits where stderr goes."""
    if quiet:
        return Board(load)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Live(load)
    return Lines(load)


def line(load: Load) -> str:
    """How the load stands, in one line."""
    lanes = (
        f"{one_line(name, 30)} {tally.done} done, {tally.errors} failed, TTFT p50 {seconds(tally.ttft) or '-'}"
        for name, tally in load.tallies.items()
    )
    return f"{head(load)}: {'; '.join(lanes)}"


def table(load: Load, recent: dict[str, list[float]]) -> list[str]:
    """How the load stands, as a table; `recent` are the medians of the last pictures, by lane."""
    rows = [("lane", "done", "failed", "in flight", "waiting", "TTFT p50", "", "CI", "tok/s")]
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
    return [head(load), *aligned(rows)]


def head(load: Load) -> str:
    """What goes on, for how long, and how long it may yet take."""
    elapsed = trio.current_time() - load.level_began
    parts = [f"{load.state or 'starting'}, {elapsed:.0f} s"]
    if (left := time_left(load, elapsed)) is not None:
        most = "at most" if load.limits.precision else "about"
        parts.append(f"{most} {left:.0f} s left" if left >= 1 else "ending")
    if load.spent:
        parts.append(f"{load.spent:.4f} USD")
    return ", ".join(parts)


def time_left(load: Load, elapsed: float) -> float | None:
    """Seconds until the level is over at the present speed; None where nobody can say."""
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
