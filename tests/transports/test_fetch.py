import pytest
import trio
from trio.testing import MockClock

from fanout.abc import Access, Head, Provider, Request
from fanout.credentials.secret import Secret
from fanout.errors import ProviderError, TimedOut, TooLarge, Truncated
from fanout.providers.anthropic import Anthropic
from fanout.providers.cohere import Cohere
from fanout.providers.gemini import Gemini
from fanout.providers.ollama import Ollama
from fanout.providers.openai import OpenAI
from fanout.providers.responses import Responses
from fanout.transports.fetch import fetch, fetch_models, fetch_soon
from fanout.transports.memory import Script
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


@pytest.mark.parametrize("script", [[1e6], [Head(200), *[0.1, b"x"] * 1000]], ids=["silent", "a byte now and then"])
async def test_a_reply_that_no_lane_waits_for_has_a_clock(script: Script, autojump_clock: MockClock) -> None:
    with pytest.raises(TimedOut, match="within 15 s") as caught:
        await fetch_soon(memory(a=script), REQUEST)
    assert caught.value.clock == "total"
    assert trio.current_time() <= 16


PROVIDERS = [OpenAI, Anthropic, Gemini, Cohere, Ollama, Responses]
DEEP = b"[" * 1000 + b"]" * 1000
ODD = [
    b'{"data":{"a":%b}}' % DEEP,
    b'{"models":%b}' % DEEP,
    DEEP,
    b"[" * 9000,
    b'{"data":5}',
    b"[[1]]",
    b"null",
    b"\xff",
]


@pytest.mark.parametrize("body", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("kind", PROVIDERS)
async def test_a_list_of_models_of_any_shape_is_a_list_or_a_typed_error(kind: type[Provider], body: bytes) -> None:
    access = Access("p", "m", "http://a", key=Secret("canary-0123456789"))
    try:
        assert await fetch_models(memory(a=[Head(200), body]), kind.from_access(access)) == []
    except ProviderError as error:
        assert len(error.message) < 300  # noqa: PT017  # a list of a shape that it knows is none


async def test_a_name_of_a_model_repeats_no_key() -> None:
    access = Access("p", "m", "http://a", key=Secret("canary-0123456789"))
    body = b'{"data":[{"id":"m-canary-0123456789"},{"id":"m-2"}]}'
    assert await fetch_models(memory(a=[Head(200), body]), OpenAI.from_access(access)) == ["m-***", "m-2"]
