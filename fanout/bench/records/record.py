"""One finished request as it is kept, with everything its metrics are computed from, and as a line of JSON."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, overload

import orjson
from attrs import field, fields, frozen
from cattrs import Converter

from fanout.errors import UsageError
from fanout.events import Status

VERSION = 1
"""The version of the line. A reader takes its own only; a field that is added with a default does not change it."""


@frozen
class Record:
    """One request. Times are seconds after `sent`; `sent` and `intended` are seconds after the start of the run.

    Requests with the same `block` carried the same prompt in the same round, one a lane: they are compared as pairs;
    `place` is the order in which the block's requests were sent. `intended` is the planned start of an open loop.
    `times`, `kinds` and `sizes` (characters) have an item for every piece of content; `size` is their UTF-8 bytes.
    `kernel` counts the pieces stamped by the kernel, `coalesced` those whose stamp may be too late because the kernel
    merged segments, `unpeeked` those that have only our own stamp in a run that asked for the kernel's; `lateness` is
    how much later than the kernel's our own stamp was at most. `merged` counts pieces beyond the most that are kept,
    which are in the last one. `server` holds the service's own timings in seconds by name. `prompt_cost` is the part
    of `cost` (US dollars) that was due before the first token. `level` is the load
    at which a sweep sent it: its concurrency, or its requests a second; levels are never pooled. `race` says that the
    lane ran against others and was cancelled if one of them won: such records are never pooled with a benchmark's.
    """

    lane: str
    block: int
    status: Status
    sent: float
    ended: float
    place: int = 0
    intended: float | None = None
    first_byte: float | None = None
    times: tuple[float, ...] = ()
    kinds: str = ""
    sizes: tuple[int, ...] = ()
    size: int = 0
    streamed: bool = True
    input: int | None = None
    output: int | None = None
    reasoning: int | None = None
    cached: int | None = None
    finish_reason: str | None = None
    error: str | None = None
    http_status: int | None = None
    message: str | None = None
    clock: str | None = None
    limit: float | None = None
    connect: float | None = None
    tls: float | None = None
    server: Mapping[str, float] = field(factory=dict)
    cost: float | None = None
    prompt_cost: float | None = None
    kernel: int = 0
    coalesced: int = 0
    merged: int = 0
    unpeeked: int = 0
    lateness: float | None = None
    warmup: bool = False
    level: float | None = None
    race: bool = False

    @property
    def finished(self) -> bool:
        """True if the answer is complete."""
        return self.status is Status.FINISHED

    @property
    def stamp(self) -> str:
        """The clock that stamped the content: kernel, user or mixed."""
        if not self.kernel:
            return "user"
        return "kernel" if self.kernel == len(self.times) else "mixed"


class Records(Sequence[Record]):
    """The records of a run, each read from the disk when it is asked for: a run may be larger than memory."""

    @abstractmethod
    def read(self, number: int) -> Record:
        """Reads one record; `number` is from 0 on and below the length."""

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self.read(number) for number in range(*index.indices(len(self)))]
        return self.read(range(len(self))[index])


_ALWAYS = frozenset({"lane", "block", "status", "sent", "ended"})
_PLAIN = Record(lane="", block=0, status=Status.FINISHED, sent=0.0, ended=0.0)


def to_line(record: Record) -> bytes:
    """Returns the record as one line of JSON, without fields that have their default, and `times` in microseconds."""
    value: dict[str, Any] = {"version": VERSION}
    for name in (attribute.name for attribute in fields(Record)):
        plain = getattr(record, name)
        if name in _ALWAYS or plain != getattr(_PLAIN, name):
            value[name] = plain
    if record.times:
        value["times"] = [round(at * 1e6) for at in record.times]
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


_CONVERTER = Converter(detailed_validation=False)


def from_line(line: bytes | str) -> Record:
    """Reads what `to_line` wrote. Raises UsageError for anything else, and for another version."""
    try:
        value = orjson.loads(line)
        version = value.pop("version", None)
        if version != VERSION:
            raise UsageError(f"the record has version {version!r}, this program reads version {VERSION}")
        value["times"] = [at / 1e6 for at in value.get("times", ())]
        record = _CONVERTER.structure(value, Record)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"not the record of a request: {error!r} in {line[:80]!r}") from error
    if not len(record.times) == len(record.kinds) == len(record.sizes):
        raise UsageError(
            f"a record has {len(record.times)} times, {len(record.kinds)} kinds, {len(record.sizes)} sizes"
        )
    return record
