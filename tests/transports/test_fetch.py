import pytest

from fanout.abc import Head, Request
from fanout.errors import TooLarge, Truncated
from fanout.transports.fetch import fetch
from tests.words import memory

REQUEST = Request("GET", "http://a/")


async def test_a_reply_is_whole_whatever_its_status() -> None:
    head = Head(404, {"x-request-id": "r1"})
    reply = await fetch(memory(a=[head, b"not ", b"here"]), REQUEST, 1)
    assert (reply.head, reply.body) == (head, b"not here")


async def test_a_reply_that_never_comes_is_truncated() -> None:
    with pytest.raises(Truncated):
        await fetch(memory(a=[]), REQUEST, 1)


async def test_a_reply_of_more_bytes_than_are_wanted_is_too_large() -> None:
    assert (await fetch(memory(a=[b"12", b"34"]), REQUEST, 1, most=4)).body == b"1234"
    with pytest.raises(TooLarge, match="exceeds 3 bytes"):
        await fetch(memory(a=[b"12", b"34"]), REQUEST, 1, most=3)
