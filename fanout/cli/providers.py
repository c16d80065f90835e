"""fanout providers: what a lane can name."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fanout.catalog.entries import Entry


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def providers(as_json: bool) -> None:
    """List the providers: their names, what holds their keys or logins, whether one is set, and where they are.

    A key is a variable of the environment; a login is one that `fanout auth list` shows. No service is asked.
    """
    from fanout import catalog

    problems: list[Exception] = []
    rows = [(row, _login(row, problems)) for row in catalog.providers()]
    if as_json:
        click.echo(json.dumps([_object(row, login) for row, login in rows], indent=2))
    else:
        _print(rows)
    for problem in problems:
        click.echo(f"fanout: {problem}", err=True)


def _login(row: "Entry", problems: list[Exception]) -> bool | None:
    """True if a login is kept, None where nobody logs in; a kept login that cannot be read goes to `problems`."""
    if not row.unofficial:
        return None
    from fanout.errors import UsageError
    from fanout.login import store
    from fanout.login.services import SERVICES

    if row.name not in SERVICES:
        return None
    try:
        return store.load(row.name, row.url_in_environment or row.base_url) is not None
    except UsageError as error:
        if str(error) not in map(str, problems):  # of a directory that is refused, each says the same
            problems.append(error)
        return False


def _object(row: "Entry", login: bool | None) -> dict[str, object]:
    return {
        "name": row.name,
        "keys": list(row.keys),
        "key_present": row.key_present,
        "login_present": login,
        "base_url": row.base_url,
        "unofficial": row.unofficial,
        "status": row.status or None,
        "evidence": row.evidence or None,
        "note": row.note,
    }


def _print(rows: "list[tuple[Entry, bool | None]]") -> None:
    table = [("NAME", "KEY", "SET", "ADDRESS", "NOTE")]
    for row, login in rows:
        key = " or ".join(row.keys) or ("none" if login is None else "login")
        present = row.key_present if row.keys else login
        note = f"{row.status}, evidence of {row.evidence}: {row.note}" if row.unofficial else row.note
        table.append((row.name, key, "-" if present is None else "yes" if present else "no", row.base_url, note))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        click.echo(line.rstrip())
    click.echo(
        "\nA lane is NAME/MODEL: -m groq/llama-3.3-70b-versatile; fanout models NAME lists its models.", err=True
    )
    off = [row.name for row, _ in rows if row.unofficial]
    click.echo(
        f"{', '.join(off)} are unofficial interfaces: off until FANOUT_UNOFFICIAL names them or a login is kept; your "
        "own account and the site's terms apply.",
        err=True,
    )
