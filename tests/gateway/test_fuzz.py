"""JSON of a wrong type in a client's request: a 400 that names what is wrong, or an answer, and never a 500."""

import json
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from random import Random
from typing import Any

import pytest
import trio

from fanout.abc import Head
from fanout.catalog import LaneSpec
from fanout.catalog.config import Config, GroupTable
from fanout.connections import Connections
from fanout.gateway.app import Gateway
from fanout.gateway.dialects.asked import Asked
from fanout.gateway.dialects.sealed import seal
from fanout.gateway.guard import Guard
from fanout.gateway.names import find_plan, lanes_of
from fanout.gateway.queueing import Queue
from fanout.prompt import Prompt
from fanout.transports.memory import MemoryTransport, Step
from tests.gateway.dialects.test_reads import CLAUDE_CODE, CODEX
from tests.gateway.serving import config_of

WIRES = ("openai", "anthropic", "responses", "gemini", "ollama", "cohere")

PICTURE = "data:image/png;base64,aGVsbG8="
PDF = "application/pdf"
SEALED = seal({"wire": "messages", "model": "m", "service": "s", "data": {"type": "thinking", "signature": "x"}})

CHAT: dict[str, Any] = {
    "model": "all-wires",
    "models": ["all-wires"],
    "messages": [
        {"role": "system", "content": "Be brief.", "name": "n"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGVsbG8=", "filename": "a.pdf"}},
                {"type": "input_audio", "input_audio": {"data": "aGVsbG8=", "format": "wav"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Hm",
            "refusal": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "42"}]},
    ],
    "stream": False,
    "stream_options": {"include_usage": True},
    "max_completion_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.5,
    "seed": 1,
    "stop": ["x"],
    "reasoning_effort": "low",
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": True,
    "metadata": {"a": "b"},
}
COMPLETIONS: dict[str, Any] = {
    "model": "all-wires",
    "prompt": ["Hello"],
    "max_tokens": 5,
    "temperature": 1,
    "top_p": 1,
    "stop": "x",
    "seed": 3,
    "n": 1,
    "stream": False,
    "user": "u",
}
MESSAGES: dict[str, Any] = {
    **CLAUDE_CODE,
    "model": "all-wires",
    "stream": False,
    "top_p": 0.5,
    "stop_sequences": ["x"],
    "tool_choice": {"type": "tool", "name": "Bash", "disable_parallel_tool_use": True},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}},
                {"type": "document", "title": "t", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
                {
                    "type": "document",
                    "title": "t",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                },
                {"type": "image", "source": {"type": "url", "url": "https://a.test/b.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": SEALED},
                {"type": "redacted_thinking", "data": SEALED},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "is_error": False,
                    "content": [
                        {"type": "text", "text": "a b"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                    ],
                }
            ],
        },
    ],
}
RESPONSES: dict[str, Any] = {
    **CODEX,
    "model": "all-wires",
    "stream": False,
    "temperature": 1,
    "top_p": 1,
    "max_output_tokens": 9,
    "metadata": {"a": "b"},
    "truncation": "auto",
    "top_logprobs": 0,
    "tool_choice": {"type": "function", "name": "shell"},
    "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
    "input": [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "image_url": PICTURE, "detail": "low"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,aGVsbG8=", "filename": "a.pdf"},
            ],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x", "annotations": []}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": SEALED},
        *CODEX["input"],
    ],
}

BODIES = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/v1/responses": RESPONSES,
}

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 5, 1.5, 1e300, 1 << 63, "", "x", "\ud83d\ude00", "\x00", [], {}, [1], [None]),
    *(["x"], [[]], [{}], {"x": 1}, {"type": "text"}, {"type": "text", "text": 5}, {"type": 5}, {"": None}),
    *({"role": "user"}, {"name": {}}, {"url": 5}, {"type": "function", "function": 5}, {"type": []}, "data:,", "a=b"),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value but the whole."""
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in rows:
        yield (*path, key)
        yield from places(inner, (*path, key))


def put(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The body with another value in one place."""
    changed: Any = deepcopy(body)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    result: dict[str, Any] = changed
    return result


def config() -> Config:
    """Lanes of all wires, and the group of them."""
    lanes = {wire: f"{wire}={wire}/m?base_url=http://127.0.0.1:9/v1&key_env=" for wire in WIRES}
    return config_of(lanes, {"all-wires": GroupTable("race", [*WIRES])})


def find_lanes(wire: str) -> Iterator[LaneSpec]:
    """The lane of a wire, as the gateway has it."""
    return lanes_of(find_plan(Asked("chat", wire, Prompt.of("x")), config()))


@asynccontextmanager
async def open_app() -> AsyncGenerator[Any]:
    """The application before lanes of all wires, whose services refuse everything."""
    refusal: list[Step] = [Head(400, {"content-type": "application/json"}), b'{"error": {"message": "no"}}']

    @asynccontextmanager
    async def connect() -> AsyncGenerator[Connections]:
        yield Connections(MemoryTransport(lambda _: refusal))

    gateway = Gateway(Guard(frozenset({"localhost"})), config(), Queue(9, 9), connect, lambda _: None)
    app = gateway.app()
    async with gateway.lifespan(None):
        yield app


async def ask(app: Any, path: str, body: Any) -> tuple[int, bytes]:
    """The status and the body of the answer to one request."""
    parts = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
    said: list[Any] = []

    async def receive() -> Any:
        return parts.pop() if parts else await trio.sleep_forever()

    async def send(message: Any) -> None:
        said.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    await app({"type": "http", "method": "POST", "path": path, "headers": headers}, receive, send)
    return said[0]["status"], b"".join(message.get("body", b"") for message in said)


@pytest.mark.parametrize("path", BODIES)
async def test_the_bodies_are_good_as_they_are(path: str) -> None:
    async with open_app() as app:
        status, said = await ask(app, path, BODIES[path])
        assert status == (200 if "count" in path else 400)
        assert b'"no"' in said or b": no" in said or b"input_tokens" in said, said


@pytest.mark.slow
@pytest.mark.parametrize("path", BODIES)
async def test_no_value_of_a_wrong_type_is_a_500(path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    random = Random(5)
    body = BODIES[path]
    where = list(places(body))
    cases = [(one, value) for one in where for value in VALUES]
    random.shuffle(cases)
    async with open_app() as app:
        for place, value in cases[:2000]:
            status, said = await ask(app, path, put(body, place, value))
            assert status in (200, 400), (place, value, status, said, caplog.text[-3000:])
            assert not caplog.records, (place, value, caplog.text)


@pytest.mark.parametrize(
    ("path", "place", "value", "name"),
    [
        ("/v1/messages", ("messages", 0, "content", 2, "title"), 5, "title"),
        ("/v1/messages", ("messages", 0, "content", 3, "title"), {}, "title"),
        ("/v1/messages", ("messages", 0, "content", 0, "cache_control"), 5, "cache_control"),
        ("/v1/messages", ("messages", 1, "content", 0, "signature"), 5, "signature"),
        ("/v1/messages", ("messages", 1, "content", 1, "data"), [], "data"),
        ("/v1/messages", ("messages", 1, "content", 3, "input"), 5, "tool_use"),
        ("/v1/messages", ("messages", 2, "content", 0, "is_error"), "no", "is_error"),
        ("/v1/messages", ("messages", 2, "content", 0, "content"), False, "content"),
        ("/v1/messages", ("tools", 0, "description"), 5, "description"),
        ("/v1/messages", ("tools", 0, "type"), [], "type"),
        ("/v1/messages", ("output_config", "effort"), 5, "effort"),
        ("/v1/messages", ("tool_choice", "disable_parallel_tool_use"), "x", "disable_parallel_tool_use"),
        ("/v1/chat/completions", ("messages", 0, "content"), 5, "content"),
        ("/v1/chat/completions", ("messages", 0, "content"), {"type": "text"}, "content"),
        ("/v1/chat/completions", ("messages", 0, "name"), [], "name"),
        ("/v1/chat/completions", ("messages", 2, "tool_calls"), True, "tool_calls"),
        ("/v1/chat/completions", ("messages", 3, "tool_call_id"), 5, "tool_call_id"),
        ("/v1/chat/completions", ("messages", 1, "content", 2, "file", "filename"), 5, "filename"),
        ("/v1/chat/completions", ("stream_options", "include_usage"), "x", "include_usage"),
        ("/v1/completions", ("stream_options",), {"include_usage": 5}, "include_usage"),
        ("/v1/responses", ("reasoning", "effort"), 5, "effort"),
        ("/v1/responses", ("input", 2, "summary"), 5, "summary"),
        ("/v1/responses", ("input", 2, "encrypted_content"), 5, "encrypted_content"),
        ("/v1/responses", ("input", 0, "content", 2, "filename"), 5, "filename"),
    ],
)
async def test_the_field_of_a_wrong_type_is_named(path: str, place: tuple[Any, ...], value: Any, name: str) -> None:
    async with open_app() as app:
        status, said = await ask(app, path, put(BODIES[path], place, value))
        assert status == 400
        assert name in json.loads(said)["error"]["message"]


@pytest.mark.parametrize("levels", [150, 300, 100_000])
async def test_the_arguments_of_a_call_have_a_depth_too(levels: int) -> None:
    deep = "[" * levels + "]" * levels
    chat = put(CHAT, ("messages", 2, "tool_calls", 0, "function", "arguments"), deep)
    responses = put(RESPONSES, ("input", 6, "arguments"), deep)
    async with open_app() as app:
        for path, body in (("/v1/chat/completions", chat), ("/v1/responses", responses)):
            status, said = await ask(app, path, body)
            assert status == 400
            assert (b"200 levels" in said) == (levels > 200), said


async def test_a_forged_opaque_part_is_refused_or_of_no_use() -> None:
    makers = [next(iter(find_lanes(wire))).provider.maker for wire in WIRES]
    async with open_app() as app:
        for maker in makers:
            for value in (*VALUES, {"thinking": 5}, {"type": "thinking"}, {"signature": 5}, {"thoughtSignature": []}):
                data = value if isinstance(value, dict) else {"type": value, "data": value, "signature": value}
                for call in (None, "toolu_1"):
                    sealed = seal({**maker, "data": data}, call)
                    body = put(MESSAGES, ("messages", 1, "content", 0, "signature"), sealed)
                    status, said = await ask(app, "/v1/messages", body)
                    assert status == 400, (maker, value, said)
