"""One finished request as it is kept: a line of JSON, and all that its metrics are computed from."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, overload

import orjson
from attrs import define, evolve, field, fields, frozen
from cattrs import Converter

from fanout.errors import TimedOut, UsageError
from fanout.events import (
    CONTENT,
    Delta,
    End,
    Event,
    File,
    Reasoning,
    Refusal,
    Replace,
    Status,
    ToolCall,
    Usage,
)

VERSION = 1
"""Of the line. A reader takes its own version only; a field that is added with a default does not change it."""

MOST_TOKENS = 2**53
"""From here on a count of tokens is none: JSON's readers do not agree on such numbers (RFC 8259, section 6)."""

LETTERS: Mapping[type, str] = {Delta: "d", Reasoning: "r", Refusal: "n", ToolCall: "t", File: "f", Replace: "w"}
"""How the kind of a piece of content is written in `Record.kinds`."""


@frozen
class Record:
    """One request. Times are seconds after `sent`; `sent` and `intended` are seconds after the start of the run.

    Requests with the same `block` carried the same prompt in the same round, one a lane: they are compared as pairs;
    `place` is the order in which the block's requests were sent. `intended` is the planned start of an open loop.
    `times`, `kinds` and `sizes` (characters) have an item for every piece of content; `size` is their UTF-8 bytes.
    `kernel` counts the pieces stamped by the kernel, `coalesced` those whose stamp may be too late because the kernel
    merged segments, `unpeeked` those that have only our own stamp in a run that asked for the kernel's; `lateness` is
    how much later than the kernel's our own stamp was at most. `server` holds the service's own timings in seconds
    by name. `prompt_cost` is the part of `cost` (US dollars) that was due before the first token. `level` is the load
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
    unpeeked: int = 0
    lateness: float | None = None
    warmup: bool = False
    level: float | None = None
    race: bool = False

    @property
    def finished(self) -> bool:
        """Whether the answer is complete."""
        return self.status is Status.FINISHED

    @property
    def stamp(self) -> str:
        """Whose clock stamped the content: kernel, user or mixed."""
        if not self.kernel:
            return "user"
        return "kernel" if self.kernel == len(self.times) else "mixed"


class Records(Sequence[Record]):
    """The records of a run, each read from where it is kept when it is asked for: a run may be larger than memory."""

    @abstractmethod
    def read(self, number: int) -> Record:
        """The record with this number, which is one from 0 on and below the length."""

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
    """The record as one line of JSON. What has its default is left out; `times` are whole microseconds."""
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
    """The record that `to_line` wrote. Raises UsageError for anything else, and for another version."""
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


def credible(usage: Usage) -> Usage:
    """The counts of tokens that a service may have meant; the others are not known."""
    beyond = {
        name: None
        for name in ("input", "output", "cached", "reasoning")
        if (count := getattr(usage, name)) is not None and not 0 <= count < MOST_TOKENS
    }
    return evolve(usage, **beyond) if beyond else usage  # type: ignore[arg-type]  # none of them is `estimated`


@define
class Tape:
    """Grows one request's record, event by event. Times are those of any one clock, `origin` is the run's start.

    `sent` and `first_byte` may be set as late as they are known, before `record` is called.
    """

    lane: str
    block: int
    sent: float
    origin: float = 0.0
    first_byte: float | None = None
    _times: list[float] = field(factory=list)
    _kinds: list[str] = field(factory=list)
    _sizes: list[int] = field(factory=list)
    _size: int = 0
    _kernel: int = 0
    _coalesced: int = 0
    _usage: Usage = field(factory=Usage)
    _end: End | None = None
    _ended: float = 0.0

    def add(self, event: Event, at: float, *, kernel: bool = False, coalesced: bool = False) -> None:
        """Takes an event that arrived at `at`; `kernel` and `coalesced` tell of its stamp."""
        kind = type(event)
        if kind in CONTENT:
            text = _text(event)
            if kind is Replace:  # a rewritten text repeats what came before
                text = text[sum(size for size, old in zip(self._sizes, self._kinds, strict=True) if old in "dw") :]
            self._times.append(at)
            self._kinds.append(LETTERS[kind])
            self._sizes.append(len(text))
            self._size += len(text.encode("utf-8", "surrogatepass"))
            self._kernel += kernel
            self._coalesced += coalesced
        elif isinstance(event, Usage):
            self._usage = credible(event)
        elif isinstance(event, End):
            self._end, self._ended = event, at

    def record(self, **more: Any) -> Record:
        """The record of the request, which has ended; `more` are fields that no event tells."""
        assert self._end is not None, "a request is recorded when it has ended"
        end, usage = self._end, self._usage
        error = end.error
        return Record(
            lane=self.lane,
            block=self.block,
            status=end.status,
            sent=self.sent - self.origin,
            ended=self._ended - self.sent,
            first_byte=None if self.first_byte is None else self.first_byte - self.sent,
            times=tuple(at - self.sent for at in self._times),
            kinds="".join(self._kinds),
            sizes=tuple(self._sizes),
            size=self._size,
            input=usage.input,
            output=None if usage.estimated else usage.output,
            reasoning=usage.reasoning,
            cached=usage.cached,
            finish_reason=end.finish_reason,
            error=error.kind if error else None,
            http_status=error.status if error else None,
            message=error.message if error else None,
            clock=error.clock if isinstance(error, TimedOut) else None,
            limit=error.seconds if isinstance(error, TimedOut) else None,
            kernel=self._kernel,
            coalesced=self._coalesced,
            **more,
        )


def _text(event: Event) -> str:
    if isinstance(event, Delta | Reasoning | Refusal | Replace):
        return event.text
    return (event.name or "") + event.arguments if isinstance(event, ToolCall) else ""
