"""OpenAI's Chat Completions."""

from typing import Any

import orjson
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
from fanout.events import Delta, End, Event, Reasoning, Status, ToolCall, Usage
from fanout.prompt import Media, Message, Options, Prompt
from fanout.providers.openai import OpenAI
from tests.providers.odd import odd_json
from tests.providers.wires.wire import (
    KEY,
    Asked,
    Models,
    Served,
    Stream,
    Ways,
    Wire,
    asks_for_all,
    odd_bodies,
    sse,
)
from tests.servers.openai import OpenAIServer, open_server

HEAD = Head(200, {"content-type": "text/event-stream", "x-request-id": "r1"})


def chunk(**choice: Any) -> bytes:
    return b"data: " + orjson.dumps({"model": "m-1", "choices": [{"index": 0, **choice}]}) + b"\n\n"


def counted(usage: Any) -> bytes:
    return b"data: " + orjson.dumps({"choices": [], "usage": usage}) + b"\n\n"


STOP = chunk(delta={}, finish_reason="stop")
DONE = b"data: [DONE]\n\n"
ANSWER = (
    chunk(delta={"role": "assistant", "content": ""})
    + b": keep-alive\n\n"
    + chunk(delta={"reasoning_content": "hmm"})
    + chunk(delta={"content": "Hé"})
    + chunk(delta={"content": "🎈"})
    + chunk(delta={"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "add", "arguments": ""}}]})
    + chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]})
    + chunk(delta={}, finish_reason="tool_calls")
    + counted({"prompt_tokens": 3, "completion_tokens": 2})
    + DONE
)
EVENTS: list[Event] = [
    Reasoning("hmm"),
    Delta("Hé"),
    Delta("🎈"),
    ToolCall(0, "call_1", "add"),
    ToolCall(0, arguments='{"a":1}'),
    Usage(3, 2),
    End(Status.FINISHED, "tool_calls", None, "tool_calls", "m-1", "r1", {"x-request-id": "r1"}),
]

NAMES = [
    *("choices", "delta", "message", "content", "tool_calls", "function", "arguments", "index"),
    *("finish_reason", "usage", "x_groq", "error", "id", "type", "text", "name", "base_resp", "images", "image_url"),
    *("audio", "transcript", "data", "annotations", "citations", "search_results", "web_search", "url_citation", "url"),
    *("reasoning", "reasoning_details", "thinking", "refusal", "function_call", "completion_tokens_details"),
]
ODD = odd_json(NAMES, ["text", "stop", "thinking", "image_url", "https://a.example", "data:image/png;base64,eA=="])


def lane(server: OpenAIServer, **fields: Any) -> OpenAI:
    return OpenAI(**{"model": "plain", "key": Secret(KEY), "base_url": f"{server.url}/v1", **fields})


def refusal(status: int) -> bytes:
    return orjson.dumps({"error": {"message": f"refused with {status}"}})


WIRE = Wire(
    name="openai",
    make=OpenAI,
    usual={"model": "m-1"},
    frame=sse,
    head=HEAD,
    asked=Asked(
        url="https://api.openai.com/v1/chat/completions",
        body={
            "model": "m-1",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        elsewhere=(
            "https://ark.cn-beijing.volces.com/api/v3/",
            "https://ark.cn-beijing.volces.com/api/v3/chat/completions",
        ),
        models_url="https://api.openai.com/v1/models",
        key_header=("authorization", f"Bearer {KEY}"),
        no_key="OPENAI_API_KEY",
    ),
    models=Models(
        b'{"object":"list","data":[{"id":"b"},{"id":"a"},{"id":null},7]}',
        ["b", "a"],
        [
            (401, b'{"error":{"message":"no"}}', AuthError),
            (200, b"<html>", ProtocolError),
            (200, b"{}", ProtocolError),
            (200, b'"x"', ProtocolError),
        ],
    ),
    refused=[
        (Message("user", "x"), Options(reasoning_tokens=9), "openai has no option reasoning_tokens"),
        (
            Message("user", "Look", media=(Media(url="https://x/y.pdf", media_type="application/pdf"),)),
            Options(),
            r"https://x/y\.pdf",
        ),
    ],
    streams={"events": Stream(ANSWER, EVENTS, HEAD)},
    ways=Ways(
        text=chunk(delta={"content": "a"}),
        end=STOP + DONE,
        reasons=[
            *((chunk(delta={}, finish_reason=raw) + DONE, raw, raw) for raw in ("stop", "length", "content_filter")),
            (chunk(delta={}, finish_reason="something_new") + DONE, "unknown", "something_new"),
            (DONE, "unknown", None),
        ],
        odd_ends=[
            STOP + counted(usage) + DONE
            for usage in (None, {}, "n/a", [1], {"prompt_tokens_details": None, "prompt_tokens": "3"})
        ],
        unfinished=[
            Stream(ANSWER.partition(chunk(delta={}, finish_reason="tool_calls"))[0], [*EVENTS[:-2]]),
            Stream(chunk(delta={"content": "a"}), [Delta("a")]),
            Stream(b"", []),
        ],
        no_streams=[b"<html>", b'{"other":1}'],
        misshapen=[
            sse({"choices": 5}),
            sse({"choices": [None]}),
            sse({"choices": [7]}),
            sse({"choices": [{"delta": 5}]}),
            sse({"choices": [{"message": 5}]}),
        ],
        errors=[
            (status, refusal(status), kind, f"refused with {status}")
            for status, kind in (
                (400, InvalidRequest),
                (401, AuthError),
                (402, QuotaError),
                (404, NotFound),
                (429, RateLimited),
                (500, ServerError),
                (503, Overloaded),
            )
        ],
    ),
    odd=odd_bodies(st.lists(st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5), max_size=4)),
    served=Served(
        open=open_server,
        lane=lane,
        models=["m-2", "m-1"],
        answer={"text": "w0 w1 w2 ", "finish_reason": "stop", "model": "scripted", "usage": Usage(5, 3)},
        prompts={"words": Prompt.of("Hi", system="Be brief."), "all": asks_for_all("auto", reasoning="low")},
        refused=[
            ({"key": Secret("bad")}, Options(), AuthError, "no such key", {}),
            ({"model": "status=503"}, Options(), Overloaded, "scripted failure", {}),
            ({"model": "error=2"}, Options(), ServerError, "scripted error frame", {"partial": "w0 w1 "}),
        ],
    ),
)
provider, request, body, read = WIRE.provider, WIRE.request, WIRE.body, WIRE.read
