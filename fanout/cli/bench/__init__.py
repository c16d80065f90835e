"""fanout bench: how fast the lanes are, and whether their differences are real."""

from pathlib import Path
from typing import Any

import click

from fanout.cli.bench.command import describe_command, remember_arguments
from fanout.cli.bench.options import add_options, read_limit, read_streams
from fanout.storage.places import expand_home


class _RememberingGroup(click.Group):
    """A group that keeps the arguments as they were given: a run tells how it was asked for."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keeps the arguments before click takes them apart."""
        remember_arguments(ctx, args)
        return super().parse_args(ctx, args)


@click.group(cls=_RememberingGroup, invoke_without_command=True, subcommand_metavar="[compare|report|calibrate ...]")
@add_options
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
    from fanout.cli.bench.run import plan, run_benchmark

    planned, output = plan(values, describe_command(ctx))
    return stop.run(lambda: run_benchmark(planned, output))


@bench.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
def compare(old: str, new: str) -> int:
    """Show what changed between two runs: summary.json files, directories of --out, or runs of fanout log."""
    from fanout.bench.report.changes import list_changes

    for line in list_changes(_read_summary(old), _read_summary(new)):
        click.echo(line)
    return 0


@bench.command()
@click.argument("run", metavar="DIR|RUN")
@click.option("--out", type=expand_home, metavar="FILE", help="Where to; usually DIR/report.html, or RUN.html here.")
def report(run: str, out: Path | None) -> int:
    """Write the page of a run: one in a directory of --out, or one of fanout log (its name, or last)."""
    from fanout.bench.records import files
    from fanout.bench.records.store import open_store
    from fanout.bench.report.page import make_page
    from fanout.cli.bench.summary import sum_up_with_notice
    from fanout.storage.writing import replace_file

    directory = expand_home(run)
    if directory.is_dir():
        about, lines = files.read(directory)
        text = make_page(sum_up_with_notice(lines, about), lines, about)
        target = out or directory / files.REPORT
    else:
        with open_store() as store:
            kept = store.find(run)
            records = store.records(kept.id)
            text = make_page(sum_up_with_notice(records, kept.about), records, kept.about)
        target = out or Path(f"{kept.name}.html")
    try:
        replace_file(target, text.encode())
    except OSError as error:
        raise click.UsageError(f"{target}: {error.strerror}") from None
    click.echo(str(target))
    return 0


@bench.command()
@click.option(
    "-c",
    "--concurrency",
    callback=read_streams,
    metavar="LIST",
    help="Streams to try, the smallest first. Usually 1,8,64,128,256,512.",
)
@click.option("-t", "--duration", type=read_limit, metavar="TIME", help="How long each load takes, about. Usually 4 s.")
@click.option("--json", "as_json", is_flag=True, help="The table as JSON.")
def calibrate(concurrency: list[int], duration: float | None, as_json: bool) -> int:  # fmt: skip
    """Show how far this machine can be trusted: measure a service of our own that knows when it sent what.

    The errors are those of percentiles, in percent of the truth. merged: pieces whose stamps the kernel merged.
    """
    import json

    from fanout.bench.calibration import calibrate as service

    def show(row: service.CalibrationRow) -> None:
        if not as_json:
            click.echo(service.line(row))

    if not as_json:
        click.echo(service.HEAD)
    found = service.calibrate(concurrency or service.LEVELS, seconds=duration or service.LOAD_SECONDS, heard=show)
    click.echo(json.dumps(found.to_json(), indent=2) if as_json else found.verdict)
    return 0


def _read_summary(name: str) -> Any:
    """The JSON of a run's summary: from a file, from a directory of --out, or from the store."""
    from fanout.bench.records import files
    from fanout.bench.records.store import RUNNING, open_store
    from fanout.errors import UsageError

    path = expand_home(name)
    if path.is_dir():
        return files.read_json(path / files.SUMMARY)
    if path.is_file():
        return files.read_json(path)
    with open_store() as store:
        run = store.find(name)
    if run.summary is None:
        verb = "is" if run.state == RUNNING else "was"
        raise UsageError(
            f"the run {run.name} has no summary: it {verb} {run.state}; fanout log show {run.name} makes one"
        )
    return {**run.summary, "about": run.about}
