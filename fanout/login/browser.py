"""A login by a person in a browser: opens the service's page, waits, and takes what is named of the login.

The only module that imports nodriver, and only when somebody logs in: it is an extra of its own, under the AGPL, and
half a second of imports. What is used of it are the commands of the browser's protocol, and where browsers are found.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from shutil import which
from typing import Any

import trio
from attrs import define, frozen

from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.errors import AuthError, ConnectError, LoginRequired, TimedOut, UsageError
from fanout.login import chromium, pages, sources, store
from fanout.login.devtools import BrowserClosed, Command, CommandFailed, DevTools, Value
from fanout.login.services import Site, check_address

PATIENCE = 600.0
"""Seconds that a person has to log in."""
START = 30.0
"""Seconds until a browser must have shown its first page."""
POLL = 0.5
"""Seconds between two looks at the page."""
LOOK = 5.0
"""Seconds that a look may take: what was asked of a tab that has gone meanwhile is never answered."""

TAB_IS_GONE = -32001
"""The code of CommandFailed for a page that the person has closed."""

Tell = Callable[[str], object]
"""Is told what happens, a line each."""


class LoginCancelled(AuthError):
    """The person closed the page, or the browser, before being logged in."""


@frozen
class Settings:
    """Choices for a login.

    `profile` is a directory to keep the browser's profile in, or None for a new one that is deleted; `browser` the
    program, or None for one that is found. The person has `patience` seconds.
    """

    headless: bool = False
    profile: Path | None = None
    browser: str | None = None
    patience: float = PATIENCE
    as_root: bool = False


DEFAULT = Settings()


@define(eq=False)
class Tab:
    """The page of a browser that a person logs in with."""

    tools: DevTools
    session: str
    protocol: Any
    """nodriver's commands."""
    missing: str = ""
    """The part that a login still lacks which is complete by the page's own account."""

    async def call(self, command: Command[Value]) -> Value:
        """Has the page do something."""
        return await self.tools.call(command, self.session)

    async def show(self, url: str) -> None:
        """Opens an address. Raises ConnectError if there is nothing."""
        problem = (await self.call(self.protocol.page.navigate(url)))[2]
        if problem and problem != "net::ERR_ABORTED":  # the page, or the person, has gone on to another at once
            raise ConnectError(f"the browser cannot open {url}: {problem}")

    async def evaluate(self, expression: str) -> Any:
        """Returns the value of an expression, as JSON; None where it fails, as it does between two pages.

        Raises LoginCancelled if the page is closed.
        """
        ask = self.protocol.runtime.evaluate
        try:
            result, problem = await self.call(ask(expression, return_by_value=True, await_promise=True))
        except CommandFailed as error:
            if error.code == TAB_IS_GONE:
                raise LoginCancelled("the page was closed before anybody had logged in") from None
            return None
        return None if problem else result.value

    async def cookies(self, url: str) -> list[sources.Cookie]:
        """The cookies that the browser sends to this address, the most particular path last."""
        found = await self.call(self.protocol.network.get_cookies([url]))
        return [
            sources.Cookie(
                cookie.name,
                Secret(cookie.value),
                cookie.domain,
                host_only=not cookie.domain.startswith("."),
                expires=None if cookie.session else datetime.fromtimestamp(cookie.expires, UTC),
            )
            for cookie in sorted(found, key=lambda cookie: len(cookie.path))
        ]


def profile_directory(site: Site, base_url: str) -> Path:
    """Returns the directory of the lasting profile for this service. It holds cookies, unencrypted."""
    return store.directory().parent / "profiles" / store.name_of(site.name, base_url).removesuffix(".json")


async def log_in(site: Site, base_url: str, tell: Tell, settings: Settings = DEFAULT) -> Credentials:
    """Lets a person log in to the site at `base_url` with a browser, and returns what they got by it.

    Raises UsageError where no browser can be started, LoginCancelled and BrowserClosed if it was closed, TimedOut if
    nobody logged in, ConnectError if the page cannot be opened. However it ends, no browser is left.
    """
    base_url = check_address(base_url)
    _look_around(site, base_url, settings)
    await trio.to_thread.run_sync(_nodriver, site, base_url, abandon_on_cancel=True)
    async with open_tab(site, settings, base_url) as tab:
        with trio.move_on_after(settings.patience):
            tell(f"waiting for you to log in at {base_url}{site.page} (Ctrl-C gives up)")
            await tab.show(f"{base_url}{site.page}")
            return await wait(tab, site, base_url)
    raise TimedOut(
        f"nobody has logged in at {base_url} within {settings.patience:g} s{tab.missing}", seconds=settings.patience
    )


async def obtain(site: Site, base_url: str, tell: Tell, settings: Settings = DEFAULT) -> Credentials:
    """Logs in for a lane: where no browser can be started, the lane wants a login. Raises ProviderError."""
    try:
        return await log_in(site, base_url, tell, settings)
    except UsageError as error:
        raise LoginRequired(str(error), command=site.import_command(base_url)) from None


@asynccontextmanager
async def open_tab(site: Site, settings: Settings = DEFAULT, base_url: str | None = None) -> AsyncGenerator[Tab, None]:
    """Runs a browser with one empty page. Raises UsageError if there is none, BrowserClosed if it does not start.

    LoginCancelled comes out of the block if the person closes the browser.
    """
    nodriver = _nodriver(site, base_url or site.base_url)

    def command(profile: Path) -> Sequence[str]:
        try:
            config = nodriver.Config(
                user_data_dir=profile,
                headless=settings.headless,
                browser_executable_path=settings.browser and which(settings.browser),
            )
        except FileNotFoundError:
            message = "no Chromium or Chrome is found: install one, or name it with --browser"
            raise UsageError(_advise(message, site, base_url or site.base_url)) from None
        return [config.browser_executable_path, *chromium.arguments(config(), headless=settings.headless)]

    async with chromium.open_chromium(command, settings.profile) as browser:
        closed = None
        tab = await _first_tab(browser, nodriver.cdp)
        try:
            yield tab
            if settings.profile is not None:
                await _leave(browser, nodriver.cdp)
        except BrowserClosed as error:
            closed = error
        if closed and await browser.status() == 0:
            raise LoginCancelled("the browser was closed before anybody had logged in") from closed
        if closed:
            raise closed


async def wait(tab: Tab, site: Site, base_url: str) -> Credentials:
    """Waits until somebody has logged in on this page, and returns what they got by it. Never gives up."""
    question = pages.question(pages.PAGES.get(site.name, pages.Page()), base_url)
    while True:
        answer = None
        with trio.move_on_after(LOOK):
            answer = await tab.evaluate(question)
        if answer and (credentials := await _take(tab, site, base_url, answer)):
            return credentials
        await trio.sleep(POLL)


async def _take(tab: Tab, site: Site, base_url: str, answer: dict[str, Any]) -> Credentials | None:
    said = pages.pick(site, answer)
    found = sources.Found(
        cookies=await tab.cookies(f"{base_url}/"),
        secrets={name: Secret(value) for name, value in said["secrets"].items()},
        fields=said["fields"],
        headers=said["headers"],
    )
    try:
        return sources.credentials(site, base_url, found, "browser", datetime.now(UTC))[0]
    except UsageError as error:
        tab.missing = f", or not completely: {error}"
        return None


async def _first_tab(browser: chromium.Chromium, protocol: Any) -> Tab:
    """The page that the browser opens with, which is not there at once."""
    tools, problem = browser.tools, f"has shown no page within {START:g} s"
    try:
        with trio.move_on_after(START):
            while True:
                targets = await tools.call(protocol.target.get_targets())
                if shown := [target.target_id for target in targets if target.type_ == "page"]:
                    session = await tools.call(protocol.target.attach_to_target(shown[0], flatten=True))
                    return Tab(tools, session, protocol)
                await trio.sleep(0.02)
    except BrowserClosed:
        problem = "ended at its start"
    raise BrowserClosed(f"the browser {problem}\n{browser.last_words()}".strip())


async def _leave(browser: chromium.Chromium, protocol: Any) -> None:
    """Ends a browser in good order, so that its cookies are on disk; in vain after a while."""
    with trio.move_on_after(chromium.LEAVE):
        with suppress(BrowserClosed):  # before it could answer
            await browser.tools.call(protocol.browser.close())
        await browser.status()


def _look_around(site: Site, base_url: str, settings: Settings) -> None:
    """Raises UsageError if no browser should or can be started here."""
    problem = chromium.obstacle(base_url, headless=settings.headless, as_root=settings.as_root)
    if not problem and settings.browser and not which(settings.browser):
        problem = f"--browser {settings.browser}: there is no such program"
    if problem:
        raise UsageError(_advise(problem, site, base_url))


def _nodriver(site: Site, base_url: str) -> Any:
    try:
        return import_module("nodriver")
    except ImportError:
        problem = "a browser login needs nodriver (AGPL-3.0): pip install 'fanout-llm[browser]'"
        raise UsageError(_advise(problem, site, base_url)) from None


def _advise(problem: str, site: Site, base_url: str) -> str:
    return f"{problem}; `{site.import_command(base_url)}` takes a login from elsewhere"
