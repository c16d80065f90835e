"""`fanout login` as people type it; `tests/login/test_browser.py` has what the browser does."""

import json
import os
import shlex
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from fanout.credentials import Credentials
from fanout.login import store
from tests.cli.command import COMMAND, ENVIRONMENT, Done, fanout
from tests.servers import huggingchat
from tests.servers.login import BROWSER, NEEDS_BROWSER, TOKEN, open_login_site, own_temporary_directory, processes

pytestmark = pytest.mark.slow


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment of a user without any login, display or temporary file."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with own_temporary_directory(monkeypatch) as temporary:
        names = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "FANOUT_HAILUO_BASE_URL": ""}
        yield {"XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path), "TMPDIR": str(temporary), **names}
        assert (list(temporary.iterdir()), processes(temporary)) == ([], [])


def marked(test: Any) -> Any:
    """For a test with the real browser."""
    for mark in NEEDS_BROWSER:
        test = mark(test)
    return test


def shown(done: Done) -> str:
    assert TOKEN not in done.out + done.err
    return done.err


@marked
async def test_a_login_is_stored_for_its_owner_s_eyes_and_told_without_its_secret(state: dict[str, str]) -> None:
    async with open_login_site() as site:
        done = await fanout("login", "hailuo", "--headless", "--browser", BROWSER, "--base-url", site.url, env=state)
        stored: Credentials | None = store.load("hailuo", site.url)
    assert shown(done) == f"waiting for you to log in at {site.url}/ (Ctrl-C gives up)\n"
    assert (done.code, done.out) == (0, f"hailuo at {site.url}: stored token\n")
    assert stored and stored.secrets["token"].reveal() == TOKEN
    assert stored.source == "browser"
    [path] = store.directory().glob("hailuo-*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@marked
@pytest.mark.parametrize("prefix", ["", "/chat"])
async def test_the_command_that_a_lane_names_logs_in_where_the_lane_asks(state: dict[str, str], prefix: str) -> None:
    async with huggingchat.open_server(2026, login=True, prefix=prefix) as server:
        lane = f"huggingchat/org/text?base_url={server.base_url}"
        told = await fanout("race", "--jsonl", "-m", lane, "Hi", env=state)
        (needed,) = [line for line in map(json.loads, told.out.splitlines()) if line["type"] == "login_needed"]
        program, *arguments = shlex.split(needed["command"])
        done = await fanout(*arguments, "--headless", "--browser", BROWSER, env=state)
        answered = await fanout("race", "-q", "-m", lane, "Hi", env=state)
    assert (told.code, program) == (1, "fanout")
    assert (done.code, done.out) == (0, f"huggingchat at {server.base_url}: stored hf-chat\n")
    assert (answered.code, answered.out) == (0, "Hello there\n")


@marked
async def test_a_login_that_fails_is_one_line_and_stores_nothing(state: dict[str, str]) -> None:
    arguments = ("--headless", "--browser", "false", "--base-url", "http://127.0.0.1:8000")
    done = await fanout("login", "hailuo", *arguments, env=state)
    assert (done.code, done.out, done.err) == (1, "", "fanout: the browser ended at its start\n")
    assert store.load_all() == ([], [])


@marked
async def test_ctrl_c_ends_the_browser_and_leaves_nothing(state: dict[str, str]) -> None:
    async with open_login_site() as site:
        command = [*COMMAND, "login", "hailuo", "--headless", "--browser", BROWSER, "--base-url", f"{site.url}/never"]
        environment = {**ENVIRONMENT, **state}
        process = await trio.lowlevel.open_process(
            command, stderr=subprocess.PIPE, env=environment, start_new_session=True
        )
        assert process.stderr
        try:
            async with process.stderr:
                with trio.fail_after(20):
                    assert (await process.stderr.receive_some()).startswith(b"waiting for you")
                    os.killpg(process.pid, signal.SIGINT)
                    said = b"".join([bytes(data) async for data in process.stderr])
                    assert await process.wait() == 130
        finally:
            if process.poll() is None:
                process.kill()
    assert said == b"fanout: interrupted\n"
    assert store.load_all() == ([], [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hailu"], ["'hailu'", "did you mean hailuo"]),
        (["hailuo", "--timeout", "soon"], ["--timeout", "'soon'"]),
        (["hailuo", "--base-url", "http://example.org"], ["in clear", "https"]),
        (["hailuo", "--as-root"], ["no display", "`fanout auth import hailuo`"]),
        (["hailuo", "--headless", "--browser", "/nowhere/chrome", "--as-root"], ["/nowhere/chrome"]),
    ],
)
async def test_a_mistake_is_one_line_that_says_what_to_do(
    state: dict[str, str], arguments: list[str], words: list[str]
) -> None:
    done = await fanout("login", *arguments, env=state)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("fanout: ")
    assert all(word in done.err for word in words)


@pytest.mark.skipif(os.geteuid() != 0, reason="about the superuser")
async def test_root_is_told_why_it_should_not_browse(state: dict[str, str]) -> None:
    done = await fanout("login", "hailuo", "--headless", env=state)
    assert done.code == 2
    assert "without its sandbox" in done.err and "--as-root" in done.err
