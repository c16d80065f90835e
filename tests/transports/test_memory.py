import ast

import pytest
import trio
from trio.testing import MockClock

import fanout
from fanout.abc import Head, Request
from fanout.errors import ConnectError, ServerError, TimedOut
from fanout.transports import memory
from fanout.transports.memory import HANG, MemoryTransport
from tests.transports.test_contract import Ears


async def test_its_example_runs(autojump_clock: MockClock) -> None:
    assert memory.__doc__
    example = "\n".join(line[4:] for line in memory.__doc__.splitlines() if line.startswith("    "))
    names = {"fanout": fanout, "MemoryTransport": MemoryTransport}
    await eval(compile(example, "<example>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)  # our own
    assert names["answer"].text == "Hi"  # type: ignore[attr-defined]  # whatever the example puts there


async def test_a_script_plays_in_virtual_time(autojump_clock: MockClock) -> None:
    ears = Ears()
    transport = MemoryTransport({"a": [60.0, b"x", 60.0, b"y"]})
    began = trio.current_time()
    await transport.exchange(Request("GET", "http://a/"), ears, 5)
    assert [at - began for at in ears.times] == [60, 120]


async def test_a_function_may_choose_the_script() -> None:
    ears = Ears()
    transport = MemoryTransport(lambda request: [Head(201), request.body])
    await transport.exchange(Request("POST", "http://a/", body=b"echo"), ears, 5)
    assert (ears.heads[0].status, ears.body) == (201, b"echo")


async def test_the_record_tells_what_was_played_and_how_it_ended(autojump_clock: MockClock) -> None:
    transport = MemoryTransport({"a": [1, b"x", HANG], "b": [b"y"]})
    with trio.move_on_after(5):
        await transport.exchange(Request("GET", "http://a/"), Ears(), 5)
    await transport.exchange(Request("GET", "http://b/"), Ears(), 5)
    cut, whole = transport.exchanges
    assert (cut.whole, cut.steps, whole.whole, whole.steps) == (False, 3, True, 1)
    assert cut.ended is not None
    assert cut.ended - cut.began == 5
    assert transport.open == 0


async def test_a_host_without_a_script_cannot_be_reached() -> None:
    with pytest.raises(ConnectError, match="no script for host 'b'"):
        await MemoryTransport({"a": []}).exchange(Request("GET", "http://b/"), Ears(), 5)


async def test_each_request_gets_an_error_of_its_own() -> None:
    error = ServerError("boom")
    transport = MemoryTransport({"a": [error]})
    with pytest.raises(ServerError, match="boom") as caught:
        await transport.exchange(Request("GET", "http://a/"), Ears(), 5)
    assert caught.value is not error


async def test_a_connection_slower_than_allowed_times_out(autojump_clock: MockClock) -> None:
    with pytest.raises(TimedOut) as caught:
        await MemoryTransport({"a": []}, connecting=9).exchange(Request("GET", "http://a/"), Ears(), 2)
    assert (caught.value.clock, caught.value.seconds) == ("connect", 2)
