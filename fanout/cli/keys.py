"""fanout keys: which keys are set, and whether the services take them."""

from functools import partial

import click

from fanout import catalog
from fanout.catalog.entries import Entry, keys_in_environment


@click.command()
@click.argument("providers", nargs=-1, metavar="[PROVIDER]...")
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
    import fanout
    from fanout.cli.screen import stdout

    bad = 0
    async with fanout.open_transport() as transport:
        for entry in chosen:
            count = len(list(keys_in_environment(entry.keys)))
            if offline or not count:
                lines = [f"{count or 'no'} {'key' if count == 1 else 'keys'} set"]
            else:
                said = await catalog.check_keys(entry.name, transport)
                bad += sum(error is not None for error in said)
                lines = ["accepted" if error is None else f"{error.kind}: {error.message}" for error in said]
            for number, line in enumerate(lines, 1):
                await stdout.write(
                    f"{entry.name:<14} {'key ' + str(number) + ': ' if count > 1 and not offline else ''}{line}\n"
                )
    return 1 if bad else 0
