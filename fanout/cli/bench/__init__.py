"""fanout bench: how fast the lanes are, and whether their differences are real."""

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from fanout.cli.bench.command import remember, retold
from fanout.cli.bench.wish import Wish
from fanout.cli.options import OF_EVERY_LANE, TRANSPORT, complete_lane, delay
from fanout.storage.places import expand_home

Number = TypeVar("Number", int, float)


LONGEST = 30 * 86400.0
"""Seconds of any time that may be asked for."""

MOST = 10**9
"""Requests and tokens that may be asked for."""

RATES = (1e-4, 1e6)
"""The slowest and the fastest rate, in requests a second."""

_SEEDS = click.IntRange(-(2**63), 2**63 - 1)


def _several(kind: Callable[[str], Number], what: str, bounds: tuple[Number, Number]) -> Callable[..., list[Number]]:
    """A list of numbers within bounds, separated by commas."""
    least, most = bounds

    def parse(_ctx: click.Context, _param: click.Parameter, text: str | None) -> list[Number]:
        if not text:
            return []
        try:
            numbers = [kind(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if not numbers or not all(least <= number <= most for number in numbers):
            raise click.BadParameter(f"{text!r} is not {what}, each from {least:g} to {most:g}")
        return numbers

    return parse


_streams = _several(int, "a list of whole numbers such as 1,8,64", (1, MOST))


def _share(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    """A share as people write it: 5%, or 0.05."""
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 1e-6 <= value < 1:
        raise click.BadParameter(f"{text!r} is not a share; write 5% or 0.05")
    return value


def _number(least: float, most: float) -> Callable[..., float | None]:
    """A number within these bounds: nan is none, though it is not below the least."""

    def check(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
        if value is not None and not least <= value <= most:
            raise click.BadParameter(f"{value:g} is not a number from {least:g} to {most:g}")
        return value

    return check


def _time(text: str) -> float:
    value = delay(text)
    if value > LONGEST:
        raise click.BadParameter(f"no time is longer than {LONGEST / 86400:g} days")
    return value


def _limit(text: str) -> float:
    value = _time(text)
    if not value:
        raise click.BadParameter("0 leaves no time at all")
    return value


_OPTIONS: list[Callable[[Any], Any]] = [
    click.option(
        "-m", "--model", "lanes", multiple=True, metavar="LANE", shell_complete=complete_lane,
        help="A lane to measure, PROVIDER/MODEL; repeat it, or put commas. Without one: the embedded model.",
    ),
    click.option(
        "-n", "--requests", "--num-prompts", type=click.IntRange(1, MOST), metavar="N",
        help="Prompts that each lane gets, at each load. Usually 40, or as many as --assert needs; with -t or "
        "--until-ci as many as it takes.",
    ),
    click.option("-t", "--duration", type=_limit, metavar="TIME", help="Send for so long; what was sent may end."),
    click.option(
        "--until-ci", callback=_share, metavar="SHARE",
        help="Stop when the interval of every lane's median TTFT is so narrow, such as 5%.",
    ),
    click.option(
        "-c", "--concurrency", callback=_streams, metavar="LIST",
        help="Streams a lane: each sends its next request when the one before has ended. A list is a sweep.",
    ),
    click.option(
        "--rate", "--request-rate", callback=_several(float, "a list of rates such as 0.5,2", RATES), metavar="LIST",
        help="Requests a second a lane, whatever the answers do. A list is a sweep; -c then bounds what is in flight.",
    ),
    click.option(
        "--arrival", type=click.Choice(["constant", "poisson", "gamma"]), default="poisson", show_default=True,
        help="How the requests of a rate are spread.",
    ),
    click.option(
        "--burstiness", type=float, callback=_number(0.01, 1000), default=1.0, metavar="X",
        help="Of --arrival gamma: below 1 in bursts, above 1 more evenly.",
    ),
    click.option("--ramp", type=_time, metavar="TIME", help="Reach the load over so long. Usually 10 ms a stream."),
    click.option("--trace", metavar="FILE", help="Send at the times of a trace: JSON lines or CSV with a timestamp."),
    click.option(
        "--speedup", type=float, callback=_number(1e-3, 1e6), default=1.0, metavar="X",
        help="Run the trace X times as fast.",
    ),
    click.option(
        "--prompts", default="builtin:short", metavar="SOURCE", show_default=True,
        help="A file (JSON lines, CSV, or a prompt a line), -, builtin:short|code|reasoning, synthetic:INPUT,OUTPUT.",
    ),
    *OF_EVERY_LANE,
    click.option(
        "--max-tokens", type=click.IntRange(1, MOST), default=128, show_default=True, metavar="N",
        help="Bound of an answer where neither its prompt nor its lane has one.",
    ),
    click.option(
        "--ignore-eos", is_flag=True,
        help="Ask servers that know it (vLLM, SGLang, llama.cpp and their like) for exactly --max-tokens.",
    ),
    click.option(
        "--warmup", type=click.IntRange(0, MOST), default=2, show_default=True, metavar="N",
        help="Requests a stream before each load that are recorded, but not counted.",
    ),
    click.option(
        "--timeout", type=_limit, default="120", show_default=True, metavar="TIME",
        help="Longest time for a request, and for waiting in the queue of a rate.",
    ),
    click.option(
        "--slo", "--goodput", default="", metavar="LIMITS",
        help='Objectives in milliseconds, such as "ttft:500 itl:50": the table then has the goodput.',
    ),
    click.option(
        "--order", type=click.Choice(["interleave", "sequential"]), default="interleave", show_default=True,
        help="Each prompt to all lanes in one block, or one lane after the other.",
    ),
    click.option(
        "--cache", type=click.Choice(["unique", "warm"]), default="unique", show_default=True,
        help="A mark makes each prompt unique, or prompts repeat and services may know them.",
    ),
    click.option(
        "--fresh-connections", is_flag=True, help="Open a connection for each request, and count the time for that."
    ),
    click.option("--seed", type=_SEEDS, default=0, metavar="N", help="Of the order, the arrivals and made-up prompts."),
    click.option("--aa", is_flag=True, help="Measure the first lane twice: a difference would be one of the method."),
    click.option("--baseline", metavar="LANE", help="Show all differences against this lane; else between every two."),
    click.option("--max-cost", type=float, callback=_number(1e-9, 1e9), metavar="USD", help="Spend no more than this."),
    click.option("--out", type=expand_home, metavar="DIR", help="Write the run's files there, report.html among them."),
    click.option("--json", "as_json", is_flag=True, help="The summary as JSON."),
    click.option("--no-save", is_flag=True, help="Do not keep this run for fanout log."),
    click.option(
        "--assert", "asserts", multiple=True, metavar="CONDITION",
        help='Exit with 3 unless it holds: "p95(ttft) < 800ms", "p50(itl, LANE) < 30ms", "failures <= 1%".',
    ),
    TRANSPORT,
    click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but failures."),
]  # fmt: skip


def _measuring(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the verb its options, by the names of Wish."""
    return reduce(lambda function, option: option(function), reversed(_OPTIONS), command)


class _Remembering(click.Group):
    """Keeps the arguments as they were given: a run tells how it was asked for."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Takes the arguments apart."""
        remember(ctx, args)
        return super().parse_args(ctx, args)


@click.group(cls=_Remembering, invoke_without_command=True, subcommand_metavar="[compare|report|calibrate ...]")
@_measuring
@click.pass_context
def bench(ctx: click.Context, /, **values: Any) -> int | None:
    """Measure lanes under load: time to first token, gaps, speed, failures, and whether differences are real.

    fanout bench -m groq/llama-3.3-70b-versatile -m local -n 200 -c 1,8

    Every prompt goes to every lane, nothing is tried again, and each request is kept (fanout log). Exit codes: 0
    measured, 1 no request succeeded, 2 usage, 3 an --assert does not hold, 130 interrupted, after the summary of what
    there is.
    """
    if ctx.invoked_subcommand is not None:
        return None
    from fanout.cli import stop
    from fanout.cli.bench.run import measure, planned

    wish = Wish(**values)
    plan = planned(wish, retold(ctx))
    return stop.run(lambda: measure(wish, plan))


@bench.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
def compare(old: str, new: str) -> int:
    """Show what changed between two runs: summary.json files, directories of --out, or runs of fanout log."""
    from fanout.bench.report.changes import changes

    for line in changes(_summary(old), _summary(new)):
        click.echo(line)
    return 0


@bench.command()
@click.argument("run", metavar="DIR|RUN")
@click.option("--out", type=expand_home, metavar="FILE", help="Where to; usually DIR/report.html, or RUN.html here.")
def report(run: str, out: Path | None) -> int:
    """Write the page of a run: one in a directory of --out, or one of fanout log (its name, or last)."""
    from fanout.bench.records import files, store
    from fanout.cli.bench.summary import page, summed_up

    directory = expand_home(run)
    if directory.is_dir():
        about, records = files.read(directory)
        text = page(summed_up(records, about), records, about)
        target = out or directory / files.REPORT
    else:
        with store.opened() as kept:
            found = kept.find(run)
            text = page(summed_up(kept.records(found.id), found.about), kept.records(found.id), found.about)
        target = out or Path(f"{found.name}.html")
    try:
        target.write_text(text, "utf-8")
    except OSError as error:
        raise click.UsageError(f"{target}: {error.strerror}") from None
    click.echo(str(target))
    return 0


@bench.command()
@click.option(
    "-c",
    "--concurrency",
    callback=_streams,
    metavar="LIST",
    help="Streams to try, the smallest first. Usually 1,8,64,128,256,512.",
)
@click.option("-t", "--duration", type=_limit, metavar="TIME", help="How long each load takes, about. Usually 4 s.")
@click.option("--json", "as_json", is_flag=True, help="The table as JSON.")
def calibrate(concurrency: list[int], duration: float | None, as_json: bool) -> int:  # fmt: skip
    """Show how far this machine can be trusted: measure a service of our own that knows when it sent what.

    The errors are those of percentiles, in percent of the truth. merged: pieces whose stamps the kernel merged.
    """
    import json

    from fanout.bench.calibration import calibrate as machine

    def show(row: machine.Row) -> None:
        if not as_json:
            click.echo(machine.line(row))

    if not as_json:
        click.echo(machine.HEAD)
    found = machine.calibrate(concurrency or machine.LEVELS, seconds=duration or machine.SECONDS, heard=show)
    click.echo(json.dumps(found.to_json(), indent=2) if as_json else found.verdict)
    return 0


def _summary(name: str) -> Any:
    """The JSON of a run's summary."""
    from fanout.bench.records import files, store
    from fanout.errors import UsageError

    path = expand_home(name)
    if path.is_dir():
        return files.read_json(path / files.SUMMARY)
    if path.is_file():
        return files.read_json(path)
    with store.opened() as kept:
        run = kept.find(name)
    if run.summary is None:
        verb = "is" if run.state == store.RUNNING else "was"
        raise UsageError(
            f"the run {run.name} has no summary: it {verb} {run.state}; fanout log show {run.name} makes one"
        )
    return {**run.summary, "about": run.about}
