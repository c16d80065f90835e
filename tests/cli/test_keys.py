import pytest

from tests.cli.command import fanout
from tests.servers.openai import open_server

pytestmark = pytest.mark.slow


async def test_every_key_is_checked_and_none_is_shown() -> None:
    async with open_server() as server:
        env = {"OPENAI_API_KEY": "canary,bad", "OPENAI_BASE_URL": f"{server.url}/v1"}
        done = await fanout("keys", "openai", env=env)
    assert done.code == 1
    assert done.out == "openai         key 1: accepted\nopenai         key 2: auth: no such key\n"
    assert "canary" not in done.out + done.err


async def test_offline_only_says_what_is_set() -> None:
    done = await fanout("keys", "--offline", "groq", "openai", env={"OPENAI_API_KEY": "canary"})
    assert (done.code, done.err) == (0, "")
    assert done.out == "openai         1 key set\ngroq           no keys set\n"


async def test_without_any_key_it_says_where_to_look() -> None:
    done = await fanout("keys")
    assert (done.code, done.out) == (1, "")
    assert "fanout providers lists the variables" in done.err


async def test_an_unknown_provider_is_a_mistake() -> None:
    done = await fanout("keys", "grok")
    assert done.code == 2
    assert "did you mean groq" in done.err
