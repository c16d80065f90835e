import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve

from fanout.errors import ConnectError, LoginRequired, TimedOut, UsageError
from fanout.login import browser, store
from fanout.login.browser import LoginCancelled, Settings, Tab, log_in, obtain, open_tab, profile_directory, wait
from fanout.login.chromium import PREFIX
from fanout.login.devtools import BrowserClosed, CommandFailed
from fanout.login.services import SERVICES
from tests.servers.login import (
    BROWSER,
    NEEDS_BROWSER,
    SESSION,
    TOKEN,
    LoginSite,
    descriptors,
    left,
    open_login_site,
    own_temporary_directory,
    processes,
)

ROOT = Path(__file__).parents[2]
HAILUO, HUGGINGCHAT, AURA = SERVICES["hailuo"], SERVICES["huggingchat"], SERVICES["aura"]
BOTH = evolve(HAILUO, cookies=("hf-chat",), needs=("token", "hf-chat"))
HEADLESS = Settings(headless=True, browser=BROWSER, patience=20)


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setattr(browser, "POLL", 0.05)
    with own_temporary_directory(monkeypatch) as path:
        yield path


@pytest.fixture
async def site() -> AsyncGenerator[LoginSite]:
    async with open_login_site() as site:
        yield site


def quiet(_line: str) -> None:
    """Tells nobody."""


async def nothing_is_left(temporary: Path, before: int) -> None:
    """Asserts that there is no file, no process, and no descriptor but the `before` that there were."""
    assert left(temporary)[:2] == ([], [])
    with trio.move_on_after(1):
        while descriptors() > before:  # noqa: ASYNC110  # the site has yet to notice that the browser hung up
            await trio.sleep(0.01)
    assert descriptors() == before


def marked(test: Any) -> Any:
    """For a test with the real browser."""
    for mark in NEEDS_BROWSER:
        test = mark(test)
    return test


@marked
async def test_what_the_site_names_is_taken_of_a_login_that_comes_late(site: LoginSite, temporary: Path) -> None:
    before, told = descriptors(), list[str]()
    got = await log_in(BOTH, f"{site.url}/", told.append, HEADLESS)
    await nothing_is_left(temporary, before)
    assert told == [f"waiting for you to log in at {site.url}/ (Ctrl-C gives up)"]
    assert (got.provider, got.base_url, got.source) == ("hailuo", site.url, "browser")
    assert {name: value.reveal() for name, value in got.secrets.items()} == {"token": TOKEN}
    assert {name: value.reveal() for name, value in got.cookies.items()} == {"hf-chat": SESSION}
    assert got.fields.keys() == set(HAILUO.fields)
    assert (got.fields["device_id"], got.fields["browser_name"]) == ("123456789", "chrome")
    asked = site.requests[0].headers
    assert got.headers == {name: value for name, value in asked.items() if name in got.headers}
    assert "HeadlessChrome" in got.headers["user-agent"] and "Chromium" in got.headers["sec-ch-ua"]
    assert got.obtained and got.expires and (got.expires - got.obtained).days in (13, 14)
    assert TOKEN not in repr(got) and SESSION not in repr(got)


@asynccontextmanager
async def person(tab: Tab, site: LoginSite) -> AsyncGenerator[None]:
    """Clicks the identity provider's button until the block ends."""
    mouse = tab.protocol.input_

    async def click() -> None:
        await site.authorising.wait()
        while True:
            for kind in ("mousePressed", "mouseReleased"):
                await tab.call(mouse.dispatch_mouse_event(kind, 50, 50, button=mouse.MouseButton.LEFT, click_count=1))
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(click)
        yield
        nursery.cancel_scope.cancel()


@marked
async def test_an_identity_provider_s_page_is_never_touched_and_only_the_session_is_kept(site: LoginSite) -> None:
    async with open_tab(HUGGINGCHAT, HEADLESS) as tab:
        await tab.show(f"{site.url}/login")
        with trio.move_on_after(0.5):
            await wait(tab, HUGGINGCHAT, site.url)
        assert site.authorising.is_set() and not site.touched()
        async with person(tab, site):
            got = await wait(tab, HUGGINGCHAT, site.url)
        assert not site.touched()
        # The page does notice scripts.
        await tab.show(f"{site.provider}/authorize?redirect_uri=x&state=y")
        site.provider_requests = site.provider_requests[-1:]
        with trio.fail_after(10):
            while not site.touched():
                await tab.evaluate("localStorage && 1")
    assert {name: value.reveal() for name, value in got.cookies.items()} == {"hf-chat": SESSION}
    targets = [request.target for request in site.requests]
    assert "/login/callback?code=c1&state=s1" in targets
    assert "/api/v2/user" in targets


@marked
async def test_a_lasting_profile_needs_no_second_login_and_a_deployment_without_the_api_is_known_by_its_form(
    site: LoginSite, tmp_path: Path
) -> None:
    settings, front = evolve(HEADLESS, profile=tmp_path / "profile"), evolve(HUGGINGCHAT, page="/")
    first = await log_in(front, f"{site.url}/2025", quiet, settings)
    assert "/session" in [request.target for request in site.requests]
    site.requests.clear()
    second = await log_in(front, f"{site.url}/2025", quiet, settings)
    assert first.account == second.account
    assert "/session" not in [request.target for request in site.requests]


@marked
async def test_a_bot_wall_whose_page_comes_and_goes_is_waited_out(site: LoginSite) -> None:
    got = await log_in(evolve(AURA, page="/wall"), site.url, quiet, HEADLESS)
    assert {name: value.reveal() for name, value in got.cookies.items()} == {"cf_clearance": "canary-clearance"}
    assert sum(request.target.startswith("/wall") for request in site.requests) == 9


@marked
async def test_a_page_that_never_comes_and_one_that_lacks_a_cookie_end_with_the_time(
    site: LoginSite, temporary: Path
) -> None:
    before = descriptors()
    with pytest.raises(TimedOut, match=rf"nobody has logged in at {site.url} within 0\.3 s$"):
        await log_in(evolve(HAILUO, page="/slow"), site.url, quiet, evolve(HEADLESS, patience=0.3))
    without = evolve(AURA, page="/passed", needs=("absent",))
    with pytest.raises(TimedOut, match=r"or not completely: there is no absent for 127\.0\.0\.1"):
        await log_in(without, site.url, quiet, evolve(HEADLESS, patience=1))
    await nothing_is_left(temporary, before)


def close_tab(tab: Tab) -> Any:
    return tab.protocol.page.close()


def close_window(tab: Tab) -> Any:
    return tab.protocol.browser.close()


def crash(tab: Tab) -> Any:
    return tab.protocol.browser.crash()


@marked
@pytest.mark.parametrize(
    ("end", "error", "words"),
    [
        (close_tab, LoginCancelled, r"the (page|browser) was closed"),
        (close_window, LoginCancelled, r"the (page|browser) was closed"),
        (crash, BrowserClosed, "the browser has ended"),
    ],
)
async def test_a_closed_page_a_closed_window_and_a_crash_are_told_apart(
    site: LoginSite, temporary: Path, end: Any, error: type[Exception], words: str
) -> None:
    before = descriptors()

    async def later(tab: Tab) -> None:
        await trio.sleep(0.1)
        session = tab.session if end is close_tab else None
        with trio.move_on_after(5), suppress(BrowserClosed):
            while True:  # a page that is just being shown refuses, and a closed one is refused
                with suppress(CommandFailed):
                    await tab.tools.call(end(tab), session)
                await trio.sleep(0.05)

    with trio.fail_after(20), pytest.RaisesGroup(pytest.RaisesExc(error, match=words)):
        async with trio.open_nursery() as nursery, open_tab(HAILUO, HEADLESS) as tab:
            await tab.show(f"{site.url}/never")
            nursery.start_soon(later, tab)
            await wait(tab, HAILUO, site.url)
    await nothing_is_left(temporary, before)


@marked
@pytest.mark.parametrize("delay", [0, 0.001, 0.02, 0.05, 0.1, 0.4, 1.5])
async def test_nothing_is_left_after_a_cancellation(site: LoginSite, temporary: Path, delay: float) -> None:
    import_module("nodriver")  # the first import opens files in a thread
    before = descriptors()
    with trio.move_on_after(delay) as scope:
        await log_in(evolve(HAILUO, page="/never"), site.url, quiet, HEADLESS)
    assert scope.cancelled_caught
    await nothing_is_left(temporary, before)
    assert trio.current_time() - scope.deadline < 2


@marked
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc")
async def test_the_browser_listens_on_no_port_and_says_what_it_cannot_open(site: LoginSite, temporary: Path) -> None:
    async with open_login_site() as other:
        nowhere = other.url
    async with open_tab(HAILUO, HEADLESS) as tab:
        await tab.show(f"{site.url}/never")
        pids = [line.split()[0] for line in processes(temporary)]
        assert len(pids) > 2
        assert sockets_of(pids) & sockets("ESTABLISHED")  # to the site
        assert not sockets_of(pids) & sockets("LISTEN")
        assert sockets_of([str(os.getpid())]) & sockets("LISTEN")  # the site's
        with pytest.raises(ConnectError, match=rf"cannot open {nowhere}: net::ERR_CONNECTION_REFUSED"):
            await tab.show(nowhere)


def sockets(state: str) -> set[str]:
    """The inodes of this machine's TCP sockets in this state."""
    code = {"ESTABLISHED": "01", "LISTEN": "0A"}[state]
    tables = [Path(f"/proc/net/tcp{version}") for version in ("", "6")]
    rows = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == code}


def sockets_of(pids: list[str]) -> set[str]:
    """The inodes of the processes' sockets."""
    found = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found.add(descriptor.readlink().name.removeprefix("socket:[").removesuffix("]"))
    return found


PARENT = """
import sys, trio
from fanout.login.browser import Settings, log_in
from fanout.login.services import SERVICES

settings = Settings(headless=True, browser=sys.argv[2])
trio.run(log_in, SERVICES["hailuo"], sys.argv[1], lambda line: print(line, flush=True), settings)
"""


@marked
async def test_a_killed_parent_leaves_no_browser_and_its_profile_is_swept_at_the_next_start(
    site: LoginSite, temporary: Path
) -> None:
    command = [sys.executable, "-c", PARENT, f"{site.url}/never", BROWSER]
    parent = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout
    try:
        async with parent.stdout:
            with trio.fail_after(20):
                assert (await parent.stdout.receive_some()).startswith(b"waiting")
    finally:
        parent.kill()
        with trio.move_on_after(5, shield=True):
            await parent.wait()
    with trio.fail_after(5):
        while processes(temporary):  # noqa: ASYNC110  # another process's doing
            await trio.sleep(0.1)
    [profile] = temporary.iterdir()  # noqa: ASYNC240  # it is there at once
    assert profile.name.startswith(PREFIX)
    os.utime(profile, times=(time.time() - 60,) * 2)
    with pytest.raises(BrowserClosed):
        await log_in(HAILUO, site.url, quiet, evolve(HEADLESS, browser="false"))
    assert not list(temporary.iterdir())  # noqa: ASYNC240  # it is there at once


def test_a_lasting_profile_is_beside_the_stored_logins_one_for_each_address() -> None:
    here, there = profile_directory(HAILUO, HAILUO.base_url), profile_directory(HAILUO, "http://127.0.0.1:1")
    assert here != there
    assert here.parent == there.parent == store.directory().parent / "profiles"


@marked
async def test_a_browser_is_found_by_its_name_and_quoted_if_it_does_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = evolve(HEADLESS, browser=None)
    with pytest.raises(UsageError, match=r"install one, or name it with --browser; `fanout auth import hailuo --base-"):
        await log_in(HAILUO, "http://127.0.0.1:8000", quiet, settings)
    (program := tmp_path / "chromium").write_text("#!/bin/sh\necho no usable sandbox >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(BrowserClosed, match=r"^auth: the browser ended at its start\nno usable sandbox$"):
        await log_in(HAILUO, "http://127.0.0.1:8000", quiet, settings)


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="--browser /nowhere/chrome: there is no such program"):
        await log_in(HAILUO, "http://127.0.0.1:8000", quiet, evolve(HEADLESS, browser="/nowhere/chrome"))


async def test_without_nodriver_the_extra_and_the_import_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nodriver", None)
    with pytest.raises(UsageError, match=r"'fanout-llm\[browser\]'; `fanout auth import huggingchat --base-"):
        await log_in(HUGGINGCHAT, "http://127.0.0.1:8000", quiet, HEADLESS)


async def test_without_a_display_nothing_is_started_and_the_import_is_named(
    monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setitem(sys.modules, "nodriver", None)  # it is not even looked for
    with pytest.raises(UsageError, match=r"there is no display for a browser.*`fanout auth import hailuo` takes"):
        await log_in(HAILUO, HAILUO.base_url, quiet)
    assert left(temporary)[:2] == ([], [])


async def test_a_lane_for_which_no_browser_can_be_started_wants_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nodriver", None)
    with pytest.raises(LoginRequired, match="nodriver") as caught:
        await obtain(HAILUO, "http://127.0.0.1:8000", quiet, HEADLESS)
    assert caught.value.command == "fanout auth import hailuo --base-url http://127.0.0.1:8000"


RACE = """
import json, sys, trio, fanout, fanout.login.browser
from fanout.providers.openai import OpenAI
from fanout.transports.memory import MemoryTransport

async def main():
    frame = {"choices": [{"delta": {"content": "hello"}, "finish_reason": "stop"}]}
    stream = [f"data: {json.dumps(frame)}\\n\\ndata: [DONE]\\n\\n".encode()]
    lane = OpenAI("m", base_url="http://x/v1", needs_key=False)
    answer = await fanout.race("hi", [lane], transport=MemoryTransport({"x": stream}))
    print(answer.text, "nodriver" in sys.modules)

trio.run(main)
"""


def test_only_a_login_imports_nodriver() -> None:
    named = [path.name for path in (ROOT / "fanout").rglob("*.py") if '"nodriver"' in path.read_text()]
    imported = [path for path in (ROOT / "fanout").rglob("*.py") if "import nodriver" in path.read_text()]
    assert (named, imported) == (["browser.py"], [])


@pytest.mark.slow
def test_a_race_does_not_import_nodriver() -> None:
    done = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("hello False\n", "")
