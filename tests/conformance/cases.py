"""A conformance case, as a line of a JSONL file holds it, and the ways to cut its input anew."""

import hashlib
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, cycle, islice, repeat
from pathlib import Path
from random import Random
from typing import Any

import orjson
from attrs import field, frozen

PROJECT_FILE = Path(__file__).parent.parent / "data" / "cases.jsonl"
FURTHER_FILE = PROJECT_FILE.with_name("further_cases.jsonl")
"""Cases that the other file leaves out of the same rules."""
REPORTED_FILE = PROJECT_FILE.with_name("reported_cases.jsonl")
"""Cases that services were reported, recorded and run to send, kind by kind."""

_FIELDS = frozenset(
    (
        *("name", "format", "why", "source", "chunks", "gen", "content_type", "split", "deadline", "large"),
        *("tolerate_tail", "end", "drip", "probe", "needs", "wire", "expect", "expect_without", "also"),
    )
)

_MEDIA_TYPES = {
    "ollama": "application/x-ndjson",
    "ndjson": "application/x-ndjson",
    "json-array": "application/json",
}
_SIZES = (1, 2, 3, 5, 17, 64, 300)
_TWO_WAY_LIMIT = 400

Cut = tuple[str, list[bytes]]
"""The name of the cut, and the pieces."""


@frozen
class Case:
    """One input with what is expected of it; `fields` is the whole line."""

    name: str
    format: str
    expect: Mapping[str, Any]
    fields: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, line: str | bytes) -> "Case":
        fields = orjson.loads(line)
        unknown = fields.keys() - _FIELDS
        assert not unknown, f"{fields.get('name')}: no such field: {', '.join(sorted(unknown))}"
        return cls(fields["name"], fields["format"], fields["expect"], fields)

    @property
    def content_type(self) -> str:
        return str(self.fields.get("content_type") or _MEDIA_TYPES.get(self.format, "text/event-stream"))

    @property
    def large(self) -> bool:
        return bool(self.fields.get("large"))

    @property
    def deadline(self) -> bool:
        """True if what a chunk completes must be out before the next chunk."""
        return self.fields.get("deadline") == "before-next-chunk"

    @property
    def needs(self) -> str | None:
        """A decoder that not every client has; without it, `expect_without` counts."""
        return self.fields.get("needs")

    @property
    def also(self) -> Mapping[str, Any]:
        """Expectations beside the keys of `expect`: files, sources, notes, the outcome of a lane …"""
        also: Mapping[str, Any] = self.fields.get("also", {})
        return also

    @property
    def lane(self) -> Mapping[str, Any] | None:
        """The outcome that a lane must have, if the case says it in keys; words about it are for the reader only."""
        lane = self.also.get("lane")
        return lane if isinstance(lane, dict) else None

    @property
    def gap(self) -> float | None:
        """Seconds between two chunks, where they count."""
        drip: float | None = self.fields.get("drip")
        return drip

    @property
    def waits(self) -> bool:
        """True if a run of it passes time on a real clock: the service drips, stalls or holds the connection."""
        return self.format in ("http1", "h2") and (self.gap is not None or self.fields.get("end") in ("stall", "hold"))

    @property
    def wire(self) -> str:
        """The chat protocol of a case of raw HTTP."""
        return str(self.fields.get("wire", "openai-chat"))

    @property
    def chunks(self) -> list[bytes]:
        """The input, cut as given."""
        if "chunks" in self.fields:
            return [b64decode(chunk) for chunk in self.fields["chunks"]]
        gen = self.fields["gen"]
        data = b"".join(b64decode(part) * count for part, count in gen["parts"])
        assert (len(data), hashlib.sha256(data).hexdigest()) == (gen["bytes"], gen["sha256"]), "a fault in the file"
        return cut_at_sizes(data, repeat(gen["chunk_size"]))


def load(path: Path) -> list[Case]:
    """All cases of a file, in its order."""
    return [Case.of(line) for line in path.read_bytes().splitlines() if line.strip()]


def cut_at_sizes(data: bytes, sizes: Iterator[int]) -> list[bytes]:
    """The data in pieces of these sizes."""
    pieces = []
    position = 0
    while position < len(data):
        size = next(sizes)
        pieces.append(data[position : position + size])
        position += size
    return pieces


def recut(case: Case) -> Iterator[Cut]:
    """The input as given, and cut anew in ways that must not change the result; a large one only as given."""
    chunks = case.chunks
    yield "as given", chunks
    if case.large:
        return
    data = b"".join(chunks)
    yield "in one piece", [data]
    yield "byte by byte", cut_at_sizes(data, repeat(1))
    yield "with empty pieces", list(chain.from_iterable((b"", chunk, b"") for chunk in chunks))
    yield "byte by byte with empty pieces", list(chain.from_iterable(zip(cut_at_sizes(data, repeat(1)), cycle([b""]))))
    if len(data) <= _TWO_WAY_LIMIT:
        for position in range(1, len(data)):
            yield f"in two at {position}", [data[:position], data[position:]]
    for number in range(20):
        seed = f"{case.name}/{number}"
        yield f"at random, seed {seed}", cut_at_sizes(data, _random_sizes(seed))


def _random_sizes(seed: str) -> Iterator[int]:
    random = Random(seed)
    while True:
        yield random.choice(_SIZES)


def prefixes(chunks: Sequence[bytes]) -> Iterator[bytes]:
    """Yields what has arrived after each chunk."""
    for count in range(1, len(chunks) + 1):
        yield b"".join(islice(chunks, count))
