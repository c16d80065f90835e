import json
import os
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, field

from fanout.errors import ProtocolError
from fanout.login import devtools
from fanout.login.devtools import BrowserClosed, CommandFailed, DevTools, Messages


def command(method: str = "Some.thing", **parameters: Any) -> Generator[dict[str, Any], dict[str, Any], Any]:
    result = yield {"method": method, "params": parameters}
    return result["value"]


@define(eq=False)
class Fake:
    """The browser's end of the two pipes."""

    reads: trio.lowlevel.FdStream
    writes: trio.lowlevel.FdStream
    messages: Messages = field(factory=Messages)
    waiting: list[bytes] = field(factory=list)

    async def heard(self) -> dict[str, Any]:
        """The next message."""
        while not self.waiting:
            data = bytes(await self.reads.receive_some())
            assert data, "no whole message came"
            self.waiting = self.messages.feed(data)
        heard: dict[str, Any] = json.loads(self.waiting.pop(0))
        return heard

    async def say(self, **message: Any) -> None:
        await self.writes.send_all(json.dumps(message).encode() + b"\0")


@asynccontextmanager
async def open_line() -> AsyncGenerator[tuple[DevTools, Fake]]:
    browser_reads, we_write = os.pipe()
    we_read, browser_writes = os.pipe()
    out, into, reads, writes = map(trio.lowlevel.FdStream, (we_write, we_read, browser_reads, browser_writes))
    async with out, into, reads, writes, DevTools.open(out, into) as tools:
        yield tools, Fake(reads, writes)


TWO = b'{"id": 1, "result": {}}\0{"id": 2}\0'


@pytest.mark.parametrize("cut", range(len(TWO) + 1))
def test_messages_may_be_cut_anywhere(cut: int) -> None:
    messages = Messages()
    assert messages.feed(TWO[:cut]) + messages.feed(TWO[cut:]) == TWO.split(b"\0")[:2]


def test_messages_may_come_byte_by_byte_and_many_at_once() -> None:
    messages = Messages()
    assert [m for n in range(len(TWO)) for m in messages.feed(TWO[n : n + 1])] == TWO.split(b"\0")[:2]
    assert messages.feed(TWO * 3 + b"{") == TWO.split(b"\0")[:2] * 3
    assert messages.feed(b"}\0") == [b"{}"]


def test_a_large_message_in_small_pieces_costs_time_in_proportion() -> None:
    messages, piece = Messages(), b"x" * 1000
    began = time.process_time()
    for _ in range(30_000):
        assert messages.feed(piece) == []
    [message] = messages.feed(b"\0")
    assert len(message) == 30_000_000
    assert time.process_time() - began < 2  # to scan what is there again for each piece would take minutes


async def test_a_command_goes_out_with_its_page_and_comes_back_with_its_meaning() -> None:
    async with open_line() as (tools, fake), trio.open_nursery() as nursery:
        got = []

        async def ask() -> None:
            got.append(await tools.call(command(url="x"), "page 1"))
            got.append(await tools.call(command()))

        nursery.start_soon(ask)
        first = await fake.heard()
        assert first == {"id": 1, "method": "Some.thing", "params": {"url": "x"}, "sessionId": "page 1"}
        await fake.say(id=1, result={"value": 7}, sessionId="page 1")
        assert await fake.heard() == {"id": 2, "method": "Some.thing", "params": {}}
        await fake.say(id=2, result={"value": 8})
    assert got == [7, 8]


async def test_answers_find_their_caller_in_any_order() -> None:
    async with open_line() as (tools, fake), trio.open_nursery() as nursery:
        got = {}

        async def ask(name: str) -> None:
            got[name] = await tools.call(command(name=name))

        for name in "abc":
            nursery.start_soon(ask, name)
        asked = [await fake.heard() for _ in "abc"]
        for message in reversed(asked):
            await fake.say(id=message["id"], result={"value": message["params"]["name"]})
    assert got == {name: name for name in "abc"}


async def test_events_and_answers_that_nobody_waits_for_are_passed_over() -> None:
    async with open_line() as (tools, fake), trio.open_nursery() as nursery:
        with trio.move_on_after(0.02):
            await tools.call(command())
        given_up = await fake.heard()

        async def answer() -> None:
            message = await fake.heard()
            await fake.say(method="Target.targetCreated", params={})
            await fake.say(id=99, result={"value": "of nobody"})
            await fake.say(id=given_up["id"], result={"value": "late"})
            await fake.say(id=message["id"], result={"value": "mine"})

        nursery.start_soon(answer)
        assert await tools.call(command()) == "mine"


async def test_a_refused_command_says_which_and_why() -> None:
    async with open_line() as (tools, fake), trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: fake.say(id=1, error={"code": -32001, "message": "Session with given id not found."})
        )
        with pytest.raises(CommandFailed, match=r"refused Page.navigate: Session with given id") as caught:
            await tools.call(command("Page.navigate"))
    assert caught.value.code == -32001


async def test_a_result_of_another_shape_is_a_typed_error() -> None:
    async with open_line() as (tools, fake), trio.open_nursery() as nursery:
        nursery.start_soon(lambda: fake.say(id=1, result={}))
        with pytest.raises(ProtocolError, match=r"Some.thing is not as nodriver expects it \(KeyError\('value'\)\)"):
            await tools.call(command())


async def test_the_end_in_the_middle_of_a_message_wakes_all_who_wait_and_stops_later_calls() -> None:
    async with open_line() as (tools, fake), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(BrowserClosed, match="the browser has ended"):
                await tools.call(command())

        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await fake.heard()
        await fake.heard()
        await fake.writes.send_all(b'{"id": 1, "resu')
        await fake.writes.aclose()
        await tools.closed.wait()
        with pytest.raises(BrowserClosed, match="the browser has ended"):
            await tools.call(command())


async def test_a_browser_that_is_gone_before_the_first_word_is_noticed() -> None:
    async with open_line() as (tools, fake):
        await fake.reads.aclose()
        with pytest.raises(BrowserClosed, match="the browser has ended"):
            await tools.call(command())


async def test_what_is_not_json_ends_the_line() -> None:
    async with open_line() as (tools, fake), trio.open_nursery() as nursery:
        nursery.start_soon(fake.writes.send_all, b"DevTools listening on\0")
        with pytest.raises(BrowserClosed, match="not JSON"):
            await tools.call(command())


async def test_a_browser_that_stops_reading_is_given_up_also_by_those_who_wait_for_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devtools, "WRITE_LIMIT", 0.1)
    async with open_line() as (tools, _fake), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(BrowserClosed, match=r"has read nothing for 0\.1 s"):
                await tools.call(command(text="x" * 200_000))

        with trio.fail_after(5):
            for _ in range(3):
                nursery.start_soon(ask)
            await tools.closed.wait()


async def test_a_cancelled_call_leaves_no_half_message() -> None:
    text = "x" * 200_000  # more than a pipe holds
    scope = trio.CancelScope()
    async with open_line() as (tools, fake), trio.open_nursery() as nursery:

        async def give_up() -> None:
            with scope:
                await tools.call(command(text=text))

        nursery.start_soon(give_up)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        nursery.start_soon(tools.call, command())
        assert (await fake.heard())["params"] == {"text": text}
        await fake.say(id=(await fake.heard())["id"], result={"value": 1})
    assert scope.cancelled_caught


async def test_an_error_in_the_block_comes_out_as_itself() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_line():
            raise ZeroDivisionError
