"""Races over one transport, one after the other: nothing grows."""

import gc
import os
from math import inf
from pathlib import Path

import pytest
import trio
from curl_cffi import CurlOpt

from fanout.abc import Request
from fanout.errors import AuthError
from fanout.transports import libcurl
from fanout.transports.curl import CurlTransport
from fanout.transports.libcurl import Easy
from fanout.transports.memory import HANG
from tests.servers.script import open_script_server
from tests.transports.fuzz import easies, fds, rss
from tests.transports.test_contract import Ears
from tests.transports.test_curl_cancel import transfers

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")

COUNT = int(os.environ.get("FANOUT_RACES", "300"))


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


@pytest.mark.slow
async def test_race_after_race_neither_memory_nor_descriptors_grow() -> None:
    memory: list[int] = []
    descriptors: list[int] = []
    async with (
        open_script_server([b"one", b"two"]) as fast,
        open_script_server([b"lost", HANG]) as slow,
        CurlTransport() as transport,
    ):
        for number in range(COUNT):
            await race(fast.url, slow.url, transport)
            if number % (COUNT // 10) == COUNT // 10 - 1:
                with trio.fail_after(1):
                    while slow.open:  # noqa: ASYNC110  # the server has no event for it
                        await trio.sleep(0.001)
                fast.requests.clear()
                slow.requests.clear()
                gc.collect()
                memory.append(rss())
                descriptors.append(fds())
                assert not transfers(transport)
        assert fast.connections == 1
    print(COUNT, memory, descriptors)  # noqa: T201  # shown with -s
    assert set(descriptors) == {descriptors[0]}
    assert memory[-1] - memory[0] < 3_000


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
        libcurl._long(length)
    assert libcurl._long.cache_info().currsize <= 256
