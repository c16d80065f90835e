import json
from typing import Any

import pytest

from fanout.wire.json_events import JsonEvents
from fanout.wire.sse import ServerSentEvent, ServerSentEvents
from tests.cpu import seconds_of


def frames(data: bytes, size: int = 1000) -> list[Any]:
    framing = JsonEvents()
    return [frame for at in range(0, len(data), size) for frame in framing.feed(data[at : at + size])]


@pytest.mark.parametrize("start", [b"data: ", b"event: message\ndata: "])
def test_whole_events_of_one_name_become_their_objects(start: bytes) -> None:
    assert frames(start + b'{"a":1}\n\n' + start + b'{"b":"\xc3\xbc"}\n\n') == [{"a": 1}, {"b": "ü"}]


@pytest.mark.parametrize("text", ["[DONE]", "", "1", "null", '[{"a":1}]', '"error"', '{"a":"\\ud83c"}', '{"a":', "NaN"])
def test_what_is_no_object_that_orjson_takes_stays_a_message(text: str) -> None:
    data = f'data: {{"a":1}}\n\ndata: {text}\n\ndata: {{"b":2}}\n\n'.encode()
    assert frames(data) == [{"a": 1}, ServerSentEvent("message", text, ""), {"b": 2}]


def test_an_event_called_error_stays_a_message_with_its_name() -> None:
    assert frames(b'event: error\ndata: {"a":1}\n\n') == [ServerSentEvent("error", '{"a":1}', "")]


@pytest.mark.parametrize("size", [1, 1000])
def test_a_sign_of_life_stays_a_message_with_its_name(size: int) -> None:
    data = b'event: ping\ndata: {"a":1}\n\n'
    assert frames(data * 2, size) == [ServerSentEvent("ping", '{"a":1}', "")] * 2


def test_bad_bytes_are_not_taken_for_an_object_before_they_are_replaced() -> None:
    (message,) = frames(b'data: {"a":"\xff"}\n\n', size=1)
    (value,) = frames(b'data: {"a":"\xff"}\n\n')
    assert (message, value) == (ServerSentEvent("message", '{"a":"\ufffd"}', ""), {"a": "\ufffd"})


MIXED = b"".join(
    (
        b'event: a\ndata: {"n":1}\n\nevent: a\ndata: {"n":2}\n\nevent: b\ndata: {"n":3}\n\n',
        b": ping\n\nid: 7\ndata: [DONE]\n\ndata: x\n\ndata: y\n\nevent: \ndata: {}\n\nretry: 5\r\n\r\n",
    )
)


@pytest.mark.parametrize("size", [1, 2, 7, 30, 64, 100, 1000])
def test_there_is_one_frame_for_each_message_however_it_is_cut(size: int) -> None:
    plain, found = ServerSentEvents(), frames(MIXED, size)
    messages = plain.feed(MIXED)
    assert [m.data for m in messages] == ['{"n":1}', '{"n":2}', '{"n":3}', "[DONE]", "x", "y", "{}"]
    assert len(found) == len(messages)
    assert [f for f in found if isinstance(f, ServerSentEvent)] == [
        m for m, f in zip(messages, found, strict=True) if isinstance(f, ServerSentEvent)
    ]


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("start", ["data: ", "data:", "event: message\ndata: ", "id: 1\ndata: "])
def test_events_without_a_blank_line_between_them_end_where_the_next_begins(start: str, size: int) -> None:
    framing = JsonEvents()
    data = "".join(f'{start}{{"a":{number}}}\n' for number in range(3)).encode()
    found = [frame for at in range(0, len(data), size) for frame in framing.feed(data[at : at + size])]
    assert [json.loads(frame.data) for frame in found] == [{"a": 0}, {"a": 1}]
    framing.close()
    assert framing.unspaced
    assert framing.pending is not None
    assert json.loads(framing.pending.data) == {"a": 2}


def test_an_object_over_several_lines_stays_one() -> None:
    lines = ['{"a": {"b": 1},', '"c": {', '"d": 2}', "}"]
    (message,) = frames("".join(f"data: {line}\n" for line in lines).encode() + b"\n")
    assert json.loads(message.data) == {"a": {"b": 1}, "c": {"d": 2}}


def test_an_event_of_many_lines_takes_linear_time() -> None:
    def cost(lines: int) -> float:
        data = b"data: {}\ndata: x\n" + b'data: {"a": 1}\n' * lines
        return min(seconds_of(lambda: JsonEvents().feed(data)) for _ in range(3))

    assert cost(40_000) < 3 * cost(20_000) + 0.01
