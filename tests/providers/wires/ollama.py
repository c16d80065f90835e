"""Ollama's chat."""

import json
from typing import Any

from hypothesis import strategies as st

from fanout.abc import Head
from fanout.errors import (
    AuthError,
    InvalidRequest,
    NotFound,
    Overloaded,
    ProtocolError,
    RateLimited,
    ServerError,
)
from fanout.events import Delta, End, Event, Reasoning, Status, ToolCall, Usage
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers.ollama import Ollama
from tests.providers.odd import odd_json
from tests.providers.wires.wire import KEY, Asked, Models, Served, Stream, Ways, Wire, asks_for_all
from tests.servers import ollama

HEAD = Head(200, {"content-type": "application/x-ndjson"})


def line(*, done: bool = False, fields: Any = None, **message: Any) -> bytes:
    value = {"model": "m-1", "message": {"role": "assistant", "content": "", **message}, "done": done, **(fields or {})}
    return frame(value)


def frame(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


COUNTS = ("prompt_eval_count", "eval_count")
ODD_COUNTS: tuple[Any, ...] = (None, "3", "n/a", [], {}, True, -1)
ODD_MESSAGES: tuple[Any, ...] = (5, {"tool_calls": 5}, {"tool_calls": [{}]}, {"tool_calls": [{"function": 5}]})
DONE = line(done=True, fields={"done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2})
LINES = [
    line(thinking="hmm"),
    line(content="Grüße "),
    line(content="🎈", tool_calls=[{"function": {"name": "add", "arguments": {"a": 1, "b": [True]}}}]),
    line(tool_calls=[{"id": "c-2", "function": {"name": "now"}}]),
    DONE,
]
EVENTS: list[Event] = [
    Reasoning("hmm"),
    Delta("Grüße "),
    Delta("🎈"),
    ToolCall(0, "call_0", "add", '{"a":1,"b":[true]}'),
    ToolCall(1, "c-2", "now", "{}"),
    Usage(3, 2),
    End(Status.FINISHED, "tool_calls", raw="stop", model="m-1"),
]

NAMES = [
    *("message", "content", "thinking", "tool_calls", "function", "name", "arguments", "id", "done", "done_reason"),
    *("prompt_eval_count", "eval_count", "error", "model"),
]
ODD = odd_json(NAMES, ["text", "stop"])


def lane(server: ollama.OllamaServer, **fields: Any) -> Ollama:
    return Ollama(**{"model": "stream", "base_url": server.url, **fields})


def error(status: int, words: str, **fields: Any) -> tuple[int, bytes, str]:
    return status, json.dumps({"error": words, **fields}).encode(), words


ERRORS = [
    (*error(400, '"m" does not support tools'), InvalidRequest),
    (*error(401, "unauthorized", signin_url="https://ollama.com/connect?name=x"), AuthError),
    (*error(404, "model 'm' not found"), NotFound),
    (*error(429, "too many requests"), RateLimited),
    (*error(500, "llama runner process has terminated"), ServerError),
    (*error(503, "server busy, please try again. maximum pending requests exceeded"), Overloaded),
    (*error(200, "an error was encountered while running the model"), ServerError),
]
WIRE = Wire(
    name="ollama",
    make=Ollama,
    usual={"model": "m-1", "needs_key": True},
    frame=frame,
    head=HEAD,
    asked=Asked(
        url="http://127.0.0.1:11434/api/chat",
        body={"model": "m-1", "messages": [{"role": "user", "content": "Hi"}], "stream": True},
        elsewhere=("http://localhost:1/", "http://localhost:1/api/chat"),
        models_url="http://127.0.0.1:11434/api/tags",
        key_header=("authorization", f"Bearer {KEY}"),
        no_key="OLLAMA_API_KEY",
        headers={"accept": "application/x-ndjson"},
    ),
    models=Models(
        b'{"models":[{"name":"b:latest"},{"name":"a:1b"},{"name":null},7]}',
        ["b:latest", "a:1b"],
        [
            (500, b'{"error":"no"}', ServerError),
            (200, b"<html>", ProtocolError),
            (200, b"{}", ProtocolError),
        ],
    ),
    refused=[
        (Message("user", "u"), Options(reasoning_tokens=5), "ollama has no option reasoning_tokens"),
        (Message("user", "u"), Options(tool_choice="required"), "ollama cannot carry tool_choice"),
        (Message("user", "u", name="Ann"), Options(), "ollama cannot carry the name"),
        (Message("user", "", media=(Media(url="https://x/y.png"),)), Options(), "ollama takes pictures as bytes"),
        (Message("user", "", media=(Media(data=b"x", media_type="audio/wav"),)), Options(), "ollama .* not audio/wav"),
        (Message("tool", "2", tool_call_id="1"), Options(), "ollama needs to know which tool gave the result 1"),
        (Message("assistant", "", tool_uses=(ToolUse("1", "f", "[1]"),)), Options(), "ollama .* the arguments of f"),
        (Message("assistant", "", tool_uses=(ToolUse("1", "f", "{"),)), Options(), "ollama .* the arguments of f"),
    ],
    streams={
        media_type or "no media type": Stream(b"".join(LINES), EVENTS, Head(200, {"content-type": media_type}))
        for media_type in ("application/x-ndjson", "application/json", "")
    },
    ways=Ways(
        text=line(content="a"),
        end=DONE,
        reasons=[
            *(
                (line(done=True, fields={"done_reason": raw}), reason, raw)
                for raw, reason in (("stop", "stop"), ("length", "length"), ("load", "unknown"), ("new", "unknown"))
            ),
            (line(done=True), "unknown", None),  # an old server gives none
        ],
        odd_ends=[
            line(done=True, fields={"eval_count": 2}),
            *(line(done=True, fields={name: odd}) for name in COUNTS for odd in ODD_COUNTS),
            line(done=True),
        ],
        unfinished=[
            Stream(line(content="a"), [Delta("a")]),
            Stream(b"", []),
            Stream(b'{"model"', []),
        ],
        no_streams=[b"<html>"],
        misshapen=[
            # Behind a line of an answer: alone, the first two would be no stream.
            line() + frame(7),
            line() + frame([]),
            *(line() + frame({"message": message}) for message in ODD_MESSAGES),
        ],
        errors=[(status, body, kind, words) for status, body, words, kind in ERRORS],
    ),
    odd=st.lists(st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5), max_size=4).map(
        lambda values: "\n".join(map(json.dumps, values)).encode()
    ),
    served=Served(
        open=ollama.open_server,
        lane=lane,
        models=["stream:latest"],
        answer={"text": "Hello", "reasoning": "hmm", "finish_reason": "stop", "model": "stream", "usage": Usage(3, 2)},
        prompts={"words": Prompt.of("Hi", system="Be brief."), "all": asks_for_all(None, reasoning="high")},
        refused=[
            ({"model": "missing"}, Options(), NotFound, "model 'missing' not found", {}),
            ({"model": "broken"}, Options(), ServerError, "an error was encountered", {"partial": "Hel"}),
            ({"model": None}, Options(), InvalidRequest, "model", {}),
        ],
    ),
)
provider, request, body, read = WIRE.provider, WIRE.request, WIRE.body, WIRE.read
