"""A prompt's fan-out, run and shown: live while it lasts, its answer on stdout, the rest on stderr."""

import shutil
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import trio

from fanout import Run, Status, Timeouts, open_fanout
from fanout.abc import Policy
from fanout.cli import ANSWERED, DEADLINE, FAILED, PARTLY, advice, stdout, stop
from fanout.cli.options import Choices
from fanout.cli.screen import Screen, say, screen_for
from fanout.errors import TimedOut
from fanout.events import End
from fanout.formats import Output, summary
from fanout.formats.json import Json
from fanout.formats.jsonl import JsonLines
from fanout.formats.markdown import Markdown
from fanout.formats.plain import Plain
from fanout.formats.summary import Who
from fanout.formats.text import Headed, Raw, Text
from fanout.prompt import Prompt

FRAME = 0.1
"""Seconds between two pictures."""


def show(choices: Choices, plan_of: Callable[[list[str]], Policy], who: Who = "winner") -> int:
    """Asks as `choices` say and returns the exit code; `who` says whose answers count."""
    plan = plan_of(choices.specs())
    prompt = choices.prompt()
    output = output_for(choices, prompt, who)
    return stop.run(partial(_show, plan, prompt, choices, output, who))


async def _show(plan: Policy, prompt: Prompt, choices: Choices, output: Output, who: Who) -> int:
    async with open_fanout(prompt, plan, **_settings(choices)) as f:
        if not choices.lanes and not choices.quiet:
            say(
                f"asking the embedded model in {len(f.lanes)} lanes: {', '.join(f.lanes)}; others: -m, fanout providers"
            )
        with screen_for(f.lanes, choices.output, quiet=choices.quiet) as screen:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_redraw, screen, f.started)
                await _follow(f, screen, output)
                nursery.cancel_scope.cancel()
        # Before the block is left: taking down a local model takes a moment.
        run = f.run
        await stdout.write(output.run(run))
        _sum_up(run, choices, who)
    return exit_code(run, who, strict=choices.strict)


async def _redraw(screen: Screen, started: float) -> None:
    while True:
        if not screen.away:
            screen.draw(trio.current_time() - started)
        await trio.sleep(FRAME)


async def _follow(f: Any, screen: Screen, output: Output) -> None:
    """Shows every event, and prints what is due, until all lanes have ended."""
    async for tagged in f:
        screen.event(tagged)
        text = output.event(tagged)
        if isinstance(tagged.event, End):
            run = f.run
            text += output.answer(run[tagged.lane])
            if run.winner:
                screen.won(run.winner.lane)
        if text:
            # A slow terminal takes an answer in pieces; no picture may come between them.
            with screen.held():
                await stdout.write(text)


def output_for(choices: Choices, prompt: Prompt, who: Who) -> Output:
    """The format that the user chose, or that suits where stdout goes."""
    if choices.output == "raw":
        if who != "winner":
            raise click.UsageError("--raw is for one answer; use race, or --json for several")
        if sys.stdout.isatty():
            raise click.UsageError("--raw is not for a terminal, which would obey what the model says; redirect it")
        return Raw()
    terminal = sys.stdout.isatty()
    made: dict[str, Callable[[], Output]] = {
        "json": Json,
        "jsonl": JsonLines,
        "markdown": lambda: Markdown(prompt.messages[-1].text),
        "plain": lambda: Plain(who),
        "text": lambda: Text(who),
        "headed": lambda: Headed(min(shutil.get_terminal_size().columns - 1, 100)),
    }
    usual = "text" if choices.quiet or (terminal and who == "winner") else "headed" if terminal else "plain"
    return made[choices.output or usual]()


def exit_code(run: Run, who: Who, *, strict: bool) -> int:
    """What the run comes to: answered, all failed, some failed if that counts, or out of time."""
    if not summary.counted(run, who):
        late = [a for a in run.answers if isinstance(a.error, TimedOut) and a.error.clock == "deadline"]
        return DEADLINE if late else FAILED
    failed = any(answer.status in (Status.FAILED, Status.TIMED_OUT) for answer in run.answers)
    return PARTLY if strict and failed else ANSWERED


def _sum_up(run: Run, choices: Choices, who: Who) -> None:
    """Says on stderr how each lane did, and if none answered, why and what to do."""
    if not summary.counted(run, who):
        click.echo(f"fanout: {'too few lanes' if who == 'quorum' else 'no lane'} answered", err=True)
        for answer in run.answers:
            if answer.error:
                click.echo(f"  {advice.failure(answer, answer.error)}", err=True)
                if answer.text:
                    click.echo(f"    {len(answer.text)} characters of text had come; --json shows them", err=True)
    elif not choices.quiet:
        if sys.stdout.isatty() and sys.stderr.isatty():
            say("")
        for line in summary.lines(run):
            say(line)


def _settings(choices: Choices) -> dict[str, Any]:
    return {
        "timeouts": Timeouts(
            connect=choices.connect,
            first=choices.first,
            idle=choices.idle,
            total=choices.timeout,
            min_tps=choices.min_tps,
        ),
        "retries": choices.retries,
        "on_lose": choices.on_lose,
        "deadline": choices.deadline,
    }
