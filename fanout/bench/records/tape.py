"""The record of one request while it grows, event by event."""

from array import array
from collections.abc import Mapping
from typing import Any

from attrs import define, evolve, field

from fanout.bench.records.record import Record
from fanout.errors import Refused, TimedOut
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
from fanout.formats.summary import explain_empty

CREDIBLE_TOKENS = 2**53
"""A count of tokens from here on is taken for unknown: readers of JSON disagree on such numbers (RFC 8259, 6)."""

MOST_PIECES = 1 << 17
"""Pieces of content that are kept one by one of a request: about as many as the longest answer has tokens."""

LETTERS: Mapping[type, str] = {Delta: "d", Reasoning: "r", Refusal: "n", ToolCall: "t", File: "f", Replace: "w"}
"""The letters for the kinds of pieces of content in `Record.kinds`."""


def drop_incredible(usage: Usage) -> Usage:
    """Returns the usage without counts of tokens that no service can have meant."""
    beyond = {
        name: None
        for name in ("input", "output", "cached", "reasoning")
        if (count := getattr(usage, name)) is not None and not 0 <= count < CREDIBLE_TOKENS
    }
    return evolve(usage, **beyond) if beyond else usage  # type: ignore[arg-type]  # none of them is `estimated`


@define
class Tape:
    """The events of one request so far. All times are those of one clock, on which the run started at `origin`.

    `sent` and `first_byte` may be set when they become known, any time before `record` is called.
    """

    lane: str
    block: int
    sent: float
    origin: float = 0.0
    first_byte: float | None = None
    _times: "array[float]" = field(factory=lambda: array("d"))
    _kinds: list[str] = field(factory=list)
    _sizes: "array[int]" = field(factory=lambda: array("Q"))
    _said: int = 0
    _merged: int = 0
    _size: int = 0
    _kernel: int = 0
    _coalesced: int = 0
    _usage: Usage = field(factory=Usage)
    _end: End | None = None
    _ended: float = 0.0

    def add(self, event: Event, at: float, *, kernel: bool = False, coalesced: bool = False) -> None:
        """Takes an event that arrived at `at`; `kernel` and `coalesced` say how good that stamp is (see Record)."""
        kind = type(event)
        if kind in CONTENT:
            text = _text(event)
            if kind is Replace:  # a rewritten text repeats what came before
                text = text[self._said :]
            if kind is Replace or kind is Delta:
                self._said += len(text)
            self._size += len(text.encode("utf-8", "surrogatepass"))
            if len(self._times) == MOST_PIECES:  # no model says so much: who sends more has the rest in one piece
                self._times[-1] = at
                self._sizes[-1] += len(text)
                self._merged += 1
                return
            self._times.append(at)
            self._kinds.append(LETTERS[kind])
            self._sizes.append(len(text))
            self._kernel += kernel
            self._coalesced += coalesced
        elif isinstance(event, Usage):
            self._usage = drop_incredible(event)
        elif isinstance(event, End):
            self._end, self._ended = event, at

    def record(self, **more: Any) -> Record:
        """Makes the record of a request that has ended; `more` are fields that do not follow from its events."""
        assert self._end is not None, "a request is recorded when it has ended"
        end, usage = self._end, self._usage
        error = end.error or self._find_empty(end)
        return Record(
            lane=self.lane,
            block=self.block,
            status=Status.FAILED if error and end.status is Status.FINISHED else end.status,
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
            merged=self._merged,
            **more,
        )

    def _find_empty(self, end: End) -> Refused | None:
        """Returns what is wrong with an answer that finished with nothing in it: nobody could use it."""
        if end.status is not Status.FINISHED or set(self._kinds) - {LETTERS[Reasoning]}:
            return None
        return Refused(explain_empty(end.finish_reason, thought=bool(self._kinds or self._usage.reasoning)))


def _text(event: Event) -> str:
    if isinstance(event, Delta | Reasoning | Refusal | Replace):
        return event.text
    return (event.name or "") + event.arguments if isinstance(event, ToolCall) else ""
