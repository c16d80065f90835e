"""The command `fanout`: one verb a file, imported when it is asked for, so that `--help` imports none."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fanout import __version__
from fanout.errors import FanoutError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VERBS = {
    "race": "First good answer wins, the other lanes are stopped.",
    "compare": "Every lane answers; the answers come side by side.",
    "hedge": "A race whose next lane starts only when the one before is slow.",
    "fallback": "One lane at a time; the next one when it fails.",
    "fastest": "A fallback that begins with the lane that was fastest lately.",
    "quorum": "The first K answers are enough.",
    "consensus": "The answer that most lanes give.",
    "best": "A judge says whose answer is the best.",
    "fuse": "A judge writes one answer from those of the lanes.",
    "ask": "A group or a lane of fanout.toml, by its name.",
    "serve": "The gateway: any client may ask lanes and races.",
    "bench": "Measure lanes under load, and say whether differences are real.",
    "sim": "Try policies on made-up services, in virtual time.",
    "log": "The runs of bench that are kept: list, show, export, delete.",
    "models": "What models there are; `models pull` fetches the embedded one.",
    "providers": "What providers there are, and which keys or logins are set.",
    "keys": "Where keys come from; check them, set or unset one.",
    "login": "Log in to a service with a browser, and keep the login.",
    "auth": "Which logins are kept; import, check or delete one.",
    "completion": "Completion for bash, zsh and fish.",
}

ANSWERED, FAILED, USAGE, PARTLY, DEADLINE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 124, 130, 141
"""The exit codes; the last two are what a shell makes of SIGINT and SIGPIPE."""


_COMPLETE = "_FANOUT_COMPLETE"
"""The variable in which a shell asks for completions; see `shells`."""

MESSAGE_LENGTH = 2000
"""Characters of what is said of a mistake."""


class Verbs(click.Group):
    """The verbs; a verb's module is imported when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of VERBS."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, which its module holds under the verb's own name."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(import_module(f"fanout.cli.{cmd_name}"), cmd_name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """The verbs with their short help, without importing them, and the options."""
        from click.shell_completion import CompletionItem

        verbs = [CompletionItem(verb, help=help_) for verb, help_ in VERBS.items() if verb.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the verbs into the help without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the verb; an unknown one is answered with the nearest, or with how to put a prompt."""
        if args[0] in VERBS or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        from difflib import get_close_matches

        near = get_close_matches(args[0], VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else "to put a prompt, write fanout race PROMPT"
        raise click.UsageError(f"there is no verb {args[0]!r}; {hint}", ctx)


@click.group(cls=Verbs, subcommand_metavar="VERB ...", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fanout")
def fanout() -> None:
    """One prompt to several LLM providers at once.

    A lane is written PROVIDER/MODEL, as in -m groq/llama-3.3-70b-versatile. Without -m, three lanes of the embedded
    model answer: no key, no network.

    The answer goes to stdout, everything else to stderr. Exit codes: 0 answered, 1 all lanes failed, 2 usage, 3 some
    failed (with --strict), 124 deadline, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; a mistake or a stop is one line, never a traceback."""
    if arguments is None and threading.current_thread() is threading.main_thread():
        # Until Trio takes over, and at a second signal, the process ends without an exception: raised in the middle of
        # an import it could crash an extension module that is just initialising. What nohup ignores stays ignored.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, _leave)
    # A closed descriptor makes these None, which hardly anything that prints expects.
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # open to the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # open to the end
    if os.environ.get(_COMPLETE):
        from fanout.cli.shells import register

        register()
    try:
        try:
            code = fanout.main(arguments, prog_name="fanout", standalone_mode=False)
        except (EOFError, KeyboardInterrupt):  # while click was saying that it was interrupted
            return INTERRUPTED
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as help_text:
        help_text.show()
        return USAGE
    except BaseException as error:  # noqa: ASYNC103  # Ctrl-C and groups too: each has its exit code
        code = _code_for(list(_leaves(error)))
        if code is None:
            raise
    return int(code or ANSWERED)


def _leave(number: int, _: object) -> None:
    from fanout.cli import pictures

    pictures.give_cursor_back()
    with suppress(OSError):  # a terminal that is gone
        os.write(2, b"fanout: interrupted\n")
    os._exit(128 + number)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yields the errors within the groups that Trio wraps them into."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _code_for(errors: list[BaseException]) -> int | None:
    """Says what the user can do something about, and returns the exit code; None is a bug."""
    for error in errors:
        if isinstance(error, (KeyboardInterrupt, click.Abort)):
            return INTERRUPTED
        if isinstance(error, BrokenPipeError):
            # What is left in the buffer would raise again when Python flushes it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return BROKEN_PIPE
    for error in errors:
        if isinstance(error, (click.ClickException, FanoutError)):
            return _say(error)
        if isinstance(error, OSError):
            click.echo(f"fanout: {_line(str(error))}", err=True)
            return FAILED
    return None


def _say(error: click.ClickException | FanoutError) -> int:
    message = error.format_message() if isinstance(error, click.ClickException) else str(error)
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx:
        hint = f" ({error.ctx.command_path} --help)"
    click.echo(f"fanout: {_line(message).removesuffix('.')}{hint}", err=True)
    return USAGE if isinstance(error, (click.UsageError, UsageError)) else FAILED


def _line(message: str) -> str:
    """The message as one line that cannot command the terminal: it may quote a file that somebody else wrote."""
    from fanout.formats.summary import one_line

    return one_line(message, MESSAGE_LENGTH)
