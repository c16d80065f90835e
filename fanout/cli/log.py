"""fanout log: the runs of bench that are kept."""

import sys
from collections.abc import Iterable
from pathlib import Path
from time import localtime, strftime
from typing import Any

import click

from fanout.storage.places import expand_home


@click.group()
def log() -> None:
    """List, show, export or delete the runs that `fanout bench` has kept.

    A RUN is the name of one, the beginning of its name, or `last`.
    """


@log.command("list")
@click.option("--json", "as_json", is_flag=True, help="The list as JSON.")
def list_(as_json: bool) -> int:
    """List the runs, the latest first.

    A run is running, complete, interrupted, failed, or cut off: then its process ended before it did.
    """
    from fanout.bench.records.store import open_store
    from fanout.bench.report.console import align

    with open_store() as store:
        runs = store.runs()
    if as_json:
        click.echo(_json([_row(run) for run in runs]))
        return 0
    if not runs:
        click.echo("no run is kept yet; fanout bench keeps each", err=True)
        return 0
    rows = [("run", "start", "state", "requests", "load", "lanes")]
    rows += [(run.name, _when(run.started), run.state, str(run.requests), _load(run), _lanes(run)) for run in runs]
    for line in align(rows):
        click.echo(line)
    return 0


@log.command()
@click.argument("run", metavar="RUN", default="last")
@click.option("--json", "as_json", is_flag=True, help="Its summary as JSON.")
def show(run: str, as_json: bool) -> int:
    """Show the summary of a run, also of one that goes on, or was interrupted or cut off."""
    from fanout.bench.analysis.summary import to_json
    from fanout.bench.records.store import open_store
    from fanout.bench.report import console
    from fanout.cli.bench.summary import sum_up_with_notice
    from fanout.cli.screen.live import table_width
    from fanout.formats.summary import one_line

    with open_store() as store:
        kept = store.find(run)
        summary = sum_up_with_notice(store.records(kept.id), kept.about)
    if as_json:
        click.echo(_json({**to_json(summary), "about": kept.about}))
        return 0
    command = one_line(str(kept.about.get("command", "")))
    click.echo(f"{kept.name}, {_when(kept.started)}, {kept.state}: {command}")
    for line in console.lines(summary, table_width()):
        click.echo(line)
    return 0


@log.command()
@click.argument("run", metavar="RUN", default="last")
@click.option(
    "--out",
    type=expand_home,
    metavar="DIR",
    help="Write all the files of the run there; else its requests go to stdout.",
)
def export(run: str, out: Path | None) -> int:
    """Write a run's requests to stdout, as JSON a line, or all its files into a directory."""
    from fanout.bench.records import files
    from fanout.bench.records.store import open_store
    from fanout.bench.run import write_files
    from fanout.cli.bench.summary import sum_up_with_notice

    with open_store() as store:
        kept = store.find(run)
        if out is None:
            for line in store.lines(kept.id):
                sys.stdout.write(line.decode())
            return 0
        files.prepare(out)
        records = store.records(kept.id)
        write_files(out, sum_up_with_notice(records, kept.about), records, kept.about)
    click.echo(str(out / files.REPORT))
    return 0


@log.command()
@click.argument("runs", metavar="RUN...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All runs.")
def delete(runs: tuple[str, ...], everything: bool) -> int:
    """Delete runs, and say which."""
    from fanout.bench.records.store import RUNNING, open_store

    if everything == bool(runs):
        raise click.UsageError("name the runs to delete, or write --all")
    with open_store() as store:
        found = store.runs() if everything else [store.find(name) for name in runs]
        over = [run for run in found if not everything or run.state != RUNNING]
        store.delete(over)
    for run in found:
        if run not in over:
            click.echo(f"fanout: {run.name} is running and stays", err=True)
    for run in over:
        click.echo(f"deleted {run.name}")
    return 0


def _row(run: Any) -> dict[str, Any]:
    names = ("name", "started", "ended", "state", "requests", "about")
    return {name: getattr(run, name) for name in names}


def _json(value: Any) -> str:
    import orjson

    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _when(started: float) -> str:
    return strftime("%Y-%m-%d %H:%M", localtime(started))


def _load(run: Any) -> str:
    return ",".join(run.about.get("load", ()))


def _lanes(run: Any) -> str:
    from fanout.formats.summary import one_line

    names: Iterable[str] = (str(lane.get("name")) for lane in run.about.get("lanes", ()))
    return one_line(", ".join(names), 80)
