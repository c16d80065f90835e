import json
from typing import Any

import pytest

from fanout.abc import Head
from fanout.errors import ProviderError, ServerError, TimedOut
from fanout.events import Delta, End, Event, Reasoning, Source, Sources, Status, ToolCall, Usage
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from tests.providers.exchange import end_of
from tests.providers.wires.cohere import PAGE, body, ending, read
from tests.providers.wires.wire import TOOL
from tests.servers.cohere import content


def test_every_role_has_its_form() -> None:
    use = ToolUse("1", "add", '{"a":1}')
    prompt = Prompt(
        (
            Message("system", "s"),
            Message("developer", "d"),
            Message("user", "u"),
            Message("assistant", "I add", tool_uses=(use,)),
            Message("tool", "2", tool_call_id="1", name="add"),
            Message("assistant", "a"),
            Message("assistant", "", tool_uses=(use,)),
        )
    )
    calls = [{"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}]
    assert body(prompt)["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "system", "content": "d"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "tool_calls": calls, "tool_plan": "I add"},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "2"}]},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "tool_calls": calls},
    ]


def test_pictures_are_parts_of_the_message() -> None:
    media = (Media(url="https://example.com/a.png"), Media(data=b"\x89PNG", media_type="image/png"))
    parts = [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
    ]
    made = body(Prompt((Message("user", "Look", media=media), Message("user", "", media=media))))["messages"]
    assert [message["content"] for message in made] == [[{"type": "text", "text": "Look"}, *parts], parts]


def test_the_options_have_their_names_of_this_protocol() -> None:
    schema = {"type": "object"}
    options = Options(
        max_tokens=5,
        temperature=0.0,
        top_p=0.5,
        stop=("a", "b"),
        seed=0,
        reasoning_tokens=9,
        tools=(TOOL,),
        tool_choice="required",
        schema=schema,
    )
    made = body("Hi", options)
    assert {name: made[name] for name in made if name not in ("model", "messages", "stream")} == {
        "max_tokens": 5,
        "temperature": 0.0,
        "p": 0.5,
        "stop_sequences": ["a", "b"],
        "seed": 0,
        "thinking": {"type": "enabled", "token_budget": 9},
        "tools": [TOOL],
        "tool_choice": "REQUIRED",
        "response_format": {"type": "json_object", "json_schema": schema},
    }


@pytest.mark.parametrize(
    ("options", "thinking"),
    [
        (Options(reasoning="enabled"), {"type": "enabled"}),
        (Options(reasoning="disabled"), {"type": "disabled"}),
        (Options(reasoning="none"), {"type": "disabled"}),
        (Options(reasoning="enabled", reasoning_tokens=9), {"type": "enabled", "token_budget": 9}),
        (Options(reasoning_tokens=0), {"type": "disabled"}),
        (Options(), None),
    ],
)
def test_thinking_is_on_or_off_and_may_have_a_budget(options: Options, thinking: Any) -> None:
    assert body("Hi", options).get("thinking") == thinking


def test_the_choice_of_a_tool_is_forced_or_forbidden() -> None:
    assert body("Hi", Options(tool_choice="none"))["tool_choice"] == "NONE"
    assert "tool_choice" not in body("Hi", Options(tool_choice="auto"))


def test_the_body_of_the_options_comes_last() -> None:
    made = body("Hi", Options(temperature=1.0, body={"temperature": 0.3, "k": 4, "safety_mode": "NONE"}))
    assert (made["temperature"], made["k"], made["safety_mode"]) == (0.3, 4, "NONE")


def test_a_whole_answer_in_one_document_is_an_answer() -> None:
    message = {
        "role": "assistant",
        "tool_plan": "I add",
        "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
        "content": [{"type": "thinking", "thinking": "hmm"}, {"type": "text", "text": "Hi"}],
        "citations": [{"sources": [PAGE]}],
    }
    value = {"id": "c1", "finish_reason": "COMPLETE", "message": message, "usage": {"tokens": {"input_tokens": 3}}}
    assert read(json.dumps(value).encode(), head=Head(200, {"content-type": "application/json"})) == [
        Reasoning("I add"),
        Reasoning("hmm"),
        Delta("Hi"),
        ToolCall(0, "t1", "add", "{}"),
        Sources([Source("https://example.com/a", "A")]),
        Usage(3),
        End(Status.FINISHED, "tool_calls", raw="COMPLETE"),
    ]


@pytest.mark.parametrize(
    ("end", "kind", "words"),
    [
        (ending("ERROR", error="generation failed"), ServerError, "generation failed"),
        (ending("ERROR"), ServerError, "the service broke off: ERROR"),
        (ending("TIMEOUT", error="took too long"), TimedOut, "took too long"),
        (ending("TIMEOUT"), TimedOut, "the service broke off: TIMEOUT"),
        (ending(None, error="generation failed"), ServerError, "generation failed"),
    ],
)
def test_a_finish_that_means_failure_is_an_error(end: Any, kind: type[ProviderError], words: str) -> None:
    usage = {"billed_units": {"input_tokens": 3}}
    events = read(content(text="a"), {**end, "delta": {**end["delta"], "usage": usage}})
    assert events[:-1] == [Delta("a"), Usage(3)]
    error = end_of(events).error
    assert type(error) is kind and error.message == words
    assert end_of(events).status is Status.FAILED


@pytest.mark.parametrize(
    ("usage", "event"),
    [
        ({"tokens": {"input_tokens": 70}}, [Usage(70)]),
        ({"billed_units": None, "tokens": None}, []),
        ({"billed_units": 5, "tokens": "x"}, []),
        (None, []),
        ("n/a", []),
    ],
)
def test_usage_is_what_is_billed_or_else_the_tokens(usage: Any, event: list[Event]) -> None:
    assert read(ending(usage=usage))[:-1] == event


@pytest.mark.parametrize(
    "value",
    [
        {"type": "something-new", "delta": {"message": {"x": 1}}},
        {"type": "citation-start", "delta": {"message": {"citations": 5}}},
        {"type": "citation-start", "delta": {"message": {"citations": {"sources": [7, {"document": {"url": 7}}]}}}},
        {"type": "citation-start", "delta": {"message": {"citations": {"sources": 7}}}},
        {"type": "content-delta", "delta": {"message": {"content": {"text": None, "new": 1}}}},
        {"type": "content-start", "delta": None},
        {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": None}}},
        {"type": "tool-plan-delta", "delta": {}},
        {},
    ],
)
def test_what_is_odd_beside_the_answer_does_not_spoil_it(value: Any) -> None:
    assert read(value, content(text="a"), ending()) == read(content(text="a"), ending())


@pytest.mark.parametrize(
    "data", [b'event: error\ndata: {"message":"no"}\n\n', b'data: {"type":"error","message":"no"}\n\n']
)
def test_an_error_among_the_events_is_typed(data: bytes) -> None:
    events = read(content(text="a"), data)
    assert (events[0], type(end_of(events).error)) == (Delta("a"), ServerError)
