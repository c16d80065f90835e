import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanout
from fanout.abc import Head, Reply, Request
from fanout.errors import (
    AllLanesFailed,
    AuthError,
    InvalidRequest,
    NotAStream,
    NotFound,
    Overloaded,
    ProtocolError,
    ProviderError,
    QuotaError,
    RateLimited,
    ServerError,
    TimedOut,
    Truncated,
)
from fanout.events import Delta, End, Event, Reasoning, Source, Sources, Status, ToolCall, Usage
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers.cohere import Cohere
from fanout.secret import Secret
from tests.providers.odd import assert_sound, odd_json
from tests.servers import cohere
from tests.servers.cohere import content

SSE = {"content-type": "text/event-stream"}
KEY = "co-very-secret"
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def provider(**fields: Any) -> Cohere:
    return Cohere(**{"model": "c-1", "key": Secret(KEY), **fields})


def request(prompt: str | Prompt = "Hi", options: Options | None = None, **fields: Any) -> Request:
    return provider(**fields).request(Prompt.of(prompt).with_options(options or Options()))


def body(*args: Any, **fields: Any) -> dict[str, Any]:
    made = json.loads(request(*args, **fields).body)
    assert isinstance(made, dict)
    return made


def event(value: Any) -> bytes:
    return f"event: {value.get('type')}\ndata: {json.dumps(value)}\n\n".encode()


def of_message(kind: str, index: int | None = None, **message: Any) -> dict[str, Any]:
    return {"type": kind, "delta": {"message": message}, **({} if index is None else {"index": index})}


def call(index: int, **fields: Any) -> dict[str, Any]:
    return of_message("tool-call-start" if "id" in fields else "tool-call-delta", index, tool_calls=fields)


def ending(reason: str | None = "COMPLETE", **delta: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": reason, **delta}}


def read(*values: Any, head: Head | None = None) -> list[Event]:
    reader = Cohere("c").read(head or Head(200, SSE))
    chunks = [value if isinstance(value, bytes) else event(value) for value in values]
    return [event for data in chunks for event in reader.feed(data)] + reader.close()


def end_of(events: list[Event]) -> End:
    end = events[-1]
    assert isinstance(end, End)
    return end


def test_a_request_asks_for_a_stream() -> None:
    made = request("Hi")
    assert (made.method, made.url) == ("POST", "https://api.cohere.com/v2/chat")
    assert json.loads(made.body) == {"model": "c-1", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    assert made.plain_headers() == {
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "authorization": f"Bearer {KEY}",
    }
    assert request(base_url="http://127.0.0.1:1/").url == "http://127.0.0.1:1/v2/chat"
    assert KEY not in repr(provider()) + repr(made) + str(dict(made.headers))


def test_a_missing_key_is_named() -> None:
    with pytest.raises(AuthError, match="no key: set CO_API_KEY or COHERE_API_KEY"):
        request(key=None)
    with pytest.raises(AuthError, match="no key: set one"):
        provider(key=None, key_env=()).models_request()
    assert "authorization" not in request(key=None, needs_key=False).headers


def test_every_role_has_its_form() -> None:
    use = ToolUse("1", "add", '{"a":1}')
    prompt = Prompt(
        (
            Message("system", "s"),
            Message("developer", "d"),
            Message("user", "u"),
            Message("assistant", "I add", tool_uses=(use,)),
            Message("tool", "2", tool_call_id="1", name="add"),
            Message("assistant", "a"),
            Message("assistant", "", tool_uses=(use,)),
        )
    )
    calls = [{"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}]
    assert body(prompt)["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "system", "content": "d"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "tool_calls": calls, "tool_plan": "I add"},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "2"}]},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "tool_calls": calls},
    ]


def test_pictures_are_parts_of_the_message() -> None:
    media = (Media(url="https://example.com/a.png"), Media(data=b"\x89PNG", media_type="image/png"))
    parts = [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
    ]
    made = body(Prompt((Message("user", "Look", media=media), Message("user", "", media=media))))["messages"]
    assert [message["content"] for message in made] == [[{"type": "text", "text": "Look"}, *parts], parts]


def test_the_options_have_their_names_of_this_protocol() -> None:
    schema = {"type": "object"}
    options = Options(
        max_tokens=5,
        temperature=0.0,
        top_p=0.5,
        stop=("a", "b"),
        seed=0,
        reasoning_tokens=9,
        tools=(TOOL,),
        tool_choice="required",
        schema=schema,
    )
    made = body("Hi", options)
    assert {name: made[name] for name in made if name not in ("model", "messages", "stream")} == {
        "max_tokens": 5,
        "temperature": 0.0,
        "p": 0.5,
        "stop_sequences": ["a", "b"],
        "seed": 0,
        "thinking": {"type": "enabled", "token_budget": 9},
        "tools": [TOOL],
        "tool_choice": "REQUIRED",
        "response_format": {"type": "json_object", "json_schema": schema},
    }


@pytest.mark.parametrize(
    ("options", "thinking"),
    [
        (Options(reasoning="enabled"), {"type": "enabled"}),
        (Options(reasoning="disabled"), {"type": "disabled"}),
        (Options(reasoning="none"), {"type": "disabled"}),
        (Options(reasoning="enabled", reasoning_tokens=9), {"type": "enabled", "token_budget": 9}),
        (Options(reasoning_tokens=0), {"type": "disabled"}),
        (Options(), None),
    ],
)
def test_thinking_is_on_or_off_and_may_have_a_budget(options: Options, thinking: Any) -> None:
    assert body("Hi", options).get("thinking") == thinking


def test_the_choice_of_a_tool_is_forced_or_forbidden() -> None:
    assert body("Hi", Options(tool_choice="none"))["tool_choice"] == "NONE"
    assert "tool_choice" not in body("Hi", Options(tool_choice="auto"))


def test_the_body_of_the_options_comes_last() -> None:
    made = body("Hi", Options(temperature=1.0, body={"temperature": 0.3, "k": 4, "safety_mode": "NONE"}))
    assert (made["temperature"], made["k"], made["safety_mode"]) == (0.3, 4, "NONE")


PICTURE = (Media(data=b"x", media_type="image/png"),)


@pytest.mark.parametrize(
    ("message", "options", "words"),
    [
        (Message("user", "u"), Options(reasoning="high"), "cohere cannot carry the reasoning high"),
        (Message("user", "u"), Options(tool_choice={"type": "function"}), "cohere cannot carry the tool_choice"),
        (Message("user", "u", name="Ann"), Options(), "cohere cannot carry the name"),
        (Message("tool", "2"), Options(), "cohere needs the tool_call_id"),
        (Message("system", "s", media=PICTURE), Options(), "cohere carries media only in a user's message"),
        (Message("tool", "2", media=PICTURE, tool_call_id="1"), Options(), "cohere carries media only"),
        (Message("user", "", media=(Media(data=b"x", media_type="audio/wav"),)), Options(), "cohere .* not audio/wav"),
    ],
)
def test_what_it_cannot_carry_is_refused_by_name(message: Message, options: Options, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        request(Prompt((message,)), options)


def test_the_models_that_chat_are_listed() -> None:
    made = provider().models_request()
    assert (made.method, made.url) == ("GET", "https://api.cohere.com/v1/models?endpoint=chat&page_size=1000")
    assert made.plain_headers()["authorization"] == f"Bearer {KEY}"
    reply = b'{"models":[{"name":"b"},{"name":"a"},{"name":null},7]}'
    assert provider().models(Reply(Head(200), reply)) == ["b", "a"]


@pytest.mark.parametrize(
    ("status", "reply", "kind"),
    [
        (401, b'{"message":"invalid api token"}', AuthError),
        (498, b'{"message":"invalid token"}', AuthError),
        (200, b"<html>", ProtocolError),
        (200, b"[]", ProtocolError),
    ],
)
def test_a_reply_without_models_is_an_error(status: int, reply: bytes, kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        provider().models(Reply(Head(status), reply))


def citation(*sources: Any) -> dict[str, Any]:
    return of_message("citation-start", 0, citations={"start": 0, "end": 5, "text": "Grüße", "sources": list(sources)})


PAGE = {"type": "document", "id": "d1", "document": {"url": "https://example.com/a", "title": "A"}}
VALUES = [
    {"type": "message-start", "id": "c-invented", "delta": {"message": {"role": "assistant", "content": []}}},
    of_message("tool-plan-delta", tool_plan="I add"),
    call(0, id="t1", type="function", function={"name": "add", "arguments": ""}),
    call(0, function={"arguments": '{"a"'}),
    call(0, function={"arguments": ":1}"}),
    {"type": "tool-call-end", "index": 0},
    call(1, id="t2", type="function", function={"name": "now", "arguments": "{}"}),
    of_message("content-start", 0, content={"type": "thinking", "thinking": "h"}),
    content(thinking="mm"),
    {"type": "content-end", "index": 0},
    of_message("content-start", 1, content={"type": "text", "text": ""}),
    content(text="Grüße "),
    content(text="🎈"),
    citation(PAGE, {"type": "tool", "id": "t", "tool_output": {"url": "https://example.com/b"}}),
    {"type": "citation-end", "index": 0},
    citation(PAGE, {"type": "document", "id": "d2", "document": {"text": "no address"}}),
    {"type": "debug", "prompt": "…"},
    ending(
        "TOOL_CALL",
        usage={
            "billed_units": {"input_tokens": 3.0, "output_tokens": 2.0},
            "tokens": {"input_tokens": 70.0, "output_tokens": 2.0},
            "cached_tokens": 1.0,
        },
    ),
]
EVENTS: list[Event] = [
    Reasoning("I add"),
    ToolCall(0, "t1", "add"),
    ToolCall(0, arguments='{"a"'),
    ToolCall(0, arguments=":1}"),
    ToolCall(1, "t2", "now", "{}"),
    Reasoning("h"),
    Reasoning("mm"),
    Delta("Grüße "),
    Delta("🎈"),
    Sources([Source("https://example.com/a", "A")]),
    Sources([Source("https://example.com/a", "A"), Source("https://example.com/b")]),
    Usage(3, 2, 1),
    End(Status.FINISHED, "tool_calls", raw="TOOL_CALL"),
]


def test_the_events_do_not_depend_on_the_cut() -> None:
    data = b"".join(map(event, VALUES))
    assert read(*(bytes([byte]) for byte in data)) == EVENTS
    for place in range(len(data) + 1):
        assert read(data[:place], data[place:]) == EVENTS, place


def test_a_whole_answer_in_one_document_is_an_answer() -> None:
    message = {
        "role": "assistant",
        "tool_plan": "I add",
        "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
        "content": [{"type": "thinking", "thinking": "hmm"}, {"type": "text", "text": "Hi"}],
        "citations": [{"sources": [PAGE]}],
    }
    value = {"id": "c1", "finish_reason": "COMPLETE", "message": message, "usage": {"tokens": {"input_tokens": 3}}}
    assert read(json.dumps(value).encode(), head=Head(200, {"content-type": "application/json"})) == [
        Reasoning("I add"),
        Reasoning("hmm"),
        Delta("Hi"),
        ToolCall(0, "t1", "add", "{}"),
        Sources([Source("https://example.com/a", "A")]),
        Usage(3),
        End(Status.FINISHED, "tool_calls", raw="COMPLETE"),
    ]


def test_nothing_counts_after_the_end_mark() -> None:
    assert read(content(text="a"), ending(), content(text="b"), b"<junk>") == read(content(text="a"), ending())


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
        ("SOMETHING_NEW", "unknown"),
        (None, "unknown"),
    ],
)
def test_every_finish_has_a_reason_of_ours(raw: str | None, reason: str) -> None:
    end = end_of(read(content(text="a"), ending(raw)))
    assert (end.status, end.finish_reason, end.raw) == (Status.FINISHED, reason, raw)


@pytest.mark.parametrize(
    ("end", "kind", "words"),
    [
        (ending("ERROR", error="generation failed"), ServerError, "generation failed"),
        (ending("ERROR"), ServerError, "the service broke off: ERROR"),
        (ending("TIMEOUT", error="took too long"), TimedOut, "took too long"),
        (ending("TIMEOUT"), TimedOut, "the service broke off: TIMEOUT"),
        (ending(None, error="generation failed"), ServerError, "generation failed"),
    ],
)
def test_a_finish_that_means_failure_is_an_error(end: Any, kind: type[ProviderError], words: str) -> None:
    usage = {"billed_units": {"input_tokens": 3}}
    events = read(content(text="a"), {**end, "delta": {**end["delta"], "usage": usage}})
    assert events[:-1] == [Delta("a"), Usage(3)]
    error = end_of(events).error
    assert type(error) is kind and error.message == words
    assert end_of(events).status is Status.FAILED


@pytest.mark.parametrize(
    ("usage", "event"),
    [
        ({"tokens": {"input_tokens": 70}}, [Usage(70)]),
        ({"billed_units": None, "tokens": None}, []),
        ({"billed_units": 5, "tokens": "x"}, []),
        (None, []),
        ("n/a", []),
    ],
)
def test_usage_is_what_is_billed_or_else_the_tokens(usage: Any, event: list[Event]) -> None:
    assert read(ending(usage=usage))[:-1] == event


@pytest.mark.parametrize(
    "value",
    [
        {"type": "something-new", "delta": {"message": {"x": 1}}},
        {"type": "citation-start", "delta": {"message": {"citations": 5}}},
        {"type": "citation-start", "delta": {"message": {"citations": {"sources": [7, {"document": {"url": 7}}]}}}},
        {"type": "citation-start", "delta": {"message": {"citations": {"sources": 7}}}},
        {"type": "content-delta", "delta": {"message": {"content": {"text": None, "new": 1}}}},
        {"type": "content-start", "delta": None},
        {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": None}}},
        {"type": "tool-plan-delta", "delta": {}},
        {},
    ],
)
def test_what_is_odd_beside_the_answer_does_not_spoil_it(value: Any) -> None:
    assert read(value, content(text="a"), ending()) == read(content(text="a"), ending())


@pytest.mark.parametrize(
    "value",
    [
        {"type": "content-delta", "delta": 5},
        {"type": "content-delta", "delta": {"message": 5}},
        {"type": "content-delta", "delta": {"message": {"content": "text"}}},
        {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": [5]}}},
        {"type": "tool-call-start", "index": "x", "delta": {"message": {"tool_calls": {"id": "t"}}}},
    ],
)
def test_an_event_of_the_wrong_shape_is_a_protocol_error(value: Any) -> None:
    assert type(end_of(read(value)).error) is ProtocolError


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, AuthError),
        (402, QuotaError),
        (403, AuthError),
        (404, NotFound),
        (422, InvalidRequest),
        (429, RateLimited),
        (498, AuthError),
        (499, InvalidRequest),
        (500, ServerError),
        (501, ServerError),
        (503, Overloaded),
        (504, TimedOut),
    ],
)
def test_every_error_is_typed(status: int, kind: type[ProviderError]) -> None:
    data = b'{"id":"e-invented","message":"no such thing"}'
    head = Head(status, {"content-type": "application/json", "x-request-id": "r1"})
    for chunks in ((data,), [bytes([byte]) for byte in data]):
        error = end_of(read(*chunks, head=head)).error
        assert type(error) is kind
        assert (error.message, error.status, error.request_id) == ("no such thing", status, "r1")


@pytest.mark.parametrize(
    "data", [b'event: error\ndata: {"message":"no"}\n\n', b'data: {"type":"error","message":"no"}\n\n']
)
def test_an_error_among_the_events_is_typed(data: bytes) -> None:
    events = read(content(text="a"), data)
    assert (events[0], type(end_of(events).error)) == (Delta("a"), ServerError)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (event(content(text="a")), Truncated),
        (b"", Truncated),
        (b"<html>", NotAStream),
        (b'{"text":"of version 1"}', NotAStream),
    ],
)
def test_no_answer_without_its_end(data: bytes, kind: type[ProviderError]) -> None:
    assert type(end_of(read(data)).error) is kind


NAMES = [
    *("type", "index", "delta", "message", "content", "text", "thinking", "tool_plan", "tool_calls", "function"),
    *("name", "arguments", "id", "citations", "sources", "document", "url", "finish_reason", "error", "usage"),
]
KINDS = ["content-delta", "tool-plan-delta", "tool-call-start", "citation-start", "message-end", "COMPLETE"]
ODD = odd_json(NAMES, [*KINDS, "text"])


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5), max_size=4), st.booleans())
@settings(deadline=None, max_examples=150)
def test_no_stream_is_too_odd(values: list[dict[str, Any]], sse: bool) -> None:
    data = "".join(f"data: {json.dumps(value)}\n\n" if sse else json.dumps(value) for value in values)
    events = read(data.encode())
    assert_sound(events)


def lane(server: cohere.CohereServer, model: str = "stream", **fields: Any) -> Cohere:
    return Cohere(**{"model": model, "key": Secret(cohere.KEY), "base_url": server.url, **fields})


async def test_it_wins_a_race_over_a_real_socket() -> None:
    async with cohere.open_server() as server:
        answer = await fanout.race("Hi", [lane(server)], system="Be brief.")
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("Hello", "hmm", "stop")
    assert (answer.lane, answer.provider, answer.model) == ("cohere/stream", "cohere", "stream")
    assert answer.usage == Usage(3, 2)


async def test_the_service_takes_all_that_it_sends() -> None:
    options = Options(
        *(5, 0.5, 0.5, ("x",), 1), reasoning="enabled", tools=(TOOL,), tool_choice="required", schema={"type": "object"}
    )
    messages = (
        Message("developer", "d"),
        Message("user", "u", media=(Media(data=b"x", media_type="image/png"), Media(url="https://example.com/a.png"))),
        Message("assistant", "", tool_uses=(ToolUse("1", "add", "{}"),)),
        Message("tool", "2", tool_call_id="1"),
    )
    async with cohere.open_server() as server:
        (answer,) = await fanout.gather(Prompt(messages, options), [lane(server)])
    assert (answer.error, answer.text) == (None, "Hello")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"model": "missing"}, NotFound),
        ({"model": "broken"}, ServerError),
        ({"model": None}, InvalidRequest),
        ({"key": Secret("wrong")}, AuthError),
    ],
)
async def test_what_the_service_says_is_the_lanes_error(fields: dict[str, Any], kind: type[ProviderError]) -> None:
    async with cohere.open_server() as server:
        with pytest.raises(AllLanesFailed) as failed:
            await fanout.race("Hi", [lane(server, **fields)], retries=0)
    (error,) = failed.value.exceptions
    assert type(error) is kind
    assert isinstance(error, ProviderError) and error.partial == ("Hello" if fields.get("model") == "broken" else "")
