import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanout
from fanout.abc import Head, Reply, Request
from fanout.errors import (
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
from fanout.events import Delta, End, Event, Reasoning, Refusal, Source, Sources, Status, ToolCall, Usage
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers.anthropic import Anthropic
from fanout.secret import Secret
from fanout.transports.fetch import fetch
from tests.local.conftest import model  # noqa: F401  # a fixture
from tests.providers.odd import assert_sound, odd_json
from tests.servers.anthropic import KEY, MODELS, TOKEN, open_server
from tests.servers.events import text_of

SSE = {"content-type": "text/event-stream", "request-id": "req_1"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": SCHEMA}}
ADD = ToolUse("toolu_1", "add", '{"a":1}')
PICTURE = Media(b"\x89PNG", media_type="image/png")
PICTURE_BLOCK = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}}
CONVERSATION = Prompt(
    (
        Message("system", "Be brief."),
        Message("user", "1+1?", name="Ann"),
        Message("assistant", "Let me see.", tool_uses=(ADD,)),
        Message("tool", "2", tool_call_id="toolu_1"),
        Message("developer", "In German."),
        Message("assistant", "", tool_uses=(ToolUse("toolu_2", "add", ""), ToolUse("toolu_3", "add", "{}"))),
        Message("tool", "3", media=(PICTURE,), tool_call_id="toolu_2"),
        Message("tool", "4", tool_call_id="toolu_3"),
        Message("user", "Thanks"),
        Message("assistant", "Bitte"),
        Message("user", "Bye"),
    )
)
MEDIA = Prompt(
    (
        Message(
            "user",
            "Look",
            media=(
                PICTURE,
                Media(url="https://example.com/a.png"),
                Media(b"%PDF", media_type="application/pdf", name="a.pdf"),
                Media(url="https://example.com/a.pdf"),
                Media("é".encode(), media_type="text/markdown", name="a.md"),
            ),
        ),
    )
)
OPTIONS = Options(
    max_tokens=5000,
    top_p=0.5,
    stop=("a", "b"),
    reasoning="low",
    reasoning_tokens=2000,
    tools=(TOOL,),
    tool_choice="required",
    schema=SCHEMA,
)


def provider(**fields: Any) -> Anthropic:
    return Anthropic(**{"model": "m-1", "key": Secret(KEY), **fields})


def request(prompt: str | Prompt = "Hi", options: Options | None = None, **fields: Any) -> Request:
    return provider(**fields).request(Prompt.of(prompt).with_options(options or Options()))


def body(*args: Any, **fields: Any) -> dict[str, Any]:
    made = json.loads(request(*args, **fields).body)
    assert isinstance(made, dict)
    return made


def read(*events: Mapping[str, Any] | bytes, status: int = 200) -> list[Event]:
    return read_pieces([event if isinstance(event, bytes) else text_of(event) for event in events], status)


def read_pieces(pieces: list[bytes], status: int = 200) -> list[Event]:
    reader = Anthropic("m").read(Head(status, SSE))
    return [event for data in pieces for event in reader.feed(data)] + reader.close()


def end_of(events: list[Event]) -> End:
    end = events[-1]
    assert isinstance(end, End)
    return end


def begun(**usage: Any) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m-1-2026"}
    return {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}}


def block(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": fields}


def delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", **fields}}


def over(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def stopped(reason: str | None = "end_turn", usage: Any = None, **fields: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason, **fields}, "usage": usage or {}}


def text(words: str) -> dict[str, Any]:
    return delta(0, "text", text=words)


STOP = {"type": "message_stop"}
CITATION = {"type": "web_search_result_location", "url": "https://example.com/a", "title": "A", "cited_text": "x"}
SEARCH = {"type": "search_result_location", "source": "https://example.com/b", "title": None, "cited_text": "x"}
PAGE = {"type": "char_location", "document_index": 0, "document_title": "T", "cited_text": "x"}
TRANSCRIPT: list[dict[str, Any]] = [
    begun(input_tokens=3, cache_creation_input_tokens=10, cache_read_input_tokens=20, output_tokens=1),
    block(0, type="thinking", thinking="", signature=""),
    {"type": "ping"},
    delta(0, "thinking", thinking="hmm"),
    delta(0, "signature", signature="c2ln"),
    over(0),
    block(1, type="redacted_thinking", data="c2VjcmV0"),
    over(1),
    block(2, type="server_tool_use", id="srvtoolu_1", name="web_search", input={}),
    delta(2, "input_json", partial_json='{"query":"x"}'),
    over(2),
    block(3, type="web_search_tool_result", tool_use_id="srvtoolu_1", content=[{"url": "https://example.com/z"}]),
    over(3),
    block(4, type="text", text=""),
    delta(4, "text", text="Hé"),
    delta(4, "citations", citation=CITATION),
    delta(4, "citations", citation=PAGE),
    delta(4, "text", text="🎈"),
    delta(4, "citations", citation=SEARCH),
    delta(4, "invented", anything=1),
    over(4),
    {"type": "content_block_invented", "index": 5, "x": 1},
    block(5, type="tool_use", id="toolu_1", name="add", input={}),
    delta(5, "input_json", partial_json=""),
    delta(5, "input_json", partial_json='{"a":'),
    delta(5, "input_json", partial_json="1}"),
    over(5),
    block(6, type="tool_use", id="toolu_2", name="now", input={}),
    delta(6, "input_json", partial_json=""),
    over(6),
    stopped("tool_use", {"input_tokens": 4, "output_tokens": 12, "output_tokens_details": {"thinking_tokens": 7}}),
    STOP,
]
PAGES = [Source("https://example.com/a", "A"), Source("https://example.com/b")]
EVENTS: list[Event] = [
    Reasoning("hmm"),
    Delta("Hé"),
    Sources(PAGES[:1]),
    Delta("🎈"),
    Sources(PAGES),
    ToolCall(5, "toolu_1", "add", ""),
    ToolCall(5, None, None, '{"a":'),
    ToolCall(5, None, None, "1}"),
    ToolCall(6, "toolu_2", "now", ""),
    ToolCall(6, None, None, "{}"),
    Usage(34, 12, 20, 7),
    End(Status.FINISHED, "tool_calls", None, "tool_use", "m-1-2026", "req_1", {"request-id": "req_1"}),
]


def test_a_request_asks_for_a_stream_and_says_how_long() -> None:
    made = request("Hi")
    assert (made.method, made.url) == ("POST", "https://api.anthropic.com/v1/messages")
    assert json.loads(made.body) == {
        "model": "m-1",
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    }
    assert made.plain_headers() == {
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "x-api-key": KEY,
    }


def test_a_token_goes_in_the_place_of_the_key() -> None:
    headers = request("Hi", token=Secret(TOKEN), betas=("oauth-2025-04-20", "b")).plain_headers()
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert "x-api-key" not in headers
    assert headers["anthropic-beta"] == "oauth-2025-04-20,b"
    assert request("Hi", key=None, token=Secret(TOKEN)).plain_headers()["authorization"] == f"Bearer {TOKEN}"


def test_another_version_of_the_protocol_can_be_asked_for() -> None:
    assert request("Hi", version="2026-10-21").plain_headers()["anthropic-version"] == "2026-10-21"


def test_a_missing_key_is_named() -> None:
    with pytest.raises(AuthError, match="no key: set ANTHROPIC_API_KEY"):
        request("Hi", key=None)
    headers = request("Hi", key=None, needs_key=False).headers
    assert headers.keys().isdisjoint({"x-api-key", "authorization"})


def test_key_and_token_stay_out_of_repr() -> None:
    lane = provider(token=Secret(TOKEN))
    shown = repr(lane) + repr(request()) + str(dict(request().headers)) + str(dict(lane.models_request().headers))
    assert KEY not in shown
    assert TOKEN not in shown


def test_system_messages_go_to_the_top_and_tool_results_into_one_turn() -> None:
    made = body(CONVERSATION)
    assert made["system"] == "Be brief.\n\nIn German."
    assert made["messages"] == [
        {"role": "user", "content": "1+1?"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "2"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "toolu_2", "name": "add", "input": {}},
                {"type": "tool_use", "id": "toolu_3", "name": "add", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "content": [PICTURE_BLOCK, {"type": "text", "text": "3"}],
                },
                {"type": "tool_result", "tool_use_id": "toolu_3", "content": "4"},
            ],
        },
        {"role": "user", "content": "Thanks"},
        {"role": "assistant", "content": "Bitte"},
        {"role": "user", "content": "Bye"},
    ]


def test_media_come_before_the_words_about_them() -> None:
    assert body(MEDIA)["messages"][0]["content"] == [
        PICTURE_BLOCK,
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}, "title": "a.md"},
        {"type": "text", "text": "Look"},
    ]


@pytest.mark.parametrize(
    ("role", "media", "words"),
    [
        ("user", Media(b"x", media_type="audio/wav"), "not audio/wav$"),
        ("user", Media(url="https://example.com/a.txt"), "not text/plain by address"),
        ("assistant", PICTURE, "only text"),
        ("system", PICTURE, "only text"),
    ],
)
def test_media_it_cannot_carry_are_refused(role: str, media: Media, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        request(Prompt((Message(role, "a", media=(media,)),)))


@pytest.mark.parametrize("arguments", ["[1]", "{", "null"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    with pytest.raises(InvalidRequest, match="toolu_1 are no JSON object"):
        request(Prompt((Message("assistant", "", tool_uses=(ToolUse("toolu_1", "add", arguments),)),)))


def test_the_options_have_their_names_of_this_protocol() -> None:
    made = body("Hi", OPTIONS)
    assert {name: made[name] for name in made if name not in ("model", "messages", "stream")} == {
        "max_tokens": 5000,
        "top_p": 0.5,
        "stop_sequences": ["a", "b"],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        "tools": [{"name": "add", "description": "Adds.", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any"},
    }
    assert body("Hi", Options(temperature=0.0))["temperature"] == 0.0


def test_thinking_comes_on_top_of_the_usual_length() -> None:
    assert body("Hi", Options(reasoning_tokens=2000))["max_tokens"] == 10192
    assert body("Hi", Options(reasoning_tokens=2000), max_tokens=100)["max_tokens"] == 2100
    assert body("Hi", Options(reasoning_tokens=0))["thinking"] == {"type": "disabled"}
    assert body("Hi", Options(max_tokens=0))["max_tokens"] == 0


@pytest.mark.parametrize(
    ("choice", "form"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("any", {"type": "any"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "add"}}, {"type": "tool", "name": "add"}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"type": "auto", "disable_parallel_tool_use": True}),
    ],
)
def test_a_tool_choice_has_a_form_of_its_own(choice: Any, form: dict[str, Any]) -> None:
    assert body("Hi", Options(tools=(TOOL,), tool_choice=choice))["tool_choice"] == form


def test_a_tool_in_this_wires_own_form_is_left_alone() -> None:
    own = {"type": "web_search_20250305", "name": "web_search"}
    made = body("Hi", Options(tools=(own, {"type": "function", "function": {"name": "f"}})))
    assert made["tools"] == [own, {"name": "f", "input_schema": {"type": "object", "properties": {}}}]


def test_an_option_that_the_wire_lacks_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="anthropic has no option seed;"):
        request("Hi", Options(seed=0))


def test_the_body_of_the_options_comes_last() -> None:
    made = body("Hi", Options(temperature=1.0, body={"temperature": 0.3, "thinking": {"type": "adaptive"}}))
    assert (made["temperature"], made["thinking"]) == (0.3, {"type": "adaptive"})


def test_the_models_are_listed() -> None:
    made = provider(base_url="https://example.com/").models_request()
    assert (made.method, made.url) == ("GET", "https://example.com/v1/models?limit=1000")
    assert made.plain_headers()["x-api-key"] == KEY
    assert provider().models(Reply(Head(200), b'{"data":[{"type":"model","id":"b"}],"has_more":false}')) == ["b"]


def test_a_stream_becomes_events() -> None:
    assert read(*TRANSCRIPT) == EVENTS


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
def test_the_events_do_not_depend_on_the_cut(named: bool) -> None:
    stream = b"".join(text_of(event) for event in TRANSCRIPT)
    if not named:
        stream = b"\n".join(line for line in stream.split(b"\n") if not line.startswith(b"event:"))
    assert read_pieces([stream[i : i + 1] for i in range(len(stream))]) == EVENTS
    for cut in range(1, len(stream)):
        assert read_pieces([stream[:cut], stream[cut:]]) == EVENTS, cut


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "unknown"),
        ("something_new", "unknown"),
    ],
)
def test_every_stop_has_a_reason_of_ours(raw: str, reason: str) -> None:
    end = end_of(read(text("a"), stopped(raw)))
    assert (end.status, end.finish_reason, end.raw) == (Status.FINISHED, reason, raw)


def test_the_end_comes_at_once_and_nothing_follows() -> None:
    reader = Anthropic("m").read(Head(200, SSE))
    events = reader.feed(text_of(text("a")) + text_of(stopped()) + text_of(STOP) + text_of(text("b")))
    assert [type(event) for event in events] == [Delta, End]
    assert reader.feed(text_of(text("c"))) + reader.close() == []


def test_a_stop_without_a_reason_is_an_end_of_unknown_reason() -> None:
    assert end_of(read(text("a"), stopped(None), STOP)).finish_reason == "unknown"


def test_why_it_refused_is_told() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "too risky"}
    events = read(text("a"), stopped("refusal", stop_details=details), STOP)
    assert events[:-1] == [Delta("a"), Refusal("too risky")]
    assert end_of(events).finish_reason == "content_filter"


def test_a_block_may_begin_with_its_content() -> None:
    events = read(
        block(0, type="thinking", thinking="hm"),
        delta(0, "thinking", thinking="m"),
        block(1, type="text", text="He", citations=[CITATION]),
        delta(1, "text", text="y"),
        block(2, type="tool_use", id="toolu_1", name="add", input={"a": 1}),
        stopped("tool_use"),
    )
    assert events[:-1] == [
        Reasoning("hm"),
        Reasoning("m"),
        Delta("He"),
        Sources(PAGES[:1]),
        Delta("y"),
        ToolCall(2, "toolu_1", "add", ""),
        ToolCall(2, None, None, '{"a":1}'),
    ]


def test_an_input_that_comes_twice_counts_once() -> None:
    events = read(
        block(0, type="tool_use", id="toolu_1", name="add", input={"a": 1}),
        delta(0, "input_json", partial_json='{"a":1}'),
        over(0),
        stopped("tool_use"),
    )
    assert events[:-1] == [ToolCall(0, "toolu_1", "add", ""), ToolCall(0, None, None, '{"a":1}')]


def test_a_whole_message_is_an_answer() -> None:
    content = [
        {"type": "thinking", "thinking": "hmm", "signature": "c2ln"},
        {"type": "text", "text": "Hey", "citations": [CITATION]},
        {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}},
    ]
    message = {"type": "message", "model": "m", "content": content, "usage": {"input_tokens": 3, "output_tokens": 2}}
    events = [
        Reasoning("hmm"),
        Delta("Hey"),
        Sources(PAGES[:1]),
        ToolCall(2, "toolu_1", "add", ""),
        ToolCall(2, None, None, '{"a":1}'),
        Usage(3, 2),
    ]
    end = End(Status.FINISHED, "tool_calls", None, "tool_use", "m", "req_1", {"request-id": "req_1"})
    assert read(json.dumps({**message, "stop_reason": "tool_use"}).encode()) == [*events, end]
    unfinished = read(json.dumps(message).encode())
    assert unfinished[:-1] == events
    assert end_of(unfinished).finish_reason == "unknown"


ERRORS: list[tuple[int, str, type[ProviderError]]] = [
    (400, "invalid_request_error", InvalidRequest),
    (401, "authentication_error", AuthError),
    (402, "billing_error", QuotaError),
    (403, "permission_error", AuthError),
    (404, "not_found_error", NotFound),
    (409, "conflict_error", ServerError),
    (429, "rate_limit_error", RateLimited),
    (500, "api_error", ServerError),
    (504, "timeout_error", TimedOut),
    (529, "overloaded_error", Overloaded),
]


@pytest.mark.parametrize(("status", "name", "kind"), ERRORS)
def test_every_error_is_typed_as_a_body_and_as_an_event(status: int, name: str, kind: type[ProviderError]) -> None:
    error = {"type": "error", "error": {"type": name, "message": "m"}, "request_id": "req_9"}
    end = end_of(read(json.dumps(error).encode(), status=status))
    assert type(end.error) is kind
    assert (end.error.status, end.error.message, end.request_id) == (status, "m", "req_1")
    for made in (text_of(error), b"data: " + json.dumps(error).encode() + b"\n\n"):
        events = read(text("a"), made, text("b"))
        assert [type(event) for event in events] == [Delta, End]
        assert type(end_of(events).error) is kind


def test_a_document_that_is_no_answer_is_an_error() -> None:
    assert type(end_of(read(b'{"type":"message","content":[]}')).error) is NotAStream
    assert type(end_of(read(b'{"type":"ping"}')).error) is NotAStream


def test_a_stream_without_its_end_is_truncated() -> None:
    events = read(*TRANSCRIPT[:-2])
    assert events[:-1] == [*EVENTS[:-2], Usage(33, None, 20)]  # the 1 of message_start counts nothing of the answer
    assert type(end_of(events).error) is Truncated
    assert type(end_of(read()).error) is Truncated


@pytest.mark.parametrize("usage", [None, {}, "n/a", [1], {"input_tokens": "3", "output_tokens_details": None}])
def test_odd_usage_does_not_spoil_the_answer(usage: Any) -> None:
    assert end_of(read(text("a"), {**stopped(), "usage": usage})).status is Status.FINISHED


@pytest.mark.parametrize(
    "odd",
    [
        block(0, type=7) | {"content_block": 7},
        {"type": "content_block_start"},
        {"type": "content_block_delta", "index": 0, "delta": [1]},
        {"type": "message_delta", "delta": 5},
        {"type": "content_block_start", "index": "x", "content_block": {"type": "tool_use"}},
        {"type": "content_block_start", "index": [0], "content_block": {"type": "tool_use"}},
    ],
)
def test_an_event_of_the_wrong_shape_is_a_protocol_error(odd: dict[str, Any]) -> None:
    assert type(end_of(read(odd)).error) is ProtocolError


TYPES = sorted({str(event["type"]) for event in TRANSCRIPT} | {"error", "text", "tool_use", "text_delta", "message"})
NAMES = [
    *("type", "delta", "index", "content_block", "content", "message", "text", "partial_json", "input", "id", "name"),
    *("stop_reason", "usage", "error", "citation", "citations", "url", "thinking", "model"),
]
ODD = odd_json(NAMES, [*TYPES, "end_turn"])
EVENT = st.builds(
    lambda kind, fields: {**fields, "type": kind},
    st.sampled_from(TYPES),
    st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5),
)


@pytest.mark.slow
@given(st.lists(EVENT, max_size=4), st.booleans())
@settings(deadline=None, max_examples=150)
def test_no_stream_is_too_odd(values: list[dict[str, Any]], sse: bool) -> None:
    stream = "".join(f"data: {json.dumps(value)}\n\n" if sse else json.dumps(value) for value in values)
    events = read(stream.encode())
    assert_sound(events)


@pytest.mark.parametrize("prompt", ["Hi", CONVERSATION, MEDIA], ids=["words", "conversation", "media"])
async def test_the_service_takes_what_is_sent_and_its_answer_wins(prompt: Any) -> None:
    async with open_server(*TRANSCRIPT) as server:
        lanes = [provider(base_url=server.base_url), provider(base_url=server.base_url, token=Secret(TOKEN))]
        answer = await fanout.race(Prompt.of(prompt).with_options(OPTIONS), lanes)
        assert (answer.text, answer.reasoning, answer.finish_reason) == ("Hé🎈", "hmm", "tool_calls")
        assert answer.tool_calls == (ADD, ToolUse("toolu_2", "now", "{}"))
        assert answer.sources == tuple(PAGES)
        assert (answer.provider, answer.model, answer.request_id) == ("anthropic", "m-1-2026", "r1")
        assert json.loads(server.taken[0].body)["stream"] is True


async def test_what_the_service_refuses_is_told_lane_by_lane() -> None:
    async with open_server(*TRANSCRIPT) as server:
        lanes = [
            provider(base_url=server.base_url),
            provider(base_url=server.base_url, key=Secret("sk-wrong")),
            provider(base_url=f"{server.base_url}/v2"),
        ]
        wrong = Prompt.of("Hi").with_options(Options(max_tokens=500, reasoning_tokens=1024))
        answers = [*await fanout.gather("Hi", lanes), *await fanout.gather(wrong, lanes[0])]
    assert [answer.error and answer.error.kind for answer in answers] == [None, "auth", "not_found", "invalid_request"]
    assert "max_tokens must be greater than thinking.budget_tokens" in str(answers[-1].error)


async def test_the_services_models_are_listed_over_the_wire() -> None:
    async with open_server() as server, fanout.open_transport() as transport:
        lane = provider(base_url=server.base_url)
        reply = await fetch(transport, lane.models_request(), connect=5)
        assert lane.models(reply) == MODELS


@pytest.mark.slow
@pytest.mark.usefixtures("model")
async def test_the_embedded_model_answers_on_this_wire() -> None:
    """llama.cpp ignores tools where the model's template has no place for them."""
    lane = Anthropic("smollm2", base_url="local://smollm2", needs_key=False)
    options = Options(max_tokens=8, temperature=0.0, tools=(TOOL,), tool_choice="auto")
    prompt = Prompt.of("Why is the sky blue?", system="Be brief.").with_options(options)
    answer = await fanout.race(prompt, [lane], timeouts=fanout.Timeouts(first=60))
    assert (answer.status, answer.finish_reason, answer.model) == (Status.FINISHED, "length", "local")
    assert answer.text
    assert answer.usage and answer.usage.output == 8
    assert answer.usage.input and answer.usage.input > 8


def test_a_later_0_is_no_count() -> None:
    events = read(
        begun(input_tokens=15, output_tokens=1),
        text("Hi"),
        stopped("end_turn", {"input_tokens": 0, "output_tokens": 5}),
        STOP,
    )
    assert events[1] == Usage(15, 5)


def test_a_part_that_is_not_known_is_noted_and_no_reason_to_lose_the_answer() -> None:
    parts = (
        block(0, type="hologram", data="x"),
        over(0),
        block(1, type="redacted_thinking", data="x"),
        over(1),
        text("Hi"),
    )
    end = end_of(read(begun(), *parts, stopped("end_turn"), STOP))
    assert (end.status, end.notes) == (Status.FINISHED, ("a part of the answer is a hologram, which is not known",))


def test_an_error_in_a_gateways_own_words_is_one() -> None:
    error = end_of(
        read(begun(), {"type": "odd", "success": False, "errors": [{"code": 429, "message": "slow down"}]})
    ).error
    assert (type(error), error and error.message) == (RateLimited, "slow down")


def test_a_gateway_that_begins_anew_gives_an_index_to_another_call() -> None:
    first = (
        begun(),
        block(1, type="tool_use", id="ta", name="f", input={}),
        delta(1, "input_json", partial_json='{"a'),
    )
    second = (
        begun(),
        block(1, type="tool_use", id="tb", name="f", input={}),
        delta(1, "input_json", partial_json='{"b"'),
    )
    events = read(*first, *second, delta(1, "input_json", partial_json=":1}"), over(1), stopped("tool_use"), STOP)
    calls = [event for event in events if isinstance(event, ToolCall)]
    assert "".join(call.arguments for call in calls if call.index == 1) == '{"a'
    assert "".join(call.arguments for call in calls if call.index == 2) == '{"b":1}'
    assert [(call.index, call.id) for call in calls if call.id] == [(1, "ta"), (2, "tb")]


@pytest.mark.parametrize("odd", [{"message": None}, {"message": 5}, {}])
def test_a_beginning_without_its_message_is_no_reason_to_lose_the_answer(odd: dict[str, Any]) -> None:
    assert read({"type": "message_start", **odd}, text("a"), stopped(), STOP)[0] == Delta("a")
