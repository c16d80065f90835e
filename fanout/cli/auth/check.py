"""fanout auth check: asks the services about the logins that are kept."""

import json
from functools import partial
from typing import TYPE_CHECKING

import click

from fanout.cli.auth.logins import BASE_URL, complain, find_site, load_logins

if TYPE_CHECKING:
    from fanout.abc import Provider, Transport
    from fanout.credentials import Credentials
    from fanout.login.services import Site

PATIENCE = 30.0
"""Seconds that a service may take to say who is logged in."""


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@BASE_URL
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def check(names: tuple[str, ...], base_url: str | None, as_json: bool) -> int:
    """Ask the services whether they accept the logins that are kept. Without arguments: all of them.

    Exit code 1 if one refuses. A service that cannot be asked without a prompt is reported as unknown.
    """
    from fanout.cli import stop

    sites = [find_site(name, base_url) for name in names]
    found, problems = load_logins()
    chosen = [
        credentials
        for credentials in found
        if (not sites or credentials.provider in [site.name for site, _ in sites])
        and (base_url is None or credentials.base_url == base_url.rstrip("/"))
    ]
    complain(problems)
    if not chosen:
        hint = f"; {_ways(*sites[0])}" if sites else ""
        click.echo(f"fanout: no login is kept{hint}", err=True)
        return 1
    return stop.run(partial(_check, chosen, as_json)) or bool(problems)


def _ways(site: "Site", base_url: str) -> str:
    """Returns the ways to a login, as one types them."""
    return f"{site.command(base_url)} or {site.import_command(base_url)}"


async def _check(chosen: "list[Credentials]", as_json: bool) -> int:
    import fanout
    from fanout.cli.screen import stdout
    from fanout.login.services import SERVICES

    rows = []
    async with fanout.open_transport() as transport:
        for credentials in chosen:
            site = SERVICES[credentials.provider]
            verdict, words = await ask_service(site, credentials, transport)
            rows.append({"name": site.name, "base_url": credentials.base_url, "verdict": verdict, "message": words})
            if not as_json:
                advice = f"; {_ways(site, credentials.base_url)}" if verdict == "refused" else ""
                await stdout.write(f"{site.name:<12}  {credentials.base_url}  {verdict}: {words}{advice}\n")
    if as_json:
        await stdout.write(json.dumps(rows, indent=2) + "\n")
    return int(any(row["verdict"] == "refused" for row in rows))


async def ask_service(site: "Site", credentials: "Credentials", transport: "Transport") -> tuple[str, str]:
    """Asks the service about these credentials; returns accepted, refused or unknown, and why."""
    import trio

    from fanout.errors import AuthError, LoginRequired, ProviderError
    from fanout.formats.summary import reason
    from fanout.login import services
    from fanout.scrub import scrub
    from fanout.transports.fetch import fetch

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
        who = services.user(site, credentials.base_url, reply)
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

    module = import_module(f"fanout.chats.{credentials.provider}")
    kind = next(value for name, value in vars(module).items() if name.lower() == credentials.provider)
    made: Provider = kind(base_url=credentials.base_url, credentials=credentials)
    return made
