"""Twice the input takes at most 2.3 times the time, whatever it is made of."""

import gzip
import time
from collections.abc import Callable
from typing import Any

import pytest

from fanout.abc import Head
from fanout.providers.chat_reader import ChatReader
from fanout.transports.curl.chunked import Chunks
from fanout.wire.body import JsonDocument
from fanout.wire.coding import PIECE, Decoder
from fanout.wire.devalue import unflatten
from fanout.wire.json_array import JsonArray
from fanout.wire.json_events import JsonEvents
from fanout.wire.json_text import JsonText
from fanout.wire.ndjson import JsonLines
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


def cost(make: Callable[[], Feed], data: bytes, piece: int) -> float:
    feed = make()
    began = time.thread_time()
    for at in range(0, len(data), piece):
        feed(data[at : at + piece])
    return time.thread_time() - began


def assert_linear(run: Callable[[int], float]) -> None:
    """Measures up to five times; a size that takes no time to speak of is raised first."""
    size = SIZE
    while run(size) < LEAST and size < 16 * SIZE:
        size *= 2
    ratios = []
    for _ in range(5):
        once, four_times = (min(run(size * times) for _ in range(2)) for times in (1, 4))
        ratios.append((four_times / max(once, LEAST / 2)) ** 0.5)  # of two doublings: one alone may end on a new page
        if ratios[-1] <= MOST:
            return
    raise AssertionError(f"twice the input takes {min(ratios):.1f} times as long")


@pytest.mark.slow
@pytest.mark.parametrize("piece", [PIECE, 100])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("maker", MAKERS)
def test_a_reader_takes_time_in_proportion(maker: str, unit: str, piece: int) -> None:
    data = UNITS[unit]
    assert_linear(lambda size: cost(MAKERS[maker], data * (size // len(data)), piece))


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", [gzip.compress(b""), gzip.compress(b"a"), gzip.compress(bytes(2000)), b"\0\0\0\xff\xff", b"\0"]
)
def test_a_coding_takes_time_in_proportion(unit: bytes) -> None:
    start = b"" if unit.startswith(b"\x1f") else b"\x1f\x8b\x08\0\0\0\0\0\0\xff"

    def make() -> Feed:
        return started(Decoder("gzip").feed, start)

    assert_linear(lambda size: cost(make, unit * (size // len(unit)), PIECE))


@pytest.mark.slow
@pytest.mark.parametrize("unit", [b"1\r\n:\r\n", b"5;a=b\r\nabcde\r\n", b"0000000000000001\r\n:\r\n"])
def test_chunks_take_time_in_proportion(unit: bytes) -> None:
    assert_linear(lambda size: cost(lambda: Chunks().feed, unit * (size // len(unit)), PIECE))


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
