"""A service that refuses a schema is told of it in its prompt, on every wire; web chats at once."""

import json
from typing import Any

import pytest
from trio.testing import MockClock

import fanout
from fanout.abc import Head, Provider
from fanout.chats.aura import Aura
from fanout.chats.koala import Koala
from fanout.chats.vitalentum import Vitalentum
from fanout.credentials.secret import Secret
from fanout.errors import InvalidRequest, ProviderError, RateLimited
from fanout.prompt import Message, Options, Prompt
from fanout.providers.anthropic import Anthropic
from fanout.providers.cohere import Cohere
from fanout.providers.gemini import Gemini
from fanout.providers.ollama import Ollama
from fanout.providers.openai import OpenAI
from fanout.providers.responses import Responses
from fanout.providers.schemas import find_next_place, tell
from fanout.transports.memory import MemoryTransport

SCHEMA = {"type": "object", "title": "Wanted"}
WIRES = [kind(model="m", key=Secret("k")) for kind in (OpenAI, Responses, Anthropic, Cohere, Gemini, Ollama)]
PROMPT = Prompt((Message("user", "Who?"),), Options(schema=SCHEMA))


def body_of(provider: Provider) -> str:
    return provider.request(PROMPT).body.decode()


@pytest.mark.parametrize("provider", WIRES, ids=lambda one: one.name)
def test_a_refused_schema_goes_into_the_prompt(provider: Any) -> None:
    refusal = InvalidRequest("This model does not support response format `json_schema`.", status=400)
    assert "fits this JSON schema" not in body_of(provider)
    assert provider.schema_form in ("sent", "enforced")
    forms = [provider]
    while (form := forms[-1].adapted(refusal)) is not None:
        forms.append(form)
    assert len(forms) in (2, 3)
    for form in forms[1:]:
        assert form.schema_form == "told"
        made = body_of(form)
        assert made.count("Wanted") == 1
        assert "fits this JSON schema" in made
    if len(forms) == 3:
        assert json.loads(body_of(forms[1])) != json.loads(body_of(forms[2]))  # JSON mode was on


@pytest.mark.parametrize("provider", [Aura(), Koala(), Vitalentum()], ids=lambda one: one.name)
def test_web_chats_are_told_at_once(provider: Provider) -> None:
    assert provider.schema_form == "told"
    assert "fits this JSON schema" in body_of(provider)


@pytest.mark.parametrize(
    "words",
    [
        "Invalid schema for response_format 'answer': In context=(), 'additionalProperties' is required",
        "This response_format type is unavailable now",
        "failed to parse grammar",
        "Unknown name \"responseJsonSchema\" at 'generation_config'",
        "The specified schema produces a constraint that has too many states for serving.",
        "output_config.format.schema: Extra inputs are not permitted",
    ],
)
def test_the_words_of_services_that_refuse_a_schema_are_known(words: str) -> None:
    assert find_next_place(InvalidRequest(words), "request") == "json"


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("Invalid schema for function 'add': schema is invalid"),
        InvalidRequest("max_tokens is too large"),
        RateLimited("response_format"),
    ],
)
def test_other_refusals_move_no_schema(error: ProviderError) -> None:
    assert find_next_place(error, "request") is None


def test_the_schema_is_told_with_the_users_last_words() -> None:
    turns = (Message("user", "1"), Message("assistant", "2"), Message("user", "3"), Message("tool", "4"))
    told = tell(Prompt(turns, Options(schema=SCHEMA))).messages
    assert [message.text.startswith(turns[i].text) for i, message in enumerate(told)] == [True] * 4
    assert "Wanted" in told[2].text
    assert tell(Prompt(turns)).messages == turns


async def test_the_lane_is_adapted_once_and_says_so(autojump_clock: MockClock) -> None:
    text = json.dumps({"choices": [{"delta": {"content": '{"a":1}'}, "finish_reason": "stop"}]})
    scripts: list[Any] = [
        [Head(400), b'{"error":{"message":"response_format json_schema is not supported"}}'],
        [f"data: {text}\n\ndata: [DONE]\n\n".encode()],
    ]
    transport = MemoryTransport(lambda _: scripts[len(transport.exchanges) - 1])
    lane = OpenAI(model="m", key=Secret("k"))
    answer = await fanout.race("?", [lane], schema="a: int", transport=transport)
    assert answer.value == {"a": 1}
    assert any("schema went into the prompt" in note for note in answer.notes)
    assert len(transport.exchanges) == 2
