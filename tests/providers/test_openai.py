import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.abc import Head, Reply, Request
from fanout.errors import (
    AuthError,
    InvalidRequest,
    Overloaded,
    ProtocolError,
    ProviderError,
    RateLimited,
    ServerError,
)
from fanout.events import Delta, End, Event, Reasoning, Refusal, Status, ToolCall, Usage
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers.openai import OpenAI
from fanout.secret import Secret
from tests.conformance.cases import PROJECT_FILE, load, recut
from tests.providers.odd import assert_sound, odd_json

SSE = {"content-type": "text/event-stream", "x-request-id": "r1"}
KEY = "sk-very-secret"


def provider(**fields: Any) -> OpenAI:
    return OpenAI(**{"model": "m-1", "key": Secret(KEY), **fields})


def request(prompt: str | Prompt = "Hi", options: Options | None = None, **fields: Any) -> Request:
    return provider(**fields).request(Prompt.of(prompt).with_options(options or Options()))


def body(*args: Any, **fields: Any) -> dict[str, Any]:
    made = json.loads(request(*args, **fields).body)
    assert isinstance(made, dict)
    return made


def chunk(**choice: Any) -> bytes:
    return b"data: " + orjson.dumps({"model": "m-1", "choices": [{"index": 0, **choice}]}) + b"\n\n"


def read(*chunks: bytes, status: int = 200) -> list[Event]:
    reader = OpenAI("m").read(Head(status, SSE))
    return [event for data in chunks for event in reader.feed(data)] + reader.close()


def end_of(events: list[Event]) -> End:
    end = events[-1]
    assert isinstance(end, End)
    return end


STOP = chunk(delta={}, finish_reason="stop")
DONE = b"data: [DONE]\n\n"


def test_a_request_asks_for_a_stream_with_usage() -> None:
    made = request("Hi")
    assert (made.method, made.url) == ("POST", "https://api.openai.com/v1/chat/completions")
    assert json.loads(made.body) == {
        "model": "m-1",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert made.plain_headers() == {
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "authorization": f"Bearer {KEY}",
    }


def test_the_base_url_is_taken_as_it_is() -> None:
    url = request("Hi", base_url="https://ark.cn-beijing.volces.com/api/v3/").url
    assert url == "https://ark.cn-beijing.volces.com/api/v3/chat/completions"


def test_organization_and_project_are_headers() -> None:
    headers = request("Hi", organization="org-1", project="proj-1").plain_headers()
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj-1")


def test_the_options_have_their_names_of_this_protocol() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    options = Options(
        max_tokens=5,
        temperature=0.0,
        top_p=0.5,
        stop=("a", "b"),
        seed=0,
        reasoning="low",
        tools=(tool,),
        tool_choice="auto",
        schema={"type": "object"},
    )
    made = body("Hi", options)
    assert {name: made[name] for name in made if name not in ("model", "messages", "stream", "stream_options")} == {
        "max_completion_tokens": 5,
        "temperature": 0.0,
        "top_p": 0.5,
        "stop": ["a", "b"],
        "seed": 0,
        "reasoning_effort": "low",
        "tools": [tool],
        "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
    }


def test_most_hosts_have_another_name_for_max_tokens() -> None:
    made = body("Hi", Options(max_tokens=5), max_tokens="max_tokens")
    assert made["max_tokens"] == 5
    assert "max_completion_tokens" not in made


def test_the_body_of_the_options_comes_last() -> None:
    made = body("Hi", Options(temperature=1.0, body={"temperature": 0.3, "stream_options": None, "n": 2}))
    assert (made["temperature"], made["stream_options"], made["n"]) == (0.3, None, 2)


def test_every_role_has_its_form() -> None:
    use = ToolUse("call_1", "add", '{"a":1}')
    prompt = Prompt(
        (
            Message("system", "s"),
            Message("developer", "d"),
            Message("user", "u", name="Ann"),
            Message("assistant", "", tool_uses=(use,)),
            Message("tool", "2", tool_call_id="call_1"),
            Message("assistant", ""),
        )
    )
    function = {"name": "add", "arguments": '{"a":1}'}
    assert body(prompt)["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "d"},
        {"role": "user", "content": "u", "name": "Ann"},
        {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]},
        {"role": "tool", "content": "2", "tool_call_id": "call_1"},
        {"role": "assistant", "content": ""},
    ]


def test_pictures_are_parts_of_the_message() -> None:
    media = (Media(url="https://example.com/a.png"), Media(data=b"\x89PNG", media_type="image/png"), Media(data=b"x"))
    assert body(Prompt((Message("user", "Look", media=media),)))["messages"][0]["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
    ]


def test_a_picture_may_come_without_words() -> None:
    content = body(Prompt((Message("user", "", media=(Media(url="https://x/y"),)),)))["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url"]


def test_sounds_and_files_go_as_bytes_in_their_own_parts() -> None:
    media = (
        Media(data=b"x", media_type="audio/mpeg"),
        Media(data=b"x", media_type="application/pdf", name="page.pdf"),
    )
    content = body(Prompt((Message("user", "Look", media=media),)))["messages"][0]["content"]
    assert content[1:] == [
        {"type": "input_audio", "input_audio": {"data": "eA==", "format": "mp3"}},
        {"type": "file", "file": {"filename": "page.pdf", "file_data": "data:application/pdf;base64,eA=="}},
    ]


def test_a_file_by_its_address_is_refused() -> None:
    media = (Media(url="https://x/y.pdf", media_type="application/pdf"),)
    with pytest.raises(InvalidRequest, match=r"https://x/y\.pdf"):
        request(Prompt((Message("user", "Look", media=media),)))


def test_a_budget_for_reasoning_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="openai has no option reasoning_tokens"):
        request(Prompt((Message("user", "x"),), Options(reasoning_tokens=9)))


def test_a_prompt_with_half_a_surrogate_pair_can_be_sent() -> None:
    assert json.loads(request("a\ud83c").body)["messages"][0]["content"] == "a\ud83c"


def test_a_missing_key_is_named() -> None:
    with pytest.raises(AuthError, match="no key: set OPENAI_API_KEY"):
        request("Hi", key=None)
    with pytest.raises(AuthError, match="no key: set A or B"):
        provider(key=None, key_env=("A", "B")).models_request()


def test_a_server_of_ones_own_needs_no_key() -> None:
    assert "authorization" not in request("Hi", key=None, needs_key=False).headers
    assert request("Hi", needs_key=False).plain_headers()["authorization"] == f"Bearer {KEY}"


def test_the_key_stays_out_of_repr() -> None:
    made = provider()
    assert KEY not in repr(made) + repr(made.request(Prompt.of("Hi"))) + str(
        dict(made.request(Prompt.of("Hi")).headers)
    )


def test_the_models_are_listed() -> None:
    made = provider().models_request()
    assert (made.method, made.url, made.body) == ("GET", "https://api.openai.com/v1/models", b"")
    assert made.plain_headers()["authorization"] == f"Bearer {KEY}"
    reply = b'{"object":"list","data":[{"id":"b"},{"id":"a"},{"id":null},7]}'
    assert provider().models(Reply(Head(200), reply)) == ["b", "a"]
    assert provider().models(Reply(Head(200), b'[{"id":"c"}]')) == ["c"]


@pytest.mark.parametrize(
    ("status", "reply", "kind"),
    [
        (401, b'{"error":{"message":"no"}}', AuthError),
        (200, b"<html>", ProtocolError),
        (200, b"{}", ProtocolError),
        (200, b'"x"', ProtocolError),
    ],
)
def test_a_reply_without_models_is_an_error(status: int, reply: bytes, kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        provider().models(Reply(Head(status), reply))


@pytest.mark.parametrize("case", [c for c in load(PROJECT_FILE) if c.format == "openai-chat"], ids=lambda c: c.name)
def test_the_events_do_not_depend_on_the_cut(case: Any) -> None:
    """Text may come in other pieces only where two deltas are one event; here every delta is its own."""
    expected = comparable(case.chunks)
    for cut, chunks in recut(case):
        assert comparable(chunks) == expected, cut


def comparable(chunks: list[bytes]) -> list[str]:
    return [repr(event) for event in read(*chunks)]


def test_a_stream_becomes_events() -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    assert read(
        chunk(delta={"role": "assistant", "content": ""}), chunk(delta={"content": "Hel"}), STOP, usage, DONE
    ) == [
        Delta("Hel"),
        Usage(input=3, output=2),
        End(Status.FINISHED, "stop", raw="stop", model="m-1", request_id="r1", headers={"x-request-id": "r1"}),
    ]


def test_usage_has_its_details() -> None:
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 2.0,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert Usage(3, 2, 1, 1) in read(chunk(delta={}, usage=usage))
    assert Usage(3, None, 2) in read(chunk(delta={}, usage={"prompt_tokens": 3, "prompt_cache_hit_tokens": 2}))


def timed(text: str, predicted: Any) -> bytes:
    timings = {"cache_n": 4, "prompt_n": 32, "predicted_n": predicted, "predicted_ms": 51.9}
    value = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], "timings": timings}
    return b"data: " + orjson.dumps(value) + b"\n\n"


def test_timings_count_an_answer_that_is_cut_off() -> None:
    events = read(timed("Hel", 1), timed("lo", 3))
    assert events[:-1] == [Delta("Hel"), Delta("lo"), Usage(36, 3, 4)]
    assert end_of(events).status is Status.FAILED


def test_timings_count_nothing_twice_and_spoil_nothing() -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":36,"completion_tokens":3},"timings":{"predicted_n":3}}\n\n'
    counts = [event for event in read(timed("Hello", 3), STOP, usage, DONE) if isinstance(event, Usage)]
    assert counts == [Usage(36, 3)]
    assert read(timed("Hello", "many"), STOP, DONE)[1] == Usage(36, None, 4)


@pytest.mark.parametrize("usage", [None, {}, "n/a", [1], {"prompt_tokens_details": None, "prompt_tokens": "3"}])
def test_odd_usage_does_not_spoil_the_answer(usage: Any) -> None:
    assert end_of(read(chunk(delta={"content": "a"}, finish_reason="stop", usage=usage))).status is Status.FINISHED


def test_groq_puts_usage_and_errors_aside() -> None:
    data = {"choices": [], "x_groq": {"usage": {"prompt_tokens": 3}}}
    assert Usage(3) in read(b"data: " + orjson.dumps(data) + b"\n\n")
    data = {"choices": [], "x_groq": {"error": "over capacity"}}
    assert isinstance(end_of(read(b"data: " + orjson.dumps(data) + b"\n\n", STOP)).error, ServerError)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("eos_token", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("something_new", "unknown"),
    ],
)
def test_every_finish_has_a_reason_of_ours(raw: str, reason: str) -> None:
    end = end_of(read(chunk(delta={"content": "a"}, finish_reason=raw)))
    assert (end.status, end.finish_reason, end.raw) == (Status.FINISHED, reason, raw)


@pytest.mark.parametrize(("raw", "kind"), [("error", ServerError), ("insufficient_system_resource", Overloaded)])
def test_a_finish_that_means_failure_is_an_error(raw: str, kind: type[ProviderError]) -> None:
    events = read(chunk(delta={"content": "a"}, finish_reason=raw), DONE)
    assert events[0] == Delta("a")
    assert type(end_of(events).error) is kind


def test_an_error_in_the_chunk_of_its_finish_comes_first() -> None:
    data = {"error": {"code": 429, "message": "m"}, "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}
    assert isinstance(end_of(read(b"data: " + orjson.dumps(data) + b"\n\n")).error, RateLimited)


@pytest.mark.parametrize(
    ("delta", "events"),
    [
        ({"reasoning_content": "a"}, [Reasoning("a")]),
        ({"reasoning": "a", "content": "b"}, [Reasoning("a"), Delta("b")]),
        ({"reasoning": "a", "reasoning_content": "a"}, [Reasoning("a")]),
        ({"reasoning": "a", "reasoning_details": [{"text": "a"}]}, [Reasoning("a")]),
        ({"reasoning_details": [{"text": "a"}, {"summary": "b"}, {"data": "x"}]}, [Reasoning("ab")]),
        ({"refusal": "no"}, [Refusal("no")]),
        ({"content": [{"type": "text", "text": "a"}, {"type": "reference", "ids": [1]}]}, [Delta("a")]),
        ({"content": [{"type": "thinking", "thinking": "a"}]}, [Reasoning("a")]),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]}, [Reasoning("a")]),
        ({"content": None, "reasoning": None, "refusal": None, "tool_calls": None}, []),
        ({"content": "", "role": "assistant"}, []),
        ({"content": "<think>a</think>"}, [Delta("<think>a</think>")]),
        (None, []),
        ({}, []),
    ],
)
def test_a_delta_has_many_forms(delta: Any, events: list[Event]) -> None:
    assert read(chunk(delta=delta), STOP)[:-1] == events


def call(**fields: Any) -> bytes:
    return chunk(delta={"tool_calls": [fields]})


@pytest.mark.parametrize(
    ("chunks", "events"),
    [
        (
            [
                call(index=0, id="c", function={"name": "f", "arguments": ""}),
                call(index=0, function={"arguments": "{}"}),
            ],
            [ToolCall(0, "c", "f", ""), ToolCall(0, None, None, "{}")],
        ),
        ([call(id="c", function={"name": "f", "arguments": {"a": [1]}})], [ToolCall(0, "c", "f", '{"a":[1]}')]),
        (
            [call(id="c", function={"name": "f", "arguments": "{}"}), call(id="d", function={"name": "f"})],
            [ToolCall(0, "c", "f", "{}"), ToolCall(1, "d", "f", "")],
        ),
        (
            [call(id="c", function={"name": "f"}), call(function={"arguments": "{}"})],
            [ToolCall(0, "c", "f"), ToolCall(0, arguments="{}")],
        ),
        ([call(index=1, id="c", function=None)], [ToolCall(1, "c")]),
        ([call(index=0, function={"name": None, "arguments": None})], []),
        (
            [
                chunk(delta={"content": None, "function_call": {"name": "f", "arguments": ""}}),
                chunk(delta={"function_call": {"arguments": "{}"}}),
                chunk(delta={"function_call": None}),
            ],
            [ToolCall(0, None, "f", ""), ToolCall(0, None, None, "{}")],
        ),
    ],
)
def test_tool_calls_come_in_many_forms(chunks: list[bytes], events: list[Event]) -> None:
    read_events = read(*chunks, STOP)
    assert read_events[:-1] == events
    assert end_of(read_events).finish_reason == "tool_calls"


@pytest.mark.parametrize("index", ["x", [0], 1.5])
def test_an_index_that_is_none_is_a_protocol_error(index: Any) -> None:
    assert isinstance(end_of(read(call(index=index, id="c"))).error, ProtocolError)


def test_a_whole_message_counts_only_if_nothing_came_by_delta() -> None:
    whole = {"role": "assistant", "content": "Hello"}
    assert read(chunk(delta={"content": "Hello"}, message=whole), chunk(message=whole, finish_reason="stop"))[:-1] == [
        Delta("Hello")
    ]
    grown = chunk(message={"content": "Hel"}), chunk(message=whole, finish_reason="stop")
    assert read(*grown, DONE)[:-1] == [Delta("Hello")]
    assert read(grown[0])[:-1] == [Delta("Hel")]


def test_a_whole_completion_is_an_answer() -> None:
    message = {"content": "Hi", "reasoning_content": "hmm", "tool_calls": [{"id": "c", "function": {"name": "f"}}]}
    completion = {
        "model": "m",
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3},
    }
    assert read(orjson.dumps(completion)) == [
        Usage(3),
        Reasoning("hmm"),
        Delta("Hi"),
        ToolCall(0, "c", "f"),
        End(Status.FINISHED, "tool_calls", raw="stop", model="m", request_id="r1", headers={"x-request-id": "r1"}),
    ]


def test_other_choices_do_not_mix_in() -> None:
    other = {"index": 1, "delta": {"content": "B"}, "finish_reason": "stop"}
    data = {"choices": [other, {"index": 0, "delta": {"content": "A"}}, {"delta": {"content": "C"}}]}
    events = read(b"data: " + orjson.dumps(data) + b"\n\n")
    assert events[:-1] == [Delta("A"), Delta("C")]
    assert end_of(events).status is Status.FAILED


@pytest.mark.parametrize(
    "value",
    [
        {"choices": 5},
        {"choices": [None]},
        {"choices": [7]},
        {"choices": [{"delta": 5}]},
        {"choices": [{"delta": {"content": 5}}]},
        {"choices": [{"delta": {"tool_calls": [5]}}]},
        {"choices": [{"delta": {}, "finish_reason": [1]}]},
        {"choices": [{"message": 5}]},
        {"x_groq": 5, "choices": []},
    ],
)
def test_a_chunk_of_the_wrong_shape_is_a_protocol_error(value: Any) -> None:
    assert type(end_of(read(b"data: " + orjson.dumps(value) + b"\n\n")).error) is ProtocolError


NAMES = [
    *("choices", "delta", "message", "content", "tool_calls", "function", "arguments", "index"),
    *("finish_reason", "usage", "x_groq", "error", "id", "type", "text"),
]
ODD = odd_json(NAMES, ["text", "stop"])


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5), max_size=4), st.booleans())
@settings(deadline=None, max_examples=150)
def test_no_stream_is_too_odd(values: list[dict[str, Any]], sse: bool) -> None:
    stream = "".join(f"data: {json.dumps(value)}\n\n" if sse else json.dumps(value) for value in values)
    events = read(stream.encode())
    assert_sound(events)
