import json
from base64 import b64decode
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanout
from fanout.abc import Head
from fanout.answers import Answer
from fanout.chats.vitalentum import Vitalentum
from fanout.errors import (
    AuthError,
    InvalidRequest,
    NotAStream,
    NotFound,
    ProtocolError,
    ProviderError,
    RateLimited,
    RedirectRefused,
    ResetError,
    ServerError,
    Truncated,
)
from fanout.events import Delta, End, Event, Reasoning, Status
from fanout.prompt import Media, Message, Options, Prompt
from fanout.providers.openai import OpenAI
from tests.conformance.cases import PROJECT_FILE
from tests.providers.exchange import end_of, error_of, read_by, text_in
from tests.providers.faults import Fault
from tests.providers.odd import assert_sound, odd_json
from tests.servers import website
from tests.servers.http import running
from tests.servers.vitalentum import TRANSCRIPT, VitalentumServer, chunk
from tests.servers.website import BREAK, EVENTS, HTML, WALL

TALK = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "More"))
WHOLE: list[Event] = [Delta("Hi, Grüße 🐳"), End(Status.FINISHED, "stop", raw="stop")]


def body(prompt: str | Prompt = "Hi", options: Options | None = None, **fields: Any) -> dict[str, Any]:
    asked = Prompt.of(prompt).with_options(options or Options())
    made = json.loads(Vitalentum(**fields).request(asked).body)
    assert isinstance(made, dict)
    return made


def history(*messages: Message) -> list[tuple[str, str]]:
    inner = json.loads(body(Prompt(messages))["conversation"])
    assert list(inner) == ["history"]
    return [(turn["speaker"], turn["text"]) for turn in inner["history"]]


read = partial(read_by, Vitalentum())


async def ask(server: VitalentumServer, prompt: str | Prompt = "Hi", **settings: Any) -> Answer:
    run = await fanout.ask(prompt, [Vitalentum(base_url=server.url)], retries=0, **settings)
    return run.answers[0]


def test_a_request_has_json_within_json() -> None:
    assert body() == {"conversation": '{"history":[{"speaker":"human","text":"Hi"}]}', "temperature": 0.7}
    made = Vitalentum(base_url="http://localhost:1/").request(Prompt.of("Hi"))
    assert (made.method, made.url) == ("POST", "http://localhost:1/api/converse-edge")
    headers = made.plain_headers()
    assert headers.pop("user-agent").startswith("Mozilla/5.0 ")
    assert headers == {
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "accept-language": "en-US,en;q=0.9",
        "content-type": "application/json",
        "origin": "http://localhost:1",
        "referer": "http://localhost:1/",
        "sec-fetch-dest": "empty",
        "sec-fetch-mode": "cors",
        "sec-fetch-site": "same-origin",
    }


def test_there_are_two_speakers_and_the_system_text_is_neither() -> None:
    assert history(*TALK) == [("human", "Hi"), ("bot", "Hello"), ("human", "More")]
    system = (Message("system", "Be brief."), Message("developer", "Be kind."))
    assert history(*system, *TALK)[0] == ("human", "Be brief.\nBe kind.\n\nHi")
    greeted = history(system[0], Message("assistant", "Hey"), Message("user", "Hi"), Message("user", "You"))
    assert greeted == [("bot", "Hey"), ("human", "Be brief.\n\nHi"), ("human", "You")]


@pytest.mark.parametrize("messages", [[Message("system", "s")], [Message("assistant", "a")]])
def test_there_must_be_a_users_message(messages: list[Message]) -> None:
    with pytest.raises(InvalidRequest, match="vitalentum needs a user's message"):
        body(Prompt(tuple(messages)))


@pytest.mark.parametrize(
    ("message", "options", "words"),
    [
        (Message("user", "u"), Options(max_tokens=1), "vitalentum has no option max_tokens"),
        (Message("user", "u", media=(Media(data=b"x"),)), Options(), "vitalentum takes text only"),
        (Message("tool", "t"), Options(), "vitalentum knows no tools"),
    ],
)
def test_what_it_cannot_carry_is_refused_by_name(message: Message, options: Options, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        body(Prompt((message,)), options)


def test_the_temperature_is_the_only_option_and_the_body_goes_over_all() -> None:
    assert body(options=Options(temperature=0.0, body={"x": 1})).items() >= {"temperature": 0.0, "x": 1}.items()


def test_it_has_one_model_whose_name_is_not_sent() -> None:
    assert "model" not in body(model="gpt-3.5-turbo")
    with pytest.raises(NotFound, match=r"vitalentum has one model, gpt-3\.5-turbo, not gpt-9"):
        body(model="gpt-9")


# test_laws.py cuts these everywhere.
STREAMS = {
    "as it is": b"".join(TRANSCRIPT),
    "crlf": b"".join(TRANSCRIPT).replace(b"\n", b"\r\n"),
    "no space": b"".join(TRANSCRIPT).replace(b"data: ", b"data:"),
    "comments": b": hi\n\n" + b": ping\n\n".join(TRANSCRIPT),
    "a bom": b"\xef\xbb\xbf" + b"".join(TRANSCRIPT),
    "empty choices": b'data: {"choices":[]}\n\n' + b"".join(TRANSCRIPT),
    "no [DONE]": b"".join(TRANSCRIPT[:-1]),
    "no newline after the last event": b"".join(TRANSCRIPT[:-1]).rstrip(b"\n"),
    "no newline after [DONE]": b"".join(TRANSCRIPT).rstrip(b"\n"),
    "the finish with the last text": b"".join(TRANSCRIPT[:-3]) + chunk({"content": ", Grüße 🐳"}, "stop").rstrip(b"\n"),
}


def test_done_without_a_finish_reason_ends_it_too() -> None:
    end = end_of(read(chunk({"content": "a"}), b"data: [DONE]\n\n"))
    assert (end.status, end.finish_reason) == (Status.FINISHED, "unknown")


@pytest.mark.parametrize("length", range(len(b"".join(TRANSCRIPT[:-2]))))
def test_a_stream_that_is_cut_before_its_end_is_truncated(length: int) -> None:
    events = read(b"".join(TRANSCRIPT)[:length])
    assert type(end_of(events).error) is Truncated
    assert "Hi, Grüße 🐳".startswith(text_in(events))


def test_what_came_whole_before_a_broken_connection_is_kept() -> None:
    events = read(chunk({"content": "a"}), chunk({"content": "b"})[:-2], error=ResetError("gone"))
    assert text_in(events) == "ab" and type(end_of(events).error) is ResetError


@pytest.mark.parametrize(
    ("head", "data", "kind"),
    [
        (Head(200, EVENTS), chunk({"content": "a"}) + b'data: {"error":{"message":"no"}}\n\n', ServerError),
        (Head(200, EVENTS), chunk({"content": "a"}) + b'data: {"error":{"message":"no","code":429}}', RateLimited),
        (Head(200, EVENTS), chunk({"content": "a"}) + b"data: {not json}\n\n", ProtocolError),
        (Head(200, EVENTS), b"data: 7\n\n", ProtocolError),
        (Head(200, HTML), b"<!doctype html>", NotAStream),
        (Head(429, {"retry-after": "3"}), b'{"error":"slow down"}', RateLimited),
        (Head(401), b"", AuthError),
        (Head(403, HTML), WALL, NotAStream),
        (Head(301), b"", RedirectRefused),
        (Head(500), b"oops", ServerError),
    ],
)
def test_every_error_is_typed(head: Head, data: bytes, kind: type[ProviderError]) -> None:
    assert type(error_of(read, head, data)) is kind


CASES = {
    case["name"]: [b64decode(data) for data in case["chunks"]]
    for case in map(json.loads, PROJECT_FILE.read_text("utf-8").splitlines())
    if case["format"] == "openai-chat"
}


@pytest.mark.parametrize("name", CASES)
def test_it_reads_chat_completions_like_any_other_service(name: str) -> None:
    reader = OpenAI().read(Head(200, EVENTS))
    events = [event for data in CASES[name] for event in reader.feed(data)] + reader.close()
    events = [
        event for event in events if not (isinstance(event, Reasoning) and event.opaque)
    ]  # which nobody wants back
    assert repr(read(*CASES[name])) == repr(events)  # errors are equal by their words


NAMES = ["choices", "delta", "content", "index", "finish_reason", "role", "error", "message"]


@given(
    st.lists(st.dictionaries(st.sampled_from(NAMES), odd_json(NAMES, ["stop"]), max_size=4), max_size=4), st.booleans()
)
@settings(deadline=None, max_examples=60)
def test_no_stream_is_too_odd(values: list[dict[str, Any]], ended: bool) -> None:
    data = b"\n\n".join(b"data: " + json.dumps(value).encode() for value in values)
    assert_sound(read(data + b"\n\n" if ended else data))


@pytest.mark.parametrize("name", STREAMS)
async def test_it_answers_over_a_real_socket_a_byte_a_chunk(name: str) -> None:
    async with running(VitalentumServer(stream=STREAMS[name], system="Be brief.")) as server:
        answer = await ask(server, Prompt((Message("system", "Be brief."), *TALK)))
    assert (answer.error, answer.text, server.wrong) == (None, "Hi, Grüße 🐳", [])
    assert [turn["speaker"] for turn in server.histories[0]] == ["human", "bot", "human"]


# test_laws.py tries these.
FAULTS = (
    Fault(website.Answer([TRANSCRIPT[1], b'data: {"error":{"message":"no"}}\n\n'], headers=EVENTS), ServerError, "Hi"),
    Fault(website.Answer([TRANSCRIPT[1]], headers=EVENTS), Truncated, "Hi"),
    Fault(website.Answer([TRANSCRIPT[1], 0.05, BREAK], headers=EVENTS), ResetError, "Hi"),
    Fault(website.Answer([TRANSCRIPT[0], TRANSCRIPT[3]], headers=EVENTS), Truncated),
    Fault(website.Answer([b"{}"], 429, {"retry-after": "5"}), RateLimited),
    Fault(website.Answer([WALL], 503, HTML), NotAStream),
)


async def test_the_server_refuses_what_the_page_would_not_send() -> None:
    wrong: list[dict[str, Any]] = [
        {"model": "m"},
        {"messages": []},
        {"temperature": "0.7"},
        {"conversation": {"history": []}},
        {"conversation": '{"history":[{"speaker":"system","text":"s"}]}'},
        {"conversation": '{"history":[{"speaker":"bot","text":"Be brief."}]}'},
    ]
    async with running(VitalentumServer(system="Be brief.")) as server:
        for extra in wrong:
            answer = await ask(server, Prompt.of("Hi").with_options(Options(body=extra)))
            assert type(answer.error) is InvalidRequest
    assert len(server.wrong) == len(wrong)
