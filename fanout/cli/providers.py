"""fanout providers: what a lane can name."""

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def providers(as_json: bool) -> None:
    """List the providers: their names, the variables that hold their keys, whether one is set, and where they are."""
    from fanout import catalog

    rows = catalog.providers()
    if as_json:
        objects = [
            {
                "name": row.name,
                "keys": list(row.keys),
                "key_present": row.key_present,
                "base_url": row.base_url,
                "unofficial": row.unofficial,
                "status": row.status or None,
                "evidence": row.evidence or None,
                "note": row.note,
            }
            for row in rows
        ]
        click.echo(json.dumps(objects, indent=2))
        return
    table = [("NAME", "KEY", "SET", "ADDRESS", "NOTE")]
    for row in rows:
        present = "yes" if row.key_present else "no" if row.keys else "-"
        note = f"{row.status}, evidence of {row.evidence}: {row.note}" if row.unofficial else row.note
        table.append((row.name, " or ".join(row.keys) or "none", present, row.base_url, note))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        click.echo(line.rstrip())
    click.echo(
        "\nA lane is NAME/MODEL: -m groq/llama-3.3-70b-versatile; fanout models NAME lists its models.", err=True
    )
    off = [row.name for row in rows if row.unofficial]
    click.echo(
        f"{', '.join(off)} are unofficial interfaces: off until FANOUT_UNOFFICIAL names them or a login is kept; your "
        "own account and the site's terms apply.",
        err=True,
    )
