"""The subjects that are examined: for every format of case, a way to run it."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import repeat
from resource import RUSAGE_SELF, getrusage
from typing import Any, Protocol

from fanout.abc import Framing, Head, Provider
from fanout.answers import Answer, Fold
from fanout.errors import ProtocolError, ProviderError
from fanout.events import End, Event, ToolCall, Usage
from fanout.wire.json_text import JsonText, repair
from fanout.wire.sse import ServerSentEvent, ServerSentEvents
from tests.conformance.cases import Case, Cut, cut_at_sizes, prefixes, recut
from tests.conformance.judge import Got

_RAISED = 1 << 30


class Subject(Protocol):
    """Runs the cases of one format: our own code, or a foreign client behind a few lines of adapter."""

    can: frozenset[str]
    """The decoders it has of those that a case may need."""

    def cuts(self, case: Case) -> Iterator[Cut]:
        """The cuts to run the case with."""
        ...

    def run(self, case: Case, chunks: Sequence[bytes]) -> Got:
        """Returns what becomes of this input."""
        ...


class Trial(Protocol):
    """One run of one input through code that does no I/O."""

    def feed(self, data: bytes, /) -> None: ...

    def close(self) -> None: ...

    def seen(self) -> Any:
        """The content that is out by now, to be compared with another's."""
        ...

    def got(self) -> Got: ...


class Pure:
    """A Subject that does no I/O."""

    can: frozenset[str] = frozenset()

    def __init__(self, start: Callable[[Case], Trial]) -> None:
        self._start = start

    def cuts(self, case: Case) -> Iterator[Cut]:
        return recut(case)

    def run(self, case: Case, chunks: Sequence[bytes]) -> Got:
        trial = self._start(case)
        late = self._whole(case, chunks) if case.deadline and list(chunks) == case.chunks else []
        problems = []
        for number, chunk in enumerate(chunks):
            trial.feed(chunk)
            if late and trial.seen() != late[number]:
                problems.append(f"late: what chunk {number + 1} completes is not out before the next")
        trial.close()
        got = trial.got()
        got["problems"] = [*got.get("problems", ()), *problems]
        return got

    def _whole(self, case: Case, chunks: Sequence[bytes]) -> list[Any]:
        """Returns what is out after each chunk, if the input ends there: nothing may wait for more."""
        seen = []
        for prefix in prefixes(chunks):
            trial = self._start(case)
            trial.feed(prefix)
            trial.close()
            seen.append(trial.seen())
        return seen


class SseTrial:
    """Messages out of a text/event-stream."""

    def __init__(self, case: Case, framing: ServerSentEvents) -> None:
        self._case = case
        self._framing = framing
        self._messages: list[ServerSentEvent] = []

    def feed(self, data: bytes, /) -> None:
        self._messages += self._framing.feed(data)

    def close(self) -> None:
        self._messages += self._framing.close()

    def seen(self) -> list[ServerSentEvent]:
        return list(self._messages)

    def got(self) -> Got:
        got = {
            "events": [{"event": m.event, "data": m.data, "id": m.id} for m in self._messages],
            "event_lens": [len(m.data) for m in self._messages],
            "event_sha256": [hashlib.sha256(m.data.encode()).hexdigest() for m in self._messages],
            "retry": self._framing.retry,
            "last_id": self._framing.last_id,
            "comments": self._framing.comments,
            **error_of(self._framing.error),
        }
        if self._case.expect.get("linear"):
            got["problems"] = list(_is_slow(type(self._framing), self._case))
        return got


def _is_slow(framing: Callable[[int, int], ServerSentEvents], case: Case) -> Iterator[str]:
    """With the caps raised, the case gives what it expects, in linear time."""
    unbounded = framing(_RAISED, _RAISED)
    messages = [message for chunk in case.chunks for message in unbounded.feed(chunk)]
    lengths = [len(message.data) for message in messages + unbounded.close()]
    if lengths != case.expect["event_lens"]:
        yield f"with the caps raised, the events have the lengths {lengths}"
    if not is_linear(lambda: framing(_RAISED, _RAISED), 4 << 20):
        yield "not linear: 16 MiB cost more than 6 times what 4 MiB cost"


def is_linear(framing: Callable[[], Framing[Any]], size: int) -> bool:
    """True if a line of four times `size` costs at most six times the CPU; the machine's noise gets three chances."""
    for _ in range(3):
        small, large = (
            _cost(framing(), cut_at_sizes(b"data: " + b"a" * length + b"\n\n", repeat(16384)))
            for length in (size, 4 * size)
        )
        if large <= 6 * max(small, 0.001):
            return True
    return False


def _cost(framing: Framing[Any], chunks: Sequence[bytes]) -> float:
    # Time in user mode: what the system takes to hand out pages is not linear, and not the code's own.
    started = getrusage(RUSAGE_SELF).ru_utime
    for chunk in chunks:
        framing.feed(chunk)
    framing.close()
    return getrusage(RUSAGE_SELF).ru_utime - started


class SseJsonTrial(SseTrial):
    """The JSON value in the only event."""

    def got(self) -> Got:
        if self._framing.error is not None:
            return error_of(self._framing.error)
        try:
            (value,) = (JsonText().decode(message.data) for message in self._messages)
            if not isinstance(value, dict):
                raise ProtocolError("no object")
        except ProviderError as error:
            return error_of(error)
        return {"value": _repaired(value), "error": None}


class ValuesTrial:
    """JSON values out of lines or an array, all of which must be objects as in a chat."""

    def __init__(self, framing: Framing[Any]) -> None:
        self._framing = framing
        self._values: list[Any] = []
        self._error: ProviderError | None = None

    def feed(self, data: bytes, /) -> None:
        self._take(self._framing.feed(data))

    def close(self) -> None:
        self._take(self._framing.close())

    def _take(self, values: Sequence[Any]) -> None:
        for value in values:
            if self._error is None and not isinstance(value, dict):
                self._error = ProtocolError("no object")
            elif self._error is None:
                self._values.append(value)

    def seen(self) -> list[Any]:
        return list(self._values)

    def got(self) -> Got:
        return {"values": _repaired(self._values), **error_of(self._error or self._framing.error)}


class ChatTrial:
    """A provider's events, folded into an answer."""

    def __init__(self, case: Case, provider: Provider) -> None:
        self._reader = provider.read(Head(200, {"content-type": case.content_type}))
        self._fold = Fold(case.name)
        self._events: list[Event] = []

    def feed(self, data: bytes, /) -> None:
        self._take(self._reader.feed(data))

    def close(self) -> None:
        self._take(self._reader.close())
        self._take(self._reader.feed(b"data: more\n\n"))
        self._take(self._reader.close())

    def _take(self, events: list[Event]) -> None:
        self._events += events
        self._fold.add(events, 0.0)

    def seen(self) -> Any:
        answer = self._fold.answer
        return answer.text, answer.reasoning, answer.refusal, answer.tool_calls

    def got(self) -> Got:
        got = {**got_of(self._fold.answer, self._events), "complete": self._reader.complete}
        ends = [place for place, event in enumerate(self._events) if isinstance(event, End)]
        if ends != [len(self._events) - 1]:
            got["problems"] = [f"{len(ends)} Ends, at {ends} of {len(self._events)} events"]
        return got


def got_of(answer: Answer, events: Sequence[Event]) -> Got:
    """The results of an answer that these events make, by the keys of `expect` and `also`."""
    indexes = sorted({event.index for event in events if isinstance(event, ToolCall)})
    return {
        "text": answer.text,
        "reasoning": answer.reasoning,
        "refusal": answer.refusal,
        "finish": answer.finish_reason,
        "tool_calls": [
            {"index": index, "id": call.id, "name": call.name, "arguments": call.arguments}
            for index, call in zip(indexes, answer.tool_calls, strict=True)
        ],
        "files": [
            {"media_type": f.media_type, "bytes": None if f.data is None else len(f.data), "url": f.url, "name": f.name}
            for f in answer.files
        ],
        "sources": [[source.url, source.title] for source in answer.sources],
        "notes": list(answer.notes),
        "usage": _counted(events),
        "encodable": is_encodable(answer.text),
        **error_of(answer.error),
    }


def _counted(events: Sequence[Event]) -> dict[str, int | None] | None:
    """The service's own counts, without what is estimated; None if it counted nothing."""
    usages = [event for event in events if isinstance(event, Usage)]
    return counts_of(usages[-1]) if usages else None


def counts_of(usage: Usage) -> dict[str, int | None]:
    """The counts by their names."""
    return {name: getattr(usage, name) for name in ("input", "output", "cached", "reasoning")}


def error_of(error: ProviderError | None) -> Got:
    if error is None:
        return {"error": None}
    fields = ("status", "retry_after", "retryable", "retry_safe", "message")
    return {"error": error.kind, **{name: getattr(error, name) for name in fields}}


def is_encodable(text: str) -> bool:
    with suppress(UnicodeEncodeError):
        text.encode()
        return True
    return False


def _repaired(value: Any) -> Any:
    if isinstance(value, str):
        return repair(value)
    if isinstance(value, list):
        return [_repaired(item) for item in value]
    if isinstance(value, dict):
        return {repair(name): _repaired(item) for name, item in value.items()}
    return value


def sse(framing: Callable[[], ServerSentEvents] = ServerSentEvents) -> Subject:
    """A Subject for `sse` cases."""
    return Pure(lambda case: SseTrial(case, framing()))


def chat(provider: Provider) -> Subject:
    """A Subject for the cases of a chat protocol."""
    return Pure(lambda case: ChatTrial(case, provider))
