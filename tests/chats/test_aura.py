import json
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import fanout
from fanout.abc import Head, Reply, Request
from fanout.answers import Answer
from fanout.chats.aura import NEUTRAL, Aura, AuraReader
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.errors import (
    AuthError,
    InvalidRequest,
    NotAStream,
    ProtocolError,
    ProviderError,
    RateLimited,
    RedirectRefused,
    ResetError,
    ServerError,
    TimedOut,
    Truncated,
)
from fanout.events import Delta, End, Status
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.settings.timeouts import Timeouts
from fanout.transports.fetch import fetch
from tests.providers.exchange import end_of, error_of, read_by
from tests.providers.faults import Fault
from tests.providers.odd import assert_sound
from tests.servers import website
from tests.servers.aura import TEXT, AuraServer
from tests.servers.http import running
from tests.servers.website import BREAK, HANG, HTML, WALL

TALK = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "More"))


def body(prompt: str | Prompt = "Hi", options: Options | None = None, **fields: Any) -> dict[str, Any]:
    asked = Prompt.of(prompt).with_options(options or Options())
    made = json.loads(Aura(**fields).request(asked).body)
    assert isinstance(made, dict)
    return made


read = partial(read_by, Aura(), head=Head(200))


async def ask(server: AuraServer, prompt: str | Prompt = "Hi", **settings: Any) -> Answer:
    model = settings.pop("model", None)
    run = await fanout.ask(prompt, [Aura(model, base_url=server.url)], retries=0, **settings)
    return run.answers[0]


def test_a_request_has_the_model_as_an_object_and_no_other_key_than_the_page_sends() -> None:
    assert body() == {
        "model": {"id": "openchat_3.6", "name": "OpenChat 3.6 (latest)", "maxLength": 24576, "tokenLimit": 8192},
        "messages": [{"role": "user", "content": "Hi"}],
        "key": "",
        "prompt": NEUTRAL,
        "temperature": 0.5,
    }


@pytest.mark.parametrize(
    ("model", "name"), [("openchat_v3.2_mistral", "OpenChat Aura"), ("one-of-mine", "one-of-mine")]
)
def test_a_model_has_its_name_and_an_unknown_one_passes(model: str, name: str) -> None:
    made = body(model=model)["model"]
    assert (made["id"], made["name"]) == (model, name)


def test_the_system_texts_have_a_field_of_their_own() -> None:
    messages = (Message("system", "Be brief."), *TALK, Message("developer", "Be kind."), Message("user", "Now"))
    made = body(Prompt(messages))
    assert made["prompt"] == "Be brief.\nBe kind."
    assert [message["role"] for message in made["messages"]] == ["user", "assistant", "user", "user"]


def test_the_temperature_is_the_only_option_and_the_body_goes_over_all() -> None:
    assert body(options=Options(temperature=0.0))["temperature"] == 0.0
    assert body(options=Options(body={"key": "mine", "x": 1})).items() >= {"key": "mine", "x": 1}.items()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(max_tokens=5), "aura has no option max_tokens"),
        (Options(top_p=0.5, stop=("a",), seed=1), "aura has no option top_p or stop or seed"),
        (Options(reasoning="low", reasoning_tokens=1), "aura has no option reasoning or reasoning_tokens"),
        (
            Options(tools=({},), tool_choice="auto"),
            "aura has no option tools or tool_choice",
        ),
    ],
)
def test_an_option_without_a_place_is_refused(options: Options, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        body(options=options)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([Message("user", "u"), Message("assistant", "a")], "must be the last"),
        ([Message("system", "s")], "must be the last"),
        ([Message("user", "u", media=(Media(data=b"x"),))], "aura takes text only"),
        ([Message("tool", "t"), Message("user", "u")], "aura knows no tools"),
        ([Message("assistant", "", tool_uses=(ToolUse("1", "f", ""),)), Message("user", "u")], "aura knows no tools"),
    ],
)
def test_what_it_cannot_carry_is_refused_by_name(messages: list[Message], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        body(Prompt(tuple(messages)))


def request(**fields: Any) -> Request:
    return Aura(**fields).request(Prompt.of("Hi"))


def test_the_headers_are_those_of_a_browser_or_of_the_credentials_browser() -> None:
    made = request(base_url="http://127.0.0.1:1/chat/")
    assert (made.method, made.url, made.impersonate) == ("POST", "http://127.0.0.1:1/chat/api/chat", "chrome")
    assert made.headers["origin"] == "http://127.0.0.1:1"
    assert made.headers["referer"] == "http://127.0.0.1:1/chat/"
    assert "cookie" not in made.headers and str(made.headers["user-agent"]).startswith("Mozilla/5.0 ")
    login = Credentials("aura", "https://openchat.team", {"cf": Secret("x")}, headers={"user-agent": "Mine"})
    made = request(credentials=login)
    assert made.plain_headers().items() >= {"user-agent": "Mine", "cookie": "cf=x"}.items()
    assert "accept-language" not in made.headers


def test_credentials_go_to_no_other_origin() -> None:
    login = Credentials("aura", "https://openchat.team", {"cf": Secret("x")})
    with pytest.raises(AuthError, match=r"the login is for https://openchat\.team, and is not sent to https://other"):
        request(credentials=login, base_url="https://other.example")
    assert "cf" not in repr(Aura(credentials=login))


def test_the_models_are_asked_for_by_post() -> None:
    made = Aura().models_request()
    assert (made.method, made.url, made.body) == ("POST", "https://openchat.team/api/models", b'{"key":""}')
    reply = b'[{"id":"b","name":"B"},{"id":"a","name":"A"}]'
    assert Aura().models(Reply(Head(200), reply)) == ["b", "a"]


@pytest.mark.parametrize(
    ("head", "reply", "kind"),
    [
        (Head(500, reason="upstream is away"), b"Error", ServerError),
        (Head(403), WALL, NotAStream),
        (Head(200), b"<html>", ProtocolError),
    ],
)
def test_a_reply_without_models_is_an_error(head: Head, reply: bytes, kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        Aura().models(Reply(head, reply))


ODD_TEXT = "Grüße \ufffd 🐳 e\u0301 null\r\n"


def test_half_a_character_at_the_end_becomes_the_sign_for_it() -> None:
    assert read("a🐳".encode()[:-1]) == [Delta("a"), Delta("\ufffd"), End(Status.FINISHED, "unknown")]


def test_the_answer_is_complete_only_when_the_body_is_over() -> None:
    reader = AuraReader(Head(200))
    reader.feed(b"a")
    assert not reader.complete
    (end,) = reader.close()
    assert end == End(Status.FINISHED, "unknown")
    assert (reader.complete, reader.feed(b"b"), reader.close()) == (True, [], [])


def test_an_empty_answer_is_none() -> None:
    error = end_of(read()).error
    assert type(error) is Truncated and error.message == "the answer is empty"


def test_a_broken_body_keeps_the_text() -> None:
    events = read(b"partial", error=ResetError("gone"))
    assert events[0] == Delta("partial") and type(end_of(events).error) is ResetError


def test_a_web_page_is_no_answer() -> None:
    assert type(end_of(read(b"<html>", b"x", head=Head(200, HTML))).error) is NotAStream


@pytest.mark.parametrize(
    ("head", "data", "kind", "words"),
    [
        (Head(500, reason="OpenAI is over capacity"), b"Error", ServerError, "OpenAI is over capacity"),
        (Head(500, reason="odd \x00 words"), b"", ServerError, "odd \\x00 words"),
        (Head(500), b"Error", ServerError, "Error"),
        (Head(500, reason="Internal Server Error"), b'{"error":"more exact"}', ServerError, "more exact"),
        (Head(429, {"retry-after": "7"}, reason="Too Many Requests"), b"slow", RateLimited, "slow"),
        (Head(403, HTML), WALL, NotAStream, "a bot wall in the place of an answer"),
        (Head(503, HTML), WALL, NotAStream, "a bot wall in the place of an answer"),
        (Head(302, {"location": "/login"}), b"", RedirectRefused, "the service redirects"),
    ],
)
def test_every_error_is_typed(head: Head, data: bytes, kind: type[ProviderError], words: str) -> None:
    error = error_of(read, head, data)
    assert type(error) is kind and error.message.startswith(words)
    assert (error.status, error.retry_after) == (head.status, 7 if head.status == 429 else None)


@given(st.lists(st.binary(max_size=8), max_size=6), st.sampled_from([200, 403, 500]))
@settings(deadline=None, max_examples=60)
def test_no_stream_is_too_odd(chunks: list[bytes], status: int) -> None:
    assert_sound(read(*chunks, head=Head(status)))


async def test_it_answers_over_a_real_socket_a_byte_a_chunk() -> None:
    async with running(AuraServer()) as server:
        answer = await ask(server, Prompt((Message("system", "Be brief."), *TALK)))
    assert (answer.error, answer.text, answer.provider) == (None, TEXT, "aura")
    assert (server.wrong, server.bodies[0]["prompt"]) == ([], "Be brief.")


@pytest.mark.parametrize("size", [2, 3, 5, 64])
async def test_a_character_may_be_cut_between_chunks(size: int) -> None:
    async with running(AuraServer()) as server:
        server.replies.append(website.Answer(website.pieces(ODD_TEXT.encode(), size)))
        answer = await ask(server)
    assert answer.text == ODD_TEXT


async def test_the_server_lists_its_models() -> None:
    async with running(AuraServer()) as server, fanout.open_transport() as transport:
        provider = Aura(base_url=server.url)
        assert provider.models(await fetch(transport, provider.models_request(), 5)) == [
            "openchat_3.6",
            "openchat_v3.2_mistral",
        ]


# test_laws.py tries these.
FAULTS = (
    Fault(
        website.Answer([b"Error"], 500, reason="The model is overloaded"), ServerError, "", "The model is overloaded"
    ),
    Fault(
        website.Answer([b"Made", b"moi", 0.05, BREAK]), ResetError, "Mademoi", r"127\.0\.0\.1:\d+ closed the connection"
    ),
    Fault(website.Answer(), Truncated, "", "without any content|empty"),
    Fault(website.Answer([WALL], 403, HTML, "Forbidden"), NotAStream, "", "a bot wall"),
    Fault(website.Answer([], 307, {"location": "/x"}), RedirectRefused, "", "redirects"),
)


async def test_an_unknown_model_is_an_error_of_the_service() -> None:
    async with running(AuraServer()) as server:
        answer = await ask(server, model="gpt-9")
    assert type(answer.error) is ServerError and answer.error.message == "Internal Server Error"


async def test_a_connection_that_stays_open_ends_by_the_idle_clock_with_its_text() -> None:
    async with running(AuraServer()) as server:
        server.replies.append(website.Answer([b"all of it", HANG]))
        answer = await ask(server, timeouts=Timeouts(idle=0.1))
        with trio.fail_after(1):
            await server.left.wait()
    assert (answer.status, answer.text) == (Status.TIMED_OUT, "all of it")
    assert isinstance(answer.error, TimedOut) and answer.error.clock == "idle"


async def test_the_server_refuses_what_the_page_would_not_send() -> None:
    async with running(AuraServer()) as server:
        wrong: list[dict[str, Any]] = [
            {"max_tokens": 5},
            {"stream": True},
            {"key": "k"},
            {"prompt": ""},
            {"messages": []},
        ]
        for extra in wrong:
            await ask(server, Prompt.of("Hi").with_options(Options(body=extra)))
    assert len(server.wrong) == 5
