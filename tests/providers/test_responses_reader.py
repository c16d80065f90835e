import json
from typing import Any

import pytest

from fanout.errors import (
    InvalidRequest,
    Overloaded,
    ProviderError,
    QuotaError,
    RateLimited,
    ServerError,
    TimedOut,
    Truncated,
)
from fanout.events import Delta, End, Reasoning, Refusal, Source, Sources, Status, ToolCall, Usage
from fanout.providers.responses import Responses
from tests.cpu import is_linear
from tests.providers.exchange import end_of
from tests.providers.wires.responses import CALL, EVENTS, HEAD, OUTPUT, TRANSCRIPT, USAGE, ending, event, read, text
from tests.servers.events import text_of


def kept_item(item: Any) -> Reasoning:
    """The part that goes back to the usual lane of an item that has its texts."""
    mark = {"wire": "responses", "service": "https://api.openai.com/v1", "model": "m-1"}
    return Reasoning("", {**mark, "data": {"summary": [], **item}})


def test_a_stream_becomes_events() -> None:
    assert read(*TRANSCRIPT) == EVENTS


def test_refusals_and_reasoning_are_kept_apart() -> None:
    events = read(
        event("reasoning_text.delta", delta="a"),
        event("refusal.delta", delta="no"),
        event("refusal.done", refusal="no"),
        ending(),
    )
    assert events[:-1] == [Reasoning("a"), Refusal("no")]
    assert end_of(events).finish_reason == "stop"


def test_what_did_not_come_by_delta_is_read_at_the_end() -> None:
    assert read(ending(output=OUTPUT))[:-1] == [
        Reasoning("hmm"),
        Delta("Hé🎈"),
        Sources([Source("https://example.com/a", "A")]),
        ToolCall(2, "call_1", "add", '{"a":1}'),
    ]


def test_arguments_that_did_not_come_by_delta_are_read_when_the_call_is_done() -> None:
    whole = event("output_item.done", output_index=0, item=OUTPUT[2])
    begun = event("output_item.added", output_index=0, item={**CALL, "arguments": '{"a":1}'})
    assert read(begun, whole, ending(output=OUTPUT[2:]))[:-1] == [
        ToolCall(0, "call_1", "add", ""),
        ToolCall(0, "call_1", "add", '{"a":1}'),
    ]
    assert read(whole, ending(output=OUTPUT[2:]))[:-1] == [ToolCall(0, "call_1", "add", '{"a":1}')]


def test_calls_without_a_place_in_the_output_are_told_apart_by_their_ids() -> None:
    """As llama.cpp sends them."""

    def call(name: str) -> list[dict[str, Any]]:
        item = {"type": "function_call", "call_id": f"fc_{name}", "name": name, "arguments": ""}
        return [
            event("output_item.added", item=item),
            event("function_call_arguments.delta", item_id=f"fc_{name}", delta="{"),
            event("function_call_arguments.delta", item_id=f"fc_{name}", delta="}"),
        ]

    events = read(*call("f"), *call("g"), event("output_item.done", item={**CALL, "call_id": "fc_f"}), ending())
    assert [(e.index, e.id, e.arguments) for e in events if isinstance(e, ToolCall)] == [
        (0, "fc_f", ""),
        (0, None, "{"),
        (0, None, "}"),
        (1, "fc_g", ""),
        (1, None, "{"),
        (1, None, "}"),
    ]


def test_what_came_otherwise_than_it_ends_is_kept_and_told() -> None:
    events = read(text("Draft"), event("output_text.done", output_index=1, item_id="msg_1", text="Final"), ending())
    assert events[0] == Delta("Draft")
    assert end_of(events).notes == ("the service ended a message with another text than came before, which is kept",)
    end = end_of(
        read(text("a\ud83c"), text("\udf88"), event("output_text.done", item_id="msg_1", text="a🎈"), ending())
    )
    assert end.notes == ()


def test_a_text_that_ends_too_early_goes_on() -> None:
    """OmniRoute closes a message after its first delta, and sends the others behind that."""
    message = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "1"}]}
    whole = {**message, "content": [{"type": "output_text", "text": "1\n2\n3"}]}
    early = event("output_text.done", output_index=1, item_id="msg_1", content_index=0, text="1")
    done = event("output_item.done", output_index=1, item=message)
    events = read(text("1"), early, done, text("\n2"), text("\n"), ending(output=[whole]))
    assert events[:-1] == [Delta("1"), Delta("\n2"), Delta("\n"), Delta("3")]
    assert end_of(events).notes == ()


@pytest.mark.parametrize("index", [{"output_index": 0}, {}])
def test_ids_that_change_between_the_phases_double_nothing(index: dict[str, int]) -> None:
    """As mistral.rs names one message."""
    message = {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}
    item = {} if index else {"item_id": "msg_A"}
    events = read(
        event("output_item.added", **index, item={"type": "message", "id": "msg_A", "content": []}),
        event("output_text.delta", **index, **item, content_index=0, delta="Hel"),
        event("output_text.delta", **index, **item, content_index=0, delta="lo"),
        event("output_item.done", **index, item={**message, "id": "msg_B" if index else "msg_A"}),
        ending(output=[{**message, "id": "msg_C"}]),
    )
    assert events[:-1] == [Delta("Hel"), Delta("lo")]


def test_reasoning_may_be_streamed_as_such_and_end_as_a_summary() -> None:
    done = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hmm"}]}
    for kind in ("reasoning_text", "reasoning_summary_text"):
        delta = event(f"{kind}.delta", output_index=0, item_id="rs_1", delta="hm")
        for item in (done, {**done, "summary": [], "content": [{"type": "reasoning_text", "text": "hmm"}]}):
            events = read(delta, event("output_item.done", output_index=0, item=item), ending(output=[item]))
            kept = [kept_item(item)] if "content" in item else []  # a summary alone is looked up in vain
            assert events[:-1] == [Reasoning("hm"), Reasoning("m"), *kept]


@pytest.mark.parametrize("index", [0, 1, 7])
def test_texts_that_are_counted_over_all_items_are_told_once(index: int) -> None:
    """As vLLM does with gpt-oss: the message after the reasoning begins at 1, and its item has one text."""
    message = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "Hello"}]}
    place = {"output_index": 1, "item_id": "msg_1", "content_index": index}
    events = read(
        event("output_text.delta", **place, delta="Hel"),
        event("output_text.delta", **place, delta="lo"),
        event("output_text.done", **place, text="Hello"),
        event("content_part.done", **place, part=message["content"][0]),
        event("output_item.done", output_index=1, item=message),
        ending(output=[message]),
    )
    assert events[:-1] == [Delta("Hel"), Delta("lo")]
    assert end_of(events).notes == ()


def test_texts_that_are_counted_with_every_delta_are_told_once() -> None:
    done = {"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "I see."}]}
    pieces = [
        event("reasoning_text.delta", output_index=0, item_id="rs_1", content_index=index, delta=delta)
        for index, delta in enumerate(("I", " see", "."), 8)
    ]
    whole = event("reasoning_text.done", output_index=0, item_id="rs_1", content_index=11, text="I see.")
    part = event("reasoning_part.done", output_index=0, item_id="rs_1", content_index=11, part=done["content"][0])
    events = read(*pieces, whole, part, event("output_item.done", output_index=0, item=done), ending(output=[done]))
    assert events[:-1] == [Reasoning("I"), Reasoning(" see"), Reasoning("."), kept_item(done)]


@pytest.mark.parametrize("kind", ["reasoning", "reasoning_content", "reasoning_summary"])
def test_reasoning_under_an_older_name_is_reasoning(kind: str) -> None:
    assert read(event(f"{kind}.delta", delta="hmm"), text("Hi"), ending())[:-1] == [Reasoning("hmm"), Delta("Hi")]
    assert read(event("reasoning.delta", delta={}), event("reasoning.done", text="hm"), ending())[:-1] == [
        Reasoning("hm")
    ]


def test_a_content_that_is_a_text_alone_is_one() -> None:
    assert read(ending(output=[{"type": "message", "content": "Hi"}]))[:-1] == [Delta("Hi")]
    assert read(ending(output=[], output_text="Hi"))[:-1] == [Delta("Hi")]
    assert read(text("Hi"), ending(output=[], output_text="Hi"))[:-1] == [Delta("Hi")]


def test_parts_and_items_that_are_not_known_are_told_and_lose_nothing() -> None:
    parts = [{"type": "hologram", "shape": "cube"}, None, {"type": "output_text", "text": "Hi"}, 7]
    output = [None, 7, {}, {"type": 7}, {"type": "hologram"}, {"type": "message", "content": parts}]
    events = read(ending(output=output))
    assert events[:-1] == [Delta("Hi")]
    assert end_of(events).notes == (
        "the answer has an item that is not known: hologram",
        "the answer has a part that is not known: hologram",
    )


@pytest.mark.parametrize("odd", [None, 7, "x", [], {}, [None], True, -1.5, {"x": None}])
def test_odd_fields_beside_the_text_lose_nothing(odd: Any) -> None:
    events = read(
        event("created", response=odd),
        event("output_item.added", output_index=0, item=odd),
        event("output_item.added", output_index=odd, item={**CALL, "arguments": ""}),
        event("function_call_arguments.delta", output_index=odd, item_id="fc_1", delta="{}"),
        event("output_text.delta", output_index=odd, item_id=odd, content_index=odd, delta="Hi"),
        event("output_text.done", output_index=odd, item_id=odd, content_index=odd, text="Hi"),
        event("content_part.done", output_index=odd, part=odd),
        event("output_item.done", output_index=0, item=odd),
        ending(output=[odd], usage={**USAGE, "input_tokens_details": odd, "output_tokens_details": odd}, model=odd),
    )
    assert [found for found in events if isinstance(found, Delta)] == [Delta("Hi")]
    assert [found.arguments for found in events if isinstance(found, ToolCall)] == ["", "{}"]
    assert end_of(events).finish_reason == "tool_calls"


def test_pages_beside_the_output_are_sources() -> None:
    events = read(text("a"), ending(citations=["https://a.example/", {"url": "https://b.example/", "title": "B"}, 7]))
    assert events[1] == Sources([Source("https://a.example/"), Source("https://b.example/", "B")])


@pytest.mark.parametrize("status", ["in_progress", "queued"])
def test_a_response_that_has_not_ended_is_no_answer(status: str) -> None:
    events = read(text("a"), event("completed", response={"status": status, "output": []}), text("b"))
    assert [type(event) for event in events] == [Delta, End]
    assert type(end_of(events).error) is Truncated
    document = {"object": "response", "status": status, "output": [{"type": "message", "content": "a"}]}
    assert type(end_of(read(json.dumps(document).encode())).error) is Truncated


@pytest.mark.parametrize(
    ("kind", "response", "reason", "raw"),
    [
        (
            "completed",
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            "content_filter",
            "",
        ),
        ("completed", {"status": "completed", "incomplete_details": {"reason": "max_output_tokens"}}, "length", ""),
        ("completed", {"status": "stop"}, "stop", "stop"),
        ("completed", {"status": "length"}, "length", "length"),
        ("completed", {"status": ""}, "stop", "completed"),
        ("completed", {"status": 7}, "stop", "completed"),
        ("completed", {"status": "banana"}, "unknown", "banana"),
        ("done", {}, "stop", "completed"),
        ("done", {"status": "incomplete", "incomplete_details": 7}, "unknown", "incomplete"),
        ("incomplete", {"status": "completed"}, "stop", "completed"),
    ],
)
def test_the_status_goes_over_the_name_of_the_event(kind: str, response: dict[str, Any], reason: str, raw: str) -> None:
    end = end_of(read(text("a"), event(kind, response=response)))
    assert (end.status, end.finish_reason) == (Status.FINISHED, reason)
    assert not raw or end.raw == raw


@pytest.mark.parametrize("kind", ["completed", "done", "incomplete", "failed", "cancelled"])
@pytest.mark.parametrize(
    ("response", "error", "words"),
    [
        ({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow"}}, RateLimited, "slow"),
        ({"status": "failed", "error": {"code": "image_too_large", "message": "big"}}, InvalidRequest, "big"),
        ({"status": "cancelled", "error": None}, ServerError, "the response is cancelled"),
        ({"status": "failed"}, ServerError, "the response is failed"),
    ],
)
def test_a_response_that_failed_is_an_error_whatever_its_event(
    kind: str, response: dict[str, Any], error: type[ProviderError], words: str
) -> None:
    events = read(text("a"), event(kind, response={**response, "usage": USAGE}))
    found = end_of(events).error
    assert type(found) is error and found.message == words
    assert [event for event in events if isinstance(event, Usage)] == [Usage(30, 12, 20, 7)]


def many_odd_events(count: int) -> None:
    """A stream that repeats, contradicts and changes its names as often as it can."""
    reader = Responses("m").read(HEAD)
    for number in range(count):
        for odd in (
            text(f"{number} "),
            event("output_text.done", output_index=1, item_id="msg_1", content_index=0, text="0 1 x"),
            event("output_text.delta", output_index=1, item_id=f"m_{number}", content_index=number, delta="b"),
            event("output_item.done", output_index=1, item={"type": "message", "content": [{"text": "0 "}] * 3}),
            event("function_call_arguments.delta", output_index=2, item_id="fc_1", delta="ab"),
            event("function_call_arguments.done", output_index=2, item_id="fc_1", arguments="x"),
            event("reasoning_text.delta", output_index=number, item_id="rs_1", delta="c"),
            event("output_item.added", output_index=number % 9, item={"type": "reasoning", "id": f"r_{number}"}),
        ):
            reader.feed(text_of(odd))
    assert isinstance(end_of(reader.feed(text_of(ending(output=OUTPUT[:2] * count)))), End)


@pytest.mark.slow
def test_nothing_costs_more_than_what_comes() -> None:
    assert is_linear(many_odd_events, 500)


def test_a_whole_response_is_an_answer() -> None:
    document = {"object": "response", "model": "m", "status": "completed", "error": None, "output": OUTPUT}
    assert read(json.dumps({**document, "usage": USAGE}).encode()) == [
        Reasoning("hmm"),
        Delta("Hé🎈"),
        Sources([Source("https://example.com/a", "A")]),
        ToolCall(2, "call_1", "add", '{"a":1}'),
        Usage(30, 12, 20, 7),
        End(Status.FINISHED, "tool_calls", None, "completed", "m", "r1", {"x-request-id": "r1"}),
    ]
    refusal = [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]
    cut = {**document, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": refusal}
    events = read(json.dumps(cut).encode())
    assert (events[0], end_of(events).finish_reason) == (Refusal("no"), "length")


def failed(code: Any) -> dict[str, Any]:
    return ending("failed", error={"code": code, "message": "boom"})


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (failed("server_error"), ServerError),
        (failed("rate_limit_exceeded"), RateLimited),
        (failed("insufficient_quota"), QuotaError),
        (failed("invalid_prompt"), InvalidRequest),
        (failed("bio_policy"), InvalidRequest),
        (failed("image_too_large"), InvalidRequest),
        (failed("invalid_image_url"), InvalidRequest),
        (failed("vector_store_timeout"), TimedOut),
        (failed("server_is_overloaded"), Overloaded),
        (failed("slow_down"), RateLimited),
        (failed("content_filter"), InvalidRequest),
        (failed("new_code"), ServerError),
        (failed(None), ServerError),
        (ending("failed", error=None), ServerError),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None}, RateLimited),
        ({"type": "error", "code": "image_too_small", "message": "tiny", "param": None}, InvalidRequest),
        ({"type": "error", "code": None, "message": "boom", "param": None}, ServerError),
        ({"type": "error", "error": {"code": "server_overloaded", "type": "overloaded_error"}}, Overloaded),
    ],
)
def test_a_failure_in_the_stream_is_a_typed_error(last: dict[str, Any], kind: type[ProviderError]) -> None:
    for made in (text_of(last), b"data: " + json.dumps(last).encode() + b"\n\n"):
        events = read(text("a"), made, text("b"))
        assert [type(event) for event in events] == [Delta, End]
        assert type(end_of(events).error) is kind


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_whole_response_that_failed_is_an_error(status: str) -> None:
    document: dict[str, Any] = {"object": "response", "status": status, "error": None, "output": []}
    assert type(end_of(read(json.dumps(document).encode())).error) is ServerError
    error = {"code": "image_too_large", "message": "m"}
    assert type(end_of(read(json.dumps({**document, "error": error}).encode())).error) is InvalidRequest
