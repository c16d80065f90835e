"""fanout sim: the engine in virtual time, on worlds drawn from a seed, or on lanes whose latencies a file says."""

import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

import click

from fanout.cli.options import ON
from fanout.storage.places import expand_home

if TYPE_CHECKING:
    from fanout.sim.check import Verdict
    from fanout.sim.notation import Shape
    from fanout.sim.outlook import Outlook
    from fanout.sim.sweep import Sum

SEEDS = 100
"""Worlds that are checked where nobody says how many."""

REQUESTS = 1000
"""Requests that each policy is compared on."""

STEP = 1.0
"""Seconds between two words on how far it is."""

USUAL = ("race", "hedge:p95", "fallback")
"""The policies that are compared where nobody names one."""


@click.command()
@click.option("--seed", type=click.IntRange(0), metavar="N", help="The world of this seed; or the first of several.")
@click.option("--seeds", metavar="A-B", help="The worlds of these seeds.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="So many worlds, or requests with --lanes.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), metavar="M", help="Worlds for so many minutes.")
@click.option("--plan", "plans", multiple=True, metavar="PLAN", help="A plan, as 'race(a, fallback(b, c))'.")
@click.option("--policy", "policies", multiple=True, metavar="POLICY", help="A policy over all lanes, as hedge:800ms.")
@click.option("--lanes", type=expand_home, metavar="FILE", help="Compare policies on the lanes of this TOML file.")
@ON
@click.option("--log", "as_log", is_flag=True, help="The events of each world.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def sim(plans: tuple[str, ...], policies: tuple[str, ...], lanes: Path | None, **values: Any) -> int:
    """Try the engine on made-up services in virtual time, and check that its laws hold.

    Everything is drawn from a seed: services and their faults, the plan, the user. The same seed gives the same events,
    byte for byte. Exit code 1: a law is broken, and the command that repeats it is printed.

    With --lanes the question is yours: which policy pays on lanes as slow as these?

    fanout sim --lanes mine.toml --policy hedge:p95 --policy race

    \b
    [lanes.fast]
    first = { p50 = "400ms", p95 = "1.2s", p99 = "5s" }
    gap = "20ms"
    pieces = 60
    fails = 0.01
    """  # noqa: D301  # the character by which click leaves lines as they are
    from fanout.sim.notation import parse_shape

    shapes = [parse_shape(text) for text in (*policies, *plans)]
    if lanes is not None:
        return _compare(lanes, shapes, **values)
    if len(shapes) > 1:
        raise click.UsageError("give one --plan or --policy; several are compared with --lanes FILE")
    return _check(shapes[0] if shapes else None, **values)


def _check(shape: "Shape | None", *, seeds: str | None, as_log: bool, as_json: bool, on: str, **given: Any) -> int:
    from fanout.sim.log import lines
    from fanout.sim.sweep import make_up_seed, seeds_from, sweep

    if on != "finish":
        raise click.UsageError("--on goes with --lanes; in a drawn world it is drawn")
    if shape is not None and shape.quantile is not None:
        raise click.UsageError("a hedge after a quantile goes with --lanes; write hedge:800ms")
    seed, number, minutes = given["seed"], given["count"], given["minutes"]
    if seeds is not None:
        if (seed, number) != (None, None):
            raise click.UsageError("--seeds says which seeds; leave out --seed and --count")
        seed, number = _read_seeds(seeds)
    alone = seed is not None and number is None and minutes is None
    first = make_up_seed() if seed is None else seed
    if number is None and minutes is None:
        number = 1 if alone else SEEDS
    found: list[dict[str, Any]] = []
    progress = _Progress()

    def tell(verdict: "Verdict", total: "Sum") -> None:
        if as_log:
            click.echo("\n".join(lines(verdict.record)))
        if verdict.broken:
            found.append(_describe(verdict, shape))
            progress.clear()
            if not as_json:
                _say_broken(found[-1])
        elif alone and not (as_log or as_json):
            click.echo(f"seed {verdict.seed}: every law holds{_size(total)}")
        progress.tell(f"{total.seeds} worlds, {sum(total.broken.values())} with a broken law")

    with progress:
        total = sweep(seeds_from(first, number, minutes), shape, tell)
    if as_json:
        click.echo(_json({"first": first, **_figures(total), "failures": found}))
    elif not alone:
        _say_sum(first, total, repeat=seed is None)
    return 1 if found else 0


def _read_seeds(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if (
        not (first.isdecimal() and (last or first).isdecimal())
        or int(last or first) < int(first)
        or (dash and not last)
    ):
        raise click.UsageError(f"--seeds {text}: write two numbers, the first the smaller one, as 0-999")
    return int(first), int(last or first) - int(first) + 1


def _describe(verdict: "Verdict", shape: "Shape | None") -> dict[str, Any]:
    broken = verdict.broken[0]
    where = "" if broken.call is None else f"call {broken.call}{f', lane {broken.lane}' if broken.lane else ''}: "
    option = "" if shape is None else f" --plan '{shape}'"
    return {
        "seed": verdict.seed,
        "law": broken.law,
        "what": f"{where}{broken.what}",
        "excerpt": verdict.excerpt(),
        "command": f"fanout sim --seed {verdict.seed}{option} --log",
    }


def _say_broken(found: dict[str, Any]) -> None:
    from fanout.formats.summary import one_line

    click.echo(f"seed {found['seed']}: broken: {found['law']}: {one_line(found['what'])}")
    for line in found["excerpt"]:
        click.echo(f"    {one_line(line, 160)}")
    click.echo(f"  again: {found['command']}")


def _size(total: "Sum") -> str:
    return f" ({total.calls} calls, {total.lanes} lanes, {total.requests} requests, {total.events} events)"


def _say_sum(first: int, total: "Sum", *, repeat: bool) -> None:
    bad = sum(total.broken.values())
    rate = f"{total.seeds / total.cpu:.0f} a second of processor time" if total.cpu else "none"
    click.echo(f"{total.seeds} worlds from seed {first} on{_size(total)}, {rate}")
    if bad:
        click.echo(f"{bad} of them break a law: " + ", ".join(f"{law} ({n})" for law, n in total.broken.most_common()))
    else:
        click.echo("every law holds")
    if repeat:
        click.echo(f"again: fanout sim --seed {first} --count {total.seeds}")


def _figures(total: "Sum") -> dict[str, Any]:
    names = ("seeds", "calls", "lanes", "requests", "events", "cpu")
    return {name: getattr(total, name) for name in names} | {"broken": dict(total.broken)}


def _compare(file: Path, shapes: "list[Shape]", *, as_json: bool, on: Any, **given: Any) -> int:
    from fanout.sim.latencies import read_lanes
    from fanout.sim.notation import parse_shape
    from fanout.sim.outlook import compare

    for name in ("seeds", "minutes"):
        if given[name] is not None:
            raise click.UsageError(f"--{name} is for drawn worlds; with --lanes, --count says how many requests")
    if given["as_log"]:
        raise click.UsageError("--log is for drawn worlds, and does not go with --lanes")
    lanes = read_lanes(file)
    shapes = shapes or [parse_shape(text) for text in USUAL]
    with _Progress() as progress:
        told = lambda policy, done: progress.tell(f"{policy}: {done} requests")  # noqa: E731
        found = compare(shapes, lanes, given["count"] or REQUESTS, given["seed"] or 0, on, told)
    if as_json:
        click.echo(_json({"seed": given["seed"] or 0, "policies": [_plain(each) for each in found]}))
    else:
        click.echo("\n".join(_rows(found)))
    return 0


def _plain(outlook: "Outlook") -> dict[str, Any]:
    from math import isfinite

    def finite(quantiles: dict[str, float]) -> dict[str, float | None]:
        return {name: value if isfinite(value) else None for name, value in quantiles.items()}

    names = ("policy", "n", "extra", "wasted", "failed")
    plain = {name: getattr(outlook, name) for name in names}
    return plain | {"first": finite(outlook.first), "total": finite(outlook.total)}


def _rows(found: "list[Outlook]") -> Iterator[str]:
    from fanout.bench.report.console import align, seconds

    head = ["policy", *(f"{what} {q}" for what in ("first", "total") for q in found[0].first)]
    rows = [[*head, "extra requests", "wasted tokens", "no answer"]]
    for one in found:
        times = [*one.first.values(), *one.total.values()]
        cells = [seconds(time) if time < float("inf") else "never" for time in times]
        rows.append([one.policy, *cells, f"{100 * one.extra:.1f} %", f"{one.wasted:.1f}", f"{100 * one.failed:.1f} %"])
    yield from align([tuple(row) for row in rows])
    yield f"{found[0].n} requests each, in virtual time; extra requests and wasted tokens are those of one request"


def _json(value: Any) -> str:
    import orjson

    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


class _Progress:
    """One line on stderr, once it takes longer than a second; on a terminal it is written over."""

    def __init__(self) -> None:
        self._next = monotonic() + STEP
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def tell(self, words: str) -> None:
        """Says how far it is."""
        if monotonic() < self._next:
            return
        over = sys.stderr.isatty()
        self._next = monotonic() + (STEP if over else 10 * STEP)
        self._shown = over
        click.echo(f"\r\x1b[K{words}" if over else words, nl=not over, err=True)

    def clear(self) -> None:
        """Takes the line away."""
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._shown = False
