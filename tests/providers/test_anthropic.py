import json
from typing import Any

import pytest

import fanout
from fanout.credentials.secret import Secret
from fanout.errors import ProviderError, RateLimited
from fanout.events import Delta, End, Reasoning, Refusal, Sources, Status, ToolCall, Usage
from fanout.prompt import Options, Prompt
from fanout.providers.anthropic import Anthropic
from tests.local.conftest import model  # noqa: F401  # a fixture
from tests.providers.exchange import end_of
from tests.providers.wires.anthropic import (
    CITATION,
    CONVERSATION,
    ERRORS,
    EVENTS,
    MEDIA,
    OPTIONS,
    PAGES,
    SCHEMA,
    STOP,
    TOOL,
    TRANSCRIPT,
    begun,
    block,
    body,
    delta,
    kept,
    over,
    provider,
    read,
    request,
    stopped,
    text,
)
from tests.servers.anthropic import KEY, TOKEN
from tests.servers.events import text_of

PICTURE_BLOCK = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}}


def test_a_token_goes_in_the_place_of_the_key() -> None:
    headers = request("Hi", token=Secret(TOKEN), betas=("oauth-2025-04-20", "b")).plain_headers()
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert "x-api-key" not in headers
    assert headers["anthropic-beta"] == "oauth-2025-04-20,b"
    assert request("Hi", key=None, token=Secret(TOKEN)).plain_headers()["authorization"] == f"Bearer {TOKEN}"


def test_another_version_of_the_protocol_can_be_asked_for() -> None:
    assert request("Hi", version="2026-10-21").plain_headers()["anthropic-version"] == "2026-10-21"


def test_key_and_token_stay_out_of_repr() -> None:
    lane = provider(token=Secret(TOKEN))
    shown = repr(lane) + repr(request()) + str(dict(request().headers)) + str(dict(lane.models_request().headers))
    assert KEY not in shown
    assert TOKEN not in shown


def test_system_messages_go_to_the_top_and_tool_results_into_one_turn() -> None:
    made = body(CONVERSATION)
    assert made["system"] == "Be brief.\n\nIn German."
    assert made["messages"] == [
        {"role": "user", "content": "1+1?"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "2"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "toolu_2", "name": "add", "input": {}},
                {"type": "tool_use", "id": "toolu_3", "name": "add", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "content": [PICTURE_BLOCK, {"type": "text", "text": "3"}],
                },
                {"type": "tool_result", "tool_use_id": "toolu_3", "content": "4"},
            ],
        },
        {"role": "user", "content": "Thanks"},
        {"role": "assistant", "content": "Bitte"},
        {"role": "user", "content": "Bye"},
    ]


def test_media_come_before_the_words_about_them() -> None:
    assert body(MEDIA)["messages"][0]["content"] == [
        PICTURE_BLOCK,
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        {"type": "text", "text": "Look\n\na.md:\n```\né\n```"},
    ]


def test_the_options_have_their_names_of_this_protocol() -> None:
    made = body("Hi", OPTIONS)
    assert {name: made[name] for name in made if name not in ("model", "messages", "stream")} == {
        "max_tokens": 5000,
        "top_p": 0.5,
        "stop_sequences": ["a", "b"],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        "tools": [{"name": "add", "description": "Adds.", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any"},
    }
    assert body("Hi", Options(temperature=0.0))["temperature"] == 0.0


def test_thinking_comes_on_top_of_the_usual_length() -> None:
    assert body("Hi", Options(reasoning_tokens=2000))["max_tokens"] == 10192
    assert body("Hi", Options(reasoning_tokens=2000), max_tokens=100)["max_tokens"] == 2100
    assert body("Hi", Options(reasoning_tokens=0))["thinking"] == {"type": "disabled"}
    assert body("Hi", Options(max_tokens=0))["max_tokens"] == 0


@pytest.mark.parametrize(
    ("choice", "form"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("any", {"type": "any"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "add"}}, {"type": "tool", "name": "add"}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"type": "auto", "disable_parallel_tool_use": True}),
    ],
)
def test_a_tool_choice_has_a_form_of_its_own(choice: Any, form: dict[str, Any]) -> None:
    assert body("Hi", Options(tools=(TOOL,), tool_choice=choice))["tool_choice"] == form


def test_a_tool_in_this_wires_own_form_is_left_alone() -> None:
    own = {"type": "web_search_20250305", "name": "web_search"}
    made = body("Hi", Options(tools=(own, {"type": "function", "function": {"name": "f"}})))
    assert made["tools"] == [own, {"name": "f", "input_schema": {"type": "object", "properties": {}}}]


def test_the_body_of_the_options_comes_last() -> None:
    made = body("Hi", Options(temperature=1.0, body={"temperature": 0.3, "thinking": {"type": "adaptive"}}))
    assert (made["temperature"], made["thinking"]) == (0.3, {"type": "adaptive"})


def test_a_stream_becomes_events() -> None:
    assert read(*TRANSCRIPT) == EVENTS


def test_why_it_refused_is_told() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "too risky"}
    events = read(text("a"), stopped("refusal", stop_details=details), STOP)
    assert events[:-1] == [Delta("a"), Refusal("too risky")]
    assert end_of(events).finish_reason == "content_filter"


def test_a_refusal_alone_has_its_counts() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "too risky"}
    last = stopped("refusal", {"output_tokens": 4}, stop_details=details)
    assert Usage(9, 4) in read(begun(input_tokens=9, output_tokens=1), last, STOP)


def test_a_block_may_begin_with_its_content() -> None:
    events = read(
        block(0, type="thinking", thinking="hm"),
        delta(0, "thinking", thinking="m"),
        block(1, type="text", text="He", citations=[CITATION]),
        delta(1, "text", text="y"),
        block(2, type="tool_use", id="toolu_1", name="add", input={"a": 1}),
        stopped("tool_use"),
    )
    assert events[:-1] == [
        Reasoning("hm"),
        Reasoning("m"),
        kept(type="thinking", signature=""),
        Delta("He"),
        Sources(PAGES[:1]),
        Delta("y"),
        ToolCall(2, "toolu_1", "add", ""),
        ToolCall(2, None, None, '{"a":1}'),
    ]


def test_an_input_that_comes_twice_counts_once() -> None:
    events = read(
        block(0, type="tool_use", id="toolu_1", name="add", input={"a": 1}),
        delta(0, "input_json", partial_json='{"a":1}'),
        over(0),
        stopped("tool_use"),
    )
    assert events[:-1] == [ToolCall(0, "toolu_1", "add", ""), ToolCall(0, None, None, '{"a":1}')]


def test_a_whole_message_is_an_answer() -> None:
    content = [
        {"type": "thinking", "thinking": "hmm", "signature": "c2ln"},
        {"type": "text", "text": "Hey", "citations": [CITATION]},
        {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}},
    ]
    message = {"type": "message", "model": "m", "content": content, "usage": {"input_tokens": 3, "output_tokens": 2}}
    events = [
        Reasoning("hmm"),
        kept(type="thinking", signature="c2ln"),
        Delta("Hey"),
        Sources(PAGES[:1]),
        ToolCall(2, "toolu_1", "add", ""),
        ToolCall(2, None, None, '{"a":1}'),
        Usage(3, 2),
    ]
    end = End(Status.FINISHED, "tool_calls", None, "tool_use", "m", "req_1", {"request-id": "req_1"})
    assert read(json.dumps({**message, "stop_reason": "tool_use"}).encode()) == [*events, end]
    unfinished = read(json.dumps(message).encode())
    assert unfinished[:-1] == events
    assert end_of(unfinished).finish_reason == "unknown"


@pytest.mark.parametrize(("status", "name", "kind"), ERRORS)
def test_every_error_is_typed_as_a_body_and_as_an_event(status: int, name: str, kind: type[ProviderError]) -> None:
    error = {"type": "error", "error": {"type": name, "message": "m"}, "request_id": "req_9"}
    end = end_of(read(json.dumps(error).encode(), status=status))
    assert type(end.error) is kind
    assert (end.error.status, end.error.message, end.request_id) == (status, "m", "req_1")
    for made in (text_of(error), b"data: " + json.dumps(error).encode() + b"\n\n"):
        events = read(text("a"), made, text("b"))
        assert [type(event) for event in events] == [Delta, End]
        assert type(end_of(events).error) is kind


@pytest.mark.slow
@pytest.mark.usefixtures("model")
async def test_the_embedded_model_answers_on_this_wire() -> None:
    """llama.cpp ignores tools where the model's template has no place for them."""
    lane = Anthropic("smollm2", base_url="local://smollm2", needs_key=False)
    options = Options(max_tokens=8, temperature=0.0, tools=(TOOL,), tool_choice="auto")
    prompt = Prompt.of("Why is the sky blue?", system="Be brief.").with_options(options)
    answer = await fanout.race(prompt, [lane], timeouts=fanout.Timeouts(first=60))
    assert (answer.status, answer.finish_reason, answer.model) == (Status.FINISHED, "length", "local")
    assert answer.text
    assert answer.usage and answer.usage.output == 8
    assert answer.usage.input and answer.usage.input > 8


def test_a_later_0_is_no_count() -> None:
    events = read(
        begun(input_tokens=15, output_tokens=1),
        text("Hi"),
        stopped("end_turn", {"input_tokens": 0, "output_tokens": 5}),
        STOP,
    )
    assert events[1] == Usage(15, 5)


def test_a_part_that_is_not_known_is_noted_and_no_reason_to_lose_the_answer() -> None:
    parts = (
        block(0, type="hologram", data="x"),
        over(0),
        block(1, type="redacted_thinking", data="x"),
        over(1),
        text("Hi"),
    )
    end = end_of(read(begun(), *parts, stopped("end_turn"), STOP))
    assert (end.status, end.notes) == (Status.FINISHED, ("a part of the answer is a hologram, which is not known",))


def test_an_error_in_a_gateways_own_words_is_one() -> None:
    error = end_of(
        read(begun(), {"type": "odd", "success": False, "errors": [{"code": 429, "message": "slow down"}]})
    ).error
    assert (type(error), error and error.message) == (RateLimited, "slow down")


def test_a_gateway_that_begins_anew_gives_an_index_to_another_call() -> None:
    first = (
        begun(),
        block(1, type="tool_use", id="ta", name="f", input={}),
        delta(1, "input_json", partial_json='{"a'),
    )
    second = (
        begun(),
        block(1, type="tool_use", id="tb", name="f", input={}),
        delta(1, "input_json", partial_json='{"b"'),
    )
    events = read(*first, *second, delta(1, "input_json", partial_json=":1}"), over(1), stopped("tool_use"), STOP)
    calls = [event for event in events if isinstance(event, ToolCall)]
    assert "".join(call.arguments for call in calls if call.index == 1) == '{"a'
    assert "".join(call.arguments for call in calls if call.index == 2) == '{"b":1}'
    assert [(call.index, call.id) for call in calls if call.id] == [(1, "ta"), (2, "tb")]


@pytest.mark.parametrize("odd", [{"message": None}, {"message": 5}, {}])
def test_a_beginning_without_its_message_is_no_reason_to_lose_the_answer(odd: dict[str, Any]) -> None:
    assert read({"type": "message_start", **odd}, text("a"), stopped(), STOP)[0] == Delta("a")
