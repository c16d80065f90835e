"""CPU per chunk of each decoder, against `bytes.split` and `orjson.loads` on the same bytes."""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from statistics import median
from time import thread_time_ns
from typing import Any

import orjson
from attrs import frozen

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.machine import arguments, conclude, facts, table
from fanout import Delta
from fanout.abc import Framing, Head, Provider, Reader
from fanout.providers.anthropic import Anthropic
from fanout.providers.cohere import Cohere
from fanout.providers.gemini import Gemini
from fanout.providers.ollama import Ollama
from fanout.providers.openai import OpenAI
from fanout.providers.responses import Responses
from fanout.wire.sse import ServerSentEvent, ServerSentEvents

CHUNK = 260
"""Bytes of one chunk of an answer, with its framing."""

READS = {"1 chunk a read": CHUNK, "8 chunks a read": 8 * CHUNK, "reads of 16 KiB": 16 << 10}
"""Bytes of one read. 16 KiB are no multiple of a chunk, so that nearly every read ends inside one."""

OPENAI: dict[str, Any] = {
    "id": "chatcmpl-q1",
    "object": "chat.completion.chunk",
    "created": 1790000000,
    "model": "m-1",
    "choices": [{"index": 0, "delta": {"content": "TEXT"}, "finish_reason": None}],
}
ANTHROPIC: dict[str, Any] = {
    "type": "content_block_delta",
    "index": 0,
    "delta": {"type": "text_delta", "text": "TEXT"},
}
RESPONSES: dict[str, Any] = {
    "type": "response.output_text.delta",
    "sequence_number": 4,
    "output_index": 1,
    "item_id": "msg_1",
    "content_index": 0,
    "delta": "TEXT",
}
GEMINI: dict[str, Any] = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "TEXT"}]}, "index": 0}],
    "modelVersion": "g-1",
    "responseId": "r1",
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
}
OLLAMA: dict[str, Any] = {
    "model": "m",
    "created_at": "2026-01-02T03:04:05.678901234Z",
    "message": {"role": "assistant", "content": "TEXT"},
    "done": False,
}
COHERE: dict[str, Any] = {
    "type": "content-delta",
    "index": 0,
    "delta": {"message": {"content": {"text": "TEXT"}}},
}

Start = Callable[[], Framing[ServerSentEvent] | Reader]


@frozen
class Subject:
    """A decoder, and one chunk of what it decodes: `before`, the value with a text that fills it up, `after`."""

    start: Start
    value: dict[str, Any]
    before: bytes = b"data: "
    after: bytes = b"\n\n"

    @property
    def chunk(self) -> bytes:
        """One chunk."""
        before, after = orjson.dumps(self.value).split(b"TEXT")
        fill = CHUNK - len(self.before + before + after + self.after)
        return self.before + before + (b"words " * CHUNK)[:fill] + after + self.after


def _reads(provider: Provider, media_type: str = "text/event-stream") -> Start:
    return lambda: provider.read(Head(200, {"content-type": media_type}))


DECODERS = {
    "sse alone": Subject(ServerSentEvents, OPENAI),
    "openai": Subject(_reads(OpenAI("m")), OPENAI),
    "responses": Subject(_reads(Responses("m")), RESPONSES, before=b"event: response.output_text.delta\ndata: "),
    "anthropic": Subject(_reads(Anthropic("m")), ANTHROPIC, before=b"event: content_block_delta\ndata: "),
    "gemini": Subject(_reads(Gemini("m")), GEMINI),
    "ollama (ndjson)": Subject(_reads(Ollama("m"), "application/x-ndjson"), OLLAMA, before=b"", after=b"\n"),
    "cohere": Subject(_reads(Cohere("m")), COHERE, before=b"event: content-delta\ndata: "),
}
"""By name, what is measured: the framing alone, then framing and reader together, from bytes to events."""


def pieces(data: bytes, size: int) -> list[bytes]:
    """The data, read by read."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def decode(subject: Subject, reads: Sequence[bytes]) -> float:
    """Nanoseconds of CPU that the decoder takes for these reads."""
    feed = subject.start().feed
    gc.collect()
    began = thread_time_ns()
    for read in reads:
        feed(read)
    return thread_time_ns() - began


def split_and_load(subject: Subject, reads: Sequence[bytes]) -> float:
    """Nanoseconds of CPU that the least takes which any decoder must do: cut at the frames' ends, and parse."""
    loads, skipped, end, rest = orjson.loads, len(subject.before), subject.after, b""
    gc.collect()
    began = thread_time_ns()
    for read in reads:
        *frames, rest = (rest + read).split(end)
        for frame in frames:
            loads(frame[skipped:])
    return thread_time_ns() - began


def check(subject: Subject, reads: Sequence[bytes], count: int) -> None:
    """Fails unless the decoder finds every chunk's content."""
    decoder = subject.start()
    out: list[Any] = [event for read in reads for event in decoder.feed(read)]
    found = sum(isinstance(event, Delta | ServerSentEvent) for event in out)
    assert found == count, f"{found} of {count} chunks were decoded"


def measure(repetitions: int, chunks: int) -> dict[str, dict[str, dict[str, float]]]:
    """For each decoder and size of reads: medians of its and of the least CPU per chunk, and of their ratios."""
    inputs = {
        (name, reading): pieces(subject.chunk * chunks, size)
        for name, subject in DECODERS.items()
        for reading, size in READS.items()
    }
    for (name, _), reads in inputs.items():
        check(DECODERS[name], reads, chunks)
    times: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in inputs}
    for _ in repeat(None, repetitions):
        for (name, reading), reads in inputs.items():
            pair = decode(DECODERS[name], reads), split_and_load(DECODERS[name], reads)
            times[name, reading].append(pair)
    return {name: {reading: _medians(times[name, reading], chunks) for reading in READS} for name in DECODERS}


def _medians(pairs: Sequence[tuple[float, float]], chunks: int) -> dict[str, float]:
    return {
        "decoder_us": round(median(own for own, _ in pairs) / chunks / 1000, 3),
        "least_us": round(median(least for _, least in pairs) / chunks / 1000, 3),
        "ratio": round(median(own / least for own, least in pairs), 2),
    }


def report(costs: dict[str, dict[str, dict[str, float]]]) -> Iterator[str]:
    """The lines of the table: the ratio, and microseconds a chunk."""
    rows = (
        (name, *(f"{cost['ratio']:.2f} ({cost['decoder_us']:.2f} µs)" for cost in by_read.values()))
        for name, by_read in costs.items()
    )
    return table(("decoder", *READS), rows)


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the table, and writes the results down."""
    parser = arguments("wire_cost", __doc__)
    parser.add_argument("--repetitions", type=int, default=21)
    parser.add_argument("--chunks", type=int, default=4000, help="in one run")
    options = parser.parse_args(given)
    costs = measure(options.repetitions, options.chunks)
    runs = {"chunk_bytes": CHUNK, "repetitions": options.repetitions, "chunks": options.chunks}
    conclude(options.json, {**facts(["fanout", "orjson"]), **runs, "costs": costs}, report(costs))


if __name__ == "__main__":
    main()
