"""Files of answers on the user's disk: under what names, over nothing that is there, fetched with what they need."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from fanout.abc import Head, Request
from fanout.answers import Answer
from fanout.cli import last
from fanout.cli.screen.files import NAME_LENGTH, check, name_of, save_all, write
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.errors import UsageError
from fanout.events import File
from fanout.login import store
from fanout.transports.memory import MemoryTransport
from tests.cli.command import fanout
from tests.servers import huggingchat
from tests.servers.openai import open_server
from tests.words import memory

PNG = b"\x89PNG"
CANARY = "CANARY-session-91d2"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (File("chart.png"), "chart.png"),
        (File("../../etc/passwd"), "passwd"),
        (File("/etc/passwd"), "passwd"),
        (File("C:\\Windows\\notepad.exe"), "notepad.exe"),
        (File("..", "image/png"), "file.png"),
        (File("."), "file"),
        (File(".bashrc"), "bashrc"),
        (File("a/", "image/png"), "file.png"),
        (File("a\0b\nc\x1b[31m.png"), "a_b_c_[31m.png".replace("[", "_")),
        (File("Grüße 🐳 (1).png"), "Grüße _ (1).png"),
        (File(None, "image/png"), "file.png"),
        (File(None, "image/png; charset=x"), "file.png"),
        (File(None, "no type"), "file"),
        (File(None, None, "https://x.test/a%20b.gif?name=c.exe#d"), "a b.gif"),
        (File(None, "image/gif", "https://x.test/%2e%2e%2f%2e%2e%2fx"), "x.gif"),
        (File(None, None, "https://["), "file"),
        (File("x" * 400 + ".png"), "x" * NAME_LENGTH + ".png"),
        (File("ü" * 400), "ü" * (NAME_LENGTH // 2)),
        (File("a." + "b" * 400), "a." + "b" * 15),
        (File("fanout.toml"), "fanout_.toml"),
        (File("FanOut.TOML"), "FanOut_.TOML"),
        (File(".fanout .toml"), "fanout_.toml"),
        (File(None, None, "https://x.test/fanout%2etoml"), "fanout_.toml"),
        (File("\uff46anout.toml"), "\uff46anout_.toml"),
        (File("fanout.toml.txt"), "fanout.toml.txt"),
        (File(". .x"), "x"),
        (File("\u00a0.x"), "_.x"),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, str) else "",
)
def test_a_file_has_a_name_that_is_no_path(file: File, name: str) -> None:
    assert name_of(file) == name


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "dir"
    paths = [write(directory, "a.png", data) for data in (b"1", b"2", b"3")]
    assert [path.name for path in paths] == ["a.png", "a-2.png", "a-3.png"]
    assert [path.read_bytes() for path in paths] == [b"1", b"2", b"3"]


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "elsewhere")
    assert write(tmp_path, "a.png", b"1").name == "a-2.png"
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_cannot_be_written_to_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "inner"):
        with pytest.raises(UsageError, match=f"--save-files {directory}: "):
            write(directory, "a.png", b"1")


def test_a_directory_that_could_not_be_written_to_is_noticed_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "inner" / "most"):
        with pytest.raises(UsageError, match=f"--save-files {directory}: Not a directory"):
            check(directory)
    for directory in (tmp_path, tmp_path / "new" / "dir"):
        check(directory)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_directory_that_may_not_be_written_to_is_noticed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, _: path != tmp_path)
    with pytest.raises(UsageError, match="Permission denied"):
        check(tmp_path / "new")


async def test_files_are_saved_lane_by_lane_and_one_that_does_not_come_stops_no_other(
    tmp_path: Path, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    request = Request("GET", "http://a/1.png", {"cookie": Secret(CANARY)})
    lost = Request("GET", "http://b/1.png", {"cookie": Secret(CANARY)})
    answers = [
        Answer("one", files=(File("bytes.png", data=PNG), File("fetched.png", fetch=request))),
        Answer("two", files=(File("gone.png", fetch=lost), File("inside.png", url="http://127.0.0.1/"))),
        Answer("three", files=(File("bytes.png", data=b"GIF"),)),
    ]
    transport = memory(a=[PNG, PNG], b=[Head(404), b"no " + CANARY.encode()])
    whole = await save_all(answers, tmp_path, transport, quiet=False)
    said = capsys.readouterr()
    assert not whole
    assert contents(tmp_path) == {"bytes.png": PNG, "fetched.png": PNG + PNG, "bytes-2.png": b"GIF"}
    assert (said.out, CANARY in said.err) == ("", False)
    assert "fanout: a file of two is not saved: not_found (404)" in said.err
    assert "fanout: a file of two is not saved: a file is fetched from a public https address" in said.err
    assert said.err.count(f"saved {tmp_path}") == 3


async def test_quiet_it_says_only_what_went_wrong(
    tmp_path: Path, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [Answer("a", files=(File("a.png", data=PNG),))]
    assert await save_all(answers, tmp_path, MemoryTransport({}), quiet=True)
    assert capsys.readouterr() == ("", "")


# The command, with pictures that only whoever is logged in can fetch.


def picture(name: str = "whale.png", sha: str = "sha-1") -> dict[str, Any]:
    return huggingchat.update(type="file", name=name, sha=sha, mime="image/png")


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}


def log_in(server: huggingchat.HuggingChatServer) -> str:
    """Stores a login and returns the lane that needs it."""
    server.sessions[CANARY] = "user-1"
    store.save(Credentials("huggingchat", server.base_url, {"hf-chat": Secret(CANARY)}))
    return f"chat=huggingchat/org/text?base_url={server.base_url}"


@pytest.mark.slow
async def test_a_picture_is_saved_with_the_lane_s_login(state: dict[str, str], tmp_path: Path) -> None:
    async with huggingchat.open_server(2026, login=True) as server:
        lane = log_in(server)
        for _ in range(2):
            server.scripts.append(huggingchat.answer("Here it is", picture()))
            done = await fanout("race", "-m", lane, "--save-files", str(tmp_path / "out"), "Draw.", env=state)
            assert done.code == 0
        untouched = await fanout("race", "-m", lane, "Draw.", env=state)
    assert contents(tmp_path / "out") == {"whale.png": b"bytes of sha-1", "whale-2.png": b"bytes of sha-1"}
    assert f"saved {tmp_path / 'out' / 'whale-2.png'}" in done.err
    assert untouched.code == 0
    assert server.log.count("output") == 2
    assert CANARY not in done.out + done.err


@pytest.mark.slow
async def test_where_files_cannot_be_saved_nobody_is_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with open_server() as server:
        done = await fanout("race", "-m", server.lane("a"), "--save-files", str(tmp_path / "file"), "Draw.")
        assert not server.served
    assert (done.code, done.out) == (2, "")
    assert done.err == f"fanout: --save-files {tmp_path / 'file'}: Not a directory\n"


@pytest.mark.slow
async def test_a_run_whose_files_cannot_be_saved_in_the_end_is_kept(state: dict[str, str], tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 300)  # too long a name, which only the attempt to make it tells
    async with huggingchat.open_server(2026, login=True) as server:
        lane = log_in(server)
        server.scripts.append(huggingchat.answer("Here it is", picture()))
        done = await fanout("race", "-m", lane, "--save-files", str(directory), "Draw.", env=state)
    assert (done.code, done.out.splitlines()[0]) == (2, "Here it is")
    assert "File name too long" in done.err
    assert last.load().lanes == (lane,)


@pytest.mark.slow
async def test_an_answer_whose_picture_is_gone_is_shown_and_the_exit_code_tells(
    state: dict[str, str], tmp_path: Path
) -> None:
    async with huggingchat.open_server(2026, login=True) as server:
        lane = log_in(server)
        server.scripts.append(huggingchat.answer("Here it is", picture()))
        server.refusals.append(("output", huggingchat.Refusal(404, {"message": "Gone"})))
        done = await fanout("race", "-q", "-m", lane, "--save-files", str(tmp_path / "out"), "Draw.", env=state)
    assert (done.code, done.out.splitlines()[0]) == (1, "Here it is")
    assert done.err.startswith("fanout: a file of chat is not saved: not_found (404)")


@pytest.mark.slow
async def test_files_of_lanes_that_are_not_shown_are_not_fetched(state: dict[str, str], tmp_path: Path) -> None:
    async with huggingchat.open_server(2026, login=True) as server:
        lane = log_in(server)
        server.scripts.append([huggingchat.STARTED, picture(), huggingchat.token("Well "), huggingchat.HANG])
        server.scripts.append(huggingchat.answer("Here it is", picture("won.png", "sha-2")))
        second = lane.replace("chat=", "second=")
        arguments = ("--json", "-m", lane, "-m", second, "--save-files", str(tmp_path / "out"), "Draw.")
        done = await fanout("race", *arguments, env=state)
    assert done.code == 0
    assert json.loads(done.out)["winner"] in ("chat", "second")
    assert contents(tmp_path / "out") == {"won.png": b"bytes of sha-2"}


@pytest.mark.slow
async def test_what_is_attached_reaches_the_service(state: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(PNG)
    async with huggingchat.open_server(2026, login=True) as server:
        lane = log_in(server)
        done = await fanout("race", "-q", "-m", lane, "-a", str(tmp_path / "dot.png"), "What is it?", env=state)
        missing = await fanout("race", "-m", lane, "-a", str(tmp_path / "no.png"), "What is it?", env=state)
    assert (done.code, done.out) == (0, "Hello there\n")
    assert [(part.filename, part.data) for part in server.files] == [("base64;dot.png", b"iVBORw==")]
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    assert "no.png" in missing.err
