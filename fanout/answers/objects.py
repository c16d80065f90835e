"""A run and its answers as plain data: what `Run.to_dict` returns, and `--json` prints with a word on each end."""

from base64 import b64encode
from typing import Any

from attrs import asdict

from fanout.answers import Answer, Run, Wasted
from fanout.errors import ProviderError
from fanout.events import File

Object = dict[str, Any]


def run_object(run: Run) -> Object:
    """The run: who won, which answers were kept, what was wasted, and every lane's answer in the order of the lanes."""
    return {
        "type": "run",
        "winner": run.winner.lane if run.winner else None,
        "kept": [answer.lane for answer in run.kept],
        "elapsed": seconds(run.elapsed),
        "wasted": wasted_object(run.wasted),
        "answers": [answer_object(answer) for answer in run.answers],
    }


def wasted_object(wasted: Wasted) -> Object:
    """The waste; with `cost_high` only where it is known."""
    found = asdict(wasted)
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
    }


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
    }


def seconds(value: float | None) -> float | None:
    """A time as it is printed: to the microsecond."""
    return None if value is None else round(value, 6)
