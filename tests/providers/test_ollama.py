import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanout
from fanout.abc import Head, Reply, Request
from fanout.errors import (
    AllLanesFailed,
    AuthError,
    InvalidRequest,
    NotAStream,
    NotFound,
    Overloaded,
    ProtocolError,
    ProviderError,
    RateLimited,
    ServerError,
    Truncated,
)
from fanout.events import Delta, End, Event, File, Reasoning, Status, ToolCall, Usage
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers.ollama import Ollama
from fanout.secret import Secret
from tests.providers.odd import assert_sound, odd_json
from tests.servers import ollama

NDJSON = {"content-type": "application/x-ndjson"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def request(prompt: str | Prompt = "Hi", options: Options | None = None, **fields: Any) -> Request:
    return Ollama(**{"model": "m-1", **fields}).request(Prompt.of(prompt).with_options(options or Options()))


def body(*args: Any, **fields: Any) -> dict[str, Any]:
    made = json.loads(request(*args, **fields).body)
    assert isinstance(made, dict)
    return made


def line(*, done: bool = False, fields: Any = None, **message: Any) -> bytes:
    value = {"model": "m-1", "message": {"role": "assistant", "content": "", **message}, "done": done, **(fields or {})}
    return json.dumps(value).encode() + b"\n"


def read(*chunks: bytes, head: Head | None = None) -> list[Event]:
    reader = Ollama("m").read(head or Head(200, NDJSON))
    return [event for data in chunks for event in reader.feed(data)] + reader.close()


def end_of(events: list[Event]) -> End:
    end = events[-1]
    assert isinstance(end, End)
    return end


DONE = line(done=True, fields={"done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2})


def test_a_request_asks_for_a_stream_and_needs_no_key() -> None:
    made = request("Hi")
    assert (made.method, made.url) == ("POST", "http://127.0.0.1:11434/api/chat")
    assert json.loads(made.body) == {
        "model": "m-1",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    }
    assert made.plain_headers() == {
        "accept": "application/x-ndjson",
        "accept-encoding": "identity",
        "content-type": "application/json",
    }
    assert request(base_url="http://localhost:1/").url == "http://localhost:1/api/chat"


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


@pytest.mark.parametrize(
    ("message", "options", "words"),
    [
        (Message("user", "u"), Options(reasoning_tokens=5), "ollama has no option reasoning_tokens"),
        (Message("user", "u"), Options(tool_choice="required"), "ollama cannot carry tool_choice"),
        (Message("user", "u", name="Ann"), Options(), "ollama cannot carry the name"),
        (Message("user", "", media=(Media(url="https://x/y.png"),)), Options(), "ollama takes pictures as bytes"),
        (Message("user", "", media=(Media(data=b"x", media_type="audio/wav"),)), Options(), "ollama .* not audio/wav"),
        (Message("tool", "2", tool_call_id="1"), Options(), "ollama needs to know which tool gave the result 1"),
        (Message("assistant", "", tool_uses=(ToolUse("1", "f", "[1]"),)), Options(), "ollama .* the arguments of f"),
        (Message("assistant", "", tool_uses=(ToolUse("1", "f", "{"),)), Options(), "ollama .* the arguments of f"),
    ],
)
def test_what_it_cannot_carry_is_refused_by_name(message: Message, options: Options, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        request(Prompt((message,)), options)


def test_the_models_are_listed() -> None:
    made = Ollama().models_request()
    assert (made.method, made.url) == ("GET", "http://127.0.0.1:11434/api/tags")
    reply = b'{"models":[{"name":"b:latest"},{"name":"a:1b"},{"name":null},7]}'
    assert Ollama().models(Reply(Head(200), reply)) == ["b:latest", "a:1b"]
    assert Ollama().models(Reply(Head(200), b'{"models":[]}')) == []


@pytest.mark.parametrize(
    ("status", "reply", "kind"),
    [(500, b'{"error":"no"}', ServerError), (200, b"<html>", ProtocolError), (200, b"{}", ProtocolError)],
)
def test_a_reply_without_models_is_an_error(status: int, reply: bytes, kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        Ollama().models(Reply(Head(status), reply))


LINES = [
    line(thinking="hmm"),
    line(content="Grüße "),
    line(content="🎈", tool_calls=[{"function": {"name": "add", "arguments": {"a": 1, "b": [True]}}}]),
    line(tool_calls=[{"id": "c-2", "function": {"name": "now"}}]),
    DONE,
]
EVENTS = [
    Reasoning("hmm"),
    Delta("Grüße "),
    Delta("🎈"),
    ToolCall(0, "call_0", "add", '{"a":1,"b":[true]}'),
    ToolCall(1, "c-2", "now", "{}"),
    Usage(3, 2),
    End(Status.FINISHED, "tool_calls", raw="stop", model="m-1"),
]


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "application/json", ""])
def test_the_events_do_not_depend_on_the_cut(media_type: str) -> None:
    head = Head(200, {"content-type": media_type})
    data = b"".join(LINES)
    assert read(*(bytes([byte]) for byte in data), head=head) == EVENTS
    for place in range(len(data) + 1):
        assert read(data[:place], data[place:], head=head) == EVENTS, place


def test_the_last_line_needs_no_end() -> None:
    assert end_of(read(line(content="a"), DONE.rstrip())).status is Status.FINISHED


def test_nothing_counts_after_the_last_line() -> None:
    assert read(DONE + line(content="more"), b"<junk>") == read(DONE)


@pytest.mark.parametrize(
    ("raw", "reason"), [("stop", "stop"), ("length", "length"), ("load", "unknown"), ("new", "unknown")]
)
def test_every_finish_has_a_reason_of_ours(raw: str, reason: str) -> None:
    end = end_of(read(line(content="a"), line(done=True, fields={"done_reason": raw})))
    assert (end.status, end.finish_reason, end.raw) == (Status.FINISHED, reason, raw)


def test_an_old_server_gives_no_reason() -> None:
    assert end_of(read(line(done=True))).finish_reason == "unknown"


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


@pytest.mark.parametrize(
    "value",
    [
        7,
        [],
        {"message": 5},
        {"message": {"tool_calls": 5}},
        {"message": {"tool_calls": [{}]}},
        {"message": {"tool_calls": [{"function": 5}]}},
    ],
)
def test_a_line_of_the_wrong_shape_is_a_protocol_error(value: Any) -> None:
    assert type(end_of(read(line(content="a"), json.dumps(value).encode() + b"\n")).error) is ProtocolError


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"error": '"m" does not support tools'}, InvalidRequest),
        (401, {"error": "unauthorized", "signin_url": "https://ollama.com/connect?name=x"}, AuthError),
        (404, {"error": "model 'm' not found"}, NotFound),
        (429, {"error": "too many requests"}, RateLimited),
        (500, {"error": "llama runner process has terminated"}, ServerError),
        (503, {"error": "server busy, please try again. maximum pending requests exceeded"}, Overloaded),
        (200, {"error": "an error was encountered while running the model"}, ServerError),
    ],
)
def test_every_error_is_typed(status: int, error: Any, kind: type[ProviderError]) -> None:
    data = json.dumps(error).encode()
    for chunks in ((data,), [bytes([byte]) for byte in data]):
        found = end_of(read(*chunks, head=Head(status, NDJSON))).error
        assert type(found) is kind and found.message == error["error"]


def test_an_error_among_the_lines_keeps_what_came_before() -> None:
    events = read(line(content="a"), b'{"error":"the runner died"}\n', DONE)
    assert events[0] == Delta("a")
    assert type(end_of(events).error) is ServerError


@pytest.mark.parametrize(
    ("data", "kind"),
    [(line(content="a"), Truncated), (b"", Truncated), (b'{"model"', Truncated), (b"<html>", NotAStream)],
)
def test_no_answer_without_its_end(data: bytes, kind: type[ProviderError]) -> None:
    assert type(end_of(read(data)).error) is kind


NAMES = [
    *("message", "content", "thinking", "tool_calls", "function", "name", "arguments", "id", "done", "done_reason"),
    *("prompt_eval_count", "eval_count", "error", "model"),
]
ODD = odd_json(NAMES, ["text", "stop"])


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5), max_size=4))
@settings(deadline=None, max_examples=150)
def test_no_stream_is_too_odd(values: list[dict[str, Any]]) -> None:
    events = read("\n".join(map(json.dumps, values)).encode())
    assert_sound(events)


async def test_it_wins_a_race_over_a_real_socket() -> None:
    async with ollama.open_server() as server:
        answer = await fanout.race("Hi", [Ollama("stream", base_url=server.url)], system="Be brief.")
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("Hello", "hmm", "stop")
    assert (answer.lane, answer.provider, answer.model) == ("ollama/stream", "ollama", "stream")
    assert answer.usage == Usage(3, 2)


async def test_the_service_takes_all_that_it_sends() -> None:
    options = Options(5, 0.5, 0.5, ("x",), 1, reasoning="high", tools=(TOOL,), schema={"type": "object"})
    messages = (
        Message("developer", "d"),
        Message("user", "u", media=(Media(data=b"x", media_type="image/png"),)),
        Message("assistant", "", tool_uses=(ToolUse("1", "add", "{}"),)),
        Message("tool", "2", tool_call_id="1"),
    )
    async with ollama.open_server() as server:
        (answer,) = await fanout.gather(Prompt(messages, options), [Ollama("stream", base_url=server.url)])
    assert (answer.error, answer.text) == (None, "Hello")


@pytest.mark.parametrize(("model", "kind"), [("missing", NotFound), ("broken", ServerError), (None, InvalidRequest)])
async def test_what_the_service_says_is_the_lanes_error(model: str | None, kind: type[ProviderError]) -> None:
    async with ollama.open_server() as server:
        with pytest.raises(AllLanesFailed) as failed:
            await fanout.race("Hi", [Ollama(model, base_url=server.url)], retries=0)
    (error,) = failed.value.exceptions
    assert type(error) is kind
    assert isinstance(error, ProviderError) and error.partial == ("Hel" if model == "broken" else "")


def test_a_key_goes_along_where_there_is_one() -> None:
    lane = Ollama("m", base_url="https://ollama.com", key=Secret("canary"))
    for made in (lane.request(Prompt.of("Hi")), lane.models_request()):
        assert made.plain_headers()["authorization"] == "Bearer canary"
        assert "canary" not in repr(made) + repr(lane)
    assert "authorization" not in Ollama("m").request(Prompt.of("Hi")).headers
    with pytest.raises(AuthError, match="set OLLAMA_API_KEY"):
        Ollama("m", needs_key=True).request(Prompt.of("Hi"))


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
