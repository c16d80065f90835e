"""fanout auth list: the logins that are kept on this machine. It shows no secret."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from fanout.cli.auth.logins import complain, load_logins

if TYPE_CHECKING:
    from fanout.credentials import Credentials


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def list_(as_json: bool) -> int:
    """List the logins that are kept: where they came from, their age, and when they end. Shows no secret."""
    logins, problems = load_logins()
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
