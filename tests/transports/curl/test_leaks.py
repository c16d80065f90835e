"""Races over one transport, one after the other: nothing grows."""

import ctypes
import gc
import json
import os
from math import inf
from pathlib import Path

import pytest
import trio
from attrs import define, field

import fanout
from fanout.abc import Request
from fanout.catalog.config import Config
from fanout.errors import AuthError
from fanout.transports.curl import CurlTransport, libcurl
from fanout.transports.curl.libcurl import Easy
from fanout.transports.curl.numbers import CurlOpt
from fanout.transports.memory import HANG
from tests.servers.script import ScriptServer, open_script_server
from tests.transports.curl.test_cancel import transfers, until
from tests.transports.fuzz import easies, fds, rss
from tests.transports.test_contract import Ears

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")

COUNT = int(os.environ.get("FANOUT_RACES", "150"))


async def race(url: str, slow: str, transport: CurlTransport) -> None:
    """Three lanes; who is whole first ends the others."""
    ears = Ears()

    async def lane(url: str) -> None:
        await transport.exchange(Request("POST", url, body=b"x" * 1000), ears if url != slow else Ears(), inf)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for target in (slow, url, slow):
            nursery.start_soon(lane, target)
    assert ears.body == b"onetwo"


def trim() -> None:
    """Gives back what malloc keeps for later, where it can (glibc): that is no growth, but looks like it."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


@define
class Growth:
    """Memory (kilobytes) after each tenth of a run, and descriptors beside the ends of the winners' connections."""

    memory: list[int] = field(factory=list)
    descriptors: list[int] = field(factory=list)

    async def note(self, number: int, fast: ScriptServer, slow: ScriptServer) -> None:
        """Looks, after every tenth, when the service has seen all losers go."""
        if number % (COUNT // 10) != COUNT // 10 - 1:
            return
        await until(lambda: not slow.open)
        fast.requests.clear()
        slow.requests.clear()
        gc.collect()
        trim()
        self.memory.append(rss())
        self.descriptors.append(fds() - 2 * fast.open)

    def check(self) -> None:
        """The first tenth is for what is made once."""
        print(COUNT, self.memory, self.descriptors)  # noqa: T201  # shown with -s
        assert len(set(self.descriptors)) == 1
        assert self.memory[-1] - self.memory[1] < 3_000


@pytest.mark.slow
async def test_race_after_race_neither_memory_nor_descriptors_grow() -> None:
    growth = Growth()
    async with (
        open_script_server([b"one", b"two"]) as fast,
        open_script_server([b"lost", HANG]) as slow,
        CurlTransport() as transport,
    ):
        for number in range(COUNT):
            await race(fast.url, slow.url, transport)
            await growth.note(number, fast, slow)
        assert not transfers(transport)
        assert fast.connections == 1
    growth.check()


def said(**choice: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {}, **choice}]}).encode() + b"\n\n"


@pytest.mark.slow
async def test_the_engine_that_races_again_and_again_grows_no_more() -> None:
    growth = Growth()
    answer = [said(delta={"content": "Blue."}), said(finish_reason="stop"), b"data: [DONE]\n\n"]
    async with (
        open_script_server(answer) as fast,
        open_script_server([said(delta={"content": "Lost"}), HANG]) as slow,
        fanout.open_transport("curl") as transport,
    ):
        lanes = [
            f"{name}=openai/m?base_url={server.url}&key_env="
            for name, server in zip("abc", (slow, fast, slow), strict=True)
        ]
        for number in range(COUNT):
            won = await fanout.race("Why?", lanes, transport=transport, config=Config())
            assert (won.lane, won.text) == ("b", "Blue.")
            await growth.note(number, fast, slow)
        assert fast.connections < COUNT / 10  # the next race may begin before the last one's connection is free
    growth.check()


def descriptors() -> set[int]:
    return {int(path.name) for path in Path("/proc/self/fd").iterdir() if path.exists()}


async def test_a_program_that_is_started_is_given_none_of_the_descriptors() -> None:
    before = descriptors()
    async with open_script_server([b"x"]) as server, CurlTransport() as transport:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):  # one is looked up, the other is not
            await transport.exchange(Request("POST", url), Ears(), 5)
        opened = descriptors() - before
        assert len(opened) >= 3  # two connections and the poller
        assert not any(map(os.get_inheritable, opened))


async def test_what_each_exchange_makes_is_freed_without_the_garbage_collector() -> None:
    async with open_script_server([b"one", b"two"]) as server, CurlTransport() as transport:
        for _ in range(3):
            await transport.exchange(Request("POST", server.url), Ears(), 5)
        gc.collect()
        gc.disable()
        try:
            before = len(gc.get_objects())
            for _ in range(50):
                await transport.exchange(Request("POST", server.url), Ears(), 5)
            server.requests.clear()
            await trio.lowlevel.checkpoint()
            assert len(gc.get_objects()) - before < 200
        finally:
            gc.enable()


@pytest.mark.parametrize("browser", [None, "chrome"])
async def test_what_is_refused_while_it_is_prepared_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, browser: str | None
) -> None:
    def refuse(easy: Easy, option: int, value: int | bytes) -> None:
        if option == CurlOpt.PROXY_CAINFO:
            raise ValueError("libcurl does not take it")
        take(easy, option, value)

    take = Easy.set
    before = easies()
    async with CurlTransport() as transport:
        monkeypatch.setattr(Easy, "set", refuse)
        with pytest.raises(ValueError, match="does not take it"):
            await transport.exchange(Request("POST", "http://127.0.0.1:9/", impersonate=browser), Ears(), 5)
        assert transport._pools == {}
        monkeypatch.undo()
        for _ in range(3):
            with pytest.raises(AuthError):
                await transport.exchange(Request("POST", "http://127.0.0.1:9/", {"x": "\n"}), Ears(), 5)
        assert easies()[1] == before[1] + 1  # the template


def test_bodies_of_many_lengths_do_not_stay_in_a_cache() -> None:
    for length in range(1000):
        libcurl._make_long(length)
    assert libcurl._make_long.cache_info().currsize <= 256
