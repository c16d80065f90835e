"""fanout auth: the logins that are kept on this machine. It shows no secret."""

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from fanout.cli.auth_check import BASE_URL, check, complain, find, kept
from fanout.cli.auth_import import import_

if TYPE_CHECKING:
    from fanout.credentials import Credentials


@click.group(subcommand_metavar="VERB ...")
def auth() -> None:
    """Keep the logins to services that want one, in files that only you can read.

    On a machine with a display `fanout login NAME` is easier. A stored login goes before one in a variable
    (FANOUT_HUGGINGCHAT_COOKIE, FANOUT_HAILUO_TOKEN, FANOUT_AURA_COOKIE).
    """


auth.add_command(import_)
auth.add_command(check)


@auth.command("list")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def list_(as_json: bool) -> int:
    """List the logins that are kept: where they came from, their age, and when they end. Shows no secret."""
    logins, problems = kept()
    now = datetime.now(UTC)
    if as_json:
        objects = [
            {
                "name": credentials.provider,
                "base_url": credentials.base_url,
                "source": credentials.source,
                "obtained": credentials.obtained and credentials.obtained.isoformat(),
                "expires": credentials.expires and credentials.expires.isoformat(),
                "expired": credentials.expires is not None and credentials.expires <= now,
                "holds": [*credentials.cookies, *credentials.secrets],
            }
            for credentials in logins
        ]
        click.echo(json.dumps(objects, indent=2))
    elif logins:
        table = [("NAME", "ADDRESS", "SOURCE", "AGE", "ENDS", "HOLDS")]
        table += [_row(credentials, now) for credentials in logins]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for cells in table:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    else:
        click.echo("no login is kept; fanout login NAME makes one, fanout auth import NAME takes a browser's", err=True)
    complain(problems)
    return 1 if problems else 0


def _row(credentials: "Credentials", now: datetime) -> tuple[str, str, str, str, str, str]:
    obtained, expires = credentials.obtained, credentials.expires
    ends = "-" if expires is None else f"{expires:%Y-%m-%d}" if expires > now else f"ended {expires:%Y-%m-%d}"
    holds = ", ".join([*credentials.cookies, *credentials.secrets])
    age = "-" if obtained is None else _age((now - obtained).total_seconds())
    return (credentials.provider, credentials.base_url, credentials.source, age, ends, holds)


def _age(seconds: float) -> str:
    units = (("d", 86400), ("h", 3600), ("min", 60))
    return next((f"{seconds / size:.0f} {unit}" for unit, size in units if seconds >= size), "new")


@auth.command()
@click.argument("name")
@BASE_URL
def logout(name: str, base_url: str | None) -> int:
    """Delete the stored login to a service. The session at the service itself goes on until you end it there."""
    from fanout.login import store

    site, url = find(name, base_url)
    count = store.delete(name, url if base_url else None)
    if os.environ.get(site.variable):
        click.echo(f"fanout: {site.variable} is set and holds another; unset it", err=True)
    if not count:
        click.echo(f"fanout: no login to {name} is stored{f' for {url}' if base_url else ''}", err=True)
        return 1
    click.echo(f"{name}: {count} {'login' if count == 1 else 'logins'} deleted")
    return 0
