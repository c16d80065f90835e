"""Cohere's chat."""

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
    QuotaError,
    RateLimited,
    ServerError,
    TimedOut,
)
from fanout.events import Delta, End, Event, Reasoning, Source, Sources, Status, ToolCall, Usage
from fanout.prompt import Media, Message, Options, Prompt
from fanout.providers.cohere import Cohere
from tests.providers.odd import odd_json
from tests.providers.wires.wire import (
    KEY,
    PICTURE,
    Asked,
    Models,
    Served,
    Stream,
    Ways,
    Wire,
    asks_for_all,
    odd_bodies,
)
from tests.servers import cohere
from tests.servers.cohere import content

HEAD = Head(200, {"content-type": "text/event-stream"})


def event(value: Any) -> bytes:
    return f"event: {value.get('type')}\ndata: {json.dumps(value)}\n\n".encode()


def of_message(kind: str, index: int | None = None, **message: Any) -> dict[str, Any]:
    return {"type": kind, "delta": {"message": message}, **({} if index is None else {"index": index})}


def call(index: int, **fields: Any) -> dict[str, Any]:
    return of_message("tool-call-start" if "id" in fields else "tool-call-delta", index, tool_calls=fields)


def ending(reason: str | None = "COMPLETE", **delta: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": reason, **delta}}


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

NAMES = [
    *("type", "index", "delta", "message", "content", "text", "thinking", "tool_plan", "tool_calls", "function"),
    *("name", "arguments", "id", "citations", "sources", "document", "url", "finish_reason", "error", "usage"),
]
KINDS = ["content-delta", "tool-plan-delta", "tool-call-start", "citation-start", "message-end", "COMPLETE"]
ODD = odd_json(NAMES, [*KINDS, "text"])


def lane(server: cohere.CohereServer, **fields: Any) -> Cohere:
    return Cohere(**{"model": "stream", "key": Secret(cohere.KEY), "base_url": server.url, **fields})


WIRE = Wire(
    name="cohere",
    make=Cohere,
    usual={"model": "c-1"},
    frame=event,
    head=HEAD,
    asked=Asked(
        url="https://api.cohere.com/v2/chat",
        body={"model": "c-1", "messages": [{"role": "user", "content": "Hi"}], "stream": True},
        elsewhere=("http://127.0.0.1:1/", "http://127.0.0.1:1/v2/chat"),
        models_url="https://api.cohere.com/v1/models?endpoint=chat&page_size=1000",
        key_header=("authorization", f"Bearer {KEY}"),
        no_key="CO_API_KEY or COHERE_API_KEY",
    ),
    models=Models(
        b'{"models":[{"name":"b"},{"name":"a"},{"name":null},7]}',
        ["b", "a"],
        [
            (401, b'{"message":"invalid api token"}', AuthError),
            (498, b'{"message":"invalid token"}', AuthError),
            (200, b"<html>", ProtocolError),
            (200, b"[]", ProtocolError),
        ],
    ),
    refused=[
        (Message("user", "u"), Options(reasoning="high"), "cohere cannot carry the reasoning high"),
        (Message("user", "u"), Options(tool_choice={"type": "function"}), "cohere cannot carry the tool_choice"),
        (Message("user", "u", name="Ann"), Options(), "cohere cannot carry the name"),
        (Message("tool", "2"), Options(), "cohere needs the tool_call_id"),
        (Message("system", "s", media=(PICTURE,)), Options(), "cohere carries media only in a user's message"),
        (Message("tool", "2", media=(PICTURE,), tool_call_id="1"), Options(), "cohere carries media only"),
        (Message("user", "", media=(Media(data=b"x", media_type="audio/wav"),)), Options(), "cohere .* not audio/wav"),
    ],
    streams={"events": Stream(b"".join(map(event, VALUES)), EVENTS, HEAD)},
    ways=Ways(
        text=event(content(text="a")),
        end=event(ending()),
        reasons=[
            (event(ending(raw)), reason, raw)
            for raw, reason in (
                ("COMPLETE", "stop"),
                ("STOP_SEQUENCE", "stop"),
                ("MAX_TOKENS", "length"),
                ("TOOL_CALL", "tool_calls"),
                ("SOMETHING_NEW", "unknown"),
                (None, "unknown"),
            )
        ],
        odd_ends=[
            event(ending(usage=usage))
            for usage in (None, {}, "n/a", [1], {"billed_units": 5, "tokens": "x"}, {"tokens": {"input_tokens": "3"}})
        ],
        unfinished=[
            Stream(event(content(text="a")), [Delta("a")]),
            Stream(b"", []),
        ],
        no_streams=[b"<html>", b'{"text":"of version 1"}'],
        misshapen=[
            event(value)
            for value in (
                {"type": "content-delta", "delta": 5},
                {"type": "content-delta", "delta": {"message": 5}},
                {"type": "content-delta", "delta": {"message": {"content": "text"}}},
                {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": [5]}}},
                {"type": "tool-call-start", "index": "x", "delta": {"message": {"tool_calls": {"id": "t"}}}},
            )
        ],
        errors=[
            (status, b'{"id":"e-invented","message":"no such thing"}', kind, "no such thing")
            for status, kind in (
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
            )
        ],
    ),
    odd=odd_bodies(st.lists(st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5), max_size=4)),
    served=Served(
        open=cohere.open_server,
        lane=lane,
        models=["stream"],
        answer={"text": "Hello", "reasoning": "hmm", "finish_reason": "stop", "model": "stream", "usage": Usage(3, 2)},
        prompts={
            "words": Prompt.of("Hi", system="Be brief."),
            "all": asks_for_all("required", reasoning="enabled"),
            "an address": Prompt((Message("user", "u", media=(Media(url="https://example.com/a.png"),)),)),
        },
        refused=[
            ({"model": "missing"}, Options(), NotFound, "model 'missing' not found", {}),
            ({"model": "broken"}, Options(), ServerError, "generation failed", {"partial": "Hello"}),
            ({"model": None}, Options(), InvalidRequest, "model", {}),
            ({"key": Secret("wrong")}, Options(), AuthError, "invalid api token", {}),
        ],
    ),
)
provider, request, body, read = WIRE.provider, WIRE.request, WIRE.body, WIRE.read
