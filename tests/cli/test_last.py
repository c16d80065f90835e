"""The run that `-c` goes on from: where it is kept, what is refused, and what the services are sent then."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from fanout.cli import last
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.errors import UsageError
from fanout.login import store
from fanout.prompt import Media, Message
from fanout.prompt.history import History, Turns
from tests.cli.command import fanout
from tests.servers.hailuo import Account, HailuoServer
from tests.servers.http import running
from tests.servers.openai import OpenAIServer, open_server

SAID = Turns((Message("user", "Why? \ud83d", (Media(b"\x89PNG"),)), Message("assistant", "Blue.")), {"chat": "12"})
HISTORY = History({"a": SAID}, Turns(SAID.messages))


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def state_is_a_file(state: Path) -> None:
    state.write_text("in the place of a directory")


def kept() -> dict[str, str]:
    """For a command of its own: where its last run is kept."""
    return {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}


def bodies(server: OpenAIServer, lane: str) -> list[list[tuple[str, str]]]:
    """The messages of each request of a lane."""
    model = lane.partition("openai/")[2].partition("?")[0]
    return [
        [(message["role"], message["content"]) for message in json.loads(served.request.body)["messages"]]
        for served in server.served
        if served.model == model
    ]


def test_a_run_comes_back_as_it_was_and_the_next_one_replaces_it() -> None:
    last.save(["a=local?seed=1", "b"], HISTORY)
    assert last.load() == last.Last(("a=local?seed=1", "b"), HISTORY)
    last.save(["c"], History({}))
    assert last.load() == last.Last(("c",), History({}))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_nobody_else_can_read_it(state: Path, umask: int) -> None:
    state.mkdir()
    before = os.umask(umask)
    try:
        last.save(["a"], HISTORY)
    finally:
        os.umask(before)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in last.directory().iterdir()}
    assert found == {"last.json": 0o600, ".lock": 0o600}
    assert stat.S_IMODE(last.directory().stat().st_mode) == 0o700


def test_what_others_can_read_is_refused() -> None:
    last.save(["a"], HISTORY)
    (last.directory() / last.NAME).chmod(0o644)
    with pytest.raises(UsageError, match=r"last\.json can be read by others; chmod 600"):
        last.load()


def test_before_the_first_run_there_is_nothing_to_continue(state: Path) -> None:
    with pytest.raises(UsageError, match="no earlier run to continue; ask without -c first"):
        last.load()
    assert not state.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"5",
        b"{}",
        b'{"lanes": []}',
        b'{"lanes": "a"}',
        b'{"lanes": [5]}',
        b'{"lanes": ["a"]}',
        b'{"lanes": ["a"], "conversation": {"version": 9}}',
        b'{"lanes": ["a"], "conversation": {"version": 1, "lanes": [], "usual": null}}',
    ],
    ids=lambda data: data[:60].decode("latin-1"),
)
def test_a_file_that_is_none_of_ours_is_named_with_what_to_do(data: bytes) -> None:
    last.save(["a"], HISTORY)
    (last.directory() / last.NAME).write_bytes(data)
    with pytest.raises(UsageError, match=r"runs/last\.json: .*; ask without -c to begin anew"):
        last.load()


@pytest.mark.slow
async def test_a_run_is_continued_lane_by_lane_with_its_own_lanes() -> None:
    async with open_server() as server:
        a, b = server.lane("a", say="Blue."), server.lane("b", say="Red.")
        await fanout("compare", "-m", a, "-m", b, "-s", "Be brief.", "Which colour?", env=kept())
        again = await fanout("compare", "-c", "Why?", env=kept())
        await fanout("compare", "-q", "-c", "And now?", env=kept())
    assert (again.code, sorted(again.out.splitlines())) == (0, ["[a] Blue.", "[b] Red."])
    asked = [("system", "Be brief."), ("user", "Which colour?")]
    assert bodies(server, a)[1:] == [
        [*asked, ("assistant", "Blue."), ("user", "Why?")],
        [*asked, ("assistant", "Blue."), ("user", "Why?"), ("assistant", "Blue."), ("user", "And now?")],
    ]
    assert bodies(server, b)[1] == [*asked, ("assistant", "Red."), ("user", "Why?")]


@pytest.mark.slow
async def test_other_lanes_go_on_from_the_winner_s_words() -> None:
    async with open_server() as server:
        a, b, c = server.lane("a", say="Blue."), server.lane("b", ttft=30), server.lane("c", say="Green.")
        await fanout("race", "-m", b, "-m", a, "Which colour?", env=kept())
        done = await fanout("race", "--continue", "-q", "-m", c, "Why?", env=kept())
    assert (done.code, done.out) == (0, "Green.\n")
    assert bodies(server, c) == [[("user", "Which colour?"), ("assistant", "Blue."), ("user", "Why?")]]


@pytest.mark.slow
async def test_options_for_all_lanes_go_before_those_of_the_run_before() -> None:
    async with open_server() as server:
        lane = server.lane("a") + "&temperature=1"
        await fanout("race", "-m", lane, "hi", env=kept())
        await fanout("race", "-c", "-o", "temperature", "0", "and?", env=kept())
    assert [json.loads(served.request.body)["temperature"] for served in server.served] == [1, 0]


@pytest.mark.slow
async def test_a_run_without_an_answer_or_not_to_be_kept_leaves_the_one_before() -> None:
    async with open_server() as server:
        good, bad = server.lane("a", say="Blue."), server.lane("b", status=400)
        await fanout("race", "-m", good, "first", env=kept())
        assert (await fanout("race", "-m", bad, "second", env=kept())).code == 1
        assert (await fanout("race", "-m", good, "--no-save", "third", env=kept())).code == 0
        assert [text for _, text in messages()] == ["first", "Blue."]
        done = await fanout("race", "-c", "--no-save", "fourth", env=kept())
        assert (done.code, done.out) == (0, "Blue.\n")
        assert [text for _, text in messages()] == ["first", "Blue."]


def messages() -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in last.load().conversation.lanes["a"].messages]


@pytest.mark.slow
@pytest.mark.usefixtures("state_is_a_file")
async def test_a_run_that_cannot_be_kept_is_answered_all_the_same() -> None:
    async with open_server() as server:
        done = await fanout("race", "-m", server.lane("a", say="Blue."), "hi", env=kept())
        quiet = await fanout("race", "-q", "-m", server.lane("a", say="Blue."), "hi", env=kept())
    assert (done.code, done.out) == (0, "Blue.\n")
    assert "this run is not kept for -c (--no-save does not try): " in done.err
    assert (quiet.code, quiet.out, quiet.err) == (0, "Blue.\n", "")


@pytest.mark.slow
async def test_to_continue_nothing_is_a_mistake_of_one_line() -> None:
    done = await fanout("race", "-c", "hi", env=kept())
    assert (done.code, done.out) == (2, "")
    assert done.err == "fanout: there is no earlier run to continue; ask without -c first\n"


@pytest.mark.slow
async def test_a_service_that_keeps_conversations_goes_on_in_its_own_unless_the_account_is_another() -> None:
    async with running(HailuoServer(accounts={"t-1": Account(), "t-2": Account()})) as server:

        def log_in(token: str) -> None:
            store.save(Credentials("hailuo", server.url, secrets={"token": Secret(token)}))

        log_in("t-1")
        await fanout("race", "-m", f"hailuo?base_url={server.url}", "One?", env=kept())
        await fanout("race", "-c", "Two?", env=kept())
        log_in("t-2")
        done = await fanout("race", "-c", "-q", "Three?", env=kept())
        assert (done.code, done.out) == (0, "A whale sings 🐳\n")
        assert "t-1" not in (last.directory() / last.NAME).read_text()
    said = "A whale sings 🐳"
    chats: dict[str, Any] = {token: list(account.chats.values()) for token, account in server.accounts.items()}
    assert chats["t-1"] == [["One?", "Two?"]]
    assert chats["t-2"] == [[f"User: One?\nAssistant: {said}\nUser: Two?\nAssistant: {said}\nUser: Three?\nAssistant:"]]
    assert server.wrong == []
