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
    import trio

    import fanout
    from fanout.cli.screen import stdout
    from fanout.login.services import SERVICES

    rows: list[dict[str, str]] = [{} for _ in chosen]

    async def ask(number: int, credentials: "Credentials") -> None:
        site, base_url = SERVICES[credentials.provider], credentials.base_url
        verdict, words = await ask_service(site, credentials, transport)
        rows[number] = {"name": site.name, "base_url": base_url, "verdict": verdict, "message": words}

    async with fanout.open_transport() as transport, trio.open_nursery() as nursery:
        for number, credentials in enumerate(chosen):  # at once: a silent service takes all of its time
            nursery.start_soon(ask, number, credentials)
    if not as_json:
        for row in rows:
            name, base_url, verdict, words = row.values()
            advice = f"; {_ways(SERVICES[name], base_url)}" if verdict == "refused" else ""
            await stdout.write(f"{name:<12}  {base_url}  {verdict}: {words}{advice}\n")
    else:
        await stdout.write(json.dumps(rows, indent=2) + "\n")
    return int(any(row["verdict"] == "refused" for row in rows))


async def ask_service(site: "Site", credentials: "Credentials", transport: "Transport") -> tuple[str, str]:
    """Asks the service about these credentials; returns accepted, refused or unknown, and why."""
    from fanout.credentials.scrub import Scrubber
    from fanout.errors import AuthError, LoginRequired, ProviderError
    from fanout.formats.summary import reason
    from fanout.login import services
    from fanout.transports.fetch import fetch_models, fetch_soon

    request, provider = services.user_request(site, credentials), None
    if request is None:
        provider = _provider(credentials)
    if provider is not None and provider.models_request() is None:
        return "unknown", "not checked: the service has nothing to ask before the first prompt"
    scrubber = Scrubber([*credentials.cookies.values(), *credentials.secrets.values()])
    try:
        if request is None:
            await fetch_models(transport, _provider(credentials))
            return "accepted", "the service lists its models"
        who = services.user(site, credentials.base_url, await fetch_soon(transport, request))
    except ProviderError as error:
        scrubber.scrub_error(error)
        # A bare 403 may be many things; where a service lists models, it is about the login.
        if isinstance(error, LoginRequired) or (provider and isinstance(error, AuthError)):
            return "refused", reason(error)
        return "unknown", f"not checked: {reason(error)}"
    if who is None:
        return "unknown", "not checked: this deployment does not say who is logged in"
    return "accepted", f"{scrubber.scrub_text(who)} is logged in"


def _provider(credentials: "Credentials") -> "Provider":
    """The provider that speaks to this service, whose class has the name of its module."""
    from importlib import import_module

    module = import_module(f"fanout.chats.{credentials.provider}")
    kind = next(value for name, value in vars(module).items() if name.lower() == credentials.provider)
    made: Provider = kind(base_url=credentials.base_url, credentials=credentials)
    return made
