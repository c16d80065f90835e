"""Anthropic's Messages."""

import json
from typing import Any

from hypothesis import strategies as st

from fanout.abc import Head
from fanout.credentials.secret import Secret
from fanout.errors import (
    AuthError,
    InvalidRequest,
    NotFound,
    Overloaded,
    ProtocolError,
    ProviderError,
    QuotaError,
    RateLimited,
    ServerError,
    TimedOut,
)
from fanout.events import Delta, End, Event, Reasoning, Source, Sources, Status, ToolCall, Usage
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers.anthropic import Anthropic
from tests.providers.odd import odd_json
from tests.providers.wires.wire import KEY, Asked, Models, Served, Stream, Ways, Wire, odd_bodies, sse
from tests.servers import anthropic
from tests.servers.events import text_of

HEAD = Head(200, {"content-type": "text/event-stream", "request-id": "req_1"})
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": SCHEMA}}
ADD = ToolUse("toolu_1", "add", '{"a":1}')
PICTURE = Media(b"\x89PNG", media_type="image/png")
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
MAKER = {"wire": "anthropic", "service": "https://api.anthropic.com", "model": "m-1"}


def kept(**data: str) -> Reasoning:
    """The part that goes back to the usual lane."""
    return Reasoning("", {**MAKER, "data": data})


EVENTS: list[Event] = [
    Reasoning("hmm"),
    kept(type="thinking", signature="c2ln"),
    kept(type="redacted_thinking", data="c2VjcmV0"),
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

TYPES = sorted({str(event["type"]) for event in TRANSCRIPT} | {"error", "text", "tool_use", "text_delta", "message"})
NAMES = [
    *("type", "delta", "index", "content_block", "content", "message", "text", "partial_json", "input", "id", "name"),
    *("stop_reason", "usage", "error", "citation", "citations", "url", "thinking", "model"),
]
ODD = odd_json(NAMES, [*TYPES, "end_turn"])
ODD_EVENT = st.builds(
    lambda kind, fields: {**fields, "type": kind},
    st.sampled_from(TYPES),
    st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5),
)


def error(name: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": name, "message": "m"}, "request_id": "req_9"}


def lane(server: anthropic.AnthropicServer, **fields: Any) -> Anthropic:
    base_url = server.base_url + fields.pop("path", "")
    return Anthropic(**{"model": "m-1", "key": Secret(anthropic.KEY), "base_url": base_url, **fields})


WHOLE = b"".join(map(text_of, TRANSCRIPT))
WIRE = Wire(
    name="anthropic",
    make=Anthropic,
    usual={"model": "m-1"},
    frame=text_of,
    head=HEAD,
    asked=Asked(
        url="https://api.anthropic.com/v1/messages",
        body={"model": "m-1", "max_tokens": 8192, "messages": [{"role": "user", "content": "Hi"}], "stream": True},
        elsewhere=("https://example.com/", "https://example.com/v1/messages"),
        models_url="https://api.anthropic.com/v1/models?limit=1000",
        key_header=("x-api-key", KEY),
        no_key="ANTHROPIC_API_KEY",
        headers={"anthropic-version": "2023-06-01"},
    ),
    models=Models(
        b'{"data":[{"type":"model","id":"b"}],"has_more":false}',
        ["b"],
        [
            (401, json.dumps(error("authentication_error")).encode(), AuthError),
            (200, b"<html>", ProtocolError),
            (200, b"{}", ProtocolError),
        ],
    ),
    refused=[
        (Message("user", "Hi"), Options(seed=0), "anthropic has no option seed;"),
        *(
            (Message(role, "a", media=(media,)), Options(), words)
            for role, media, words in (
                ("user", Media(b"x", media_type="audio/wav"), "not audio/wav$"),
                ("user", Media(url="https://example.com/a.txt"), "not text/plain by address"),
                ("assistant", PICTURE, "only text"),
                ("system", PICTURE, "only text"),
            )
        ),
        *(
            (
                Message("assistant", "", tool_uses=(ToolUse("toolu_1", "add", arguments),)),
                Options(),
                "toolu_1 are no JSON object",
            )
            for arguments in ("[1]", "{", "null")
        ),
    ],
    streams={
        "named": Stream(WHOLE, EVENTS, HEAD, slow=True),
        "unnamed": Stream(b"".join(map(sse, TRANSCRIPT)), EVENTS, HEAD, slow=True),
    },
    ways=Ways(
        text=text_of(text("a")),
        end=text_of(stopped()) + text_of(STOP),
        reasons=[
            *(
                (text_of(stopped(raw)), reason, raw)
                for raw, reason in (
                    ("end_turn", "stop"),
                    ("stop_sequence", "stop"),
                    ("max_tokens", "length"),
                    ("model_context_window_exceeded", "length"),
                    ("tool_use", "tool_calls"),
                    ("refusal", "content_filter"),
                    ("pause_turn", "unknown"),
                    ("something_new", "unknown"),
                )
            ),
            (text_of(stopped(None)) + text_of(STOP), "unknown", None),
        ],
        odd_ends=[
            text_of({**stopped(), "usage": usage})
            for usage in (None, {}, "n/a", [1], {"input_tokens": "3", "output_tokens_details": None})
        ],
        unfinished=[
            # The output of 1 in message_start counts nothing of the answer.
            Stream(b"".join(map(text_of, TRANSCRIPT[:-2])), [*EVENTS[:-2], Usage(33, None, 20)]),
            Stream(text_of(text("a")), [Delta("a")]),
            Stream(b"", []),
        ],
        no_streams=[b"<html>", b'{"type":"message","content":[]}', b'{"type":"ping"}'],
        misshapen=[
            text_of(odd)
            for odd in (
                block(0, type=7) | {"content_block": 7},
                {"type": "content_block_start"},
                {"type": "content_block_delta", "index": 0, "delta": [1]},
                {"type": "message_delta", "delta": 5},
                {"type": "content_block_start", "index": "x", "content_block": {"type": "tool_use"}},
                {"type": "content_block_start", "index": [0], "content_block": {"type": "tool_use"}},
            )
        ],
        errors=[(status, json.dumps(error(name)).encode(), kind, "m") for status, name, kind in ERRORS],
    ),
    odd=odd_bodies(st.lists(ODD_EVENT, max_size=4)),
    served=Served(
        open=lambda: anthropic.open_server(*TRANSCRIPT),
        lane=lane,
        models=anthropic.MODELS,
        lanes=[{}, {"token": Secret(anthropic.TOKEN)}],
        answer={
            "text": "Hé🎈",
            "reasoning": "hmm",
            "finish_reason": "tool_calls",
            "tool_calls": (ADD, ToolUse("toolu_2", "now", "{}")),
            "sources": tuple(PAGES),
            "model": "m-1-2026",
            "request_id": "r1",
        },
        prompts={
            name: prompt.with_options(OPTIONS)
            for name, prompt in (("words", Prompt.of("Hi")), ("conversation", CONVERSATION), ("media", MEDIA))
        },
        refused=[
            ({"key": Secret("sk-wrong")}, Options(), AuthError, "invalid x-api-key", {}),
            ({"path": "/v2"}, Options(), NotFound, "Not Found", {}),
            (
                {},
                Options(max_tokens=500, reasoning_tokens=1024),
                InvalidRequest,
                "max_tokens must be greater than thinking.budget_tokens",
                {},
            ),
        ],
    ),
)
provider, request, body, read = WIRE.provider, WIRE.request, WIRE.body, WIRE.read
