"""fanout keys: which keys there are and whether the services take them; set, unset."""

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from fanout import catalog
from fanout.catalog.entries import Entry
from fanout.catalog.keys import DOTENV, Found, delete, find_keys, save
from fanout.cli.names import complete_keyed

if TYPE_CHECKING:
    from fanout.errors import ProviderError

_PLACES = {"environment": "in the environment", "stored": "stored", DOTENV: f"in {DOTENV}"}


class Checking(click.Group):
    """A group whose `check` is meant where no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts `check` before arguments that begin with none of the commands."""
        named = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["check", *args])


@click.group(cls=Checking)
def keys() -> None:
    """Say where keys come from, check them with their services, and store them. Shows no key.

    A key is looked for in the environment, then among those stored by `fanout keys set`, then in the file .env of the
    current directory. Without a command: check.
    """


@keys.command()
@click.argument("providers", nargs=-1, metavar="[PROVIDER]...", shell_complete=complete_keyed)
@click.option("--offline", is_flag=True, help="Only say which are set; ask nobody.")
def check(providers: tuple[str, ...], offline: bool) -> int:
    """Check the keys with their services, by asking for their lists of models, and say where each comes from.

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
        click.echo("no key is set; fanout providers lists the variables, fanout keys set PROVIDER stores one", err=True)
        return 1
    return stop.run(partial(_check, chosen, offline))


@keys.command("set")
@click.argument("provider", shell_complete=complete_keyed)
@click.option("--keyring", is_flag=True, help="Keep it in the system's keyring, with the package keyring.")
def store(provider: str, keyring: bool) -> int:
    """Store a provider's key: asked for without echo, or read from standard input. A comma separates several.

    fanout keys set groq < key.txt
    """
    variable = _variable_of(provider)
    path = save(variable, _read_key(variable), keyring=keyring)
    where = "the system's keyring" if keyring else str(path)
    click.echo(f"{provider}: {variable} is stored in {where}", err=True)
    found = find_keys((variable,))
    if found and found.place == "environment":
        click.echo(f"{variable} is set in the environment too, which goes before", err=True)
    return 0


@keys.command()
@click.argument("provider", shell_complete=complete_keyed)
def unset(provider: str) -> int:
    """Delete the key that is stored for a provider."""
    variable = _variable_of(provider)
    if not delete(variable):
        click.echo(f"no key is stored for {provider}", err=True)
        return 1
    click.echo(f"{provider}: {variable} is no longer stored", err=True)
    return 0


def _variable_of(provider: str) -> str:
    """The variable under which a provider's key is stored. Raises UsageError for one without a key."""
    from fanout.errors import UsageError
    from fanout.settings import explain_unknown

    entries = {entry.name: entry for entry in catalog.providers()}
    if provider not in entries:
        raise UsageError(explain_unknown("provider", provider, entries, "`fanout providers` lists them all"))
    if not entries[provider].keys:
        raise UsageError(f"{provider} takes no key")
    return entries[provider].keys[0]


def _read_key(variable: str) -> str:
    from fanout.cli import stdin

    if not stdin.is_there():
        if sys.stdin is None or sys.stdin.closed:
            raise click.UsageError("there is no terminal to ask on: give the key on standard input")
        asked: str = click.prompt(f"The key ({variable}; not shown)", hide_input=True, err=True)
        return asked.strip()
    return (stdin.read() or b"").decode("utf-8-sig", "replace").strip()


async def _check(chosen: list[Entry], offline: bool) -> int:
    import trio

    import fanout
    from fanout.cli.screen import stdout
    from fanout.formats.summary import one_line

    found = {entry.name: find_keys(entry.keys) for entry in chosen}
    said: dict[str, list[ProviderError | None]] = {}

    async def ask(name: str) -> None:
        said[name] = await fanout.check_keys(name, transport=transport)

    async with fanout.open_transport() as transport, trio.open_nursery() as nursery:
        # All at once: a silent service takes all of its time.
        for name, place in found.items():
            if place and not offline:
                nursery.start_soon(ask, name)
    for name, place in found.items():
        count = len(place.keys) if place else 0
        lines = [f"{count or 'no'} {'key' if count == 1 else 'keys'} set"]
        if name in said:
            lines = [
                "accepted" if error is None else f"{error.kind}: {one_line(error.message)}" for error in said[name]
            ]
        for number, line in enumerate(lines, 1):
            which = f"key {number}: " if name in said and count > 1 else ""
            await stdout.write(f"{name:<14} {which}{line}{_describe(place)}\n")
    return 1 if any(error is not None for errors in said.values() for error in errors) else 0


def _describe(found: Found | None) -> str:
    """The place of a key and its variable, as the end of a line."""
    return f" ({found.variable}, {_PLACES[found.place]})" if found else ""
