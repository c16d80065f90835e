"""The writer of a dialect, and all that writers say alike."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson
from attrs import define

from fanout.answers import Answer, Run, Spent
from fanout.answers.objects import spent_object, verdict_object
from fanout.errors import ProtocolError
from fanout.events import Event
from fanout.gateway.dialects.faults import Fault
from fanout.wire.json_text import encode


@define
class Made:
    """The answer that is written: its id without the dialect's prefix, the Unix time, the model as far as it is known.

    `tokens` is an estimate of what the prompt has.
    """

    id: str
    created: int
    model: str
    tokens: int = 0


class Writer(Protocol):
    """Writes one answer in a dialect. What it returns is whole events, which go out in one piece."""

    def begin(self) -> bytes:
        """Returns what is sent before the first event, at the latest when the lanes have been silent for a while."""
        ...

    def feed(self, events: Sequence[Event]) -> bytes:
        """Returns the events of the winner in the dialect."""
        ...

    def ping(self) -> bytes:
        """Returns what keeps a connection open while there is nothing to say."""
        ...

    def close(self, answer: Answer, figures: Mapping[str, Any]) -> bytes:
        """Returns the end of a whole answer; `figures` go into the extension `fanout`."""
        ...

    def fail(self, fault: Fault) -> bytes:
        """Returns the end of an answer that failed after its beginning."""
        ...

    def whole(self, answer: Answer, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a whole answer as one document, for a client that does not stream."""
        ...


def dump(value: Any) -> bytes:
    """Returns JSON. Text that is no Unicode is escaped."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        try:
            return encode(value).encode()
        except ProtocolError:
            return orjson.dumps(str(value)[:100])


def text_of(text: str) -> bytes:
    """Returns a text as JSON."""
    return dump(text)


def event(value: Any, name: str = "") -> bytes:
    """Returns one server-sent event."""
    head = b"event: %s\n" % name.encode() if name else b""
    return head + b"data: " + dump(value) + b"\n\n"


def figures_of(run: Run) -> dict[str, Any]:
    """Returns what the extension `fanout` says of a run. Times are seconds."""
    winner = run.winner
    return {
        "winner": winner.lane if winner else None,
        "ttft": _round(winner.ttft) if winner else None,
        "elapsed": _round(run.elapsed),
        "wasted": spent_object(run.wasted),
        **_judging(run),
        "lanes": {answer.lane: _lane(answer) for answer in run.answers},
    }


def _judging(run: Run) -> dict[str, Any]:
    """The votes and the words of judges, where there were any."""
    said = {
        "votes": {key: list(lanes) for key, lanes in run.votes.items()},
        "verdicts": [verdict_object(verdict) for verdict in run.verdicts],
        "analysis": run.analysis,
    }
    judged = {name: value for name, value in said.items() if value}
    return {"overhead": spent_object(run.overhead), **judged} if judged or run.overhead != Spent() else {}


def _lane(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status.value if answer.status else "running" if answer.ttft is not None else "waiting",
        "model": answer.model,
        "ttft": _round(answer.ttft),
        "elapsed": _round(answer.elapsed),
        "tokens": answer.tokens,
        "error": answer.error.kind if answer.error else None,
        "notes": list(answer.notes),
    }


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
