"""fanout auth: what is imported, listed, checked and deleted; and that no secret is printed on the way."""

import json
import os
import stat
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, evolve, field

from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.login import store
from fanout.login.services import SERVICES
from tests.cli import command
from tests.cli.command import Done, Terminal, fanout, on_terminal
from tests.servers.http import read_request, respond, serve

Call = Callable[..., Done]
CANARY = "CANARY-7f3a91d2c4"
HOME = "https://huggingface.co/chat"
LOGIN = Credentials("huggingchat", HOME, {"hf-chat": Secret(CANARY), "token": Secret("hf_x")}, source="browser")


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of the credential store, also for commands that are processes of their own."""
    variables = {name for site in SERVICES.values() for name in (site.variable, site.base_url_variable)}
    for name in variables:
        monkeypatch.delenv(name, raising=False)
    places = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    others = {name: value for name, value in command.ENVIRONMENT.items() if name not in variables}
    monkeypatch.setattr(command, "ENVIRONMENT", {**others, **places})
    return store.directory()


def silent(done: Done) -> Done:
    """The same, having made sure that no secret was printed."""
    assert CANARY not in done.out + done.err
    assert "Traceback" not in done.err
    return done


def test_nothing_kept_says_how_to_begin(call: Call) -> None:
    done = call("auth", "list")
    assert (done.code, done.out) == (0, "")
    assert "fanout login NAME" in done.err
    assert call("auth", "list", "--json").out == "[]\n"
    done = call("auth", "check", "hailuo")
    assert (done.code, done.out) == (1, "")
    assert "fanout auth import hailuo" in done.err


@pytest.mark.parametrize("option", [[], ["--cookie"], ["--cookie", "-"], ["--file", "-"], ["--har", "-"]])
def test_cookies_come_from_standard_input(call: Call, state: Path, option: list[str]) -> None:
    text = f"hf-chat={CANARY}; token=hf_x; _ga=1\n"
    done = silent(call("auth", "import", "huggingchat", "--offline", *option, stdin=text.encode()))
    assert (done.code, done.err) == (0, "")
    assert done.out == f"huggingchat at {HOME}: stored hf-chat, token; not checked\n"
    kept = store.load("huggingchat", HOME)
    assert kept and kept.cookies == LOGIN.cookies and kept.source == "import"
    assert [stat.S_IMODE(path.stat().st_mode) for path in state.glob("*.json")] == [0o600]


def test_a_token_comes_from_standard_input(call: Call) -> None:
    done = silent(call("auth", "import", "hailuo", "--token", "--offline", stdin=f"{CANARY}\n".encode()))
    assert (done.code, done.err) == (0, "")
    kept = store.load("hailuo", "https://www.hailuo.ai")
    assert kept and kept.secrets == {"token": Secret(CANARY)}


def test_a_secret_among_the_arguments_is_taken_with_a_warning(call: Call) -> None:
    done = silent(call("auth", "import", "hailuo", "--token", CANARY, "--offline"))
    assert done.code == 0
    assert "others can see a command's arguments; --token without a value asks for it" in done.err
    assert store.load("hailuo", "https://www.hailuo.ai") is not None


def test_a_file_is_read_and_what_was_left_out_is_told(call: Call, tmp_path: Path) -> None:
    rows = [
        "# Netscape HTTP Cookie File",
        f"#HttpOnly_huggingface.co\tFALSE\t/\tTRUE\t4102444800\thf-chat\t{CANARY}",
        ".huggingface.co\tTRUE\t/\tTRUE\t4102444800\ttoken\thf_x",
        f".huggingface.co\tTRUE\t/\tTRUE\t1000000000\ttoken\t{CANARY}",
    ]
    path = tmp_path / "cookies.txt"
    path.write_text("\n".join(rows))
    done = silent(call("auth", "import", "huggingchat", "--file", str(path), "--offline"))
    assert done.code == 0
    assert done.err == f"fanout: {path}: the cookie token expired on 2001-09-09; left out\n"
    assert done.out == f"huggingchat at {HOME}: stored hf-chat, token, ends 2100-01-01; not checked\n"


def test_a_har_brings_the_browser_s_headers_unless_they_are_given(call: Call, tmp_path: Path) -> None:
    headers = [
        {"name": "cookie", "value": f"hf-chat={CANARY}; token=hf_x"},
        {"name": "User-Agent", "value": "Mozilla/5.0"},
        {"name": "sec-ch-ua", "value": '"Chromium"'},
    ]
    path = tmp_path / "session.har"
    path.write_text(json.dumps({"log": {"entries": [{"request": {"url": HOME, "headers": headers}}]}}))
    command = ("auth", "import", "huggingchat", "--har", str(path), "--offline")
    assert silent(call(*command)).code == 0
    kept = store.load("huggingchat", HOME)
    assert kept and kept.headers == {"user-agent": "Mozilla/5.0", "sec-ch-ua": '"Chromium"'}
    assert silent(call(*command, "--user-agent", "Other/1")).code == 0
    kept = store.load("huggingchat", HOME)
    assert kept and kept.headers == {"user-agent": "Other/1"}


def test_another_deployment_may_call_its_cookie_otherwise(call: Call) -> None:
    url = "https://chat.example.org"
    done = silent(
        call("auth", "import", "huggingchat", "--base-url", f"{url}/", "--cookie-name", "my-chat", "--offline",
             stdin=f"my-chat={CANARY}; hf-chat=no".encode())
    )  # fmt: skip
    assert done.code == 0
    kept = store.load("huggingchat", url)
    assert kept and kept.cookies == {"my-chat": Secret(CANARY)}
    assert store.load("huggingchat", HOME) is None


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (["import", "huggingcat"], b"", ["'huggingcat'", "huggingchat?"]),
        (["import"], b"", ["NAME"]),
        (["import", "hailuo", "--cookie", "-"], b"x", ["takes no cookie", "--token"]),
        (["import", "huggingchat", "--token", "-"], b"x", ["takes no token", "--cookie"]),
        (["import", "hailuo", "--token", "--file", "x"], b"", ["--token and --file", "one of them"]),
        (["import", "hailuo", "--file", "/nowhere/x"], b"", ["/nowhere/x", "No such file"]),
        (["import", "hailuo", "--base-url", "http://hailuo.ai"], b"t", ["use https"]),
        (["import", "hailuo", "--from-browser", "lynx"], b"", ["lynx", "firefox"]),
        (["import", "hailuo"], b"", ["standard input", "nothing in it"]),
        (["import", "hailuo"], b"\xff\xfe", ["standard input", "UTF-8"]),
        (["import", "huggingchat"], f"token={CANARY}".encode(), ["standard input", "no hf-chat"]),
        (["import", "huggingchat"], f'{{"{CANARY}'.encode(), ["standard input", "JSON"]),
        (["logout", "groq"], b"", ["'groq'", "huggingchat"]),
        (["check", "groq"], b"", ["'groq'", "huggingchat"]),
        (["chekc"], b"", ["chekc"]),
    ],
)
def test_a_mistake_is_one_line_that_names_the_right_thing(
    call: Call, arguments: list[str], stdin: bytes, words: list[str]
) -> None:
    done = silent(call("auth", *arguments, stdin=stdin))
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("fanout: ")
    assert done.err.count("\n") == 1
    assert all(word in done.err for word in words)
    assert store.load_all() == ([], [])


def test_another_browser_s_jar_needs_an_extra(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    done = silent(call("auth", "import", "huggingchat", "--from-browser", "chrome"))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("fanout: chrome's cookies: to read another browser's cookies, pip install ")
    assert done.err.count("\n") == 1


def test_the_list_shows_names_ages_and_ends_and_no_value(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(LOGIN)
    monkeypatch.setenv("FANOUT_HAILUO_TOKEN", CANARY)
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_COOKIE", f"hf-chat={CANARY}; token=t")  # what is stored goes before it
    done = silent(call("auth", "list"))
    assert (done.code, done.err) == (0, "")
    assert [row.split() for row in done.out.splitlines()] == [
        ["NAME", "ADDRESS", "SOURCE", "AGE", "ENDS", "HOLDS"],
        ["huggingchat", HOME, "browser", "-", "-", "hf-chat,", "token"],
        ["hailuo", "https://www.hailuo.ai", "environment", "-", "-", "token"],
    ]
    rows = json.loads(silent(call("auth", "list", "--json")).out)
    assert rows[0] == {
        "name": "huggingchat",
        "base_url": HOME,
        "source": "browser",
        "obtained": None,
        "expires": None,
        "expired": False,
        "holds": ["hf-chat", "token"],
    }


def test_an_import_has_an_age_and_an_end_that_may_be_past(call: Call) -> None:
    now = datetime.now(UTC)
    store.save(evolve(LOGIN, obtained=now - timedelta(hours=3, minutes=5), expires=now - timedelta(hours=1)))
    row = call("auth", "list").out.splitlines()[1]
    assert f"3 h  ended {now - timedelta(hours=1):%Y-%m-%d}" in row
    assert json.loads(call("auth", "list", "--json").out)[0]["expired"] is True


def test_what_cannot_be_read_does_not_hide_the_rest(call: Call, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(LOGIN)
    store.save(Credentials("hailuo", "https://www.hailuo.ai", secrets={"token": Secret(CANARY)}))
    broken = state / store.name_of("hailuo", "https://www.hailuo.ai")
    broken.chmod(0o644)
    monkeypatch.setenv("FANOUT_AURA_COOKIE", f"wrong={CANARY}")
    done = silent(call("auth", "list"))
    assert done.code == 1
    assert "huggingchat" in done.out
    assert f"chmod 600 {broken}\n" in done.err
    assert "FANOUT_AURA_COOKIE: there is no cf_clearance" in done.err


def test_an_open_directory_is_told_with_the_command_that_closes_it(call: Call, state: Path) -> None:
    store.save(LOGIN)
    state.chmod(0o755)
    for arguments in (["list"], ["check"], ["logout", "huggingchat"]):
        done = silent(call("auth", *arguments))
        assert (done.code, done.out) == (2, "")
        assert done.err == f"fanout: {state} can be read by others; chmod 700 {state}\n"


def test_a_logout_deletes_what_is_stored_also_where_it_cannot_be_read(
    call: Call, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(LOGIN)
    store.save(evolve(LOGIN, base_url="https://chat.example.org"))
    next(state.glob("huggingchat-*.json")).write_text(CANARY)
    done = silent(call("auth", "logout", "huggingchat"))
    assert (done.code, done.out, done.err) == (0, "huggingchat: 2 logins deleted\n", "")
    assert store.load_all() == ([], [])
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_COOKIE", CANARY)
    done = silent(call("auth", "logout", "huggingchat"))
    assert (done.code, done.out) == (1, "")
    assert "FANOUT_HUGGINGCHAT_COOKIE is set" in done.err
    assert "no login to huggingchat is stored" in done.err


@define
class Service:
    """A loopback chat service: where it is, and the method, target and cookies of what it was sent."""

    url: str
    asked: list[tuple[str, str, str]] = field(factory=list)


@asynccontextmanager
async def service(answer: object, status: int = 200, media_type: str = "application/json") -> AsyncGenerator[Service]:
    """Answers every request in this way."""
    here = Service("")

    async def handle(stream: trio.SocketStream) -> None:
        while request := await read_request(stream):
            here.asked.append((request.method, request.target, request.headers.get("cookie", "")))
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            await respond(stream, status, body, media_type=media_type)

    async with serve(handle) as url:
        here.url = url
        yield here


ADA = {"json": {"username": "ada"}}
PASTED = f"hf-chat={CANARY}".encode()


@pytest.mark.slow
async def test_the_import_asks_who_is_logged_in_and_says_so() -> None:
    async with service(ADA) as here:
        done = silent(await fanout("auth", "import", "huggingchat", "--base-url", here.url, stdin=PASTED))
        assert (done.code, done.err) == (0, "")
        assert done.out == f"huggingchat at {here.url}: stored hf-chat; ada is logged in\n"
        assert here.asked == [("GET", "/api/v2/user", f"hf-chat={CANARY}")]
        assert store.load("huggingchat", here.url) is not None


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "status"), [({"json": None}, 200), (b"", 401), (b"", 302)])
async def test_a_login_that_the_service_refuses_is_not_stored(answer: object, status: int) -> None:
    async with service(answer, status) as here:
        done = silent(await fanout("auth", "import", "huggingchat", "--base-url", here.url, stdin=PASTED))
        assert (done.code, done.out) == (1, "")
        assert "refuses this login, it is not stored: auth: nobody is logged in" in done.err
        assert done.err.count("\n") == 1
        assert store.load_all() == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "status", "media_type", "words"),
    [
        (b"<html>", 200, "text/html", "this deployment does not say who is logged in"),
        ({"error": f"no {CANARY} today"}, 500, "application/json", "server (500): no *** today"),
    ],
)
async def test_a_service_that_cannot_say_does_not_keep_the_login_from_being_stored(
    answer: Any, status: int, media_type: str, words: str
) -> None:
    async with service(answer, status, media_type) as here:
        done = silent(await fanout("auth", "import", "huggingchat", "--base-url", here.url, stdin=PASTED))
        assert done.code == 0
        assert done.out == f"huggingchat at {here.url}: stored hf-chat; not checked: {words}\n"
        assert store.load("huggingchat", here.url) is not None


@pytest.mark.slow
async def test_the_check_asks_every_service_whose_login_is_kept() -> None:
    async with service(ADA) as yes, service({"json": None}) as no:
        store.save(evolve(LOGIN, base_url=yes.url))
        store.save(evolve(LOGIN, base_url=no.url))
        store.save(Credentials("hailuo", "http://127.0.0.1:9", secrets={"token": Secret(CANARY)}))
        done = silent(await fanout("auth", "check", "--json"))
        assert (done.code, done.err) == (1, "")
        said = {(row["name"], row["base_url"]): (row["verdict"], row["message"]) for row in json.loads(done.out)}
        assert said == {
            ("huggingchat", yes.url): ("accepted", "ada is logged in"),
            ("huggingchat", no.url): ("refused", "auth: nobody is logged in with these"),
            ("hailuo", "http://127.0.0.1:9"): (
                "unknown",
                "not checked: the service has nothing to ask before the first prompt",
            ),
        }
        done = silent(await fanout("auth", "check", "huggingchat", "--base-url", f"{yes.url}/"))
        assert (done.code, done.out) == (0, f"huggingchat   {yes.url}  accepted: ada is logged in\n")
        done = silent(await fanout("auth", "check", "huggingchat", "--base-url", no.url))
        assert done.code == 1
        there = f"huggingchat --base-url {no.url}"
        assert f"fanout login {there} or fanout auth import {there}" in done.out
        assert store.load("huggingchat", no.url) is not None


@pytest.mark.slow
async def test_a_service_without_a_user_is_asked_for_its_models() -> None:
    cookies = {"cf_clearance": Secret(CANARY)}
    async with service([{"id": "openchat_3.6", "name": "OpenChat"}]) as here:
        store.save(Credentials("aura", here.url, cookies))
        done = silent(await fanout("auth", "check", "aura"))
        assert (done.code, done.out) == (0, f"aura          {here.url}  accepted: the service lists its models\n")
        assert here.asked == [("POST", "/api/models", f"cf_clearance={CANARY}")]


async def typed(terminal: Terminal, question: str, answer: str) -> None:
    await terminal.until(question)
    await trio.to_thread.run_sync(os.write, terminal.master, f"{answer}\n".encode())


@pytest.mark.slow
async def test_on_a_terminal_each_secret_is_asked_for_without_an_echo() -> None:
    async with on_terminal("auth", "import", "huggingchat", "--offline") as terminal:
        await typed(terminal, "huggingchat, cookie hf-chat: ", CANARY)
        await typed(terminal, "huggingchat, cookie token: ", "hf_CANARY")
        await terminal.until("stored hf-chat, token")
        assert await terminal.end() == 0
        assert "CANARY" not in terminal.written
    kept = store.load("huggingchat", HOME)
    assert kept and kept.cookies == {"hf-chat": Secret(CANARY), "token": Secret("hf_CANARY")}
