"""The logins that are kept on this machine, as the verbs about them find, store and complain of them."""

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fanout.credentials import Credentials
    from fanout.login.services import Site

BASE_URL = click.option("--base-url", metavar="URL", help="Where the service is, if it is not the usual one.")


def find_site(name: str, base_url: str | None) -> "tuple[Site, str]":
    """Returns the site of this name, and the base URL given for it, else in its variable, else its own.

    Raises UsageError.
    """
    from fanout.errors import UsageError
    from fanout.login.services import SERVICES, check_address
    from fanout.settings import explain_unknown

    if name not in SERVICES:
        raise UsageError(explain_unknown("service with a login", name, SERVICES, f"there are {', '.join(SERVICES)}"))
    site = SERVICES[name]
    return site, check_address(base_url or os.environ.get(site.base_url_variable) or site.base_url)


def load_logins() -> "tuple[list[Credentials], list[Exception]]":
    """Returns what the store holds, and what the environment does where the store has nothing; and what is wrong."""
    from fanout.errors import UsageError
    from fanout.login import sources, store
    from fanout.login.services import SERVICES

    found, broken = store.load_all()
    logins = [credentials for credentials in found if credentials.provider in SERVICES]
    problems: list[Exception] = [*broken]
    for name in SERVICES:
        _, base_url = find_site(name, None)
        try:
            own = sources.from_environment(name, base_url)
        except UsageError as error:
            problems.append(error)
            continue
        if own and not any((c.provider, c.base_url) == (name, base_url) for c in logins):
            logins.append(own)
    return logins, problems


async def store_login(credentials: "Credentials") -> str:
    """Stores a login; returns what of it, in words. Raises UsageError if it cannot be stored."""
    import trio

    from fanout.login import store

    await trio.to_thread.run_sync(store.save, credentials)
    held = ", ".join([*credentials.cookies, *credentials.secrets])
    ends = f", ends {credentials.expires:%Y-%m-%d}" if credentials.expires else ""
    return f"stored {held}{ends}"


def complain(problems: list[Exception]) -> None:
    """Prints what is wrong with the logins that are kept, a line each."""
    for problem in problems:
        click.echo(f"fanout: {problem}", err=True)
