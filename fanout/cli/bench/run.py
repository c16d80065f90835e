"""A benchmark, planned and run: kept as it goes, shown while it lasts, summed up at its end, however it ends."""

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import strftime
from typing import Any

import click
import orjson
import trio
from attrs import evolve, frozen

from fanout.abc import Policy
from fanout.bench.analysis.assertions import Assertion
from fanout.bench.analysis.metrics import objectives
from fanout.bench.analysis.summary import Summary, to_json
from fanout.bench.load.design.schedule import Closed, Schedule, schedules
from fanout.bench.load.design.workload import Workload, load, trace
from fanout.bench.load.environment import Strain, environment
from fanout.bench.load.loop import Limits, Load, Setup
from fanout.bench.load.request import Sender, at_full_length, lanes_of, open_stamped, price
from fanout.bench.records import files, store
from fanout.bench.records.record import Record
from fanout.bench.report import console
from fanout.catalog import LaneSpec, resolve
from fanout.catalog.config import Config
from fanout.catalog.config import load as load_config
from fanout.cli import ANSWERED, FAILED, INTERRUPTED, PARTLY, stdout, stop
from fanout.cli.bench.board import Board, board_for
from fanout.cli.bench.command import public
from fanout.cli.bench.summary import page, summed_up
from fanout.cli.bench.wish import Wish
from fanout.cli.options import split_lanes, with_options
from fanout.cli.screen import say
from fanout.errors import UsageError
from fanout.formats.summary import one_line

USUAL_REQUESTS = 40
"""Prompts, where nothing else ends the run: enough for a median and its interval, and for p90."""

MOST_REQUESTS = 2000
"""Prompts, where precision ends the run: for it may never be reached."""

RAMP = 0.01
"""Seconds between the first requests of two streams: at one instant they would disturb one another."""

FILES = 64
"""Open files of this process beside its connections."""

BUSY = 0.8
"""Share of a processor from which on this process may be what is slow."""

LATE = 0.01
"""Seconds of lateness of the event loop, of which more than one in a hundred is worth a warning."""


@frozen
class Planned:
    """What will be done, checked before anything is sent."""

    setup: Setup
    schedules: Sequence[Schedule]
    objectives: Mapping[str, float]
    asserts: Sequence[Assertion]
    about: Mapping[str, Any]
    config: Config


def planned(wish: Wish, command: str) -> Planned:
    """The plan that the user's wish comes to. Raises UsageError for what cannot be."""
    _check_text(wish)
    config = load_config()
    lanes = _lanes(wish, config)
    _check_baseline(wish.baseline, lanes)
    limits = _objectives(wish.slo)
    asserts = [Assertion.of(text) for text in wish.asserts]
    for condition in asserts:
        condition.check([lane.name for lane in lanes])
    workload = _workload(wish)
    plan = schedules(
        wish.concurrency,
        wish.rate,
        workload.at,
        arrival=wish.arrival,  # type: ignore[arg-type]  # click has checked it
        burstiness=wish.burstiness,
        ramp=wish.ramp or 0.0,
        speedup=wish.speedup,
        seed=wish.seed,
    )
    if wish.ramp is None:
        plan = [evolve(step, ramp=RAMP * step.streams) if isinstance(step, Closed) else step for step in plan]
    _allow_files(len(lanes) * max(step.streams for step in plan), bounded=bool(wish.concurrency))
    if wish.out:
        files.prepare(wish.out)
    if wish.max_cost is not None:
        _check_prices(lanes)
    setup = Setup(
        lanes=lanes,
        workload=workload,
        limits=Limits(_requests(wish, asserts), wish.duration, wish.until_ci, wish.max_cost),
        salt=None if wish.cache == "warm" else "",
        max_tokens=wish.max_tokens,
        timeout=wish.timeout,
        order=wish.order,  # type: ignore[arg-type]  # click has checked it
        warmup=wish.warmup,
        seed=wish.seed,
    )
    return Planned(setup, plan, limits, asserts, _about(wish, setup, plan, command), config)


def _check_text(wish: Wish) -> None:
    """Raises UsageError for what was given in another encoding: neither a service nor a file takes it."""
    options = (text for pair in wish.options for text in pair)
    given = {
        "-m": wish.lanes, "-s": [wish.system or ""], "-o": options, "--prompts": [wish.prompts],
        "--trace": [wish.trace or ""], "--out": [str(wish.out or "")], "--assert": wish.asserts, "--slo": [wish.slo],
        "--baseline": [wish.baseline or ""],
    }  # fmt: skip
    for option, texts in given.items():
        for text in texts:
            try:
                text.encode()
            except UnicodeEncodeError:
                raise UsageError(f"{option} {text!r:.80} is not text in UTF-8") from None


def _lanes(wish: Wish, config: Config) -> tuple[LaneSpec, ...]:
    given = [spec for text in wish.lanes for spec in split_lanes(text)]
    if wish.lanes and not given:
        raise click.UsageError("-m names no lane")
    specs = []
    for text in given or ["local"]:
        lane = resolve(with_options(text, wish.options) if text not in config.groups else text, config)
        if isinstance(lane, Policy):
            raise UsageError(f"{text} is a group, and bench measures lanes: name its lanes, {_names(config, text)}")
        specs.append(lane)
    lanes = lanes_of(specs, twice=wish.aa)
    return at_full_length(lanes) if wish.ignore_eos else lanes


def _check_baseline(baseline: str | None, lanes: Sequence[LaneSpec]) -> None:
    names = [lane.name for lane in lanes]
    if baseline is not None and baseline not in names:
        raise UsageError(f"--baseline {baseline}: the lanes are {', '.join(names)}")
    if baseline is not None and len(names) == 1:
        raise UsageError(f"--baseline {baseline}: there is no other lane to compare with it; name some with -m")


def _names(config: Config, group: str) -> str:
    return ",".join(config.groups[group].lanes)


def _objectives(text: str) -> Mapping[str, float]:
    try:
        return objectives(text)
    except UsageError as error:
        raise UsageError(f"--slo: {error}") from None


def _workload(wish: Wish) -> Workload:
    stdin = b""
    if wish.prompts == "-":
        if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
            raise click.UsageError("--prompts - reads standard input: put the prompts into a pipe, one a line")
        stdin = sys.stdin.buffer.read()
    usual = load(wish.prompts, system=wish.system, seed=wish.seed, stdin=stdin)
    if wish.trace is None:
        return usual
    return trace(wish.trace, usual=usual, system=wish.system, seed=wish.seed)


def _requests(wish: Wish, asserts: Sequence[Assertion]) -> int | None:
    if wish.requests is not None or wish.duration is not None or wish.trace is not None:
        return wish.requests
    return MOST_REQUESTS if wish.until_ci else max([USUAL_REQUESTS, *(condition.requests for condition in asserts)])


def _allow_files(streams: int, *, bounded: bool) -> None:
    """Lets this process open a connection for each stream. Raises UsageError where the system does not."""
    from resource import RLIMIT_NOFILE, getrlimit, setrlimit

    needed = streams + FILES
    soft, hard = getrlimit(RLIMIT_NOFILE)
    if needed <= soft:
        return
    if needed > hard and bounded:
        raise UsageError(f"-c: {streams} streams need {needed} open files, and `ulimit -Hn` allows {hard}")
    setrlimit(RLIMIT_NOFILE, (min(needed, hard), hard))


def _check_prices(lanes: Sequence[LaneSpec]) -> None:
    unknown = [lane.name for lane in lanes if price(lane, 1000, 1000) is None]
    if unknown:
        raise UsageError(
            f"--max-cost: nobody knows what {', '.join(unknown)} costs; bound the run with -n and --max-tokens instead "
            "(prices come with `pip install 'fanout[prices]'`)"
        )


def _about(wish: Wish, setup: Setup, plan: Sequence[Schedule], command: str) -> dict[str, Any]:
    """How the run was asked for, for whoever reads its files."""
    return {
        "command": command,
        "start": strftime("%Y-%m-%dT%H:%M:%S%z"),
        "lanes": [
            {
                "name": lane.name,
                "provider": lane.provider.name,
                "model": lane.provider.model,
                "base_url": public(getattr(lane.provider, "base_url", None) or "") or None,
            }
            for lane in setup.lanes
        ],
        "load": [step.label for step in plan],
        "arrival": wish.arrival if wish.rate else None,
        "requests": setup.limits.requests,
        "duration": setup.limits.seconds,
        "until_ci": setup.limits.precision,
        "prompts": setup.workload.source,
        "fingerprint": setup.workload.fingerprint,
        "max_tokens": setup.max_tokens,
        "ignore_eos": wish.ignore_eos,
        "warmup": setup.warmup,
        "timeout": setup.timeout,
        "objectives": wish.slo,
        "order": setup.order,
        "cache": wish.cache,
        "fresh_connections": wish.fresh_connections,
        "baseline": wish.baseline,
        "seed": setup.seed,
        **environment(),
    }


async def measure(wish: Wish, plan: Planned) -> int:
    """Runs the benchmark and returns its exit code."""
    if not wish.quiet:
        _announce(wish, plan)
    with _place(wish) as place, store.opened(place, create=True) as kept:
        for lane in plan.setup.lanes:
            price(lane, 1, 1)  # the table of prices takes its time to load, which must not fall into a request's
        strain = Strain()
        async with store.journal(kept, plan.about) as journal:
            salted = plan.setup if wish.cache == "warm" else evolve(plan.setup, salt=journal.run.name)
            ended = await _load(wish, evolve(plan, setup=salted), journal, strain)
        about = {**plan.about, "client": strain.measured(), "looks": max(1, ended.load.looks), "ended": ended.why}
        records = kept.records(journal.run.id)
        state = "interrupted" if ended.signal else "complete"
        if not any(not record.warmup for record in records):
            kept.finish(journal.run.id, state if ended.signal else "failed", None, about)
            click.echo(f"fanout: nothing was measured{_first_problem(records)}", err=True)
            return 128 + ended.signal if ended.signal else FAILED
        kept.finish(journal.run.id, state, None, about)  # whatever the figures come to, the run is over
        summary = summed_up(records, about, quiet=wish.quiet)
        result = to_json(summary)
        kept.finish(journal.run.id, state, result, about)
        await _show(wish, summary, {**result, "about": about})
        if not wish.quiet:
            _say_where(wish, journal.run.name, about)
        code = _code(plan, summary, ended.signal)
        if wish.out:
            _write(wish, summary, records, {**result, "about": about}, journal.run.name)
    return code


def _write(wish: Wish, summary: Summary, records: Sequence[Record], result: Mapping[str, Any], name: str) -> None:
    """The files of the run. Raises UsageError, which says how to have them elsewhere."""
    assert wish.out
    about = result["about"]
    title = f"fanout bench: {', '.join(summary.lanes)}"
    try:
        files.write(
            wish.out, about, records, result,
            table=console.markdown(summary, title), page=lambda: page(summary, records, about),
        )  # fmt: skip
    except UsageError as error:
        if wish.no_save:
            raise
        raise UsageError(f"{error}; `fanout log export {name} --out DIR` writes the files elsewhere") from None
    if not wish.quiet:
        say(f"written: {wish.out / files.REPORT} and the files beside it")


@frozen
class Ended:
    """How the load ended: by itself, or by a signal (its number, else 0); `why` says what stopped it early."""

    load: Load
    signal: int
    why: list[str]


async def _load(wish: Wish, plan: Planned, journal: store.Journal, strain: Strain) -> Ended:
    transport = wish.transport or plan.config.defaults.transport
    async with open_stamped(transport, reuse=not wish.fresh_connections) as connections:
        sender = Sender(connections, plan.setup.timeout, plan.config, fresh=wish.fresh_connections)
        under_way = Load(plan.setup, sender, journal.put)
        with board_for(under_way, quiet=wish.quiet) as board:
            number = await _until_stopped(under_way, plan.schedules, board, strain)
    why = list(under_way.reasons)
    if number:
        why.append("interrupted: what was measured until then counts")
    return Ended(under_way, number, why)


async def _until_stopped(load: Load, plan: Sequence[Schedule], board: Board, strain: Strain) -> int:
    """Runs the load to its end or to the first signal, whose number it returns; a second one is not ours any more."""
    stopped: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(board.redraw)
        nursery.start_soon(strain.watch)
        await nursery.start(stop.listen, nursery.cancel_scope, stopped)
        await load.run(plan)
        nursery.cancel_scope.cancel()
    return stopped[0] if stopped else 0


@contextmanager
def _place(wish: Wish) -> Iterator[Path]:
    """Where the run is kept: with the others, or for as long as it takes to sum it up."""
    if not wish.no_save:
        yield store.directory()
        return
    with TemporaryDirectory(prefix="fanout-bench-") as place:
        yield Path(place) / "bench"


def _announce(wish: Wish, plan: Planned) -> None:
    setup = plan.setup
    names = ", ".join(lane.name for lane in setup.lanes)
    loads = ", ".join(step.label for step in plan.schedules)
    ends = [
        f"{setup.limits.requests} prompts" if setup.limits.requests else "",
        f"{setup.limits.seconds:g} s" if setup.limits.seconds else "",
        f"a precision of {100 * setup.limits.precision:g} %" if setup.limits.precision else "",
        f"{setup.limits.cost:g} USD" if setup.limits.cost else "",
    ]
    cache = "each prompt is unique" if wish.cache == "unique" else "prompts repeat, and may be in a cache"
    say(f"measuring {names} at {loads}, up to {' or '.join(filter(None, ends)) or 'the end of the trace'}")
    say(f"prompts: {setup.workload.source}, {cache}; warm-up: {setup.warmup} requests a stream")
    if wish.requests is None and not wish.until_ci and (setup.limits.requests or 0) > USUAL_REQUESTS:
        say(f"{setup.limits.requests} prompts in place of {USUAL_REQUESTS}, for --assert needs so many; -n sets it")
    if wish.fresh_connections:
        say("every request opens a connection of its own, and the time for that counts")
    if setup.order == "sequential" and len(setup.lanes) > 1:
        say("--order sequential: whatever changes in the meantime looks like a difference between lanes")
    for lane in setup.lanes:
        streams = max(step.streams for step in plan.schedules)
        if lane.concurrency is not None and lane.concurrency < streams:
            say(f"{lane.name} takes {lane.concurrency} at a time (its own `concurrency`), so it never sees that load")


async def _show(wish: Wish, summary: Summary, result: Mapping[str, Any]) -> None:
    if wish.as_json:
        await stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        await stdout.write("".join(f"{line}\n" for line in console.lines(summary)))


def _say_where(wish: Wish, name: str, about: Mapping[str, Any]) -> None:
    """How it went, and where everything is."""
    for why in about["ended"]:
        say(why)
    client = about["client"]
    if (client["cpu_share"] or 0) > BUSY:
        say(f"this process used {100 * client['cpu_share']:.0f} % of a processor: it may be what was slow")
    if (client["lag_p99"] or 0) > LATE:
        say(f"this process was more than {console.seconds(client['lag_p99'])} late once in a hundred times")
    if not wish.no_save:
        say(f"kept as {name}: fanout log show {name}")


def _first_problem(records: Sequence[Record]) -> str:
    """Why even the warm-up failed."""
    for record in records:
        if not record.finished and record.error:
            return f": {one_line(record.lane)}: {record.error}: {one_line(record.message or '')}"
    return ""


def _code(plan: Planned, summary: Summary, signal_number: int) -> int:
    """The exit code; what does not hold is said."""
    failed = [sentence for condition in plan.asserts for sentence in condition.failures(summary)]
    for sentence in failed:
        click.echo(f"fanout: --assert {sentence}", err=True)
    if signal_number:
        return INTERRUPTED if signal_number == signal.SIGINT else 128 + signal_number
    if not any(lane.finished for level in summary.levels for lane in level.lanes.values()):
        return FAILED
    return PARTLY if failed else ANSWERED
