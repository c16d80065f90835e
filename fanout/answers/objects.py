"""A run and its answers as plain data: what `Run.to_dict` returns, and `--json` prints with a word on each end."""

from base64 import b64encode
from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import asdict

from fanout.answers import Answer, Run, Spent
from fanout.answers.verdicts import Verdict
from fanout.errors import ProviderError, Refused
from fanout.events import File

Object = dict[str, Any]


def run_object(run: Run) -> Object:
    """The run: who won, what was kept, spent and said of answers, and every lane's answer, in the order of lanes."""
    return {
        "type": "run",
        "winner": run.winner.lane if run.winner else None,
        "kept": [answer.lane for answer in run.kept],
        "elapsed": seconds(run.elapsed),
        "wasted": spent_object(run.wasted),
        "overhead": spent_object(run.overhead),
        "votes": {key: list(lanes) for key, lanes in run.votes.items()},
        "verdicts": [verdict_object(verdict) for verdict in run.verdicts],
        "analysis": run.analysis,
        "answers": [answer_object(answer) for answer in run.answers],
    }


def spent_object(spent: Spent) -> Object:
    """The work of some lanes; with `cost_high` only where it is known."""
    found = asdict(spent)
    return {name: value for name, value in found.items() if name != "cost_high" or value is not None}


def answer_object(answer: Answer) -> Object:
    """The answer of one lane."""
    return {
        "lane": answer.lane,
        "provider": answer.provider,
        "model": answer.model,
        "status": answer.status,
        "text": answer.text,
        "reasoning": answer.reasoning,
        "refusal": answer.refusal,
        "tool_calls": [asdict(call) for call in answer.tool_calls],
        "files": [file_object(file) for file in answer.files],
        "sources": [asdict(source) for source in answer.sources],
        "title": answer.title,
        "usage": asdict(answer.usage) if answer.usage else None,
        "finish_reason": answer.finish_reason,
        "notes": list(answer.notes),
        "error": error_object(answer.error),
        "ttft": seconds(answer.ttft),
        "ttfo": seconds(answer.ttfo),
        "itl": seconds(answer.itl),
        "elapsed": seconds(answer.elapsed),
        "conversation": dict(answer.conversation.state) if answer.conversation else None,
        "cost": answer.cost,
        "request_id": answer.request_id,
        "chunks": answer.chunks,
        "tokens": answer.tokens,
        "repeated": answer.repeated,
        "opaque": answer.opaque,
        "value": plain(answer.value),
        **({"partial_value": answer.partial_value} if _is_broken_off(answer) else {}),
    }


def verdict_object(verdict: Verdict) -> Object:
    """A judge's verdict."""
    return {
        "judge": verdict.judge,
        "labels": dict(verdict.labels),
        "best": verdict.best,
        "why": verdict.why,
        "error": error_object(verdict.error),
    }


def _is_broken_off(answer: Answer) -> bool:
    """True for an answer that a schema refused, or that it may still judge: its value is there as far as it goes."""
    return isinstance(answer.error, Refused) and bool(answer.error.why)


def plain(value: Any) -> Any:
    """A value as plain data: what a class was made of goes by its fields, and anything else that JSON has not as text.

    The kinds of classes are those that a schema may be given as.
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if isinstance(value, Enum):
        return plain(value.value)
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(mode="json")
    fields: Any = getattr(type(value), "__attrs_attrs__", None) or getattr(value, "__dataclass_fields__", {}).values()
    names = [one.name for one in fields]
    return {name: plain(getattr(value, name)) for name in names} if names else str(value)


def file_object(file: File) -> Object:
    """A file; its bytes, if it has any, in base64."""
    data = None if file.data is None else b64encode(file.data).decode("ascii")
    return {"name": file.name, "media_type": file.media_type, "url": file.url, "data": data}


def error_object(error: ProviderError | None) -> Object | None:
    """The error of a lane, or None."""
    if error is None:
        return None
    return {
        "kind": error.kind,
        "status": error.status,
        "retry_after": error.retry_after,
        "message": error.message,
        **({"why": [list(mistake) for mistake in error.why]} if isinstance(error, Refused) and error.why else {}),
    }


def seconds(value: float | None) -> float | None:
    """A time as it is printed: to the microsecond."""
    return None if value is None else round(value, 6)
