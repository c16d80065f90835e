"""Questions to the person at the terminal, and what becomes of lanes and output while they wait for an answer."""

import json
import os
import pty
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import define

from fanout import All
from fanout.cli.options import Choices
from fanout.cli.screen import person, show
from fanout.cli.screen.live import Screen
from fanout.cli.screen.person import Person
from fanout.cli.stop import Stopping
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.formats.json import Json
from fanout.login import store
from fanout.login.services import SERVICES, Site
from fanout.prompt import Prompt
from tests.cli import command
from tests.cli.command import COMMAND, ENVIRONMENT, Done, Terminal, fanout, on_terminal
from tests.servers import huggingchat
from tests.servers.openai import open_server

SITE = SERVICES["huggingchat"]
URL = "https://chat.example.org"
QUESTION = f"huggingchat wants a login at {URL}. Open a browser and log in now? [y/N] "
CANARY = "CANARY-session-0c7e"


@define
class Desk:
    """A terminal: what is typed on it, and what is written to it."""

    master: int

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    async def until(self, words: str) -> str:
        """Waits until it has been written."""
        written = ""
        with trio.fail_after(20):
            while words not in written:
                await trio.lowlevel.wait_readable(self.master)
                written += os.read(self.master, 4096).decode()
        return written


SitDown = Callable[[], Desk]


@pytest.fixture
def sit_down(monkeypatch: pytest.MonkeyPatch) -> Iterator[SitDown]:
    """Puts a terminal in the place of standard input and standard error; pytest's own stand there before the test."""
    with ExitStack() as stack:

        def sat_down() -> Desk:
            master, slave = pty.openpty()
            stack.callback(os.close, master)
            stdin, stderr = os.fdopen(os.dup(slave)), os.fdopen(slave, "w")
            stack.callback(stdin.close)
            stack.callback(stderr.close)
            stack.callback(monkeypatch.undo)
            monkeypatch.setattr("sys.stdin", stdin)
            monkeypatch.setattr("sys.stderr", stderr)
            return Desk(master)

        yield sat_down


class Canvas(Screen):
    """Counts how often it made room."""

    cleared = 0

    def clear(self) -> None:
        self.cleared += 1


@asynccontextmanager
async def asked(somebody: Person, answers: list[bool]) -> AsyncGenerator[trio.CancelScope]:
    """Asks until the block ends; the answer, if there is one, goes to `answers`."""

    async def ask() -> None:
        answers.append(await somebody.confirm(SITE, URL))
        over.set()

    over = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        yield nursery.cancel_scope
        with trio.move_on_after(5):
            await over.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("y\n", True),
        (" YES \n", True),
        ("n\n", False),
        ("\n", False),
        ("yesterday\n", False),
        ("ÿ\n", False),
        ("\x04", False),  # Ctrl-D
    ],
)
async def test_only_words_of_yes_are_a_yes(sit_down: SitDown, typed: str, answer: bool) -> None:
    desk, answers = sit_down(), list[bool]()
    async with asked(Person(), answers):
        assert (await desk.until("[y/N] ")).endswith(QUESTION)
        desk.type(typed)
    assert answers == [answer]


async def test_no_picture_is_drawn_while_somebody_is_asked(sit_down: SitDown) -> None:
    desk = sit_down()
    screen, answers = Canvas(), list[bool]()
    async with asked(Person(screen), answers):
        await desk.until("[y/N] ")
        assert (screen.away, screen.cleared) == (True, 1)
        desk.type("y\n")
    assert (screen.away, answers) == (False, [True])


async def test_one_question_at_a_time(sit_down: SitDown) -> None:
    desk = sit_down()
    somebody, answers = Person(), list[bool]()
    async with asked(somebody, answers), asked(somebody, answers):
        assert (await desk.until("[y/N] ")).count("[y/N]") == 1
        desk.type("y\n")
        await desk.until("[y/N] ")
        desk.type("n\n")
    assert sorted(answers) == [False, True]


async def test_a_question_that_nobody_needs_answered_any_more_ends_its_line(sit_down: SitDown) -> None:
    desk = sit_down()
    answers: list[bool] = []
    async with asked(somebody := Person(), answers) as scope:
        await desk.until("[y/N] ")
        scope.cancel()
    assert answers == []
    assert not somebody.asking.locked()
    somebody.tell("next")
    assert (await desk.until("next")).split() == ["next"]


def test_what_is_told_is_a_line_that_the_picture_makes_room_for(sit_down: SitDown) -> None:
    desk = sit_down()
    screen = Canvas()
    Person(screen).tell("waiting")
    assert os.read(desk.master, 100) == b"waiting\r\n"
    assert (screen.cleared, screen.away) == (1, False)


def test_a_terminal_is_at_hand(sit_down: SitDown) -> None:
    sit_down()
    assert person.at_hand()


def test_without_a_policy_there_is_nobody() -> None:
    assert show._person(Choices()) is None
    assert show._person(Choices(login="auto")) is not None


# Lanes that wait for a person, beside lanes that do not.


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The environment of a user without any login and display."""
    for site in SERVICES.values():
        monkeypatch.delenv(site.variable, raising=False)
    environment = {"XDG_STATE_HOME": str(tmp_path), "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(command, "ENVIRONMENT", {**ENVIRONMENT, **environment})
    return environment


async def typed(terminal: Terminal, answer: str) -> None:
    await terminal.until(r"\[y/N\]")
    await trio.to_thread.run_sync(os.write, terminal.master, answer.encode())


async def compared(
    server: huggingchat.HuggingChatServer, others: list[str], login: str, capsys: pytest.CaptureFixture[str]
) -> Done:
    """A `fanout compare` in this process, on JSON."""
    chat = f"chat=huggingchat/org/text?base_url={server.base_url}"
    choices = Choices(lanes=(chat, *others), login=login, no_save=True)
    prompt, lanes = Prompt.of("Why?"), choices.specs()
    code = await show._show(show.Question(prompt, All(*lanes), lanes, None), choices, Json(), "all", Stopping())
    return Done(code, *capsys.readouterr())


@pytest.mark.slow
@pytest.mark.parametrize("login", ["ask", "auto"])
async def test_a_lane_logs_in_and_answers_while_the_others_run_on(
    login: str,
    state: dict[str, str],
    sit_down: SitDown,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with huggingchat.open_server(2026, login=True) as server, open_server() as other:

        async def obtain(site: Site, base_url: str, tell: object) -> Credentials:
            with trio.fail_after(10):
                while not other.served or other.served[0].ended_at is None:  # noqa: ASYNC110  # it has no event
                    await trio.sleep(0.01)
            server.sessions[CANARY] = "user-1"
            return Credentials(site.name, base_url, {"hf-chat": Secret(CANARY)})

        async def answer() -> None:
            await desk.until("[y/N] ")
            desk.type("y\n")

        monkeypatch.setattr(person, "obtain", obtain)
        desk = sit_down()
        async with trio.open_nursery() as nursery:
            if login == "ask":
                nursery.start_soon(answer)
            done = await compared(server, [other.lane("b", say="Blue.")], login, capsys)
        assert store.load("huggingchat", server.base_url) is not None
    assert done.code == 0
    assert [answer["text"] for answer in json.loads(done.out)["answers"]] == ["Hello there", "Blue."]
    assert CANARY not in done.out


@pytest.mark.slow
async def test_a_no_ends_that_lane_alone(state: dict[str, str]) -> None:
    async with huggingchat.open_server(2026, login=True) as server, open_server() as other:
        lanes = ["-m", f"chat=huggingchat/org/text?base_url={server.base_url}", "-m", other.lane("b", say="Blue.")]
        async with on_terminal("compare", "--login", "ask", *lanes, "Why?") as terminal:
            await typed(terminal, "n\n")
            assert await terminal.end() == 0
    assert "Blue." in terminal.written
    assert "nobody agreed to log in now" in terminal.written
    assert f"`fanout login huggingchat --base-url {server.base_url}` logs you in" in terminal.written


@pytest.mark.slow
async def test_a_yes_without_a_display_says_what_to_do_instead(state: dict[str, str]) -> None:
    async with huggingchat.open_server(2026, login=True) as server:
        lane = f"chat=huggingchat/org/text?base_url={server.base_url}"
        async with on_terminal("race", "--login", "ask", "-m", lane, "Why?") as terminal:
            await typed(terminal, "y\n")
            assert await terminal.end() == 1
    assert "there is no display for a browser" in terminal.written
    assert f"`fanout auth import huggingchat --base-url {server.base_url}`" in terminal.written


@pytest.mark.slow
async def test_a_question_is_withdrawn_when_another_lane_has_won(state: dict[str, str]) -> None:
    async with huggingchat.open_server(2026, login=True) as server, open_server() as other:
        lanes = ["-m", f"chat=huggingchat/org/text?base_url={server.base_url}", "-m", other.lane("b", ttft=1.5)]
        async with on_terminal("race", "--login", "ask", *lanes, "Why?") as terminal:
            await terminal.until(r"\[y/N\]")
            assert await terminal.end() == 0
    assert "w0 w1 w2" in terminal.written


@pytest.mark.slow
async def test_by_default_nobody_is_asked_and_the_lane_says_what_to_type(state: dict[str, str]) -> None:
    async with huggingchat.open_server(2026, login=True) as server, open_server() as other:
        lanes = ["-m", f"chat=huggingchat/org/text?base_url={server.base_url}", "-m", other.lane("b", say="Blue.")]
        async with on_terminal("compare", *lanes, "Why?") as terminal:
            assert await terminal.end() == 0
        alone = await fanout("race", *lanes[:2], "Why?", env=state)
        told = await fanout("race", "--jsonl", *lanes[:2], "Why?", env=state)
    name = f"huggingchat --base-url {server.base_url}"
    words = f"`fanout login {name}` logs you in, and where there is no display `fanout auth import {name}`"
    assert words in terminal.written
    assert "[y/N]" not in terminal.written
    assert (alone.code, words in alone.err) == (1, True)
    (needed,) = [line for line in map(json.loads, told.out.splitlines()) if line["type"] == "login_needed"]
    assert (needed["lane"], needed["command"]) == ("chat", f"fanout login {name}")


@pytest.mark.slow
async def test_where_nobody_can_be_asked_to_ask_is_a_mistake(state: dict[str, str]) -> None:
    process = partial(trio.run_process, capture_stdout=True, capture_stderr=True, check=False, start_new_session=True)
    done = await process([*COMMAND, "race", "--login", "ask", "-m", "local", "hi"], stdin=b"", env=command.ENVIRONMENT)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--login ask needs a terminal to ask on; --login auto opens a browser without asking" in done.stderr
    assert done.stderr.count(b"\n") == 1
