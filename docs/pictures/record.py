"""Records README's picture: a real race on a real terminal, as an SVG that moves.

    python docs/pictures/record.py        # needs pyte, as the tests do

The command runs on a terminal of its own, against services on this machine that say the same words at the same pace
every time (tests/servers/voices.py). What it writes is played into a terminal emulator, and each state of the screen
becomes a picture of a film, which one CSS animation moves. No script, nothing from elsewhere, and a still picture where
the reader wants no motion.
"""

import argparse
import fcntl
import os
import struct
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import pyte
import trio
from attrs import define, evolve, field, frozen

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.servers.voices import open_voices

ROOT = Path(__file__).parents[2]
PICTURE = Path(__file__).with_name("race.svg")
COLUMNS, ROWS = 100, 11
CONFIG = """
[lanes]
fast.spec = "openai/gpt-5-mini"
careful.spec = "anthropic/claude-haiku-4-5"
broke.spec = "openai/broke"
"""
COMMAND = ("fanout", "race", "-m", "fast,careful,broke", "Why is the sky blue?")
SHOWN = 'fanout race -m fast,careful,broke "Why is the sky blue?"'

TYPING = 0.12
"""Seconds a piece of the command takes to type."""

STILL = 5.0
"""Seconds for which the last picture stands."""

SETTLED = 0.02
"""Seconds of silence after which the screen is not in the middle of being drawn."""

WIDE, HIGH, FONT = 8.4, 18, 14
"""Pixels of a cell, and of its letters."""

INSET = 16

PALETTE = {
    "default": ("#d0d7de", "#1f2328"),
    "brightblack": ("#8b949e", "#656d76"),
    "red": ("#ff7b72", "#cf222e"),
    "green": ("#56d364", "#1a7f37"),
    "cyan": ("#39c5cf", "#1b7c83"),
    "white": ("#ffffff", "#24292f"),
}
"""Colours of the terminal, on dark and on light."""

GROUND = ("#0d1117", "#f6f8fa")
EDGE = ("#30363d", "#d0d7de")


@frozen
class Written:
    """The writes to the terminal, and their times in seconds."""

    at: float
    data: bytes


@frozen
class Run:
    """A piece of a row in one style, from a column on."""

    column: int
    text: str
    colour: str
    bold: bool


Row = tuple[Run, ...]


@frozen
class Frame:
    """The screen from a moment on, in seconds."""

    at: float
    rows: tuple[Row, ...]


async def record(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> list[Written]:
    """Runs a command on a terminal of its own, and returns all that it wrote."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    written: list[Written] = []
    zero = trio.current_time()

    async def read() -> None:
        async with trio.lowlevel.FdStream(master) as stream:
            while True:
                data = await stream.receive_some()
                written.append(Written(trio.current_time() - zero, data))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.run_process(
            [sys.executable, "-m", *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )
        await trio.sleep(0.2)  # what was written last is still on its way through the terminal
        nursery.cancel_scope.cancel()
    os.close(slave)
    return written


async def record_race() -> list[Written]:
    """Returns what a race wrote, after the command was typed."""
    typed = list(_type(SHOWN))
    with TemporaryDirectory() as home:
        place = Path(home)
        (place / "fanout.toml").write_text(CONFIG, "utf-8")
        async with open_voices() as voices:
            environment = {
                **os.environ,
                **voices.environment,
                "HOME": home,
                "XDG_CONFIG_HOME": home,
                "XDG_STATE_HOME": home,
                "TERM": "xterm-256color",
                "LC_ALL": "C.UTF-8",
                "PYTHONPATH": str(ROOT),
            }
            ran = await record(COMMAND, environment, place)
    begin = typed[-1].at + 0.3
    # The start of Python is not what is shown here: the race begins at the first thing that is written.
    return [*typed, *(evolve(each, at=each.at - ran[0].at + begin) for each in ran)]


def _type(command: str) -> Iterator[Written]:
    yield Written(0.0, b"$ ")
    pieces = [word + " " for word in command.split(" ")]
    pieces[-1] = pieces[-1].rstrip() + "\r\n"
    for number, piece in enumerate(pieces, 1):
        yield Written(0.6 + TYPING * number, piece.encode())


def play(written: Sequence[Written]) -> list[Frame]:
    """Plays into a terminal what was written, and returns the screen's states."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    frames: list[Frame] = []
    for number, each in enumerate(written):
        # pyte knows no faint letters; bright black stands for them.
        stream.feed(each.data.replace(b"\x1b[2m", b"\x1b[90m"))
        later = written[number + 1].at if number + 1 < len(written) else each.at + 1
        rows = tuple(tuple(_runs(screen, y)) for y in range(ROWS))
        if later - each.at > SETTLED and (not frames or rows != frames[-1].rows):
            frames.append(Frame(each.at, rows))
    return frames


def _runs(screen: pyte.Screen, y: int) -> Iterator[Run]:
    line = screen.buffer[y]
    cells = [line[x] for x in range(COLUMNS)]
    start = 0
    for x in range(1, COLUMNS + 1):
        if x < COLUMNS and _style(cells[x]) == _style(cells[start]):
            continue
        text = "".join(cell.data for cell in cells[start:x])
        bare = text.strip()
        if bare:
            yield Run(start + len(text) - len(text.lstrip()), bare, *_style(cells[start]))
        start = x


def _style(cell: pyte.screens.Char) -> tuple[str, bool]:
    return (cell.fg if cell.fg in PALETTE else "default", cell.bold)


@define
class Film:
    """The frames as one SVG: every row drawn once, and used in each picture that has it."""

    frames: Sequence[Frame]
    ids: dict[Row, str] = field(factory=dict)

    def svg(self) -> str:
        """Returns the whole document."""
        width, height = COLUMNS * WIDE + 2 * INSET, ROWS * HIGH + 2 * INSET
        strip = "".join(self._picture(number, frame) for number, frame in enumerate(self.frames))
        rows = "".join(f'<g id="{name}">{"".join(map(_letters, row))}</g>' for row, name in self.ids.items())
        inside = f'width="{COLUMNS * WIDE:g}" height="{ROWS * HIGH}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" width="{width:g}" '
            f'height="{height}" role="img">'
            f"<title>{escape(SHOWN)}</title>"
            f"<style>{self._style()}</style><defs>{rows}</defs>"
            f'<rect class="ground" x=".5" y=".5" width="{width - 1:g}" height="{height - 1}" rx="8"/>'
            f'<svg x="{INSET}" y="{INSET}" {inside}>'
            f'<g class="film" transform="translate(0 {self._still})">{strip}</g></svg></svg>\n'
        )

    @property
    def _still(self) -> int:
        """The place of the last frame with lanes side by side, for who sees no motion."""
        with_lanes = [
            i for i, frame in enumerate(self.frames) if any("╭" in run.text for row in frame.rows for run in row)
        ]
        return -with_lanes[-1] * ROWS * HIGH

    def _picture(self, number: int, frame: Frame) -> str:
        uses = "".join(
            f'<use href="#{self._id(row)}"{f" y={chr(34)}{y * HIGH}{chr(34)}" if y else ""}/>'
            for y, row in enumerate(frame.rows)
            if row
        )
        return f'<g transform="translate(0 {number * ROWS * HIGH})">{uses}</g>'

    def _id(self, row: Row) -> str:
        return self.ids.setdefault(row, f"r{len(self.ids)}")

    def _style(self) -> str:
        total = self.frames[-1].at + STILL
        last = (1 - len(self.frames)) * ROWS * HIGH
        steps = "".join(
            f"{100 * frame.at / total:.3f}%{{transform:translateY({-number * ROWS * HIGH}px)}}"
            for number, frame in enumerate(self.frames)
        )
        return (
            f"text{{font:{FONT}px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,'Liberation Mono',monospace}}"
            f".bold{{font-weight:bold}}{_colours(0)}"
            f"@media (prefers-color-scheme:light){{{_colours(1)}}}"
            f".film{{animation:film {total:.2f}s step-end infinite}}"
            f"@keyframes film{{{steps}to{{transform:translateY({last}px)}}}}"
            f"@media (prefers-reduced-motion:reduce){{.film{{animation:none}}}}"
        )


def _colours(ground: int) -> str:
    letters = "".join(f".{name}{{fill:{colours[ground]}}}" for name, colours in PALETTE.items())
    return f"{letters}.ground{{fill:{GROUND[ground]};stroke:{EDGE[ground]}}}"


def _letters(run: Run) -> str:
    # Fonts differ in width: each run is stretched to its cells, so that frames stay closed.
    kind = f"{run.colour} bold" if run.bold else run.colour
    text = escape(run.text, quote=False).replace("  ", "\u00a0\u00a0")  # SVG makes one space of several
    return (
        f'<text class="{kind}" x="{run.column * WIDE:g}" y="{FONT}" textLength="{len(run.text) * WIDE:g}" '
        f'lengthAdjust="spacingAndGlyphs">{text}</text>'
    )


def main() -> None:
    """Records the race and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PICTURE, metavar="FILE")
    options = parser.parse_args()
    svg = Film(play(trio.run(partial(record_race)))).svg()
    options.out.write_text(svg, "utf-8")
    print(f"{options.out}: {len(svg) // 1000} kB")


if __name__ == "__main__":
    main()
