"""fanout keys: which keys are set, and whether the services take them."""

from functools import partial
from typing import TYPE_CHECKING

import click

from fanout import catalog
from fanout.catalog.entries import Entry, keys_in_environment
from fanout.cli.names import complete_keyed

if TYPE_CHECKING:
    from fanout.errors import ProviderError


@click.command()
@click.argument("providers", nargs=-1, metavar="[PROVIDER]...", shell_complete=complete_keyed)
@click.option("--offline", is_flag=True, help="Only say which are set; ask nobody.")
def keys(providers: tuple[str, ...], offline: bool) -> int:
    """Check the keys of the environment with their services, by asking for their lists of models. Shows no key.

    Without arguments: of all providers that have one. Exit code 1 if a service refuses a key or cannot be asked,
    or if no key is set.
    """
    from fanout.cli import stop

    chosen = [
        entry for entry in catalog.providers() if entry.name in providers or (not providers and entry.key_present)
    ]
    for missing in set(providers) - {entry.name for entry in chosen}:
        catalog.find(f"{missing}/x")  # says what there is
    if not chosen:
        click.echo("no key is set; fanout providers lists the variables", err=True)
        return 1
    return stop.run(partial(_check, chosen, offline))


async def _check(chosen: list[Entry], offline: bool) -> int:
    import trio

    import fanout
    from fanout.cli.screen import stdout
    from fanout.formats.summary import one_line

    counts = {entry.name: len(list(keys_in_environment(entry.keys))) for entry in chosen}
    said: dict[str, list[ProviderError | None]] = {}

    async def ask(name: str) -> None:
        said[name] = await fanout.check_keys(name, transport=transport)

    async with fanout.open_transport() as transport, trio.open_nursery() as nursery:
        # All at once: a silent service takes all of its time.
        for name, count in counts.items():
            if count and not offline:
                nursery.start_soon(ask, name)
    for name, count in counts.items():
        lines = [f"{count or 'no'} {'key' if count == 1 else 'keys'} set"]
        if name in said:
            lines = [
                "accepted" if error is None else f"{error.kind}: {one_line(error.message)}" for error in said[name]
            ]
        for number, line in enumerate(lines, 1):
            await stdout.write(f"{name:<14} {f'key {number}: ' if name in said and count > 1 else ''}{line}\n")
    return 1 if any(error is not None for errors in said.values() for error in errors) else 0
