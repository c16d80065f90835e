"""The options that all verbs with a prompt share, and what becomes of them."""

import re
import sys
from collections.abc import Callable, Container, Sequence
from functools import reduce, wraps
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import click
from attrs import frozen

from fanout import Media, Message, Prompt, Timeouts
from fanout.cli import stdin
from fanout.cli.names import complete_file, complete_lane
from fanout.errors import UsageError
from fanout.settings import Setting, clock, duration, pace, settings_of
from fanout.storage.places import expand_home

Command = Callable[..., Any]
T = TypeVar("T")


@frozen
class Choices:
    """The user's choices; None or empty: left to the engine."""

    words: tuple[str, ...] = ()
    lanes: tuple[str, ...] = ()
    system: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    attachments: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    no_stdin: bool = False
    timeouts: Timeouts = Timeouts()
    deadline: float = inf
    on_lose: str = "cancel"
    retries: int | None = None
    schema: Any = None
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

        Where none is given, those of the run `before`, if there was one, or else the usual ones. Raises UsageError.
        """
        from fanout import catalog
        from fanout.catalog.config import load
        from fanout.catalog.spec import add_options

        given = [spec for text in self.lanes for spec in split_lanes(text, known_names())]
        if self.lanes and not given:
            raise click.UsageError("-m names no lane")
        if given:
            return [add_options(spec, self.options) for spec in given]
        config = load()
        usual = before or catalog.find_default_lanes(config)
        specs = [add_options(without(spec, self.options), self.options) for spec in usual]
        if not before and config.defaults.lanes:
            for spec in specs:
                catalog.check_default_lane(spec, config)
        return specs

    def prompt(self) -> Prompt:
        """The prompt: the argument, the files in their order, and standard input where it is a pipe.

        Empty lines stand between them.

        Raises UsageError, and TimedOut where standard input lasts beyond the deadline.
        """
        parts = [" ".join(self.words), *(_text(_read_file(name), name) for name in self.files if name != "-")]
        piped = self._read_stdin(other=any(part.strip() for part in parts))
        at = self.files.index("-") + 1 if "-" in self.files else len(parts)
        parts.insert(at, piped)
        text = "\n\n".join(part for part in parts if part.strip())
        if not text:
            raise click.UsageError("there is no prompt: give it as an argument, with -f FILE, or on standard input")
        media = tuple(
            Media(url=a) if a.startswith(("http://", "https://")) else Media.from_file(a) for a in self.attachments
        )
        return Prompt.of([Message("user", text, media)], self.system)

    def _read_stdin(self, *, other: bool) -> str:
        """Returns the text of standard input, where it is read; `other` says that there is a prompt besides."""
        if "-" in self.files:
            if self.no_stdin or self.files.count("-") > 1:
                raise click.UsageError("-f - reads standard input, once; leave out --no-stdin and the second -f -")
            if sys.stdin is None or sys.stdin.closed:
                raise click.UsageError("-f -: standard input is closed")
        elif self.no_stdin or not stdin.is_there():
            return ""
        wait = inf if "-" in self.files or not other else min(stdin.PATIENCE, self.deadline / 2)
        return _text(stdin.read(self.deadline, wait) or b"", "standard input")


def seconds(text: str) -> float:
    """A clock: 0.8, 0.8s, 800ms or 2m; `off` is for ever."""
    return _parse(clock, text)


def delay(text: str) -> float:
    """A time from 0 on: 0.8, 0.8s, 800ms or 2m."""
    return _parse(duration, text)


def delay_or_percentile(text: str) -> float | str:
    """A delay, or a percentile, p95, by which it is learnt."""
    return _parse(pace, text)


def _parse(parse: Callable[[str], T], text: str) -> T:
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


def known_names() -> frozenset[str]:
    """The names that are lanes as they stand: lanes and groups of fanout.toml, and providers that need no model."""
    from fanout import catalog
    from fanout.catalog.config import load

    config = load()
    alone = (row.name for row in catalog.providers() if row.default_model or row.any_model)
    broken = (name.partition(".")[2] for name in config.broken)
    return frozenset((*config.lanes, *config.groups, *broken, *alone))


def split_lanes(text: str, known: Container[str] = ()) -> list[str]:
    """The lanes of a comma list: `a/x,b/y`, and with options `a/x?stop=1,2,b/y`.

    After a `?` a comma opens a lane where a PROVIDER/ or a name among those `known` follows, and belongs to the value
    before it otherwise.
    """
    lanes: list[str] = []
    for piece in text.split(","):
        if lanes and "?" in lanes[-1] and not (_OPENS_A_LANE.match(piece) or _name_of(piece) in known):
            lanes[-1] += f",{piece}"
        else:
            lanes.append(piece)
    return [lane.strip() for lane in lanes if lane.strip()]


def _name_of(piece: str) -> str:
    """The name that a spec without a model begins with, without its label."""
    return piece.partition("?")[0].rpartition("=")[2].strip()


def without(spec: str, options: tuple[tuple[str, str], ...]) -> str:
    """The spec without what it sets itself of these options."""
    head, _, query = spec.partition("?")
    keys = {key for key, _ in options}
    kept = [pair for pair in query.split("&") if pair.partition("=")[0] not in keys]
    return f"{head}?{'&'.join(kept)}" if kept and query else head


def _read_file(name: str) -> bytes:
    try:
        return expand_home(name).read_bytes()
    except OSError as error:
        raise click.UsageError(f"-f {name}: {error.strerror}") from None


def _text(data: bytes, source: str) -> str:
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))  # as PowerShell writes files
    try:
        return data.decode("utf-16" if wide else "utf-8-sig").strip("\r\n")
    except UnicodeDecodeError:
        raise click.UsageError(f"{source} is not text in UTF-8") from None


_OUTPUTS = {
    "json": "One JSON object when all is over.",
    "jsonl": "One JSON object a line for every event, then the run.",
    "plain": "Plain text, also on a terminal: [lane] text, or what the winner said.",
    "markdown": "A Markdown document.",
    "raw": "The winner's text exactly as it came; not for a terminal.",
}


def _take_one(_ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Returns the value of an option that is taken once: click would drop all but the last without a word."""
    if len(values) > 1:
        raise click.UsageError(f"{param.opts[0]} is given {len(values)} times; it is taken once")
    return values[0] if values else None


def _read_schema(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    """Returns the JSON schema that a file or the short form is. Raises UsageError."""
    if value is None:
        return None
    from fanout.schema.forms import read_given

    return read_given(value)


OF_EVERY_LANE = (
    click.option("-s", "--system", multiple=True, callback=_take_one, help="The system prompt."),
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
        "-f", "--file", "files", multiple=True, metavar="FILE", shell_complete=complete_file,
        help="The prompt, or what belongs to it, from a file; repeat it. - is standard input, in its place.",
    ),
    click.option("--no-stdin", is_flag=True, help="Do not read standard input, also where it is a pipe."),
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
    click.option(
        "--schema", metavar="FILE|FIELDS", callback=_read_schema, shell_complete=complete_file,
        help="What answers must be: a JSON schema's file, or 'name: str, age: int'; the first valid one wins.",
    ),
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


JUDGE = click.option("--judge", metavar="LANE", shell_complete=complete_lane, help="Who judges: a lane or a group.")
"""The judge, for verbs that may do without one."""

_JUDGED: list[Callable[[Command], Command]] = [
    click.option(
        "--judge", metavar="LANE", required=True, shell_complete=complete_lane, help="Who judges: a lane or a group."
    ),
    click.option("--criteria", metavar="TEXT", help="What makes an answer good, in words."),
    click.option("--enough", type=click.IntRange(1), metavar="K", help="The answers that are enough; all but one."),
    click.option("--grace", type=delay, metavar="SECONDS", help="How long the others have then; a fifth of the time."),
]


def add_judge(command: Command) -> Command:
    """Gives a verb the options of a judge, who is told of the answers when enough of them have come."""
    return reduce(lambda function, option: option(function), reversed(_JUDGED), command)


ON = click.option(
    "--on",
    type=click.Choice(["finish", "first_token", "first_thought"]),
    default="finish",
    show_default=True,
    help="What wins: a finished answer, the first piece of one, or a thought before it.",
)
