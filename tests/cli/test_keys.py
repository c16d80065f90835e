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


async def test_a_service_that_cannot_be_asked_has_accepted_no_key_and_the_help_says_so() -> None:
    env = {"OPENAI_API_KEY": "canary", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    done = await fanout("keys", "openai", env=env)
    told = await fanout("keys", "--help")
    assert done.code == 1
    assert done.out.startswith("openai         connect: ")
    told_so = " ".join(told.out.split())
    assert "Exit code 1 if a service refuses a key or cannot be asked, or if no key is set." in told_so


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
