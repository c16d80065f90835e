"""Twice the input takes at most 2.3 times the time, whatever it is made of."""

import gc
import gzip
import json
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from fanout.abc import Head, Reader
from fanout.chats.aura import AuraReader
from fanout.chats.hailuo import HailuoReader
from fanout.chats.huggingchat.reader import AnswerReader
from fanout.chats.koala import KoalaReader
from fanout.chats.vitalentum import VitalentumReader
from fanout.formats.terminal import Sanitiser
from fanout.gateway.dialects import chat, completions, messages_read, responses_read
from fanout.gateway.dialects.asked import read_json
from fanout.gateway.dialects.sealed import seal
from fanout.providers.anthropic import MessagesReader
from fanout.providers.chat_reader import ChatReader
from fanout.providers.cohere import CohereReader
from fanout.providers.gemini_reader import GeminiReader
from fanout.providers.ollama import OllamaReader
from fanout.providers.responses_reader import ResponsesReader
from fanout.transports.curl.chunked import Chunks
from fanout.wire.body import JsonDocument
from fanout.wire.coding import PIECE, Decoder
from fanout.wire.devalue import unflatten
from fanout.wire.json_array import JsonArray
from fanout.wire.json_events import JsonEvents
from fanout.wire.json_text import JsonText
from fanout.wire.multipart import Part, multipart
from fanout.wire.ndjson import JsonLines
from fanout.wire.shortcut import Lines
from fanout.wire.sse import ServerSentEvents
from fanout.wire.text import Utf8Text
from fanout.wire.weight import Weight

MOST = 2.3
SIZE = 128 << 10
LEAST = 0.002
"""Seconds below which a time says nothing."""

Feed = Callable[[bytes], object]
HEAD = Head(200, {"content-type": "text/event-stream"})
UNITS = {
    "nothing": b"\n",
    "letters": b"a",
    "lines": b"a\n",
    "returns": b"\r",
    "comments": b": x\n",
    "data": b"data\n",
    "events": b"data: {}\n\n",
    "named": b"event: a\ndata: {}\n\n",
    "tokens": b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
    "braces": b"{",
    "objects": b"{}",
    "elements": b"{},",
    "quotes": b'"',
    "escapes": b"\\u00e9",
    "backslashes": b"\\",
    "brackets": b"[]",
    "commas": b",",
    "numbers": b"1 ",
    "utf-8": "é\U0001f600".encode(),
    "broken": b"\xff\xc3",
}
MAKERS: dict[str, Callable[[], Feed]] = {
    "sse": lambda: ServerSentEvents().feed,
    "events": lambda: JsonEvents().feed,
    "lines": lambda: JsonLines().feed,
    "array": lambda: started(JsonArray().feed, b"["),
    "object in an array": lambda: started(JsonArray().feed, b'[{"'),
    "document": lambda: JsonDocument(JsonText()).feed,
    "text": lambda: Utf8Text().feed,
    "weight": lambda: started(Weight().add, bytes(64 << 10)),  # what is light is not weighed
    "chat": lambda: ChatReader(HEAD).feed,
    "chat, an event": lambda: started(ChatReader(HEAD).feed, b"data: "),
}


def started(feed: Feed, start: bytes) -> Feed:
    feed(start)
    return feed


def cost(make: Callable[[], Feed], unit: bytes, size: int, piece: int) -> float:
    """Feeds a unit over and over, in pieces that are cut anywhere.

    They are cut from one short text: what would not fit into the processor's cache would take longer for that alone.
    """
    feed, text = make(), unit * (piece // len(unit) + 2)
    starts = [at % len(unit) for at in range(0, size, piece)]
    began = time.thread_time()
    for start in starts:
        feed(text[start : start + piece])
    return time.thread_time() - began


def assert_linear(run: Callable[[int], float]) -> None:
    """Takes the least of up to eight measurements; a size that takes no time to speak of is raised first."""
    size = SIZE
    once = four_times = float("inf")
    gc.disable()  # it would look at all that the other tests have left
    try:
        while run(size) < LEAST and size < 16 * SIZE:
            size *= 2
        for _ in range(8):
            once, four_times = min(once, run(size)), min(four_times, run(4 * size))
            ratio = (four_times / max(once, LEAST / 2)) ** 0.5  # of two doublings: one alone may end on a new page
            if ratio <= MOST:
                return
    finally:
        gc.enable()
    raise AssertionError(f"twice the input takes {ratio:.1f} times as long")


@pytest.mark.slow
@pytest.mark.parametrize("piece", [PIECE, 100])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("maker", MAKERS)
def test_a_reader_takes_time_in_proportion(maker: str, unit: str, piece: int) -> None:
    assert_linear(lambda size: cost(MAKERS[maker], UNITS[unit], size, piece))


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", [gzip.compress(b""), gzip.compress(b"a"), gzip.compress(bytes(2000)), b"\0\0\0\xff\xff", b"\0"]
)
def test_a_coding_takes_time_in_proportion(unit: bytes) -> None:
    start = b"" if unit.startswith(b"\x1f") else b"\x1f\x8b\x08\0\0\0\0\0\0\xff"

    def make() -> Feed:
        return started(Decoder("gzip").feed, start)

    assert_linear(lambda size: cost(make, unit, size, PIECE))


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [b"\0\0\0\xff\xff", deflate(b"a"), deflate(bytes(2000))])
@pytest.mark.parametrize("start", [b"", b"\x78\x9c"], ids=["raw", "zlib"])
def test_deflate_takes_time_in_proportion(unit: bytes, start: bytes) -> None:
    assert_linear(
        lambda size: cost(lambda: started(Decoder("deflate").feed, start or b"\0\0\0\xff\xff"), unit, size, PIECE)
    )


@pytest.mark.slow
@pytest.mark.parametrize("unit", [gzip.compress(b""), gzip.compress(b"a"), gzip.compress(bytes(2000))])
@pytest.mark.parametrize("outer", [gzip.compress, lambda data: data], ids=["packed", "not packed"])
def test_stacked_codings_take_time_in_proportion(unit: bytes, outer: Callable[[bytes], bytes]) -> None:
    """The bytes within the outer coding are wire bytes to the inner one, however few the outer ones are."""
    assert_linear(lambda size: cost(lambda: Decoder("gzip, gzip").feed, outer(unit * 100), size, PIECE))


@pytest.mark.slow
@pytest.mark.parametrize("unit", [b"1\r\n:\r\n", b"5;a=b\r\nabcde\r\n", b"0000000000000001\r\n:\r\n"])
def test_chunks_take_time_in_proportion(unit: bytes) -> None:
    assert_linear(lambda size: cost(lambda: Chunks().feed, unit, size, PIECE))


def flattened(number: int) -> Any:
    return [{"a": 1}, list(range(2, number)), *(["x"] * number)]


@pytest.mark.slow
def test_flattened_values_take_time_in_proportion() -> None:
    def run(size: int) -> float:
        values = flattened(size // 8)
        began = time.thread_time()
        unflatten(values)
        return time.thread_time() - began

    assert_linear(run)


def event(value: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


def line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def chunk(**delta: Any) -> bytes:
    return event({"choices": [{"delta": delta}]})


def anthropic(kind: str, **delta: Any) -> bytes:
    return event({"type": "content_block_delta", "index": 0, "delta": {"type": kind, **delta}})


def item(kind: str, **more: Any) -> bytes:
    return event({"type": f"response.{kind}", "item_id": "a", "output_index": 0, "content_index": 0, **more})


def page(number: int) -> dict[str, Any]:
    return {"url": f"http://{number:06x}", "title": str(number), "type": "url_citation"}


def call(number: int, name: str | None = "f") -> dict[str, Any]:
    return {"index": number, "id": f"c{number}", "function": {"name": name, "arguments": '{"a":'}}


def gemini(*parts: Any, **more: Any) -> bytes:
    return event({"candidates": [{"content": {"parts": [*parts]}, **more}]})


WORD = {"type": "stream", "token": "a"}
READERS: dict[str, tuple[Callable[[], Reader], dict[str, Callable[[int], bytes]]]] = {
    "anthropic": (
        lambda: MessagesReader(HEAD, {"maker": "m"}),
        {
            "text": lambda i: anthropic("text_delta", text=str(i)),
            "thoughts": lambda i: anthropic("thinking_delta", thinking=str(i)),
            "signatures": lambda i: anthropic("signature_delta", signature=str(i)),
            "inputs": lambda i: anthropic("input_json_delta", partial_json="a"),
            "pages": lambda i: anthropic("citations_delta", citation=page(i)),
            "blocks": lambda i: event(
                {"type": "content_block_start", "index": i, "content_block": {"type": "thinking"}}
            ),
            "counts": lambda i: event(
                {"type": "message_delta", "delta": {}, "usage": {f"a{i}": i, "output_tokens": i}}
            ),
            "unknown": lambda i: event({"type": "content_block_start", "content_block": {"type": f"a{i}"}}),
        },
    ),
    "chat": (
        lambda: ChatReader(HEAD, {"maker": "m"}),
        {
            "text": lambda i: chunk(content=str(i)),
            "thoughts": lambda i: chunk(reasoning_content=str(i)),
            "arguments": lambda i: chunk(tool_calls=[{"index": 0, "function": {"arguments": str(i)}}]),
            "calls": lambda i: chunk(tool_calls=[call(i)]),
            "one call": lambda i: chunk(tool_calls=[call(0)]),
            "nameless calls": lambda i: chunk(tool_calls=[call(i % 100, None if i > 1 else "f")]),
            "whole arguments": lambda i: chunk(
                tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]
            ),
            "pages": lambda i: chunk(annotations=[page(i)]),
            "citations": lambda i: event({"choices": [], "citations": [f"http://{i}"]}),
            "sound": lambda i: chunk(audio={"data": "YWFh", "transcript": str(i)}),
            "pictures": lambda i: chunk(images=[{"image_url": {"url": f"http://{i}"}}]),
            "parts": lambda i: chunk(content=[{"type": f"a{i}"}]),
            "messages": lambda i: event({"choices": [{"message": {"content": str(i)}}]}),
            "details": lambda i: chunk(reasoning_details=[{"type": "reasoning.text", "text": str(i), "index": i}]),
            "one detail": lambda i: chunk(reasoning_details=[{"type": "reasoning.text", "text": str(i), "index": 0}]),
            "signatures": lambda i: chunk(
                reasoning_details=[{"type": "reasoning.text", "signature": str(i), "id": "a"}]
            ),
            "counts": lambda i: event({"choices": [], "usage": {"prompt_tokens": i, f"a{i}": i}}),
            "finishes": lambda i: event({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
        },
    ),
    "cohere": (
        lambda: CohereReader(HEAD),
        {
            "text": lambda i: event({"type": "content-delta", "delta": {"message": {"content": {"text": str(i)}}}}),
            "calls": lambda i: event(
                {"type": "tool-call-delta", "index": i % 9, "delta": {"message": {"tool_calls": call(i)}}}
            ),
            "pages": lambda i: event(
                {"type": "citation-start", "delta": {"message": {"citations": {"sources": [{"document": page(i)}]}}}}
            ),
        },
    ),
    "gemini": (
        lambda: GeminiReader(HEAD, {"maker": "m"}),
        {
            "text": lambda i: gemini({"text": str(i)}),
            "thoughts": lambda i: gemini({"text": str(i), "thought": True, "thoughtSignature": "a"}),
            "calls": lambda i: gemini({"functionCall": {"name": "f", "args": {"a": i}}}),
            "open calls": lambda i: gemini(
                {"functionCall": {"name": f"f{i % 100}", "id": str(i % 100), "willContinue": True}}
            ),
            "arguments": lambda i: gemini(
                {
                    "functionCall": {
                        "name": "f",
                        "partialArgs": [{"jsonPath": "$.a", "stringValue": str(i), "willContinue": True}],
                        "willContinue": True,
                    }
                }
            ),
            "many arguments": lambda i: gemini(
                {
                    "functionCall": {
                        "name": "f",
                        "partialArgs": [{"jsonPath": f"$.a[{i}].b", "stringValue": str(i)}],
                        "willContinue": True,
                    }
                }
            ),
            "pages": lambda i: gemini(groundingMetadata={"groundingChunks": [{"web": {"uri": f"http://{i}"}}]}),
            "counts after the end": lambda i: event(
                {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {f"a{i}": 1}}
            ),
            "code": lambda i: gemini({"executableCode": {"code": str(i)}}),
            "files": lambda i: gemini({"inlineData": {"mimeType": "a/b", "data": "YWFh"}}),
            "array": lambda i: (b"[" if i == 0 else b",") + gemini({"text": str(i)})[6:-2],
        },
    ),
    "ollama": (
        lambda: OllamaReader(HEAD),
        {
            "text": lambda i: line({"message": {"role": "assistant", "content": str(i)}}),
            "thoughts": lambda i: line({"message": {"thinking": str(i)}}),
            "calls": lambda i: line({"message": {"tool_calls": [call(i)]}}),
        },
    ),
    "responses": (
        lambda: ResponsesReader(HEAD, maker={"maker": "m"}),
        {
            "text": lambda i: item("output_text.delta", delta=str(i)),
            "texts": lambda i: item("output_text.delta", delta=str(i), content_index=i),
            "items": lambda i: item("output_text.delta", delta=str(i), item_id=str(i), output_index=i),
            "nameless items": lambda i: event(
                {"type": "response.output_item.added", "item": {"type": "message", "id": str(i)}}
            ),
            "done texts": lambda i: (
                item("output_text.delta", delta="a", content_index=i)
                + item("output_text.done", text="aab", content_index=i + 1)
            ),
            "thoughts": lambda i: item("reasoning_summary_text.delta", delta=str(i), summary_index=i),
            "arguments": lambda i: item("function_call_arguments.delta", delta=str(i)),
            "calls": lambda i: item(
                "output_item.added", item={"type": "function_call", "id": str(i), "call_id": str(i), "name": "f"}
            ),
            "pages": lambda i: item("output_text.annotation.added", annotation=page(i)),
            "done items": lambda i: item(
                "output_item.done",
                item={"type": "message", "id": str(i), "content": [{"type": "output_text", "text": str(i)}]},
            ),
            "unknown": lambda i: item("output_item.done", item={"type": f"a{i}", "id": str(i)}),
        },
    ),
    "aura": (lambda: AuraReader(HEAD), {"text": lambda i: "é".encode(), "broken": lambda i: b"\xff"}),
    "hailuo": (
        lambda: HailuoReader(HEAD, {}),
        {
            "text": lambda i: event({"data": {"messageResult": {"content": "a" * 50 + str(i)}}}, "message_result"),
            "pages": lambda i: event(
                {"data": {"messageResult": {"extra": {"netSearchStatus": {"linkDetail": [{"url": f"http://{i}"}]}}}}}
            ),
            "titles": lambda i: event({"data": {"sendResult": {"chatID": i, "chatTitle": str(i)}}}, "send_result"),
        },
    ),
    "huggingchat": (
        lambda: AnswerReader(HEAD),
        {
            "text": lambda i: line({**WORD, "token": str(i)}),
            "tags": lambda i: line({**WORD, "token": "<think>" if i % 2 else "</think>"}),
            "half tags": lambda i: line({**WORD, "token": "<"}),
            "thoughts": lambda i: line({"type": "reasoning", "subtype": "stream", "token": str(i)}),
            "pages": lambda i: line({"type": "webSearch", "sources": [{"link": f"http://{i}"}]}),
            "files": lambda i: line({"type": "file", "name": str(i), "sha": str(i), "mime": "a/b"}),
            "titles": lambda i: line({"type": "title", "title": "<think>" + str(i)}),
        },
    ),
    "koala": (
        lambda: KoalaReader(HEAD, {}),
        {
            "text": lambda i: event(str(i)),
            "deltas": lambda i: chunk(content=str(i)),
            "halves": lambda i: event("\ud83d"),
        },
    ),
    "vitalentum": (lambda: VitalentumReader(HEAD), {"text": lambda i: chunk(content=str(i))}),
}


def read_whole(make: Callable[[], Reader], data: bytes) -> float:
    reader = make()
    began = time.thread_time()
    for at in range(0, len(data), PIECE):
        reader.feed(data[at : at + PIECE])
    reader.close()
    return time.thread_time() - began


@pytest.mark.slow
@pytest.mark.parametrize(("reader", "kind"), [(name, kind) for name, (_, kinds) in READERS.items() for kind in kinds])
def test_events_of_a_kind_take_time_in_proportion(reader: str, kind: str) -> None:
    make, kinds = READERS[reader]

    def run(size: int) -> float:
        number = size // len(kinds[kind](1))
        return read_whole(make, b"".join(map(kinds[kind], range(number))))

    assert_linear(run)


WITHIN: dict[str, tuple[Callable[[], Reader], bytes, Callable[[int], bytes], bytes]] = {
    "tags": (READERS["huggingchat"][0], b'{"type":"stream","token":"', lambda i: b"<think>a</think>", b'"}\n'),
    "tags at the end": (
        READERS["huggingchat"][0],
        line(WORD) + b'{"type":"finalAnswer","text":"',
        lambda i: b"<think>a</think>",
        b'"}\n',
    ),
    "marks of a title": (READERS["huggingchat"][0], b'{"type":"title","title":"', lambda i: b"<think>", b'"}\n'),
    "reasons": (READERS["gemini"][0], b'data: {"candidates":[{"finishReason":"', lambda i: b"STOP or ", b'"}]}\n\n'),
    "places": (
        READERS["gemini"][0],
        (
            b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","willContinue":true,"partialArgs":'
            b'[{"jsonPath":"$'
        ),
        lambda i: b"[0].a",
        b'","stringValue":"a"}]}}]}}]}\n\n',
    ),
    "replacements": (
        READERS["hailuo"][0],
        b'data: {"data":{"messageResult":{"content":"',
        lambda i: "\ufffd".encode(),
        b'"}}}\n\n',
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", WITHIN)
def test_one_event_takes_time_in_proportion(kind: str) -> None:
    make, start, unit, end = WITHIN[kind]

    def run(size: int) -> float:
        size = min(size, 7 << 20)
        return read_whole(make, start + b"".join(map(unit, range(size // len(unit(1))))) + end)

    assert_linear(run)


@pytest.mark.slow
@pytest.mark.parametrize("piece", [1, PIECE])
@pytest.mark.parametrize(
    "unit",
    [
        *("a", "\n", "\r", "\x1b", "\x1b[", "\x1b[0m", "\x1b]", "\x9b", "\x9d"),
        *("\x1b]a\x07", "\u202e", "\u200d", "a\u200d", "\x1bPq", "\x9b0", "é", "\ud800"),
    ],
)
def test_what_makes_a_text_safe_takes_time_in_proportion(unit: str, piece: int) -> None:
    def run(size: int) -> float:
        sanitiser, text = Sanitiser(), unit * (size // len(unit) // (8 if piece == 1 else 1))
        began = time.thread_time()
        for at in range(0, len(text), piece):
            sanitiser.feed(text[at : at + piece])
        sanitiser.close()
        return time.thread_time() - began

    assert_linear(run)


@pytest.mark.slow
def test_forms_take_time_in_proportion() -> None:
    def run(size: int) -> float:
        parts = [Part(f"n{number}", b"a" * 50) for number in range(size // 100)]
        began = time.thread_time()
        multipart(parts, "x")
        return time.thread_time() - began

    assert_linear(run)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["data: {}\n\n", "event: a\ndata: {}\n\n", "data: a\ndata: b\n\n"])
def test_lines_that_are_guessed_take_time_in_proportion(unit: str) -> None:
    data = unit.encode() * (PIECE // len(unit))

    def run(size: int) -> float:
        lines = Lines()
        began = time.thread_time()
        for _ in range(0, size, PIECE):
            lines.try_read(data)
        return time.thread_time() - began

    assert_linear(run)


THOUGHT = {"wire": "responses", "service": "s", "model": "m", "data": {}}
ASKS: dict[str, tuple[Callable[[Any], object], Callable[[int], Any]]] = {
    "chat": (chat.read, lambda i: {"model": "m", "messages": [{"role": "user", "content": "a"}] * i}),
    "parts of a chat": (
        chat.read,
        lambda i: {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * i}]},
    ),
    "completions": (completions.read, lambda i: {"model": "m", "prompt": "a" * i}),
    "messages": (
        messages_read.read,
        lambda i: {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}] * i},
    ),
    "blocks of messages": (
        messages_read.read,
        lambda i: {
            "model": "m",
            "max_tokens": 1,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * i}],
        },
    ),
    "thoughts of messages": (
        messages_read.read,
        lambda i: {
            "model": "m",
            "max_tokens": 1,
            "messages": [
                {"role": "user", "content": "a"},
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": "a", "signature": seal(THOUGHT)}] * i,
                },
            ],
        },
    ),
    "responses": (responses_read.read, lambda i: {"model": "m", "input": [{"role": "user", "content": "a"}] * i}),
    "items of responses": (
        responses_read.read,
        lambda i: {
            "model": "m",
            "input": [
                {
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": "a"}],
                    "encrypted_content": seal(THOUGHT),
                },
                {"role": "assistant", "content": "a"},
            ]
            * i
            + [{"role": "user", "content": "a"}],
        },
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ASKS)
def test_a_request_to_the_gateway_is_read_in_time_in_proportion(dialect: str) -> None:
    read, make = ASKS[dialect]

    def run(size: int) -> float:
        body = read_json(json.dumps(make(size // 50)).encode())
        began = time.thread_time()
        read(body)
        return time.thread_time() - began

    assert_linear(run)
