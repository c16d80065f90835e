"""The example plug-in, found through its entry points as an installed package would be."""

from pathlib import Path

import pytest

import fanout
from fanout.abc import Head
from fanout.catalog.config import Config, GroupTable
from fanout.errors import NotFound
from fanout.transports.memory import MemoryTransport, Script
from tests.example import install_example
from tests.servers.script import open_script_server

PLAIN = Head(200, {"content-type": "text/plain; charset=utf-8"})


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_example(monkeypatch, tmp_path)


async def test_its_provider_is_a_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_script_server([PLAIN, "grü".encode()[:3], "grü".encode()[3:] + b"n"]) as server:
        monkeypatch.setenv("ECHO_URL", server.url)
        answer = await fanout.race("hello", "echo/any")
        assert server.requests[0].body == b"hello"
    assert (answer.lane, answer.text) == ("echo/any", "grün")


async def test_its_provider_is_known_where_models_are_listed() -> None:
    with pytest.raises(NotFound, match="echo does not list its models"):
        await fanout.list_models("echo", transport=MemoryTransport({}))


async def test_its_failures_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_script_server([Head(500)]) as server:
        monkeypatch.setenv("ECHO_URL", server.url)
        (answer,) = await fanout.gather("hello", "echo/any", retries=0)
    assert answer.error
    assert (answer.error.kind, answer.error.status) == ("server", 500)


async def test_its_policy_is_a_policy_of_the_configuration() -> None:
    config = Config(groups={"best": GroupTable("longest", ["echo/a", "echo/b"])})
    scripts: list[Script] = [[PLAIN, b"short"], [PLAIN, 0.01, b"the longer one"]]
    transport = MemoryTransport(lambda _: scripts.pop())
    run = await fanout.ask("hello", "best", config=config, transport=transport)
    assert run.winner
    assert run.winner.text == "the longer one"
    assert run.wasted.chunks == 1
