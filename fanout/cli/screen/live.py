"""The picture of a run on a terminal while it goes on: columns, a line, or nothing."""

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from fanout.answers import estimate_tokens
from fanout.cli.pictures import Picture
from fanout.events import Delta, End, Reasoning, Started, Tagged

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live as Drawn


class Screen(Picture):
    """Shows nothing. It is told every event, and draws when it is asked to."""

    def event(self, tagged: Tagged) -> None:
        """Takes an event."""

    def mark_winner(self, lane: str) -> None:
        """Takes the name of the lane that has won."""

    def draw(self, now: float) -> None:
        """Draws the picture at `now`, in seconds after the prompt was put."""


class Line(Screen):
    """One line on stderr, for runs whose answer goes elsewhere; nothing in the first half second."""

    def __init__(self, lanes: Sequence[str]) -> None:
        self._lanes = len(lanes)
        self._running: set[str] = set()
        self._ended = 0
        self._counts: dict[str, tuple[int, int]] = {}
        self._shown = False

    def event(self, tagged: Tagged) -> None:
        """Counts what runs and what has come."""
        match tagged.event:
            case Started():
                self._running.add(tagged.lane)
            case Delta(text) | Reasoning(text):
                pieces, characters = self._counts.get(tagged.lane, (0, 0))
                self._counts[tagged.lane] = pieces + 1, characters + len(text)
            case End():
                self._running.discard(tagged.lane)
                self._ended += 1

    def draw(self, now: float) -> None:
        """Writes the line over the one before."""
        if now < 0.5:
            return
        running = f"{len(self._running)} of {self._lanes} lanes running"
        tokens = sum(estimate_tokens(*counts) for counts in self._counts.values())
        text = f"{running}, {self._ended} ended, ~{tokens} tok, {now:.1f} s"
        sys.stderr.write(f"\r{text[: _width() - 1]}\x1b[K")
        sys.stderr.flush()
        self._shown = True

    def clear(self) -> None:
        """Wipes the line."""
        if self._shown:
            with suppress(OSError):  # a terminal that is gone
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
            self._shown = False


class Region(Picture):
    """A part of the terminal that is drawn over when it is told to, and leaves nothing behind."""

    def __init__(self, console: "Console") -> None:
        self.console = console
        self._drawn: Drawn | None = None

    def show(self, picture: "RenderableType") -> None:
        """Draws the picture over the one before."""
        if self._drawn is None:
            self._drawn = _open_region(self.console)
            self._drawn.start()
        self._drawn.update(picture, refresh=True)

    def clear(self) -> None:
        """Takes it away, and gives the cursor back."""
        if self._drawn is not None:
            with suppress(OSError):  # a terminal that is gone
                self._drawn.stop()
            self._drawn = None  # one that begins again would draw over as many lines as it had, whatever they hold now


def _open_region(console: "Console") -> "Drawn":
    from rich.live import Live as Drawn

    return Drawn(
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        vertical_overflow="crop",
    )


class Live(Screen):
    """The lanes side by side, on stderr, or on stdout where only that is a terminal."""

    def __init__(self, lanes: Sequence[str]) -> None:
        from rich.console import Console

        from fanout.formats.columns import Columns

        self._columns = Columns(lanes)
        self._region = Region(Console(stderr=sys.stderr.isatty()))

    def event(self, tagged: Tagged) -> None:
        """Adds it to its lane."""
        self._columns.event(tagged)

    def mark_winner(self, lane: str) -> None:
        """Marks the lane."""
        self._columns.winner = lane

    def draw(self, now: float) -> None:
        """Draws the columns, a little smaller than the terminal at most."""
        width, height = self._region.console.size
        # The terminal echoes a Ctrl-C as two characters where the cursor is. If they began a new line, the way back
        # to the first line of the columns would be off by one; so it is on a region as high as the terminal.
        picture = self._columns.draw(max(width - 2, 1), max(height - 1, 1), now)
        self._region.show(picture)

    def clear(self) -> None:
        """Takes the columns away and gives the cursor back."""
        self._region.clear()


def screen_for(lanes: Sequence[str], output: str | None, *, quiet: bool) -> Screen:
    """The screen that suits where stdout and stderr go, and the format of what goes to stdout."""
    out, err = sys.stdout.isatty(), sys.stderr.isatty()
    if quiet or not (out or err) or os.environ.get("TERM") == "dumb":
        return Screen()
    if out and output is None:
        return Live(lanes)
    if err and not (out and output == "jsonl"):  # those lines are progress enough
        return Line(lanes)
    return Screen()


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


def table_width() -> int | None:
    """The cells that a line on stdout may take; None where that is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def line_width() -> int | None:
    """The cells that a line on stderr may take; None where that is no terminal."""
    return _width() if sys.stderr.isatty() else None


_STYLES: dict[str, dict[str, Any]] = {
    "plain": {"dim": True},
    "winner": {"fg": "green", "bold": True},
    "failed": {"fg": "red"},
}


def say(text: str, style: str = "plain") -> None:
    """Prints a line on stderr, paler than the answer, or as a winner or a failure should look."""
    click.echo(click.style(text, **_STYLES[style]) if "NO_COLOR" not in os.environ else text, err=True)
