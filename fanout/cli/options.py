"""The options that all verbs with a prompt share, and what becomes of them."""

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import reduce, wraps
from math import inf
from pathlib import Path
from select import select
from typing import Any

import click
from attrs import frozen

from fanout import Media, Message, Prompt, Timeouts
from fanout.cli.names import complete_file, complete_lane
from fanout.errors import UsageError
from fanout.settings import Setting, clock, duration, settings_of
from fanout.storage.places import expand_home

Command = Callable[..., Any]

PATIENCE = 1.0
"""Seconds of silence on standard input before the user is told that it is waited for."""


@frozen
class Choices:
    """The user's choices; None or empty: left to the engine."""

    words: tuple[str, ...] = ()
    lanes: tuple[str, ...] = ()
    system: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    attachments: tuple[str, ...] = ()
    file: str | None = None
    timeouts: Timeouts = Timeouts()
    deadline: float = inf
    on_lose: str = "cancel"
    retries: int | None = None
    strict: bool = False
    transport: str | None = None
    login: str = "never"
    continued: bool = False
    no_save: bool = False
    save_files: Path | None = None
    output: str | None = None
    quiet: bool = False

    def specs(self, before: Sequence[str] = ()) -> list[str]:
        """The lanes as specs, with the options for all lanes in each.

        Where none is given, those of the run `before`, if there was one, or else three of the embedded model.
        """
        from fanout import catalog
        from fanout.catalog.spec import add_options

        given = [spec for text in self.lanes for spec in split_lanes(text)]
        if self.lanes and not given:
            raise click.UsageError("-m names no lane")
        if given:
            return [add_options(spec, self.options) for spec in given]
        usual = before or catalog.DEFAULT_LANES
        return [add_options(without(spec, self.options), self.options) for spec in usual]

    def prompt(self) -> Prompt:
        """The prompt: the argument, the file, and standard input where it is a pipe, joined by empty lines."""
        parts = [" ".join(self.words), _read_file(self.file) if self.file else _read_pipe()]
        text = "\n\n".join(part for part in parts if part.strip())
        if not text:
            raise click.UsageError("there is no prompt: give it as an argument, with -f FILE, or on standard input")
        media = tuple(
            Media(url=a) if a.startswith(("http://", "https://")) else Media.from_file(a) for a in self.attachments
        )
        return Prompt.of([Message("user", text, media)], self.system)


def seconds(text: str) -> float:
    """A clock: 0.8, 0.8s, 800ms or 2m; `off` is for ever."""
    return _parse(clock, text)


def delay(text: str) -> float:
    """A time from 0 on: 0.8, 0.8s, 800ms or 2m."""
    return _parse(duration, text)


def _parse(parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _reader_of(name: str, setting: Setting) -> Callable[[str], Any]:
    """A type of parameter that reads a setting as a lane spec does."""

    def read(text: str) -> Any:
        try:
            return setting.read(name, text)
        except UsageError as error:
            raise click.BadParameter(str(error)) from None

    return read


def flag_of(name: str, setting: Setting) -> str:
    """The option of the command that sets this."""
    return f"--{(setting.also or name).replace('_', '-')}"


def _help_of(one: Setting) -> str:
    return f"{one.help} Usually {f'{one.usual:g}' if one.usual else 'off'}."


CLOCK_FLAGS = {name: flag_of(name, one) for name, one in settings_of(Timeouts).items()}
"""The options that set a lane's clocks, by the clocks' names."""


_OPENS_A_LANE = re.compile(r"\s*([\w.-]+=)?[\w.-]+[/:]")


def split_lanes(text: str) -> list[str]:
    """The lanes of a comma list. After a `?` a comma opens a lane only where a PROVIDER/ follows: `a/x?stop=1,2,b/y`.

    So a value may hold commas, and a lane without a model (`local`) comes before those with options, or in its own -m.
    """
    lanes: list[str] = []
    for piece in text.split(","):
        if lanes and "?" in lanes[-1] and not _OPENS_A_LANE.match(piece):
            lanes[-1] += f",{piece}"
        else:
            lanes.append(piece)
    return [lane.strip() for lane in lanes if lane.strip()]


def without(spec: str, options: tuple[tuple[str, str], ...]) -> str:
    """The spec without what it sets itself of these options."""
    head, _, query = spec.partition("?")
    keys = {key for key, _ in options}
    kept = [pair for pair in query.split("&") if pair.partition("=")[0] not in keys]
    return f"{head}?{'&'.join(kept)}" if kept and query else head


def _read_file(name: str) -> str:
    if name == "-":
        if sys.stdin is None or sys.stdin.closed:
            raise click.UsageError("-f -: standard input is closed")
        return _text(_read_stdin(), "standard input")
    try:
        return _text(expand_home(name).read_bytes(), name)
    except OSError as error:
        raise click.UsageError(f"-f {name}: {error.strerror}") from None


def _read_pipe() -> str:
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return ""
    return _text(_read_stdin(), "standard input")


def _read_stdin() -> bytes:
    """All of standard input. A pipe that stays open and silent would hang us without a word: so there is one."""
    with suppress(OSError, ValueError):  # not everything that can be read can be waited for
        if not select([sys.stdin], [], [], PATIENCE)[0]:
            click.echo("fanout: waiting for standard input; </dev/null if there is none", err=True)
    return sys.stdin.buffer.read()


def _text(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError:
        raise click.UsageError(f"{source} is not text in UTF-8") from None


_OUTPUTS = {
    "json": "One JSON object when all is over.",
    "jsonl": "One JSON object a line for every event, then the run.",
    "plain": "Plain text, also on a terminal: [lane] text, or what the winner said.",
    "markdown": "A Markdown document.",
    "raw": "The winner's text exactly as it came; not for a terminal.",
}

OF_EVERY_LANE = (
    click.option("-s", "--system", help="The system prompt."),
    click.option(
        "-o", "--option", "options", nargs=2, multiple=True, metavar="KEY VALUE",
        help="An option for every lane, e.g. -o temperature 0.",
    ),
)  # fmt: skip
"""The options of what every lane is asked alike."""

TRANSPORT = click.option(
    "--transport", type=click.Choice(["curl", "httpx"]), help="What carries the requests; usually curl."
)

_SHARED: list[Callable[[Command], Command]] = [
    click.argument("words", nargs=-1, metavar="[PROMPT]"),
    click.option(
        "-m", "--model", "lanes", multiple=True, metavar="LANE", shell_complete=complete_lane,
        help="PROVIDER/MODEL, NAME=PROVIDER/MODEL or PROVIDER/MODEL?temperature=0&first=5; repeat it, or put commas.",
    ),
    *OF_EVERY_LANE,
    click.option(
        "-a", "--attach", "attachments", multiple=True, metavar="FILE|URL", shell_complete=complete_file,
        help="A picture, sound or file to send."
    ),
    click.option(
        "-f", "--file", metavar="FILE", shell_complete=complete_file,
        help="The prompt, or what belongs to it, from a file; - is stdin.",
    ),
    *(
        click.option(CLOCK_FLAGS[name], name, type=_reader_of(name, one), metavar=one.form.metavar, help=_help_of(one))
        for name, one in settings_of(Timeouts).items()
    ),
    click.option("--deadline", type=seconds, default="off", show_default=True, help="Longest time for all together."),
    click.option(
        "--on-lose", type=click.Choice(["cancel", "keep"]), default="cancel", show_default=True,
        help="Stop losers at once, or let them finish.",
    ),
    click.option("--retries", type=click.IntRange(0), metavar="N", help="How often a lane is tried again."),
    click.option("--strict", is_flag=True, help="Exit with 3 if any lane failed."),
    TRANSPORT,
    click.option(
        "--login", type=click.Choice(["never", "ask", "auto"]), default="never", show_default=True,
        help="Whether a lane without a login may open a browser for one: after asking you, or at once.",
    ),
    click.option(
        "-c", "--continue", "continued", is_flag=True,
        help="Go on from the last run that gave an answer, lane by lane; without -m, with its lanes.",
    ),
    click.option("--no-save", is_flag=True, help="Do not keep this run for -c."),
    click.option(
        "--save-files", type=expand_home, metavar="DIR", help="Save the files of the answers shown, overwriting none."
    ),
    *(click.option(f"--{name}", "output", flag_value=name, help=text) for name, text in _OUTPUTS.items()),
    click.option("-q", "--quiet", is_flag=True, help="The text alone, and nothing on stderr but failures."),
]  # fmt: skip


def add_choices(command: Command) -> Command:
    """Gives a verb the shared options, by the names of Choices."""

    @wraps(command)
    def choose(**values: Any) -> Any:
        clocks = {name: values.pop(name) for name in CLOCK_FLAGS}
        return command(**values, timeouts=Timeouts(**clocks))

    chosen: Command = choose
    return reduce(lambda function, option: option(function), reversed(_SHARED), chosen)


ON = click.option(
    "--on",
    type=click.Choice(["finish", "first_token", "first_thought"]),
    default="finish",
    show_default=True,
    help="What wins: a finished answer, the first piece of one, or a thought before it.",
)
