import json
from typing import Any

import pytest

from fanout.abc import Head
from fanout.errors import RateLimited, ServerError
from fanout.events import Delta, End, Event, File, Status, Usage
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers.ollama import Ollama
from tests.providers.exchange import end_of
from tests.providers.wires.ollama import DONE, body, line, read
from tests.providers.wires.wire import TOOL


def test_a_server_of_ones_own_is_asked_without_a_key() -> None:
    lane = Ollama("m-1")
    assert lane.request(Prompt.of("Hi")).plain_headers() == {
        "accept": "application/x-ndjson",
        "accept-encoding": "identity",
        "content-type": "application/json",
    }
    assert "authorization" not in lane.models_request().headers


def test_every_role_has_its_form() -> None:
    prompt = Prompt(
        (
            Message("system", "s"),
            Message("developer", "d"),
            Message("user", "u"),
            Message("assistant", "", tool_uses=(ToolUse("1", "add", '{"a":1}'), ToolUse("2", "now", ""))),
            Message("tool", "2", tool_call_id="1"),
            Message("tool", "noon", name="now"),
        )
    )
    calls = [
        {"function": {"name": "add", "arguments": {"a": 1}}},
        {"function": {"name": "now", "arguments": {}}},
    ]
    assert body(prompt)["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "system", "content": "d"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "2", "tool_name": "add"},
        {"role": "tool", "content": "noon", "tool_name": "now"},
    ]


def test_pictures_go_beside_the_text() -> None:
    media = (Media(data=b"\x89PNG", media_type="image/png"), Media(data=b"x"))
    assert body(Prompt((Message("user", "Look", media=media),)))["messages"] == [
        {"role": "user", "content": "Look", "images": ["iVBORw==", "eA=="]}
    ]


def test_the_options_have_their_names_of_this_protocol() -> None:
    schema = {"type": "object"}
    options = Options(
        max_tokens=5,
        temperature=0.0,
        top_p=0.5,
        stop=("a", "b"),
        seed=0,
        reasoning="low",
        tools=(TOOL,),
        tool_choice="auto",
        schema=schema,
    )
    made = body("Hi", options)
    assert made.pop("options") == {"num_predict": 5, "temperature": 0.0, "top_p": 0.5, "stop": ["a", "b"], "seed": 0}
    assert {name: made[name] for name in made if name not in ("model", "messages", "stream")} == {
        "think": "low",
        "tools": [TOOL],
        "format": schema,
    }


@pytest.mark.parametrize(("reasoning", "think"), [("true", True), ("false", False), ("none", False), ("high", "high")])
def test_thinking_is_on_or_off_or_has_an_effort(reasoning: str, think: Any) -> None:
    assert body("Hi", Options(reasoning=reasoning))["think"] == think


def test_the_body_of_the_options_comes_last_and_adds_to_the_models_options() -> None:
    extra = {"options": {"num_ctx": 9, "seed": 2}, "keep_alive": "5m"}
    made = body("Hi", Options(temperature=1.0, seed=1, body=extra))
    assert (made["options"], made["keep_alive"]) == ({"temperature": 1.0, "seed": 2, "num_ctx": 9}, "5m")
    assert body("Hi", Options(body={"options": {"top_k": 4}}))["options"] == {"top_k": 4}
    assert body("Hi", Options(seed=1, body={"options": None}))["options"] is None


def test_the_last_line_needs_no_end() -> None:
    assert end_of(read(line(content="a"), DONE.rstrip())).status is Status.FINISHED


@pytest.mark.parametrize(
    ("counts", "usage"),
    [({"eval_count": 2}, [Usage(None, 2)]), ({}, []), ({"prompt_eval_count": "3"}, []), ({"eval_count": None}, [])],
)
def test_a_count_that_is_left_out_is_unknown(counts: Any, usage: list[Event]) -> None:
    assert read(line(done=True, fields=counts))[:-1] == usage


@pytest.mark.parametrize(
    "value", [{}, {"message": None}, {"message": {"content": None}}, {"status": "loading"}, {"logprobs": [1]}]
)
def test_an_odd_line_does_not_spoil_the_answer(value: Any) -> None:
    events = read(json.dumps(value).encode() + b"\n", line(content="a"), DONE)
    assert (events[0], end_of(events).status) == (Delta("a"), Status.FINISHED)


def test_an_error_among_the_lines_keeps_what_came_before() -> None:
    events = read(line(content="a"), b'{"error":"the runner died"}\n', DONE)
    assert events[0] == Delta("a")
    assert type(end_of(events).error) is ServerError


def test_a_picture_of_a_message_is_a_file() -> None:
    reader = Ollama("m").read(Head(200))
    events = reader.feed(
        b'{"message":{"content":"","images":["aGVsbG8=",7,"-"]}}\n{"done":true,"done_reason":"stop"}\n'
    )
    assert events[0] == File(data=b"hello")
    assert [type(event) for event in events] == [File, End]


def test_a_gateways_words_are_its_error() -> None:
    (end,) = Ollama("m").read(Head(200)).feed(b'{"success":false,"errors":[{"code":429,"message":"slow down"}]}\n')
    assert isinstance(end, End)
    assert isinstance(end.error, RateLimited)
