"""fanout login: log in to a service with a browser, and keep what lanes need of the login."""

from functools import partial
from typing import TYPE_CHECKING

import click

from fanout.cli.auth.logins import BASE_URL, find_site, store_login
from fanout.cli.options import seconds

if TYPE_CHECKING:
    from fanout.login.browser import Settings
    from fanout.login.services import Site


@click.command()
@click.argument("name")
@BASE_URL
@click.option("--profile", is_flag=True, help="Keep the browser's profile: the next login may need no typing.")
@click.option("--browser", metavar="PATH", help="The Chromium or Chrome to start.")
@click.option("--timeout", type=seconds, default="10m", metavar="TIME", help="How long you may take; default 10m.")
@click.option("--as-root", is_flag=True, help="Start the browser as root, without its sandbox.")
@click.option("--headless", is_flag=True, help="Without a window: for tests.")
def login(
    name: str,
    base_url: str | None,
    profile: bool,
    browser: str | None,
    timeout: float,
    as_root: bool,
    headless: bool,
) -> int:
    """Open a service's page in a browser of its own, wait until you have logged in, and keep the login.

    On a machine without a display, fanout auth import NAME takes a login from elsewhere. Ctrl-C gives up and leaves
    nothing behind.
    """
    from fanout.cli import stop
    from fanout.login.browser import Settings, profile_directory

    site, url = find_site(name, base_url)
    place = profile_directory(site, url) if profile else None
    settings = Settings(headless, place, browser, timeout, as_root)
    return stop.run(partial(_log_in, site, url, settings))


async def _log_in(site: "Site", url: str, settings: "Settings") -> int:
    from fanout.cli.screen import stdout
    from fanout.errors import ProviderError
    from fanout.login.browser import log_in

    try:
        credentials = await log_in(site, url, partial(click.echo, err=True), settings)
    except ProviderError as error:
        click.echo(f"fanout: {error.message}", err=True)
        return 1
    stored = await store_login(credentials)
    await stdout.write(f"{site.name} at {url}: {stored}\n")
    return 0
