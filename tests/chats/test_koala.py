import json
import re
from functools import partial
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

import fanout
from fanout.abc import Head, Request
from fanout.answers import Answer
from fanout.chats.koala import Koala, new_visitor
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
    Truncated,
)
from fanout.events import Conversation, Delta, End, Event, Status
from fanout.prompt import Media, Message, Options, Prompt
from tests.providers.exchange import end_of, error_of, exchange, read_by, state_of, text_in
from tests.providers.faults import Fault
from tests.providers.odd import assert_sound, odd_json
from tests.servers import website
from tests.servers.http import running
from tests.servers.koala import TRANSCRIPT, KoalaServer
from tests.servers.website import BREAK, EVENTS, HTML, WALL

VISITOR = "abcdefghij0123456789"
SYSTEM = Message("system", "Be brief.")
HI, HELLO, MORE = Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "More")
TEXT = 'Hello "you"\n'
WHOLE: list[Event] = [Delta(TEXT), End(Status.FINISHED, "unknown")]


def request(prompt: str | Prompt = "Hi", options: Options | None = None, **fields: Any) -> Request:
    asked = Prompt.of(prompt).with_options(options or Options())
    return Koala(**{"visitor": lambda: VISITOR, **fields}).request(asked)


def body(*messages: Message, **fields: Any) -> dict[str, Any]:
    made = json.loads(request(Prompt(messages), **fields).body)
    assert isinstance(made, dict)
    return made


read = partial(read_by, Koala())


async def ask(server: KoalaServer, prompt: str | Prompt = "Hi", **settings: Any) -> Answer:
    run = await fanout.ask(prompt, [Koala(base_url=server.url)], retries=0, **settings)
    return run.answers[0]


def test_a_request_has_four_keys_and_a_browsers_headers() -> None:
    assert body(HI) == {"input": "Hi", "inputHistory": [], "outputHistory": [], "model": "gpt-4o-mini"}
    made = request(base_url="http://localhost:1/")
    assert (made.method, made.url) == ("POST", "http://localhost:1/api/gpt/")
    headers = made.plain_headers()
    assert headers.pop("user-agent").startswith("Mozilla/5.0 ")
    assert headers == {
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "accept-language": "en-US,en;q=0.9",
        "content-type": "application/json",
        "flag-real-time-data": "false",
        "origin": "http://localhost:1",
        "referer": "http://localhost:1/chat",
        "sec-fetch-dest": "empty",
        "sec-fetch-mode": "cors",
        "sec-fetch-site": "same-origin",
        "visitor-id": VISITOR,
    }
    assert request(web_search=True).headers["flag-real-time-data"] == "true"
    assert body(HI, model="gpt-4o")["model"] == "gpt-4o"


@pytest.mark.parametrize(
    ("messages", "asked", "answered", "text"),
    [
        ([HI, HELLO, MORE], ["Hi"], ["Hello"], "More"),
        ([HI, MORE], [], [], "Hi\nMore"),
        ([HI, MORE, HELLO, HELLO, MORE, HI], ["Hi\nMore"], ["Hello\nHello"], "More\nHi"),
        ([HELLO, HI], [""], ["Hello"], "Hi"),
        ([SYSTEM, HI, HELLO, Message("developer", "Be kind."), MORE], ["Hi"], ["Hello"], "More Be brief. Be kind."),
        ([HI, SYSTEM, MORE], [], [], "Hi\nMore Be brief."),
        ([HI, HELLO], [], [], "User: Hi\nAssistant: Hello\nAssistant:"),
        ([SYSTEM, HI, HELLO], [], [], "System: Be brief.\nUser: Hi\nAssistant: Hello\nAssistant:"),
        ([SYSTEM], [], [], "Be brief."),
    ],
)
def test_the_histories_are_parallel(messages: list[Message], asked: list[str], answered: list[str], text: str) -> None:
    made = body(*messages)
    assert (made["inputHistory"], made["outputHistory"], made["input"]) == (asked, answered, text)


def test_a_new_conversation_has_a_new_visitor() -> None:
    assert len({new_visitor() for _ in range(50)}) == 50
    assert all(re.fullmatch("[a-z0-9]{20}", new_visitor()) for _ in range(50))


def test_a_conversation_keeps_its_visitor() -> None:
    old = "z" * 20
    state = {"origin": "https://koala.sh", "visitor": old}
    prompt = Prompt((HI, HELLO, MORE), state=state)
    assert request(prompt).headers["visitor-id"] == old
    foreign: list[dict[str, Any]] = [
        {**state, "origin": "https://other.example"},
        {**state, "visitor": "Z" * 20},
        {**state, "visitor": f"{old}\r\nx: y"},
        {"visitor": old},
        {},
    ]
    for other in foreign:
        assert request(evolve(prompt, state=other)).headers["visitor-id"] == VISITOR


def test_the_answer_tells_the_visitor() -> None:
    koala, asked = Koala(), request()
    reader = koala.read(Head(200, EVENTS), asked)
    events = reader.feed(TRANSCRIPT) + reader.close()
    assert events[-2] == Conversation({"origin": "https://koala.sh", "visitor": VISITOR})
    assert json.loads(json.dumps(events[-2].state)) == events[-2].state
    reader = koala.read(Head(200, EVENTS), asked)
    assert state_of(reader.feed(TRANSCRIPT[:9]) + reader.close()) is None
    assert type(end_of(koala.read(Head(401), asked).close()).error) is AuthError


@pytest.mark.parametrize(
    ("message", "options", "words"),
    [
        (HI, Options(temperature=1.0), "koala has no option temperature"),
        (HI, Options(max_tokens=1, seed=0), "koala has no option max_tokens or seed"),
        (Message("user", "u", media=(Media(data=b"x"),)), Options(), "koala takes text only"),
        (Message("tool", "t"), Options(), "koala knows no tools"),
    ],
)
def test_what_it_cannot_carry_is_refused_by_name(message: Message, options: Options, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        request(Prompt((message,)), options)


def test_the_body_of_the_options_goes_over_all() -> None:
    assert (
        json.loads(request(options=Options(body={"model": "m", "x": 1})).body).items() >= {"model": "m", "x": 1}.items()
    )


# test_laws.py cuts these everywhere.
STREAMS = {
    "as it is": TRANSCRIPT,
    "crlf": TRANSCRIPT.replace(b"\n", b"\r\n"),
    "cr": TRANSCRIPT.replace(b"\n", b"\r"),
    "no space": TRANSCRIPT.replace(b"data: ", b"data:"),
    "comments": b": hi\n\n" + TRANSCRIPT + b": bye\n\n",
    "several data lines": TRANSCRIPT.replace(b"data: ", b"data:\ndata: "),
    "blank data": b"data:\n\ndata: \n\n" + TRANSCRIPT,
    "an empty token": b'data: ""\n\n' + TRANSCRIPT,
    "done": TRANSCRIPT + b'data: [DONE]\n\ndata: "more"\n\n',
    "done without a blank line": TRANSCRIPT + b"data: [DONE]",
    "OpenAI's deltas": b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n'
    b'data: {"choices":[]}\n\ndata: {"choices":[{"delta":{}}]}\n\n' + TRANSCRIPT.partition(b"\n\n")[2],
    "no blank line after the last": TRANSCRIPT.rstrip(b"\n"),
}


@pytest.mark.parametrize("name", ["escaped", "halves", "alone"])
def test_surrogate_pairs_are_made_whole(name: str) -> None:
    data, text = {
        "escaped": (b'data: "\\ud83d\\udc33 \\u00fc"\n\n', "🐳 ü"),
        "halves": (b'data: "\\ud83d"\n\ndata: "\\udc33"\n\n', "🐳"),
        "alone": (b'data: "a\\ud83d"\n\n', "a\ufffd"),
    }[name]
    for place in range(len(data) + 1):
        assert text_in(read(data[:place], data[place:])) == text


LAST = TRANSCRIPT.index(b"data", 5)


@pytest.mark.parametrize("length", range(LAST + 1, len(TRANSCRIPT) - 3))
def test_an_end_within_an_event_is_truncated(length: int) -> None:
    events = read(TRANSCRIPT[:length])
    assert type(end_of(events).error) is Truncated and text_in(events) == "Hel"


@pytest.mark.parametrize("data", [b"", b": hi\n\n", b'data: ""\n\n', b"data:\n\n", b"event: x\n\n"])
def test_an_empty_answer_is_none(data: bytes) -> None:
    assert type(end_of(read(data)).error) is Truncated


def test_a_broken_body_keeps_the_text() -> None:
    events = read(TRANSCRIPT, error=ResetError("gone"))
    assert text_in(events) == TEXT and type(end_of(events).error) is ResetError


@pytest.mark.parametrize(
    ("head", "data", "kind"),
    [
        (Head(200, EVENTS), TRANSCRIPT + b'data: {"error":"no more"}\n\n', ServerError),
        (Head(200, EVENTS), TRANSCRIPT + b'data: {"error":{"message":"slow","code":429}}', RateLimited),
        (Head(200, EVENTS), b'event: error\ndata: "out of order"\n\n', ServerError),
        (Head(200, EVENTS), TRANSCRIPT + b"data: {not json}\n\n", ProtocolError),
        (Head(200, EVENTS), TRANSCRIPT + b"data: 7\n\n", ProtocolError),
        (Head(200, EVENTS), TRANSCRIPT + b'data: ["a"]\n\n', ProtocolError),
        (Head(200, HTML), b"<!doctype html>\n<p>data: x", NotAStream),
        (Head(200), b'{"error":{"message":"sorry","type":"server_error"}}', ServerError),
        (Head(200), b'{"answer":42}', NotAStream),
        (Head(200), b"Service is closed", NotAStream),
        (Head(429, {"retry-after": "3"}), b'{"error":"slow down"}', RateLimited),
        (Head(400), b'{"error":"no model"}', InvalidRequest),
        (Head(403, HTML), WALL, NotAStream),
        (Head(403), b"Forbidden", AuthError),
        (Head(302), b"", RedirectRefused),
        (Head(502), b"", ServerError),
    ],
)
def test_every_error_is_typed(head: Head, data: bytes, kind: type[ProviderError]) -> None:
    error = error_of(read, head, data)
    assert type(error) is kind
    assert error.retry_after == (3 if "retry-after" in head.headers else None)


NAMES = ["choices", "delta", "content", "text", "error", "message"]


@given(st.lists(odd_json(NAMES, ["text"]), max_size=4), st.booleans())
@settings(deadline=None, max_examples=60)
def test_no_stream_is_too_odd(values: list[Any], ended: bool) -> None:
    data = b"\n\n".join(b"data: " + json.dumps(value).encode() for value in values)
    assert_sound(read(data + b"\n\n" if ended else data))


@pytest.mark.parametrize("name", STREAMS)
async def test_it_answers_over_a_real_socket_a_byte_a_chunk(name: str) -> None:
    async with running(KoalaServer(stream=STREAMS[name], system="Be brief.")) as server:
        answer = await ask(server, Prompt((SYSTEM, HI, HELLO, MORE)))
    assert (answer.error, answer.text, server.wrong) == (None, TEXT, [])
    assert server.bodies[0] == {
        "input": "More Be brief.",
        "inputHistory": ["Hi"],
        "outputHistory": ["Hello"],
        "model": "gpt-4o-mini",
    }


async def test_a_conversation_goes_on_as_the_same_visitor_and_another_as_another() -> None:
    async with running(KoalaServer()) as server:
        koala = Koala(base_url=server.url)
        first = await exchange(koala, Prompt((HI,)))
        state = state_of(first.events)
        assert state is not None
        talk = (HI, Message("assistant", text_in(first.events)), MORE)
        second = await exchange(koala, Prompt(talk, state=state.state))
        await exchange(koala, Prompt((Message("user", "Another"),)))
        assert server.wrong == []
        assert state_of(second.events) == state
        await exchange(koala, Prompt(talk))
    assert server.wrong == ["another visitor in the same conversation"]
    assert len({received.headers["visitor-id"] for received in server.requests[:3]}) == 2


# test_laws.py tries these.
FAULTS = (
    Fault(website.Answer([b'data: "a"\n\n', b'data: {"error":"no"}\n\n'], headers=EVENTS), ServerError, "a"),
    Fault(website.Answer([b'data: "a"\n\n', b'data: "b'], headers=EVENTS), Truncated, "a"),
    Fault(website.Answer([b'data: "a"\n\n', 0.05, BREAK], headers=EVENTS), ResetError, "a"),
    Fault(website.Answer([b": nothing\n\n"], headers=EVENTS), Truncated),
    Fault(website.Answer([b"{}"], 429, {"retry-after": "5"}), RateLimited),
    Fault(website.Answer([WALL], 403, HTML), NotAStream),
)


async def test_the_server_refuses_what_the_page_would_not_send() -> None:
    wrong: list[dict[str, Any]] = [{"temperature": 1}, {"inputHistory": ["a"]}, {"input": 7}, {"input": "without it"}]
    async with running(KoalaServer(system="Be brief.")) as server:
        for extra in wrong:
            answer = await ask(server, Prompt((SYSTEM, HI)).with_options(Options(body=extra)))
            assert type(answer.error) is InvalidRequest
    assert len(server.wrong) == len(wrong)
