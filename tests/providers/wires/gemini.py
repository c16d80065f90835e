"""Google's Gemini API."""

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
    RateLimited,
    ServerError,
    TimedOut,
)
from fanout.events import Delta, End, Event, File, Reasoning, Source, Sources, Status, ToolCall, Usage
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers.gemini import Gemini
from tests.providers.odd import odd_json
from tests.providers.wires.wire import KEY, Asked, Models, Served, Stream, Ways, Wire, asks_for_all, sse
from tests.servers import gemini

HEAD = Head(200, {"content-type": "text/event-stream"})


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\r\n\r\n"


def chunk(*parts: Any, **candidate: Any) -> bytes:
    content = {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    return event({"candidates": [{**content, "index": 0, **candidate}]})


STOP = chunk(finishReason="STOP")
USAGE = {
    "promptTokenCount": 3,
    "toolUsePromptTokenCount": 4,
    "candidatesTokenCount": 2,
    "thoughtsTokenCount": 5,
    "cachedContentTokenCount": 1,
    "totalTokenCount": 14,
}
VALUES: list[Any] = [
    {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "hmm", "thought": True}]}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 3},
        "modelVersion": "gemini-test",
        "responseId": "r-invented",
    },
    {
        "candidates": [
            {"content": {"parts": [{"text": "Grüße "}, {"text": "🎈", "thoughtSignature": "AAAA"}]}, "index": 0},
            {"content": {"parts": [{"text": "another candidate"}]}, "index": 1, "finishReason": "OTHER"},
        ]
    },
    {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"functionCall": {"name": "add", "args": {"a": 1, "b": [True]}}},
                        {"functionCall": {"id": "f-2", "name": "now"}},
                        {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
                        {"executableCode": {"code": "1+1"}},
                    ]
                },
                "finishReason": "STOP",
                "groundingMetadata": {
                    "groundingChunks": [
                        {"web": {"uri": "https://example.com/a", "title": "A"}},
                        {"retrievedContext": {"uri": "https://example.com/b"}},
                        {"web": {"uri": "https://example.com/a", "title": "A again"}},
                        {"web": {"title": "no address"}},
                    ]
                },
            }
        ],
        "usageMetadata": USAGE,
    },
]
MAKER = {"wire": "gemini", "service": "https://generativelanguage.googleapis.com/v1beta", "model": "gemini-2.5-flash"}
EVENTS: list[Event] = [
    Reasoning("hmm"),
    Delta("Grüße "),
    Delta("🎈"),
    Reasoning("", {**MAKER, "data": {"thoughtSignature": "AAAA", "text": 1}}),
    ToolCall(0, "call_0", "add", '{"a":1,"b":[true]}'),
    ToolCall(1, "f-2", "now", "{}"),
    File(None, "image/png", data=b"\x89PNG"),
    Sources([Source("https://example.com/a", "A"), Source("https://example.com/b")]),
    Usage(7, 7, 1, 5),
    End(Status.FINISHED, "tool_calls", raw="STOP", model="gemini-test"),
]

NAMES = [
    *("candidates", "content", "parts", "text", "thought", "functionCall", "args", "name", "index", "finishReason"),
    *("inlineData", "data", "fileData", "fileUri", "groundingMetadata", "groundingChunks", "uri", "promptFeedback"),
    *("blockReason", "usageMetadata", "promptTokenCount", "error", "id", "modelVersion", "partialArgs", "jsonPath"),
    *("willContinue", "stringValue", "numberValue", "citationMetadata", "citations", "executableCode", "finishMessage"),
]
ODD = odd_json(NAMES, ["text", "STOP", "$.a", "$.a[0].b", "MALFORMED_FUNCTION_CALL"])


def odd_body(values: list[dict[str, Any]], *, events: bool) -> bytes:
    return b"".join(map(sse, values)) if events else json.dumps(values).encode()


def error(code: int, status: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": "m", "status": status}}, indent=2).encode()


def lane(server: gemini.GeminiServer, **fields: Any) -> Gemini:
    given = {"model": "stream", "key": Secret(gemini.KEY), "base_url": f"{server.url}/v1beta", **fields}
    return Gemini(**given)


BASE_URL = "https://generativelanguage.googleapis.com/v1beta"
WIRE = Wire(
    name="gemini",
    make=Gemini,
    usual={"model": "gemini-2.5-flash"},
    frame=event,
    head=HEAD,
    asked=Asked(
        url=f"{BASE_URL}/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        body={"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
        elsewhere=(
            "http://127.0.0.1:1/v1beta/",
            "http://127.0.0.1:1/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        ),
        models_url=f"{BASE_URL}/models?pageSize=1000",
        key_header=("x-goog-api-key", KEY),
        no_key="GEMINI_API_KEY or GOOGLE_API_KEY",
    ),
    models=Models(
        json.dumps(
            {
                "models": [
                    {"name": "models/b", "supportedGenerationMethods": ["generateContent", "countTokens"]},
                    {"name": "models/embedding", "supportedGenerationMethods": ["embedContent"]},
                    {"name": "models/a"},
                    {"name": None},
                    7,
                ]
            }
        ).encode(),
        ["b", "a"],
        [
            (403, b'{"error":{"code":403,"status":"PERMISSION_DENIED"}}', AuthError),
            (200, b"<html>", ProtocolError),
            (200, b"{}", ProtocolError),
            (200, b"[]", ProtocolError),
        ],
    ),
    refused=[
        (Message("user", "u", name="Ann"), Options(), "gemini cannot carry the name"),
        (Message("system", "", media=(Media(data=b"x"),)), Options(), "gemini cannot carry media in a system message"),
        (
            Message("tool", "", media=(Media(data=b"x"),), name="f"),
            Options(),
            "gemini cannot carry media in the result",
        ),
        (Message("tool", "2", tool_call_id="1"), Options(), "gemini needs to know which tool gave the result 1"),
        (Message("assistant", "", tool_uses=(ToolUse("1", "f", "[1]"),)), Options(), "the arguments of f"),
        (Message("assistant", "", tool_uses=(ToolUse("1", "f", "{"),)), Options(), "the arguments of f"),
        (Message("user", "u"), Options(tools=({"type": "web_search"},)), "gemini takes functions for tools"),
        (Message("user", "u"), Options(tool_choice="sometimes"), "gemini cannot carry the tool_choice sometimes"),
    ],
    streams={
        "events": Stream(b"".join(map(event, VALUES)), EVENTS, HEAD),
        "array": Stream(json.dumps(VALUES, indent=2, ensure_ascii=False).encode(), EVENTS, HEAD),
    },
    ways=Ways(
        text=chunk({"text": "a"}),
        end=STOP,
        ends_at_once=False,  # usage may follow, and an answer goes on after code that the service ran
        reasons=[
            (chunk(finishReason=raw), reason, raw)
            for reason, raws in (
                ("stop", ("STOP",)),
                ("length", ("MAX_TOKENS",)),
                ("content_filter", ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT")),
                ("content_filter", ("SPII", "MODEL_ARMOR", "IMAGE_SAFETY", "IMAGE_RECITATION")),
                ("unknown", ("OTHER", "MALFORMED_FUNCTION_CALL", "NO_IMAGE", "SOMETHING_NEW")),
            )
            for raw in raws
        ],
        odd_ends=[
            event({"candidates": [{"finishReason": "STOP", "index": 0}], "usageMetadata": usage})
            for usage in (None, {}, "n/a", [1], {"promptTokenCount": "3"})
        ],
        unfinished=[
            Stream(chunk({"text": "a"}), [Delta("a")]),
            Stream(b"", []),
            Stream(b"[]", []),
            Stream(b"[" + json.dumps(VALUES[0]).encode(), [Reasoning("hmm"), Usage(3)]),
        ],
        no_streams=[b"<html>", b'{"other": 1}'],
        misshapen=[
            event(value)
            for value in (
                {"candidates": 5},
                {"candidates": [None]},
                {"candidates": [{"content": 5}]},
                {"promptFeedback": 5},
            )
        ],
        errors=[
            (code, error(code, status), kind, "m")
            for code, status, kind in (
                (400, "INVALID_ARGUMENT", InvalidRequest),
                (404, "NOT_FOUND", NotFound),
                (429, "RESOURCE_EXHAUSTED", RateLimited),
                (500, "INTERNAL", ServerError),
                (503, "UNAVAILABLE", Overloaded),
                (504, "DEADLINE_EXCEEDED", TimedOut),
            )
        ],
    ),
    odd=st.builds(
        odd_body,
        st.lists(st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5), max_size=4),
        events=st.booleans(),
    ),
    served=Served(
        open=gemini.open_server,
        lane=lane,
        models=["stream"],
        lanes=[{}, {"model": "array"}],
        answer={"text": "Hello", "reasoning": "hmm", "finish_reason": "stop", "model": "g-1", "usage": Usage(3, 2)},
        prompts={
            "words": Prompt.of("Hi", system="Be brief."),
            "all": asks_for_all("auto", reasoning_tokens=9),
            "an address": Prompt((Message("user", "u", media=(Media(url="https://example.com/a.png"),)),)),
        },
        refused=[
            ({"model": "missing"}, Options(), NotFound, "missing is not found", {}),
            ({"model": "busy"}, Options(), RateLimited, "quota exceeded", {"retry_after": 7.0}),
            ({"key": Secret("wrong")}, Options(), AuthError, "unregistered callers", {}),
            ({}, Options(body={"topk": 4}), InvalidRequest, 'Unknown name "topk"', {}),
        ],
    ),
)
provider, request, body, read = WIRE.provider, WIRE.request, WIRE.body, WIRE.read
