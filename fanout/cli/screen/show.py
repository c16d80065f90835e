"""A prompt's fan-out, run and shown: live while it lasts, its answer on stdout, the rest on stderr."""

import re
import shutil
import sys
from collections.abc import Callable, Container, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext, suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import click
import trio
from attrs import evolve, frozen

from fanout import History, Prompt, Run, Status, catalog, open_fanout, open_transport
from fanout.abc import Policy, Transport
from fanout.answers.certain import Certain
from fanout.api import Fanout
from fanout.catalog.config import Config, load
from fanout.cli import ANSWERED, DEADLINE, FAILED, PARTLY, stop
from fanout.cli.options import Choices
from fanout.cli.screen import stdout
from fanout.cli.screen.live import Screen, line_width, say, screen_for
from fanout.engine.watch import WAITED
from fanout.errors import LocalModelError, LoginRequired, TimedOut, UsageError
from fanout.events import End
from fanout.formats import Output, summary
from fanout.formats.summary import Who
from fanout.learning.kept import may_remember

if TYPE_CHECKING:
    from fanout.cli.last import Last
    from fanout.cli.screen.person import Person

SHORTEST = 0.001
"""Seconds that are left at least to ask in, so that a deadline which has passed ends the lanes as one does."""

LOOK = 1.0
"""Seconds between two looks for a lane that is waited for."""

FRAME = 0.1
"""Seconds between two pictures."""

_LAST_COUNTS = ("race", "hedge", "fallback", "fastest", "all")
"""The policies under which the last lane that can answer is the answer, if it gives one."""


def show(
    choices: Choices, plan_of: Callable[[list[str]], Policy], who: Who = "winner", also: Sequence[str] = ()
) -> int:
    """Asks as `choices` say and returns the exit code; `who` says whose answers count, `also` who else is asked."""
    before = _load_last() if choices.continued else None
    specs = choices.specs(before.lanes if before else ())
    if before is not None:
        from fanout.catalog.meaning import check_meanings

        check_meanings([*specs, *also], load(), before.meanings)
    plan = plan_of(specs)
    _check_login(choices)
    if choices.save_files:
        from fanout.cli.screen import files

        files.check(choices.save_files)
    began = monotonic()
    try:
        prompt = choices.prompt()
    except TimedOut as late:
        click.echo(f"fanout: {late.message}", err=True)
        return DEADLINE
    # Standard input has had its share of the time.
    choices = evolve(choices, deadline=max(choices.deadline - (monotonic() - began), SHORTEST))
    output = output_for(choices, prompt, who)
    asked = Question(prompt, plan, specs, before.conversation if before else None, also)
    return stop.run_gracefully(partial(_show, asked, choices, output, who))


def _load_last() -> "Last":
    from fanout.cli import last

    return last.load()


@frozen
class Question:
    """A prompt, the plan of whom it is put to with the specs that it was made of, what was said before, and judges."""

    prompt: Prompt
    plan: Policy
    specs: Sequence[str]
    conversation: History | None
    also: Sequence[str] = ()


async def _show(asked: Question, choices: Choices, output: Output, who: Who, stopping: stop.Stopping) -> int:
    person = _person(choices)
    settings = {**_settings(choices), "conversation": asked.conversation}
    async with (
        _open_transport(choices, person) as transport,
        open_fanout(asked.prompt, asked.plan, transport=transport, **settings) as f,
    ):
        if not (choices.lanes or asked.conversation or choices.quiet):
            say(_introduce(asked.specs, f.lanes))
        with screen_for(f.lanes, choices.output, quiet=choices.quiet) as screen:
            if person:
                person.screen = screen
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_redraw, screen, f.started)
                nursery.start_soon(_end_when_asked, f, stopping)
                if not choices.quiet:
                    nursery.start_soon(_tell_waits, f, screen)
                certain = _find_certain(f.lanes, asked.plan, output, who, judged=choices.schema is not None)
                await _follow(f, screen, output, person, certain)
                nursery.cancel_scope.cancel()
        # Before the block is left: taking down a local model takes a moment.
        run = f.run
        printed = {certain.lane} if certain and certain.lane else set()
        keep = partial(_save, asked.specs, run.conversation, choices, asked.also)
        if stopping.asked.is_set():
            await keep()  # first, because the terminal may be gone
            unfinished = _unfinished(run, choices, who)
            printed |= {answer.lane for answer in run.answers if unfinished}
            await stdout.write(output.run(run) + unfinished)
        else:
            await stdout.write(output.run(run))
        _sum_up(run, choices, who, printed, shown=output.shows_all(run))
        code = exit_code(run, who, strict=choices.strict)
        if stopping.asked.is_set():
            return code
        await keep()
        stopping.grace = 0.0  # from now on there is nothing to lose
        if not await _save_files(run, choices, who, transport):
            code = code or FAILED
    return code


def _introduce(specs: Sequence[str], lanes: Sequence[str]) -> str:
    """Says who is asked where nobody was named."""
    if list(map(_without_options, specs)) == list(map(_without_options, catalog.DEFAULT_LANES)):
        return f"asking the embedded model in {len(lanes)} lanes: {', '.join(lanes)}; others: -m"
    return f"asking {', '.join(lanes)}; others: -m, or [defaults] lanes in fanout.toml"


def _without_options(spec: str) -> str:
    return spec.partition("?")[0]


async def _end_when_asked(f: Fanout, stopping: stop.Stopping) -> None:
    """Ends the lanes at a signal, so that what has come of them is shown like any other end."""
    await stopping.asked.wait()
    f.cancel()


def _unfinished(run: Run, choices: Choices, who: Who) -> str:
    """Returns all that had come, under headings, for a reader at a terminal to whom the format would show nothing."""
    heads = who == "winner" and choices.output is None and not choices.quiet and sys.stdout.isatty()
    if not heads or summary.select_answers(run, who) or not any(answer.answered for answer in run.answers):
        return ""
    return _make_output("headed", Prompt.of("-"), "all", terminal=True).run(run)


async def _redraw(screen: Screen, started: float) -> None:
    while True:
        if not screen.away:
            with suppress(OSError):  # a terminal that is gone
                screen.draw(trio.current_time() - started)
        await trio.sleep(FRAME)


async def _tell_waits(f: Fanout, screen: Screen) -> None:
    """Says once of each lane that it is waited for beyond `first`."""
    told: set[str] = set()
    while True:
        await trio.sleep(LOOK)
        waits = {
            answer.lane: note.removesuffix(WAITED)
            for answer in f.run.answers
            for note in answer.notes
            if answer.status is None and note.endswith(WAITED)
        }
        for lane in waits.keys() - told:
            told.add(lane)
            why = "waiting, since no other lane could answer; --first sets a limit"
            with screen.hold():
                say(f"{summary.one_line(lane)}: {waits[lane]}; {why}")


async def _follow(
    f: Fanout, screen: Screen, output: Output, person: "Person | None" = None, certain: Certain | None = None
) -> None:
    """Shows every event, and prints what is due, until all lanes have ended."""
    with ExitStack() as away:
        async for tagged in f:
            screen.event(tagged)
            text = output.event(tagged)
            if isinstance(tagged.event, End):
                run = f.run
                text += output.answer(run[tagged.lane])
                if run.winner:
                    screen.mark_winner(run.winner.lane)
            # After the answer of a lane whose end leaves another one the last.
            if certain and (piece := certain.event(tagged, partial(_name_winner, f))):
                text += output.piece(certain.lane or "", piece)
                if not screen.holds and not stdout.is_file():  # a picture in the middle of a line would wipe it
                    away.enter_context(screen.hold())
            if text:
                # A slow terminal takes an answer in pieces; no picture may come between them, and no question.
                async with person.asking if person and sys.stdout.isatty() else nullcontext():
                    with screen.hold():
                        await stdout.write(text)


def _name_winner(f: Any) -> str | None:
    winner = f.winner
    return winner.lane if winner else None


def _find_certain(lanes: Sequence[str], plan: Policy, output: Output, who: Who, *, judged: bool) -> Certain | None:
    """Makes what finds the lane whose text may be printed as it comes; None where the format or the plan forbids it."""
    if judged or not output.streams(len(lanes)):
        return None
    if type(plan).__module__.endswith(".fuse"):  # its winner is known from the first word on
        return Certain(lanes, last_counts=False)
    return Certain(lanes, all_count=who == "all") if _is_known(plan, load()) else None


def _is_known(plan: Any, config: Config) -> bool:
    """True for a plan in which the last lane that answers counts: not for a quorum, nor for what a plug-in decides."""
    if isinstance(plan, str):
        group = config.groups.get(plan)
        return group is None or (
            group.schema is None
            and group.policy in _LAST_COUNTS
            and all(_is_known(lane, config) for lane in group.lanes)
        )
    if isinstance(plan, Policy):
        return (
            plan.schema is None
            and type(plan).__module__.rpartition(".")[2] in _LAST_COUNTS
            and all(_is_known(lane, config) for lane in plan.lanes)
        )
    return True


def output_for(choices: Choices, prompt: Prompt, who: Who) -> Output:
    """Makes the format that the user chose, or that suits where stdout goes."""
    terminal = sys.stdout.isatty()
    if choices.output == "raw" and who != "winner":
        raise click.UsageError("--raw is for one answer; use race, or --json for several")
    if choices.output == "raw" and terminal:
        raise click.UsageError("--raw is not for a terminal, which would obey what the model says; redirect it")
    usual = "text" if choices.quiet else "headed" if terminal else "plain"
    return _make_output(choices.output or usual, prompt, who, terminal=terminal, valued=choices.schema is not None)


def _make_output(name: str, prompt: Prompt, who: Who, *, terminal: bool = True, valued: bool = False) -> Output:
    """Makes the format of this name; only that one is imported. What is for a terminal's safety is for terminals."""
    match name:
        case "json":
            from fanout.formats.json import Json

            return Json()
        case "jsonl":
            from fanout.formats.jsonl import JsonLines

            return JsonLines(values=valued)
        case "markdown":
            from fanout.formats.markdown import Markdown

            return Markdown(prompt.messages[-1].text, safe=terminal)
        case "plain":
            from fanout.formats.plain import Plain

            return Plain(who, safe=terminal)
        case "headed":
            from fanout.formats.headed import Headed

            return Headed(shutil.get_terminal_size().columns - 1, who)
    from fanout.formats.text import Raw, Text

    return Raw() if name == "raw" else Text(who, safe=terminal)


def exit_code(run: Run, who: Who, *, strict: bool) -> int:
    """Returns the code for a run: answered, all failed, some failed if that counts, or out of time."""
    if not summary.select_answers(run, who):
        late = [a for a in run.answers if isinstance(a.error, TimedOut) and a.error.clock == "deadline"]
        return DEADLINE if late else FAILED
    failed = any(map(summary.is_failure, run.answers))
    return PARTLY if strict and failed else ANSWERED


def _sum_up(run: Run, choices: Choices, who: Who, printed: Container[str] = (), *, shown: bool = False) -> None:
    """Says on stderr how each lane did, and if none answered, why and what to do.

    `printed` are the lanes whose text stands on stdout already; where all that came is `shown`, nothing is said of it.
    """
    from fanout.cli.screen import advice
    from fanout.formats import table

    if not summary.select_answers(run, who) and run.kept and run.votes:
        click.echo(f"fanout: the lanes did not agree: {summary.say_votes(run)}; --json shows their answers", err=True)
        for answer in filter(summary.is_failure, run.answers):
            _echo(advice.failure(answer, who))
    elif not summary.select_answers(run, who):
        click.echo(f"fanout: {'too few lanes' if who == 'quorum' else 'no lane'} answered", err=True)
        # One process answers all lanes of the embedded model: what is wrong with it is said once.
        local = [answer for answer in run.answers if isinstance(answer.error, LocalModelError) and not answer.text]
        for line in advice.join_alike((answer.lane, advice.failure(answer, who)) for answer in local):
            _echo(line)
        for answer in (answer for answer in run.answers if answer not in local):
            _echo(advice.failure(answer, who))
            if answer.text and not shown and not (who == "quorum" and answer.status is Status.FINISHED):
                where = "are printed" if answer.lane in printed else "had come; --json shows them"
                click.echo(f"    {len(answer.text)} characters of text {where}", err=True)
    elif not choices.quiet:
        if sys.stdout.isatty() and sys.stderr.isatty():
            say("")
        for row in table.lines(run, line_width()):
            say(row.text, row.style)
        for answer in run.answers:
            if isinstance(answer.error, LoginRequired) and (what := advice.advice(answer, answer.error)):
                say(f"  {summary.one_line(answer.lane)}: {what}")
    else:
        for answer in summary.select_answers(run, who):
            if answer.finish_reason in summary.CUTS:
                click.echo(f"fanout: {summary.one_line(answer.lane)}: {summary.state(answer)}", err=True)


def _echo(line: str) -> None:
    """Prints a line of failures on stderr, indented; on a terminal wrapped at words."""
    from fanout.formats.wrapping import wrap

    width = line_width()
    # A command is copied whole: with blanks that are no places to break, it is put on a line of its own if need be.
    bound = re.sub("`[^`]*`", lambda command: command[0].replace(" ", "\xa0"), line)
    first, *rest = [line] if width is None else [part.replace("\xa0", " ") for part in wrap(bound, width - 4)]
    for text in (f"  {first}", *(f"    {more}" for more in rest)):
        click.echo(text, err=True)


def _check_login(choices: Choices) -> None:
    """Raises UsageError if a person is to be asked who could not answer."""
    if choices.login == "ask":
        from fanout.cli.screen import person

        if not person.at_hand():
            raise click.UsageError(
                "--login ask needs a terminal to ask on; --login auto opens a browser without asking, and "
                "fanout auth import takes a login from elsewhere"
            )


def _person(choices: Choices) -> "Person | None":
    """Returns the person to ask and tell about logins, where lanes may start one."""
    if choices.login == "never":
        return None
    from fanout.cli.screen.person import Person

    return Person()


def _open_transport(choices: Choices, person: "Person | None") -> AbstractAsyncContextManager[Transport]:
    name = choices.transport or load().defaults.transport
    if person is None:
        return open_transport(name, remember=may_remember())
    from fanout.cli.screen.person import logins

    policy: Any = choices.login
    return open_transport(name, login=logins(policy, person), remember=may_remember())


async def _save_files(run: Run, choices: Choices, who: Who, transport: Transport) -> bool:
    """Saves the files of the answers that count, if the user wants it; False if one fails. Raises UsageError."""
    answers, directory = summary.select_answers(run, who), choices.save_files
    if directory is None or not any(answer.files for answer in answers):
        return True
    from fanout.cli.screen import files

    return await files.save_all(answers, directory, transport, quiet=choices.quiet)


async def _save(specs: Sequence[str], conversation: History | None, choices: Choices, also: Sequence[str] = ()) -> None:
    """Keeps the run for -c, unless nothing was said in it; if that fails, the answer is there all the same."""
    if conversation is None or choices.no_save:
        return
    from fanout.catalog.meaning import find_meanings
    from fanout.cli import last

    try:
        # In a thread: another process may hold the lock, and lanes that were kept run on.
        meanings = find_meanings([*specs, *also], load())
        await trio.to_thread.run_sync(last.save, specs, conversation, meanings)
    except UsageError as error:
        if not choices.quiet:
            say(f"this run is not kept for -c (--no-save does not try): {error}")


def _settings(choices: Choices) -> dict[str, Any]:
    return {
        "timeouts": choices.timeouts,
        "retries": choices.retries,
        "on_lose": choices.on_lose,
        "deadline": choices.deadline,
        "schema": choices.schema,
    }
