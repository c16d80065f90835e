"""The options of `fanout bench`, and what the user wrote as a RunWish."""

import sys
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from attrs import fields_dict, frozen

from fanout.bench.load.design.order import Order
from fanout.bench.load.design.schedule import Arrival
from fanout.bench.load.wish import (
    BURSTINESS,
    DOLLARS,
    MOST_COUNTED,
    MOST_SECONDS,
    PRECISIONS,
    RATES,
    SPEEDUPS,
    Cache,
    RunWish,
)
from fanout.cli.names import complete_lane
from fanout.cli.options import OF_EVERY_LANE, TRANSPORT, delay, split_lanes
from fanout.storage.places import expand_home

Number = TypeVar("Number", int, float)

_SEEDS = click.IntRange(-(2**63), 2**63 - 1)


@frozen
class ResultOptions:
    """The places of the results: files in `out`, stdout as a table or `as_json`, and the store of runs."""

    out: Path | None
    as_json: bool
    no_save: bool
    quiet: bool


def read_choices(values: Mapping[str, Any]) -> tuple[RunWish, ResultOptions]:
    """Makes a wish of the options' values, and of those that are not the run's business an ResultOptions."""
    output = ResultOptions(**{name: values[name] for name in fields_dict(ResultOptions)})
    given = {name: value for name, value in values.items() if name not in fields_dict(ResultOptions)}
    lanes = [spec for text in given.pop("lanes") for spec in split_lanes(text)]
    if values["lanes"] and not lanes:
        raise click.UsageError("-m names no lane")
    return RunWish(lanes=lanes, read_stdin=_read_stdin, **given), output


def _read_stdin() -> bytes:
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise click.UsageError("--prompts - reads standard input: put the prompts into a pipe, one a line")
    return sys.stdin.buffer.read()


def _usual(name: str) -> Any:
    """The value of a wish that does not say otherwise."""
    return fields_dict(RunWish)[name].default


def _read_numbers(
    kind: Callable[[str], Number], noun: str, bounds: tuple[Number, Number]
) -> Callable[..., list[Number]]:
    """Makes a callback that reads a list of numbers within bounds, separated by commas."""
    least, most = bounds

    def read(_ctx: click.Context, _param: click.Parameter, text: str | None) -> list[Number]:
        if not text:
            return []
        try:
            numbers = [kind(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if not numbers or not all(least <= number <= most for number in numbers):
            raise click.BadParameter(f"{text!r} is not {noun}, each from {least:g} to {most:g}")
        return numbers

    return read


read_streams = _read_numbers(int, "a list of whole numbers such as 1,8,64", (1, MOST_COUNTED))
"""Reads the streams of a sweep."""


def _read_share(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    """Reads a share as people write it: 5%, or 0.05."""
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    least, most = PRECISIONS
    if not least <= value < most:
        raise click.BadParameter(f"{text!r} is not a share; write 5% or 0.05")
    return value


def _check_number(least: float, most: float) -> Callable[..., float | None]:
    """Makes a callback that refuses numbers outside these bounds, and nan."""

    def check(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
        if value is not None and not least <= value <= most:
            raise click.BadParameter(f"{value:g} is not a number from {least:g} to {most:g}")
        return value

    return check


def _read_time(text: str) -> float:
    value = delay(text)
    if value > MOST_SECONDS:
        raise click.BadParameter(f"no time is longer than {MOST_SECONDS / 86400:g} days")
    return value


def read_limit(text: str) -> float:
    """Reads a time that is not 0."""
    value = _read_time(text)
    if not value:
        raise click.BadParameter("0 leaves no time at all")
    return value


def _read_directory(text: str) -> Path:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise click.BadParameter(f"{text!r:.80} is not text in UTF-8") from None
    return expand_home(text)


_OPTIONS: list[Callable[[Any], Any]] = [
    click.option(
        "-m", "--model", "lanes", multiple=True, metavar="LANE", shell_complete=complete_lane,
        help="A lane to measure, PROVIDER/MODEL; repeat it, or put commas. Without one: the embedded model.",
    ),
    click.option(
        "-n", "--requests", "--num-prompts", type=click.IntRange(1, MOST_COUNTED), metavar="N",
        help="Prompts that each lane gets, at each load. Usually 40, or as many as --assert needs; with -t or "
        "--until-ci as many as it takes.",
    ),
    click.option("-t", "--duration", type=read_limit, metavar="TIME", help="Send for so long; what was sent may end."),
    click.option(
        "--until-ci", callback=_read_share, metavar="SHARE",
        help="Stop when the interval of every lane's median TTFT is so narrow, such as 5%.",
    ),
    click.option(
        "-c", "--concurrency", callback=read_streams, metavar="LIST",
        help="Streams a lane: each sends its next request when the one before has ended. A list is a sweep.",
    ),
    click.option(
        "--rate", "--request-rate", metavar="LIST",
        callback=_read_numbers(float, "a list of rates such as 0.5,2", RATES),
        help="Requests a second a lane, whatever the answers do. A list is a sweep; -c then bounds what is in flight.",
    ),
    click.option(
        "--arrival", type=click.Choice(get_args(Arrival)), default=_usual("arrival"), show_default=True,
        help="How the requests of a rate are spread.",
    ),
    click.option(
        "--burstiness", type=float, callback=_check_number(*BURSTINESS), default=_usual("burstiness"), metavar="X",
        help="Of --arrival gamma: below 1 in bursts, above 1 more evenly.",
    ),
    click.option(
        "--ramp", type=_read_time, metavar="TIME", help="Reach the load over so long. Usually 10 ms a stream."
    ),
    click.option("--trace", metavar="FILE", help="Send at the times of a trace: JSON lines or CSV with a timestamp."),
    click.option(
        "--speedup", type=float, callback=_check_number(*SPEEDUPS), default=_usual("speedup"), metavar="X",
        help="Run the trace X times as fast.",
    ),
    click.option(
        "--prompts", default=_usual("prompts"), metavar="SOURCE", show_default=True,
        help="A file (JSON lines, CSV, or a prompt a line), -, builtin:short|code|reasoning, synthetic:INPUT,OUTPUT.",
    ),
    *OF_EVERY_LANE,
    click.option(
        "--max-tokens", type=click.IntRange(1, MOST_COUNTED), metavar="N",
        default=_usual("max_tokens"), show_default=True,
        help="Bound of an answer where neither its prompt nor its lane has one.",
    ),
    click.option(
        "--ignore-eos", is_flag=True,
        help="Ask servers that know it (vLLM, SGLang, llama.cpp and their like) for exactly --max-tokens.",
    ),
    click.option(
        "--warmup", type=click.IntRange(0, MOST_COUNTED), default=_usual("warmup"), show_default=True, metavar="N",
        help="Requests a stream before each load that are recorded, but not counted.",
    ),
    click.option(
        "--timeout", type=read_limit, default=f"{_usual('timeout'):g}", show_default=True, metavar="TIME",
        help="Longest time for a request, and for waiting in the queue of a rate.",
    ),
    click.option(
        "--slo", "--goodput", default=_usual("slo"), metavar="LIMITS",
        help='Objectives in milliseconds, such as "ttft:500 itl:50": the table then has the goodput.',
    ),
    click.option(
        "--order", type=click.Choice(get_args(Order)), default=_usual("order"), show_default=True,
        help="Each prompt to all lanes in one block, or one lane after the other.",
    ),
    click.option(
        "--cache", type=click.Choice(get_args(Cache)), default=_usual("cache"), show_default=True,
        help="A mark makes each prompt unique, or prompts repeat and services may know them.",
    ),
    click.option(
        "--fresh-connections", is_flag=True, help="Open a connection for each request, and count the time for that."
    ),
    click.option(
        "--seed", type=_SEEDS, default=_usual("seed"), metavar="N",
        help="Of the order, the arrivals and made-up prompts.",
    ),
    click.option("--aa", is_flag=True, help="Measure the first lane twice: a difference would be one of the method."),
    click.option("--baseline", metavar="LANE", help="Show all differences against this lane; else between every two."),
    click.option(
        "--max-cost", type=float, callback=_check_number(*DOLLARS), metavar="USD", help="Spend no more than this."
    ),
    click.option(
        "--out", type=_read_directory, metavar="DIR", help="Write the run's files there, report.html among them."
    ),
    click.option("--json", "as_json", is_flag=True, help="The summary as JSON."),
    click.option("--no-save", is_flag=True, help="Do not keep this run for fanout log."),
    click.option(
        "--assert", "asserts", multiple=True, metavar="CONDITION",
        help='Exit with 3 unless it holds: "p95(ttft) < 800ms", "p50(itl, LANE) < 30ms", "failures <= 1%".',
    ),
    TRANSPORT,
    click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but failures."),
]  # fmt: skip


def add_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the verb its options, by the names of RunWish and ResultOptions."""
    return reduce(lambda function, option: option(function), reversed(_OPTIONS), command)
