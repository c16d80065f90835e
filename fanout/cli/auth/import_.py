"""fanout auth import: takes over a login that was made in a browser."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fanout.cli.auth.check import ask_service
from fanout.cli.auth.logins import BASE_URL, find_site, store_login
from fanout.storage.places import expand_home

if TYPE_CHECKING:
    from fanout.credentials import Credentials
    from fanout.login.services import Site
    from fanout.login.sources import Found

ASK = " "
"""In place of a secret that is to be asked for."""

TERMINAL_LINE = 4095
"""Characters that a terminal takes in one line; it drops the rest without a word."""


@click.command("import")
@click.argument("name")
@BASE_URL
@click.option("--cookie", is_flag=False, flag_value=ASK, metavar="[-]", help="Ask for the cookies: name=value; …")
@click.option("--token", is_flag=False, flag_value=ASK, metavar="[-]", help="Ask for the token; - is stdin.")
@click.option("--file", metavar="FILE", help="A cookies.txt, or the JSON of a browser extension; - is stdin.")
@click.option("--har", metavar="FILE", help="A recording of the browser's network tools, with sensitive data.")
@click.option("--from-browser", type=click.Choice(["firefox", "chrome"]), help="The jar of a browser on this machine.")
@click.option("--profile", metavar="NAME|DIR", help="Which of that browser's profiles.")
@click.option("--cookie-name", "cookie_names", multiple=True, metavar="NAME", help="Keep these cookies, not the usual.")
@click.option("--user-agent", metavar="TEXT", help="The browser's user agent, to which some sites bind a login.")
@click.option("--offline", is_flag=True, help="Store it without asking the service who is logged in.")
def import_(name: str, base_url: str | None, offline: bool, **given: object) -> int:
    """Store a login that was made in a browser. Without options: asks for it, or reads it from standard input.

    Only the cookies and tokens that the service needs are kept of a file. Whatever is secret belongs into the
    prompt, standard input or a file, because others can see a command's arguments. The service is asked who is logged
    in, where it can say so, and a login that it refuses is not stored.
    """
    from fanout.cli import stop
    from fanout.login import services

    site, url = find_site(name, base_url)
    names = given.pop("cookie_names")
    if isinstance(names, tuple) and names:
        from attrs import evolve

        site = evolve(site, cookies=names, needs=names, needs_at_home=())
    credentials = _read_login(site, services.check_address(url), **given)  # type: ignore[arg-type]  # what click made of them
    return stop.run(partial(_store, site, credentials, offline))


def _read_login(
    site: "Site",
    base_url: str,
    *,
    cookie: str | None,
    token: str | None,
    file: str | None,
    har: str | None,
    from_browser: str | None,
    profile: str | None,
    user_agent: str | None,
) -> "Credentials":
    from attrs import evolve

    from fanout.errors import UsageError
    from fanout.login import sources

    given = {"--cookie": cookie, "--token": token, "--file": file, "--har": har, "--from-browser": from_browser}
    chosen = [(option, value) for option, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(option for option, _ in chosen)}: choose one of them")
    option, value = chosen[0] if chosen else ("", "")
    if (option == "--cookie" and not site.cookies) or (option == "--token" and not site.secrets):
        other = "--token" if site.secrets else "--cookie"
        raise click.UsageError(f"{site.name} takes no {option.removeprefix('--')}, use {other}")
    label, read = _choose_source(site, base_url, option, value, profile)
    try:
        found = read()
        if user_agent:
            found = evolve(found, headers={"user-agent": user_agent})
        made, notes = sources.credentials(site, base_url, found, "import", datetime.now(UTC).replace(microsecond=0))
    except UsageError as error:
        raise UsageError(f"{label}: {error}") from None
    for note in notes:
        click.echo(f"fanout: {label}: {note}; left out", err=True)
    return made


def _choose_source(
    site: "Site", base_url: str, option: str, value: str, profile: str | None
) -> "tuple[str, Callable[[], Found]]":
    """Chooses the source of the login; returns its name, in words, and the function that reads it."""
    from fanout.login import sources

    if option == "--from-browser":
        return f"{value}'s cookies", lambda: sources.from_browser(value, profile)
    if option in ("--file", "--har") and value != "-":
        path = expand_home(value)
        return value, lambda: sources.parse(_file(path), site, base_url)
    if option and value not in (ASK, "-"):
        click.echo(f"fanout: others can see a command's arguments; {option} without a value asks for it", err=True)
        return option, lambda: sources.parse(value, site, base_url)
    if value == "-" or sys.stdin is None or not sys.stdin.isatty():
        return "standard input", lambda: sources.parse(_stdin(), site, base_url)
    if option:
        return option, lambda: sources.parse(_ask(f"{site.name}, {option.removeprefix('--')}"), site, base_url)
    return "what was typed", lambda: _ask_one_by_one(site, base_url)


def _file(path: Path) -> str:
    try:
        return _text(path.read_bytes())
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None


def _stdin() -> str:
    if sys.stdin is None or sys.stdin.closed:
        raise click.UsageError("standard input is closed")
    return _text(sys.stdin.buffer.read())


def _text(data: bytes) -> str:
    from fanout.errors import UsageError

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError("this is not text in UTF-8") from None
    if not text.strip():
        raise UsageError("there is nothing in it")
    return text


def _ask(what: str, *, needed: bool = True) -> str:
    text: str = click.prompt(what, default=None if needed else "", show_default=False, hide_input=True, err=True)
    if len(text.encode()) >= TERMINAL_LINE:
        raise click.UsageError("that is more than a terminal takes in one line; put it into a file or a pipe")
    return text


def _ask_one_by_one(site: "Site", base_url: str) -> "Found":
    from fanout.credentials.secret import Secret
    from fanout.login.sources import Cookie, Found, token

    needed = site.required_names(base_url)
    if site.secrets:
        return token(_ask(f"{site.name}, the token"), site)
    said = {
        name: _ask(f"{site.name}, cookie {name}{'' if name in needed else ' (may be left out)'}", needed=name in needed)
        for name in site.cookies
    }
    return Found([Cookie(name, Secret(text.strip().removeprefix(f"{name}="))) for name, text in said.items() if text])


async def _store(site: "Site", credentials: "Credentials", offline: bool) -> int:
    import fanout
    from fanout.cli.screen import stdout

    verdict, words = "", "not checked"
    if not offline:
        async with fanout.open_transport() as transport:
            verdict, words = await ask_service(site, credentials, transport)
    where = f"{site.name} at {credentials.base_url}"
    if verdict == "refused":
        click.echo(f"fanout: {where} refuses this login, it is not stored: {words}", err=True)
        return 1
    stored = await store_login(credentials)
    await stdout.write(f"{where}: {stored}; {words}\n")
    return 0
