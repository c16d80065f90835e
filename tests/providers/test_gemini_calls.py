import json
from typing import Any

import pytest

from fanout.abc import Head
from fanout.answers import Answer, Fold
from fanout.errors import ProtocolError, Truncated
from fanout.events import CONTENT, Delta, Event, ToolCall
from fanout.prompt import ToolUse
from fanout.providers.gemini import Gemini


def chunk(*parts: Any, finish: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    return {"candidates": [{**candidate, "finishReason": finish} if finish else candidate]}


def call(*pieces: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"functionCall": {**fields, **({"partialArgs": list(pieces)} if pieces else {})}}


def piece(path: str, value: Any, **fields: Any) -> dict[str, Any]:
    return {"jsonPath": path, "stringValue" if isinstance(value, str) else "numberValue": value, **fields}


def events(*chunks: dict[str, Any]) -> list[Event]:
    reader = Gemini("g").read(Head(200, {"content-type": "text/event-stream"}))
    out = [event for value in chunks for event in reader.feed(b"data: " + json.dumps(value).encode() + b"\r\n\r\n")]
    return out + reader.close()


def read(*parts: dict[str, Any], finish: str | None = "STOP") -> Answer:
    """The answer whose parts come in a chunk each."""
    fold = Fold("a")
    last = [chunk({"text": ""}, finish=finish)] if finish else []
    fold.add(events(*map(chunk, parts), *last), 0.0)
    return fold.answer


BEGUN = call(name="f", willContinue=True)
X = call(piece("$.x", 1), willContinue=True)
Y = call(piece("$.y", 2), willContinue=True)
END = call()


@pytest.mark.parametrize(
    ("parts", "calls"),
    [
        ([BEGUN, X, END], [("call_0", "f", {"x": 1})]),
        ([BEGUN, X, Y, END], [("call_0", "f", {"x": 1, "y": 2})]),
        ([BEGUN, END], [("call_0", "f", {})]),
        ([BEGUN], [("call_0", "f", {})]),
        ([BEGUN, X], [("call_0", "f", {"x": 1})]),
        ([BEGUN, call(piece("$.x", 1))], [("call_0", "f", {"x": 1})]),
        ([BEGUN, call(willContinue=True), X, call(willContinue=True), END], [("call_0", "f", {"x": 1})]),
        ([call(piece("$.x", 1), name="f")], [("call_0", "f", {"x": 1})]),
        ([call(piece("$.x", 1), name="f", willContinue=True), END], [("call_0", "f", {"x": 1})]),
        ([BEGUN, call(piece("$.s", "a", willContinue=True)), call(piece("$.s", "b"))], [("call_0", "f", {"s": "ab"})]),
        ([BEGUN, call(piece("$.x", 1), name="f", willContinue=True), call(name="f")], [("call_0", "f", {"x": 1})]),
        ([BEGUN, X, call(args={"z": 3})], [("call_0", "f", {"z": 3})]),
        ([BEGUN, X, END, BEGUN, Y, END], [("call_0", "f", {"x": 1}), ("call_1", "f", {"y": 2})]),
        ([BEGUN, X, END, call(name="g", args={"y": 2})], [("call_0", "f", {"x": 1}), ("call_1", "g", {"y": 2})]),
        ([call(name="g", args={"y": 2}), BEGUN, X, END], [("call_0", "g", {"y": 2}), ("call_1", "f", {"x": 1})]),
        ([call(name="g"), BEGUN, X, END], [("call_0", "g", {}), ("call_1", "f", {"x": 1})]),
        (
            [
                *(call(name="f", id="a", willContinue=True), call(name="f", id="b", willContinue=True)),
                *(call(piece("$.x", 1), id="a", willContinue=True), call(piece("$.x", 2), id="b", willContinue=True)),
                *(call(id="a"), call(id="b")),
            ],
            [("a", "f", {"x": 1}), ("b", "f", {"x": 2})],
        ),
        (
            [
                *(call(name="f", id="a", willContinue=True), call(name="g", id="b", willContinue=True)),
                *(Y, END, call(piece("$.x", 1), id="a", willContinue=True), END),
            ],
            [("a", "f", {"x": 1}), ("b", "g", {"y": 2})],
        ),
        ([BEGUN, call(piece("$.x", 1), id="late", willContinue=True), END], [("late", "f", {"x": 1})]),
        ([call(name="f", args='{"x":1}')], [("call_0", "f", {"x": 1})]),
        ([END], []),
    ],
)
def test_a_call_in_pieces_is_one_call(parts: list[dict[str, Any]], calls: list[tuple[str, str, Any]]) -> None:
    answer = read(*parts)
    assert [(use.id, use.name, json.loads(use.arguments)) for use in answer.tool_calls] == calls
    assert answer.finish_reason == ("tool_calls" if calls else "stop")
    assert answer.notes == ()


def test_every_piece_counts_as_something_that_comes() -> None:
    """A lane's clock would else take a long call for silence."""
    for part in (BEGUN, X, END):
        reader = Gemini("g").read(Head(200, {"content-type": "text/event-stream"}))
        reader.feed(b"data: " + json.dumps(chunk(BEGUN)).encode() + b"\r\n\r\n")
        found = reader.feed(b"data: " + json.dumps(chunk(part)).encode() + b"\r\n\r\n")
        assert found and all(type(event) in CONTENT for event in found)


def test_the_arguments_are_told_once_they_are_whole() -> None:
    found = [event for event in events(chunk(BEGUN), chunk(X), chunk(END)) if isinstance(event, ToolCall)]
    assert found[0] == ToolCall(0, None, "f", "")
    assert [event.arguments for event in found] == ["", "", "", '{"x":1}']


@pytest.mark.parametrize(
    ("parts", "arguments"),
    [
        ([BEGUN, X], '{"x":1'),
        ([BEGUN], "{"),
        ([BEGUN, call(piece("$.s", "Par", willContinue=True), willContinue=True)], '{"s":"Par"'),
        ([BEGUN, call(piece("$.a[1]", 1), willContinue=True)], "{"),
    ],
)
def test_arguments_that_are_cut_off_are_not_taken_for_whole(parts: list[dict[str, Any]], arguments: str) -> None:
    answer = read(*parts, finish="MAX_TOKENS")
    assert answer.tool_calls == (ToolUse("call_0", "f", arguments),)
    assert answer.finish_reason == "length"
    assert "the arguments of the call of f are cut off" in answer.notes


def test_a_text_that_was_to_go_on_is_cut_off_whatever_the_finish_says() -> None:
    answer = read(BEGUN, call(piece("$.s", "Par", willContinue=True), willContinue=True))
    assert answer.tool_calls == (ToolUse("call_0", "f", '{"s":"Par"'),)
    assert answer.notes == ("the arguments of the call of f are cut off",)


def test_a_stream_that_breaks_off_tells_no_arguments() -> None:
    answer = read(BEGUN, X, finish=None)
    assert type(answer.error) is Truncated
    assert [use.arguments for use in answer.tool_calls] == [""]


@pytest.mark.parametrize("parts", [[X], [call(piece("$.x", 1), id="a")], [call(args={"x": 1})], [BEGUN, X, END, Y]])
def test_arguments_without_a_call_begin_nothing(parts: list[dict[str, Any]]) -> None:
    answer = read({"text": "Hi"}, *parts)
    assert len(answer.tool_calls) == (1 if BEGUN in parts else 0)
    assert answer.notes == ("arguments came for a call that has no name",)


@pytest.mark.parametrize(
    "part",
    [
        call({"jsonPath": "$.a[999999999]", "numberValue": 1}, name="f"),
        call({"jsonPath": "$" + ".a" * 100, "numberValue": 1}, name="f"),
        call({"numberValue": 1}, name="f"),
    ],
)
def test_arguments_that_cannot_be_put_together_are_a_protocol_error(part: dict[str, Any]) -> None:
    assert type(read(part).error) is ProtocolError


@pytest.mark.parametrize("odd", [None, 7, "x", {}, [7], [None], [{}], [{"x": None}], [{"numberValue": None}]])
def test_odd_pieces_are_none(odd: Any) -> None:
    answer = read({"functionCall": {"name": "f", "partialArgs": odd}})
    assert answer.tool_calls == (ToolUse("call_0", "f", "{}"),)


def test_too_many_calls_are_a_protocol_error() -> None:
    assert type(read(*[BEGUN] * 129).error) is ProtocolError


def test_text_between_the_pieces_is_no_part_of_the_call() -> None:
    found = events(chunk({"text": "Let me "}, BEGUN), chunk({"text": "look."}, X), chunk(END, finish="STOP"))
    assert [event for event in found if isinstance(event, Delta)] == [Delta("Let me "), Delta("look.")]
    assert found[-1].finish_reason == "tool_calls"  # type: ignore[union-attr]  # the End
