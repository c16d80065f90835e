"""fanout auth logout: deletes a login from this machine."""

import os

import click

from fanout.cli.auth.logins import BASE_URL, find_site


@click.command()
@click.argument("name")
@BASE_URL
def logout(name: str, base_url: str | None) -> int:
    """Delete the stored login to a service. The session at the service itself goes on until you end it there."""
    from fanout.login import store

    site, url = find_site(name, base_url)
    count = store.delete(name, url if base_url else None)
    if os.environ.get(site.variable):
        click.echo(f"fanout: {site.variable} is set and holds another; unset it", err=True)
    if not count:
        click.echo(f"fanout: no login to {name} is stored{f' for {url}' if base_url else ''}", err=True)
        return 1
    click.echo(f"{name}: {count} {'login' if count == 1 else 'logins'} deleted")
    return 0
