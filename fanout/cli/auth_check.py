"""fanout auth check: whether the services accept the logins that are kept."""

import json
import os
from functools import partial
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fanout.abc import Provider, Transport
    from fanout.credentials import Credentials
    from fanout.login.services import Site

PATIENCE = 30.0
"""Seconds that a service may take to say who is logged in."""

BASE_URL = click.option("--base-url", metavar="URL", help="Where the service is, if it is not the usual one.")


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@BASE_URL
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def check(names: tuple[str, ...], base_url: str | None, as_json: bool) -> int:
    """Ask the services whether they accept the logins that are kept. Without arguments: all of them.

    Exit code 1 if one refuses. A service that cannot be asked without a prompt is reported as unknown.
    """
    from fanout.cli import stop

    sites = [find(name, base_url)[0] for name in names]
    found, problems = kept()
    chosen = [
        credentials
        for credentials in found
        if (not sites or credentials.provider in [site.name for site in sites])
        and (base_url is None or credentials.base_url == base_url.rstrip("/"))
    ]
    complain(problems)
    if not chosen:
        hint = f"; {sites[0].command} or {sites[0].import_command}" if sites else ""
        click.echo(f"fanout: no login is kept{hint}", err=True)
        return 1
    return stop.run(partial(_check, chosen, as_json)) or bool(problems)


async def _check(chosen: "list[Credentials]", as_json: bool) -> int:
    import fanout
    from fanout.cli import stdout
    from fanout.login.services import SERVICES

    rows = []
    async with fanout.open_transport() as transport:
        for credentials in chosen:
            site = SERVICES[credentials.provider]
            verdict, words = await ask_service(site, credentials, transport)
            rows.append({"name": site.name, "base_url": credentials.base_url, "verdict": verdict, "message": words})
            if not as_json:
                advice = f"; {site.command} or {site.import_command}" if verdict == "refused" else ""
                await stdout.write(f"{site.name:<12}  {credentials.base_url}  {verdict}: {words}{advice}\n")
    if as_json:
        await stdout.write(json.dumps(rows, indent=2) + "\n")
    return int(any(row["verdict"] == "refused" for row in rows))


async def ask_service(site: "Site", credentials: "Credentials", transport: "Transport") -> tuple[str, str]:
    """What the service says to these: accepted, refused or unknown, and why."""
    import trio

    from fanout.errors import AuthError, LoginRequired, ProviderError
    from fanout.fetch import fetch
    from fanout.formats.summary import reason
    from fanout.login import services
    from fanout.scrub import scrub

    request, provider = services.user_request(site, credentials), None
    if request is None:
        provider = _provider(credentials)
        request = provider.models_request()
    if request is None:
        return "unknown", "not checked: the service has nothing to ask before the first prompt"
    reply = None
    try:
        with trio.move_on_after(PATIENCE):
            reply = await fetch(transport, request, connect=5.0)
        if reply is None:
            return "unknown", f"not checked: no answer within {PATIENCE:g} s"
        if provider is not None:
            provider.models(reply)
            return "accepted", "the service lists its models"
        who = services.user(site, reply)
    except ProviderError as error:
        scrub(error, [*credentials.cookies.values(), *credentials.secrets.values()])
        # A bare 403 may be many things; where a service lists models, it is about the login.
        if isinstance(error, LoginRequired) or (provider and isinstance(error, AuthError)):
            return "refused", reason(error)
        return "unknown", f"not checked: {reason(error)}"
    if who is None:
        return "unknown", "not checked: this deployment does not say who is logged in"
    return "accepted", f"{who} is logged in"


def _provider(credentials: "Credentials") -> "Provider":
    """The provider that speaks to this service, whose class has the name of its module."""
    from importlib import import_module

    module = import_module(f"fanout.providers.{credentials.provider}")
    kind = next(value for name, value in vars(module).items() if name.lower() == credentials.provider)
    made: Provider = kind(base_url=credentials.base_url, credentials=credentials)
    return made


def find(name: str, base_url: str | None) -> "tuple[Site, str]":
    """The site of this name, and the base URL given for it, else in its variable, else its own. Raises UsageError."""
    from fanout.catalog.spec import unknown
    from fanout.errors import UsageError
    from fanout.login.services import SERVICES, checked

    if name not in SERVICES:
        raise UsageError(unknown("service with a login", name, SERVICES, f"there are {', '.join(SERVICES)}"))
    site = SERVICES[name]
    return site, checked(base_url or os.environ.get(site.base_url_variable) or site.base_url)


def kept() -> "tuple[list[Credentials], list[Exception]]":
    """What the store holds, and what the environment does where the store has nothing; and what is wrong with them."""
    from fanout.errors import UsageError
    from fanout.login import sources, store
    from fanout.login.services import SERVICES

    found, broken = store.stored()
    logins = [credentials for credentials in found if credentials.provider in SERVICES]
    problems: list[Exception] = [*broken]
    for name in SERVICES:
        _, base_url = find(name, None)
        try:
            own = sources.from_environment(name, base_url)
        except UsageError as error:
            problems.append(error)
            continue
        if own and not any((c.provider, c.base_url) == (name, base_url) for c in logins):
            logins.append(own)
    return logins, problems


async def keep(credentials: "Credentials") -> str:
    """Stores a login; says what of it. Raises UsageError if it cannot be stored."""
    import trio

    from fanout.login import store

    await trio.to_thread.run_sync(store.save, credentials)
    held = ", ".join([*credentials.cookies, *credentials.secrets])
    ends = f", ends {credentials.expires:%Y-%m-%d}" if credentials.expires else ""
    return f"stored {held}{ends}"


def complain(problems: list[Exception]) -> None:
    """Says what is wrong with what is kept, a line each."""
    for problem in problems:
        click.echo(f"fanout: {problem}", err=True)
