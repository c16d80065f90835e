from itertools import repeat
from typing import Any

import pytest

from fanout.abc import Head
from fanout.errors import AuthError, NotAStream, ProtocolError, ProviderError, TooLarge, Truncated
from fanout.wire.body import BLANK_CAP, DOCUMENT_CAP, ERROR_CAP, Body, JsonDocument
from fanout.wire.json_array import JsonArray
from fanout.wire.json_events import JsonEvents
from fanout.wire.ndjson import JsonLines
from tests.conformance.cases import cut_at_sizes

SSE = "text/event-stream"
JSON = "application/json"


def body(data: bytes, media_type: str = "", size: int = 1 << 20, status: int = 200, *, lines: bool = False) -> Body:
    made = Body(Head(status, {"content-type": media_type} if media_type else {}), lines=lines)
    for chunk in cut_at_sizes(data, repeat(size)):
        made.feed(chunk)
    return made


@pytest.mark.parametrize(
    ("data", "media_type", "framing"),
    [
        (b"data: x\n", SSE, JsonEvents),
        (b"data: x\n", "Text/Event-Stream; charset=latin1", JsonEvents),
        (b"data: x\n", "text/plain", JsonEvents),
        (b"data: x\n", "", JsonEvents),
        (b"data\n", "application/octet-stream", JsonEvents),
        (b"event: x\n", "", JsonEvents),
        (b"id: 1\n", "", JsonEvents),
        (b"retry: 1\n", "", JsonEvents),
        (b"error: {}\n", "", JsonEvents),
        (b": hello\n", "", JsonEvents),
        (b"\xef\xbb\xbf\n\ndata: x\n", "", JsonEvents),
        (b"unknown words\n", SSE, JsonEvents),
        (b'{"a":1}\n', "application/x-ndjson", JsonLines),
        (b'{"a":1}\n', "application/jsonl; charset=utf-8", JsonLines),
        (b'{"a":1}\n', JSON, JsonDocument),
        (b'{"a":1}\n', SSE, JsonDocument),
        (b'\r\n \t{"a":1}\n', "", JsonDocument),
        (b"[1]", SSE, JsonArray),
        (b"[1]", JSON, JsonArray),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_the_first_bytes_and_then_the_label_tell_the_framing(
    data: bytes, media_type: str, framing: type, size: int
) -> None:
    found = body(data, media_type, size)
    assert type(found.framing) is framing
    assert found.is_document is (framing is JsonDocument)


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"<!doctype html>", "text/html"),
        (b"\n<html>", SSE),
        (b"database error", "text/plain"),
        (b"dat", ""),
        (b"Service Unavailable", ""),
        (b" " * (BLANK_CAP + 1), SSE),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_anything_else_is_not_a_stream(data: bytes, media_type: str, size: int) -> None:
    found = body(data, media_type, size)
    assert found.close() == []
    assert isinstance(found.error, NotAStream)


def test_a_protocol_of_lines_needs_no_label() -> None:
    assert body(b'{"a":1}\n', JSON, lines=True).feed(b'{"a":2}\n') == [{"a": 2}]


def test_frames_come_out_with_the_read_that_decides() -> None:
    made = Body(Head(200))
    assert made.feed(b"dat") == []
    assert [message.data for message in made.feed(b"a: x\n\n")] == ["x"]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_body_has_no_framing(data: bytes) -> None:
    found = body(data)
    assert found.close() == []
    assert found.framing is None or isinstance(found.error, NotAStream)


@pytest.mark.parametrize(
    ("data", "values", "error"),
    [
        (b'{"a":1}\n', [{"a": 1}], None),
        (b'{"a":', [], Truncated),
        (b'{"a":1}{"a":2}', [], ProtocolError),
        (b'{"a":oops}', [], ProtocolError),
    ],
)
def test_a_document_is_one_value_at_the_end(data: bytes, values: list[Any], error: type[ProviderError] | None) -> None:
    found = body(data, JSON, 3)
    assert found.close() == values
    assert (found.error and type(found.error)) is error


def test_a_document_has_a_cap() -> None:
    found = body(b"{" + b" " * DOCUMENT_CAP, JSON)
    assert isinstance(found.error, TooLarge)
    assert found.close() == []


def test_with_another_status_there_is_an_error_at_the_end() -> None:
    found = body(b'{"error":{"message":"no"}}', JSON, 5, status=401)
    assert not found.error
    found.close()
    error = found.error
    assert isinstance(error, AuthError)
    assert (error.message, error.status) == ("no", 401)


def test_an_endless_error_body_is_not_read_to_its_end() -> None:
    found = body(b"x" * (ERROR_CAP + 1), status=500)
    assert found.error is not None
    assert found.error.kind == "server"
