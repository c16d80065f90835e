"""fanout models: what models there are, and the embedded one's weights."""

import json
import sys
from functools import partial

import click

from fanout.cli.names import complete_listing


@click.command()
@click.argument("provider", required=False, metavar="[PROVIDER|LANE|pull]", shell_complete=complete_listing)
@click.option("--json", "as_json", is_flag=True, help="The list as JSON.")
def models(provider: str | None, as_json: bool) -> int:
    """List the models of a provider, or of a lane's service, asked now.

    `pull` fetches the embedded model's weights and prints where they are.

    Without an argument: what the embedded model is, and whether its weights are here.
    """
    from fanout.cli import stop

    if provider is None:
        return _show_embedded(as_json)
    if provider == "pull":
        return stop.run(_pull)
    return stop.run(partial(_list, provider, as_json))


def _show_embedded(as_json: bool) -> int:
    from fanout import catalog
    from fanout.local import weights

    row = next(row for row in catalog.providers() if row.name == "local")
    path = weights.find()
    if as_json:
        click.echo(json.dumps({"name": row.name, "note": row.note, "weights": str(path) if path else None}))
        return 0
    click.echo(f"{row.name}  {row.note}")
    click.echo(f"weights: {path}" if path else "weights: not here yet; fanout models pull fetches them")
    click.echo("\nA provider's models: fanout models PROVIDER. The providers: fanout providers.", err=True)
    return 0


async def _list(provider: str, as_json: bool) -> int:
    import fanout
    from fanout.cli.screen import stdout
    from fanout.formats.terminal import sanitise

    async with fanout.open_transport() as transport:
        names = await fanout.list_models(provider, transport=transport)
    if as_json:
        await stdout.write(json.dumps(names) + "\n")
    else:
        await stdout.write("".join(f"{sanitise(name)}\n" for name in names))
    return 0


async def _pull() -> int:
    from fanout.cli.screen import stdout
    from fanout.local import weights

    if not sys.stderr.isatty():
        path = await weights.pull(lambda _done, _total: None)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("the embedded model"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
            task = progress.add_task("", total=None)

            def report(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total, refresh=True)

            path = await weights.pull(report)
    await stdout.write(f"{path}\n")
    return 0
