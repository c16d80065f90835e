import os
from pathlib import Path

import pytest
import trio

from tests.cli.command import fanout, on_terminal
from tests.servers.openai import open_server

pytestmark = pytest.mark.slow


async def test_every_key_is_checked_and_none_is_shown() -> None:
    async with open_server() as server:
        env = {"OPENAI_API_KEY": "canary,bad", "OPENAI_BASE_URL": f"{server.url}/v1"}
        done = await fanout("keys", "openai", env=env)
    assert done.code == 1
    assert done.out == (
        "openai         key 1: accepted (OPENAI_API_KEY, in the environment)\n"
        "openai         key 2: auth: no such key (OPENAI_API_KEY, in the environment)\n"
    )
    assert "canary" not in done.out + done.err


async def test_a_service_that_cannot_be_asked_has_accepted_no_key_and_the_help_says_so() -> None:
    env = {"OPENAI_API_KEY": "canary", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    done = await fanout("keys", "openai", env=env)
    told = await fanout("keys", "check", "--help")
    assert done.code == 1
    assert done.out.startswith("openai         connect: ")
    told_so = " ".join(told.out.split())
    assert "Exit code 1 if a service refuses a key or cannot be asked, or if no key is set." in told_so


async def test_offline_only_says_what_is_set() -> None:
    done = await fanout("keys", "--offline", "groq", "openai", env={"OPENAI_API_KEY": "canary"})
    assert (done.code, done.err) == (0, "")
    assert done.out == ("openai         1 key set (OPENAI_API_KEY, in the environment)\ngroq           no keys set\n")


async def test_without_any_key_it_says_where_to_look() -> None:
    done = await fanout("keys")
    assert (done.code, done.out) == (1, "")
    assert "fanout providers lists the variables" in done.err


async def test_an_unknown_provider_is_a_mistake() -> None:
    done = await fanout("keys", "grok")
    assert done.code == 2
    assert "did you mean groq" in done.err


async def test_a_key_is_stored_found_and_deleted_and_never_shown(tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path)}
    stored = await fanout("keys", "set", "groq", stdin=b"canary-1\n", env=env)
    listed = await fanout("keys", "--offline", env=env)
    over = await fanout("keys", "set", "groq", stdin=b"canary-2\n", env={**env, "GROQ_API_KEY": "canary-3"})
    deleted = await fanout("keys", "unset", "groq", env=env)
    again = await fanout("keys", "unset", "groq", env=env)
    file = tmp_path / "fanout" / "keys" / "keys.json"
    assert (stored.code, stored.err) == (0, f"groq: GROQ_API_KEY is stored in {file}\n")
    assert listed.out == "groq           1 key set (GROQ_API_KEY, stored)\n"
    assert over.err.endswith("GROQ_API_KEY is set in the environment too, which goes before\n")
    assert (deleted.code, again.code) == (0, 1)
    assert again.err == "no key is stored for groq\n"
    assert file.read_text() == "{}"
    assert "canary" not in "".join(done.out + done.err for done in (stored, listed, over, deleted, again))


async def test_a_stored_key_and_one_in_dotenv_reach_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path / "state")}
    monkeypatch.chdir(tmp_path)
    async with open_server() as server:
        env["OPENAI_BASE_URL"] = f"{server.url}/v1"
        (tmp_path / ".env").write_text("OPENAI_API_KEY=canary-of-the-project\n")
        await fanout("race", "-m", "openai/n=1", "hi", env=env)
        await fanout("keys", "set", "openai", stdin=b"canary-stored", env=env)
        await fanout("race", "-m", "openai/n=1", "hi", env=env)
        sent = [served.request.headers["authorization"] for served in server.served]
    assert sent == ["Bearer canary-of-the-project", "Bearer canary-stored"]


async def test_a_key_is_asked_for_without_echo(tmp_path: Path) -> None:
    async with on_terminal("keys", "set", "groq") as terminal:
        await terminal.until("not shown")
        await trio.to_thread.run_sync(os.write, terminal.master, b"canary\n")
        assert await terminal.end() == 0
    assert "canary" not in terminal.written
    await fanout("keys", "unset", "groq")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("set", "grok"), "did you mean groq"),
        (("set", "local"), "local takes no key"),
        (("set", "groq"), "this is no key"),
    ],
)
async def test_what_cannot_be_stored_is_a_mistake(arguments: tuple[str, ...], words: str) -> None:
    done = await fanout("keys", *arguments, stdin=b"two words")
    assert done.code == 2
    assert words in done.err
