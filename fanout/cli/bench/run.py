"""A benchmark on the command line: announced, shown while it lasts, and printed at its end, however it ends."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import orjson
import trio

from fanout.bench.analysis.summary import Summary, to_json
from fanout.bench.load.planning import USUAL_REQUESTS
from fanout.bench.records import files
from fanout.bench.records.record import Record
from fanout.bench.records.store import KeptRun, Store, default_directory, open_store
from fanout.bench.report import console
from fanout.bench.run import PlannedRun, keep_run, plan_run, write_files
from fanout.cli import ANSWERED, FAILED, INTERRUPTED, PARTLY, stop
from fanout.cli.bench.board import board_for
from fanout.cli.bench.options import ResultOptions, read_choices
from fanout.cli.bench.summary import sum_up_with_notice
from fanout.cli.screen import stdout
from fanout.cli.screen.live import say, table_width
from fanout.errors import UsageError
from fanout.formats.summary import one_line

BUSY_SHARE = 0.8
"""Share of a processor from which on this process may be what is slow."""

LATE_SECONDS = 0.01
"""Lateness of the event loop, of which more than one in a hundred is worth a warning."""


def plan(values: Mapping[str, Any], command: str) -> tuple[PlannedRun, ResultOptions]:
    """Plans the run that the options' values ask for. Raises UsageError."""
    wish, output = read_choices(values)
    planned = plan_run(wish, command)
    if output.out:
        files.prepare(output.out)
    return planned, output


async def run_benchmark(planned: PlannedRun, output: ResultOptions) -> int:
    """Runs the benchmark and returns its exit code."""
    if not output.quiet:
        _announce(planned)
    with _open_place(output) as store:
        run, number = await _run_until_stopped(planned, output, store)
        records = store.records(run.id)
        if not any(not record.warmup for record in records):
            click.echo(f"fanout: nothing was measured{_first_problem(records)}", err=True)
            return 128 + number if number else FAILED
        summary = sum_up_with_notice(records, run.about, quiet=output.quiet)
        result = to_json(summary)
        store.finish(run.id, run.state, result, run.about)
        await _show(output, summary, {**result, "about": run.about})
        if not output.quiet:
            _say_how_it_went(output, run)
        code = _exit_code(planned, summary, number)
        if output.out:
            _write(output.out, output, summary, records, run)
    return code


@contextmanager
def _open_place(output: ResultOptions) -> Iterator[Store]:
    """Opens the store with the other runs, or one for as long as it takes to sum this one up."""
    if not output.no_save:
        with open_store(default_directory(), create=True) as store:
            yield store
        return
    with TemporaryDirectory(prefix="fanout-bench-") as place, open_store(Path(place) / "bench", create=True) as store:
        yield store


async def _run_until_stopped(planned: PlannedRun, output: ResultOptions, store: Store) -> tuple[KeptRun, int]:
    """Runs to the end or to the first signal, and returns its number, else 0; a second one ends this process."""
    scope = trio.CancelScope()
    stopped: list[int] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(stop.listen, scope, stopped)
        run = await keep_run(planned, store, board_for(quiet=output.quiet), scope=scope)
        nursery.cancel_scope.cancel()
    return run, stopped[0] if stopped else 0


def _write(out: Path, output: ResultOptions, summary: Summary, records: Sequence[Record], run: KeptRun) -> None:
    """Writes the files of the run. Raises UsageError, which says how to have them elsewhere."""
    try:
        write_files(out, summary, records, run.about)
    except UsageError as error:
        if output.no_save:
            raise
        raise UsageError(f"{error}; `fanout log export {run.name} --out DIR` writes the files elsewhere") from None
    if not output.quiet:
        say(f"written: {out / files.REPORT} and the files beside it")


def _announce(planned: PlannedRun) -> None:
    setup, wish = planned.setup, planned.wish
    names = ", ".join(lane.name for lane in setup.lanes)
    loads = ", ".join(step.label for step in planned.schedules)
    ends = [
        f"{setup.limits.requests} prompts" if setup.limits.requests else "",
        f"{setup.limits.seconds:g} s" if setup.limits.seconds else "",
        f"a precision of {100 * setup.limits.precision:g} %" if setup.limits.precision else "",
        f"{setup.limits.cost:g} USD" if setup.limits.cost else "",
    ]
    cache = "each prompt is unique" if wish.cache == "unique" else "prompts repeat, and may be in a cache"
    say(f"measuring {names} at {loads}, up to {' or '.join(filter(None, ends)) or 'the end of the trace'}")
    say(f"prompts: {setup.workload.source}, {cache}")
    counted = "" if planned.requests is None else f"at most {planned.requests} requests that count, and "
    say(f"{counted}{planned.warmups} before them to warm up, {setup.warmup} a stream")
    if wish.requests is None and not wish.until_ci and (setup.limits.requests or 0) > USUAL_REQUESTS:
        say(f"{setup.limits.requests} prompts in place of {USUAL_REQUESTS}, for --assert needs so many; -n sets it")
    if wish.fresh_connections:
        say("every request opens a connection of its own, and the time for that counts")
    if setup.order == "sequential" and len(setup.lanes) > 1:
        say("--order sequential: whatever changes in the meantime looks like a difference between lanes")
    for lane in setup.lanes:
        if lane.concurrency is not None and lane.concurrency < planned.streams:
            say(f"{lane.name} takes {lane.concurrency} at a time (its own `concurrency`), so it never sees that load")


async def _show(output: ResultOptions, summary: Summary, result: Mapping[str, Any]) -> None:
    if output.as_json:
        await stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        await stdout.write("".join(f"{line}\n" for line in console.lines(summary, table_width())))


def _say_how_it_went(output: ResultOptions, run: KeptRun) -> None:
    for reason in run.about["ended"]:
        say(reason)
    client = run.about["client"]
    if (client["cpu_share"] or 0) > BUSY_SHARE:
        say(f"this process used {100 * client['cpu_share']:.0f} % of a processor: it may be what was slow")
    if (client["lag_p99"] or 0) > LATE_SECONDS:
        say(f"this process was more than {console.seconds(client['lag_p99'])} late once in a hundred times")
    if not output.no_save:
        say(f"kept as {run.name}: fanout log show {run.name}")


def _first_problem(records: Sequence[Record]) -> str:
    """The reason for which even the warm-up failed."""
    for record in records:
        if not record.finished and record.error:
            return f": {one_line(record.lane)}: {record.error}: {one_line(record.message or '')}"
    return ""


def _exit_code(planned: PlannedRun, summary: Summary, signal_number: int) -> int:
    """Says which conditions do not hold, and returns the exit code."""
    failures = planned.failures(summary)
    for sentence in failures:
        click.echo(f"fanout: --assert {sentence}", err=True)
    if signal_number:
        return INTERRUPTED if signal_number == signal.SIGINT else 128 + signal_number
    if not any(lane.finished for level in summary.levels for lane in level.lanes.values()):
        return FAILED
    return PARTLY if failures else ANSWERED
