"""OpenAI's Responses."""

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
)
from fanout.events import Delta, End, Event, Reasoning, Source, Sources, Status, ToolCall, Usage
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers.responses import Responses
from tests.providers.odd import odd_json
from tests.providers.wires.wire import KEY, Asked, Models, Served, Stream, Ways, Wire, odd_bodies, sse
from tests.servers import responses
from tests.servers.events import text_of

HEAD = Head(200, {"content-type": "text/event-stream", "x-request-id": "r1"})
TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}},
}
ADD = ToolUse("call_1", "add", '{"a":1}')
CONVERSATION = Prompt(
    (
        Message("system", "Be brief."),
        Message("system", "Be kind."),
        Message("user", "1+1?", name="Ann"),
        Message("developer", "In German."),
        Message("assistant", "Let me see.", tool_uses=(ADD,)),
        Message("tool", "2", tool_call_id="call_1"),
        Message("assistant", "", tool_uses=(ToolUse("call_2", "add", "{}"), ToolUse("call_3", "add", "{}"))),
        Message("tool", "", media=(Media(b"x", media_type="image/png"),), tool_call_id="call_2"),
        Message("tool", "4", tool_call_id="call_3"),
        Message("user", "Thanks"),
    )
)
MEDIA = Prompt(
    (
        Message(
            "user",
            "Look",
            media=(
                Media(url="https://example.com/a.png"),
                Media(b"\x89PNG", media_type="image/png"),
                Media(b"%PDF", media_type="application/pdf", name="a.pdf"),
                Media(b"a,b", media_type="text/csv"),
                Media(url="https://example.com/a.pdf"),
                Media(b"RIFF", media_type="audio/x-wav"),
                Media(b"ID3", media_type="audio/mpeg"),
            ),
        ),
    )
)
OPTIONS = Options(
    max_tokens=500,
    temperature=0.0,
    top_p=0.5,
    reasoning="low",
    tools=(TOOL,),
    tool_choice={"type": "function", "function": {"name": "add"}},
    schema={"type": "object"},
)


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


def text(delta: str) -> dict[str, Any]:
    return event("output_text.delta", output_index=1, item_id="msg_1", content_index=0, delta=delta)


def ending(status: str = "completed", **fields: Any) -> dict[str, Any]:
    return event(status, response={"id": "resp_1", "status": status, **fields})


CITATION = {"type": "url_citation", "url": "https://example.com/a", "title": "A", "start_index": 0, "end_index": 2}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add"}
USAGE = {
    "input_tokens": 30,
    "input_tokens_details": {"cached_tokens": 20},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 7},
    "total_tokens": 42,
}
OUTPUT = [
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hmm"}]},
    {
        "type": "message",
        "id": "msg_1",
        "content": [{"type": "output_text", "text": "Hé🎈", "annotations": [CITATION]}],
    },
    {**CALL, "arguments": '{"a":1}'},
]
TRANSCRIPT: list[dict[str, Any]] = [
    event("created", sequence_number=0, response={"id": "resp_1", "status": "in_progress", "model": "m-1-2026"}),
    event("in_progress", sequence_number=1, response={"id": "resp_1", "status": "in_progress", "model": "m-1-2026"}),
    event("output_item.added", output_index=0, item={"id": "rs_1", "type": "reasoning", "summary": []}),
    event("reasoning_summary_part.added", output_index=0, summary_index=0, part={"type": "summary_text", "text": ""}),
    event("reasoning_summary_text.delta", output_index=0, summary_index=0, delta="hmm", obfuscation="x7"),
    event("reasoning_summary_text.done", output_index=0, summary_index=0, text="hmm"),
    event("output_item.done", output_index=0, item=OUTPUT[0]),
    event("web_search_call.searching", output_index=1, item_id="ws_1"),
    event("output_item.added", output_index=1, item={"id": "msg_1", "type": "message", "content": []}),
    event("content_part.added", output_index=1, part={"type": "output_text", "text": ""}),
    text("Hé"),
    text("🎈"),
    event("output_text.annotation.added", output_index=1, annotation_index=0, annotation=CITATION),
    event("output_text.annotation.added", output_index=1, annotation_index=1, annotation={"type": "file_citation"}),
    event("output_text.done", output_index=1, text="Hé🎈"),
    event("content_part.done", output_index=1, part=OUTPUT[1]["content"][0]),  # type: ignore[index]
    event("output_item.done", output_index=1, item=OUTPUT[1]),
    event("output_item.added", output_index=2, item={**CALL, "arguments": ""}),
    event("function_call_arguments.delta", output_index=2, item_id="fc_1", delta='{"a":'),
    event("function_call_arguments.delta", output_index=2, item_id="fc_1", delta="1}"),
    event("function_call_arguments.done", output_index=2, item_id="fc_1", arguments='{"a":1}'),
    event("output_item.done", output_index=2, item=OUTPUT[2]),
    event("invented_tomorrow", anything=[1]),
    ending(output=OUTPUT, usage=USAGE, model="m-1-2026", error=None),
]
EVENTS: list[Event] = [
    Reasoning("hmm"),
    Delta("Hé"),
    Delta("🎈"),
    Sources([Source("https://example.com/a", "A")]),
    ToolCall(2, "call_1", "add", ""),
    ToolCall(2, None, None, '{"a":'),
    ToolCall(2, None, None, "1}"),
    Usage(30, 12, 20, 7),
    End(Status.FINISHED, "tool_calls", None, "completed", "m-1-2026", "r1", {"x-request-id": "r1"}),
]

TYPES = [str(event["type"]) for event in TRANSCRIPT] + [
    *("error", "function_call", "custom_tool_call", "message", "reasoning", "image_generation_call", "shell_call"),
    *("code_interpreter_call", "web_search_call", "url_citation", "container_file_citation", "reasoning_text"),
    *("refusal", "response.custom_tool_call_input.delta", "response.refusal.done", "response.reasoning_text.done"),
]
NAMES = [
    *("type", "delta", "response", "item", "output", "output_index", "item_id", "call_id", "arguments", "content"),
    *("status", "usage", "error", "annotation", "url", "text", "summary", "id", "name", "code", "part", "annotations"),
    *("content_index", "summary_index", "input", "result", "outputs", "action", "refusal", "incomplete_details"),
]
ODD = odd_json(NAMES, [*TYPES, "completed"])
ODD_EVENT = st.builds(
    lambda kind, fields: {**fields, "type": kind},
    st.sampled_from(TYPES),
    st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5),
)


def lane(server: responses.ResponsesServer, **fields: Any) -> Responses:
    base_url = server.base_url + fields.pop("path", "")
    given = {"model": "m-1", "key": Secret(responses.KEY), "base_url": base_url, "summary": "auto", **fields}
    return Responses(**given)


def error(status: int, **fields: Any) -> tuple[int, bytes]:
    return status, json.dumps({"error": {"message": "m", "param": None, **fields}}).encode()


WHOLE = b"".join(map(text_of, TRANSCRIPT))
WIRE = Wire(
    name="responses",
    make=Responses,
    usual={"model": "m-1"},
    frame=text_of,
    head=HEAD,
    asked=Asked(
        url="https://api.openai.com/v1/responses",
        body={
            "model": "m-1",
            "input": [{"role": "user", "content": "Hi"}],
            "stream": True,
            "store": False,
            "include": ["reasoning.encrypted_content"],
        },
        elsewhere=("https://example.com/api/v3/", "https://example.com/api/v3/responses"),
        models_url="https://api.openai.com/v1/models",
        key_header=("authorization", f"Bearer {KEY}"),
        no_key="OPENAI_API_KEY",
    ),
    models=Models(
        b'{"data":[{"id":"b"}]}',
        ["b"],
        [
            (401, b'{"error":{"message":"no"}}', AuthError),
            (200, b"<html>", ProtocolError),
            (200, b"{}", ProtocolError),
        ],
    ),
    refused=[
        *(
            (Message(role, "a", media=(media,)), Options(), words)
            for role, media, words in (
                ("user", Media(b"x", media_type="audio/ogg"), "audio/ogg"),
                ("user", Media(b"x", media_type="video/mp4"), "video/mp4"),
                ("user", Media(url="https://example.com/a.mp3"), "bytes only"),
                ("assistant", Media(b"x"), "only text"),
            )
        ),
        *(
            (Message("user", "Hi"), options, f"responses has no option {names};")
            for options, names in (
                (Options(stop=("a",)), "stop"),
                (Options(seed=0), "seed"),
                (Options(reasoning_tokens=9), "reasoning_tokens"),
                (Options(stop=("a",), seed=1), "stop or seed"),
            )
        ),
    ],
    streams={
        "named": Stream(WHOLE, EVENTS, HEAD, slow=True),
        "unnamed": Stream(b"".join(map(sse, TRANSCRIPT)), EVENTS, HEAD, slow=True),
    },
    ways=Ways(
        text=text_of(text("a")),
        end=text_of(ending()),
        reasons=[
            (text_of(last), reason, raw)
            for last, reason, raw in (
                (ending(), "stop", "completed"),
                (
                    ending("incomplete", incomplete_details={"reason": "max_output_tokens"}),
                    "length",
                    "max_output_tokens",
                ),
                (
                    ending("incomplete", incomplete_details={"reason": "content_filter"}),
                    "content_filter",
                    "content_filter",
                ),
                (ending("incomplete", incomplete_details={"reason": "new"}), "unknown", "new"),
                (ending("incomplete", incomplete_details=None), "unknown", "incomplete"),
            )
        ],
        odd_ends=[
            text_of(ending(usage=usage))
            for usage in (None, {}, "n/a", [1], {"input_tokens_details": None, "input_tokens": "3"})
        ],
        unfinished=[
            Stream(b"".join(map(text_of, TRANSCRIPT[:-1])), EVENTS[:-2]),
            Stream(text_of(text("a")), [Delta("a")]),
            Stream(b"", []),
        ],
        no_streams=[b"<html>", b'{"status":"queued","output":[]}', b'{"hello":1}'],
        misshapen=[
            sse(event("completed")),
            sse(event("completed", response={"output": 5})),
            sse({"type": ["x"]}),
        ],
        errors=[
            (*error(400, type="invalid_request_error", code="unknown_parameter"), InvalidRequest, "m"),
            (*error(401, type="invalid_request_error", code="invalid_api_key"), AuthError, "m"),
            (*error(403, code="unsupported_country_region_territory"), AuthError, "m"),
            (*error(404, type="invalid_request_error", code="model_not_found"), NotFound, "m"),
            (*error(429, type="insufficient_quota", code="insufficient_quota"), QuotaError, "m"),
            (*error(429, type="requests", code="rate_limit_exceeded"), RateLimited, "m"),
            (*error(500, type="server_error"), ServerError, "m"),
            (*error(503, type="server_error"), Overloaded, "m"),
        ],
    ),
    odd=odd_bodies(st.lists(ODD_EVENT, max_size=4)),
    served=Served(
        open=lambda: responses.open_server(*TRANSCRIPT),
        lane=lane,
        models=responses.MODELS,
        answer={
            "text": "Hé🎈",
            "reasoning": "hmm",
            "finish_reason": "tool_calls",
            "tool_calls": (ADD,),
            "sources": (Source("https://example.com/a", "A"),),
            "model": "m-1-2026",
            "request_id": "r1",
        },
        prompts={
            name: prompt.with_options(OPTIONS)
            for name, prompt in (("words", Prompt.of("Hi")), ("conversation", CONVERSATION), ("media", MEDIA))
        },
        refused=[
            ({"key": Secret("sk-wrong")}, Options(), AuthError, "Incorrect API key provided", {}),
            ({"path": "/v2"}, Options(), NotFound, "Invalid URL", {}),
            ({}, Options(body={"stop": ["a"]}), InvalidRequest, r"Unknown parameter: the body: \['stop'\]", {}),
        ],
    ),
)
provider, request, body, read = WIRE.provider, WIRE.request, WIRE.body, WIRE.read
