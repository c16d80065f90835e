"""The services' own SDKs, asked as their users ask them, send what we send: the same JSON, to the same address.

Each call of an SDK is written by its documentation, and the prompt beside it by ours. Where two forms are documented
as equal, `same` says so; all else must be equal.
"""

import json
import os
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import pytest
import trio

from fanout.abc import Provider, Request
from fanout.credentials.secret import Secret
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers.anthropic import Anthropic
from fanout.providers.openai import OpenAI
from fanout.providers.responses import Responses
from tests.servers.http import Received, read_request, serve

KEY = "sk-loopback"
PNG = b"\x89PNG\r\n\x1a\n and so on"
PNG_64 = b64encode(PNG).decode()
PICTURE = "https://pictures.test/sky.jpg"

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where"}},
    "required": ["city"],
}
WEATHER = {"name": "weather", "description": "The weather of a city", "parameters": PARAMETERS}
TOOL = {"type": "function", "function": WEATHER}

CONVERSATION = Prompt(
    (
        Message("system", "Be brief."),
        Message("user", "Weather in Ulm?"),
        Message("assistant", "Let me look.", tool_uses=(ToolUse("call_1", "weather", '{"city":"Ulm"}'),)),
        Message("tool", "rain", tool_call_id="call_1"),
        Message("user", "And the day after, “später”? 🌧"),
    ),
    Options(tools=(TOOL,), tool_choice="auto"),
)
WORDLESS = Prompt(
    (
        Message("user", "Ulm and Bonn?"),
        Message(
            "assistant",
            "",
            tool_uses=(ToolUse("c1", "weather", '{"city":"Ulm"}'), ToolUse("c2", "weather", '{"city":"Bonn"}')),
        ),
        Message("tool", "rain", tool_call_id="c1"),
        Message("tool", "sun", tool_call_id="c2"),
    ),
    Options(tools=(TOOL,), tool_choice={"type": "function", "function": {"name": "weather"}}),
)
PICTURES = Prompt((Message("user", "Compare.", media=(Media(url=PICTURE), Media(PNG, media_type="image/png"))),))

Call = Callable[[Any], Any]


def plain(**options: Any) -> Prompt:
    return Prompt.of("Why is the sky blue?").with_options(Options(**options))


def sdk(name: str) -> Any:
    """The SDK. Only where everything must run is it a failure that it is not installed."""
    return import_module(name) if os.environ.get("CI") else pytest.importorskip(name)


async def capture(open_client: Callable[[str], Any], call: Call) -> Received:
    """The one request that a call makes of an SDK's client, which is answered with an empty stream."""
    received: list[Received] = []

    async def handle(stream: trio.SocketStream) -> None:
        while request := await read_request(stream):
            received.append(request)
            await stream.send_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            await stream.send_eof()

    def ask(url: str) -> None:
        with open_client(url) as client, call(client):
            pass

    with trio.fail_after(20):
        async with serve(handle) as url:
            await trio.to_thread.run_sync(ask, url)
    [request] = received
    return request


async def openai_asks(call: Call) -> Received:
    make = partial(sdk("openai").OpenAI, api_key=KEY, max_retries=0)
    return await capture(lambda url: make(base_url=f"{url}/v1"), call)


async def anthropic_asks(call: Call) -> Received:
    make = partial(sdk("anthropic").Anthropic, api_key=KEY, max_retries=0)
    return await capture(lambda url: make(base_url=url), call)


def same(theirs: Received, provider: Provider, prompt: Prompt) -> None:
    """Asserts that the two requests mean the same: method, target, and every field of the body."""
    ours: Request = provider.request(prompt)
    assert (ours.method, ours.url) == (theirs.method, f"http://loopback{theirs.target}")
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    assert told(json.loads(ours.body)) == told(json.loads(theirs.body))


def told(value: Any) -> Any:
    """JSON with its documented defaults left out.

    A field that is null is one that is not there. What a tool's call is called with is compared as JSON.
    """
    if isinstance(value, list):
        return [told(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {name: told(item) for name, item in value.items() if item is not None}
    if isinstance(kept.get("arguments"), str):
        kept["arguments"] = json.loads(kept["arguments"])
    return kept


def chat(**fields: Any) -> OpenAI:
    return OpenAI("m-1", base_url="http://loopback/v1", key=Secret(KEY), **fields)


def responses(**fields: Any) -> Responses:
    return Responses("m-1", base_url="http://loopback/v1", key=Secret(KEY), **fields)


def messages(**fields: Any) -> Anthropic:
    return Anthropic("m-1", base_url="http://loopback", key=Secret(KEY), **fields)


# Chat Completions. That a stream ends with its usage is our wish, and the SDK's user's with this one option.


def completion(**arguments: Any) -> Call:
    return lambda client: client.chat.completions.create(
        model="m-1", stream=True, stream_options={"include_usage": True}, **arguments
    )


async def test_chat_completions_with_options_are_the_sdks() -> None:
    theirs = await openai_asks(
        completion(
            messages=[{"role": "user", "content": "Why is the sky blue?"}],
            max_completion_tokens=200,
            temperature=0.3,
            top_p=0.9,
            stop=["END", "STOP"],
            seed=7,
        )
    )
    same(theirs, chat(), plain(max_tokens=200, temperature=0.3, top_p=0.9, stop=("END", "STOP"), seed=7))


async def test_a_conversation_with_a_tool_in_chat_completions_is_the_sdks() -> None:
    theirs = await openai_asks(
        completion(
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Weather in Ulm?"},
                {
                    "role": "assistant",
                    "content": "Let me look.",
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city": "Ulm"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
                {"role": "user", "content": "And the day after, “später”? 🌧"},
            ],
            tools=[
                {
                    "type": "function",
                    "function": {
                        "name": "weather",
                        "description": "The weather of a city",
                        "parameters": PARAMETERS,
                    },
                }
            ],
            tool_choice="auto",
        )
    )
    same(theirs, chat(), CONVERSATION)


async def test_the_sdks_own_message_of_two_tool_calls_is_ours_in_chat_completions() -> None:
    calls = [
        {"id": call, "type": "function", "function": {"name": "weather", "arguments": json.dumps({"city": city})}}
        for call, city in (("c1", "Ulm"), ("c2", "Bonn"))
    ]
    kind = getattr(sdk("openai.types.chat"), "ChatCompletionMessage")  # noqa: B009  # of a module that may be missing
    said = kind.model_validate({"role": "assistant", "content": None, "refusal": None, "tool_calls": calls})
    theirs = await openai_asks(
        completion(
            messages=[
                {"role": "user", "content": "Ulm and Bonn?"},
                said,
                {"role": "tool", "tool_call_id": "c1", "content": "rain"},
                {"role": "tool", "tool_call_id": "c2", "content": "sun"},
            ],
            tools=[TOOL],
            tool_choice={"type": "function", "function": {"name": "weather"}},
        )
    )
    same(theirs, chat(), WORDLESS)


async def test_pictures_in_chat_completions_are_the_sdks() -> None:
    theirs = await openai_asks(
        completion(
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Compare."},
                        {"type": "image_url", "image_url": {"url": PICTURE}},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG_64}"}},
                    ],
                }
            ]
        )
    )
    same(theirs, chat(), PICTURES)


async def test_a_schema_and_an_effort_in_chat_completions_are_the_sdks() -> None:
    theirs = await openai_asks(
        completion(
            messages=[{"role": "user", "content": "Why is the sky blue?"}],
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
            reasoning_effort="low",
        )
    )
    same(theirs, chat(), plain(schema=SCHEMA, reasoning="low"))


# Responses. A text as the input is documented as one user's message of that text.


def response(**arguments: Any) -> Call:
    return lambda client: client.responses.create(model="m-1", stream=True, store=False, **arguments)


def with_input_in_full(theirs: Received) -> Received:
    body = json.loads(theirs.body)
    if isinstance(body["input"], str):
        body["input"] = [{"role": "user", "content": body["input"]}]
    return Received(theirs.method, theirs.target, theirs.headers, json.dumps(body).encode())


async def test_responses_with_options_are_the_sdks() -> None:
    theirs = await openai_asks(
        response(input="Why is the sky blue?", max_output_tokens=200, temperature=0.3, top_p=0.9)
    )
    same(with_input_in_full(theirs), responses(), plain(max_tokens=200, temperature=0.3, top_p=0.9))


async def test_a_conversation_with_a_tool_in_responses_is_the_sdks() -> None:
    theirs = await openai_asks(
        response(
            instructions="Be brief.",
            input=[
                {"role": "user", "content": "Weather in Ulm?"},
                {"role": "assistant", "content": "Let me look."},
                {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Ulm"}'},
                {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
                {"role": "user", "content": "And the day after, “später”? 🌧"},
            ],
            tools=[
                {
                    "type": "function",
                    "name": "weather",
                    "description": "The weather of a city",
                    "parameters": PARAMETERS,
                    "strict": False,
                }
            ],
            tool_choice="auto",
        )
    )
    same(theirs, responses(), CONVERSATION)


async def test_the_sdks_own_items_of_two_tool_calls_are_ours_in_responses() -> None:
    kind = getattr(sdk("openai.types.responses"), "ResponseFunctionToolCall")  # noqa: B009  # as above
    calls = [
        kind.model_validate(
            {"type": "function_call", "call_id": call, "name": "weather", "arguments": json.dumps({"city": city})}
        )
        for call, city in (("c1", "Ulm"), ("c2", "Bonn"))
    ]
    theirs = await openai_asks(
        response(
            input=[
                {"role": "user", "content": "Ulm and Bonn?"},
                *calls,
                {"type": "function_call_output", "call_id": "c1", "output": "rain"},
                {"type": "function_call_output", "call_id": "c2", "output": "sun"},
            ],
            tools=[{"type": "function", "strict": False, **WEATHER}],
            tool_choice={"type": "function", "name": "weather"},
        )
    )
    same(theirs, responses(), WORDLESS)


async def test_pictures_in_responses_are_the_sdks() -> None:
    theirs = await openai_asks(
        response(
            input=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Compare."},
                        {"type": "input_image", "detail": "auto", "image_url": PICTURE},
                        {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PNG_64}"},
                    ],
                }
            ]
        )
    )
    same(theirs, responses(), PICTURES)


async def test_a_schema_and_reasoning_in_responses_are_the_sdks() -> None:
    theirs = await openai_asks(
        response(
            input="Why is the sky blue?",
            text={"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}},
            reasoning={"effort": "low", "summary": "auto"},
        )
    )
    same(with_input_in_full(theirs), responses(summary="auto"), plain(schema=SCHEMA, reasoning="low"))


# Anthropic's Messages.


def message(**arguments: Any) -> Call:
    return lambda client: client.messages.create(model="m-1", stream=True, **arguments)


async def test_messages_with_options_are_the_sdks() -> None:
    theirs = await anthropic_asks(
        message(
            messages=[{"role": "user", "content": "Why is the sky blue?"}],
            max_tokens=200,
            stop_sequences=["END", "STOP"],
            extra_body={"temperature": 0.3, "top_p": 0.9},  # the SDK knows only models without them
        )
    )
    same(theirs, messages(), plain(max_tokens=200, temperature=0.3, top_p=0.9, stop=("END", "STOP")))


async def test_a_conversation_with_a_tool_in_messages_is_the_sdks() -> None:
    theirs = await anthropic_asks(
        message(
            max_tokens=8192,
            system="Be brief.",
            messages=[
                {"role": "user", "content": "Weather in Ulm?"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "Let me look."},
                        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Ulm"}},
                    ],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "rain"}]},
                {"role": "user", "content": "And the day after, “später”? 🌧"},
            ],
            tools=[{"name": "weather", "description": "The weather of a city", "input_schema": PARAMETERS}],
            tool_choice={"type": "auto"},
        )
    )
    same(theirs, messages(), CONVERSATION)


async def test_the_sdks_own_blocks_of_two_tool_calls_are_ours_in_messages() -> None:
    kind = getattr(sdk("anthropic.types"), "ToolUseBlock")  # noqa: B009  # as above
    calls = [
        kind.model_validate({"type": "tool_use", "id": call, "name": "weather", "input": {"city": city}})
        for call, city in (("c1", "Ulm"), ("c2", "Bonn"))
    ]
    theirs = await anthropic_asks(
        message(
            max_tokens=8192,
            messages=[
                {"role": "user", "content": "Ulm and Bonn?"},
                {"role": "assistant", "content": calls},
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "c1", "content": "rain"},
                        {"type": "tool_result", "tool_use_id": "c2", "content": "sun"},
                    ],
                },
            ],
            tools=[{"name": "weather", "description": "The weather of a city", "input_schema": PARAMETERS}],
            tool_choice={"type": "tool", "name": "weather"},
        )
    )
    same(theirs, messages(), WORDLESS)


async def test_pictures_in_messages_are_the_sdks() -> None:
    theirs = await anthropic_asks(
        message(
            max_tokens=8192,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "url", "url": PICTURE}},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG_64}},
                        {"type": "text", "text": "Compare."},
                    ],
                }
            ],
        )
    )
    same(theirs, messages(), PICTURES)


async def test_a_schema_and_an_effort_in_messages_are_the_sdks() -> None:
    theirs = await anthropic_asks(
        message(
            max_tokens=8192,
            messages=[{"role": "user", "content": "Why is the sky blue?"}],
            output_config={"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        )
    )
    same(theirs, messages(), plain(schema=SCHEMA, reasoning="low"))


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({"reasoning_tokens": 2000}, {"max_tokens": 10192, "thinking": {"type": "enabled", "budget_tokens": 2000}}),
        (
            {"reasoning_tokens": 2000, "max_tokens": 4000},
            {"max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}},
        ),
        ({"reasoning_tokens": 0}, {"max_tokens": 8192, "thinking": {"type": "disabled"}}),
    ],
    ids=["budget", "budget within a length", "none"],
)
async def test_thinking_in_messages_is_the_sdks(options: dict[str, Any], arguments: dict[str, Any]) -> None:
    theirs = await anthropic_asks(message(messages=[{"role": "user", "content": "Why is the sky blue?"}], **arguments))
    same(theirs, messages(), plain(**options))
