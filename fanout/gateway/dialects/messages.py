"""Messages: the form of Anthropic's answers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from fanout.answers import Answer
from fanout.events import Delta, Event, Refusal, Replace, Source, Usage
from fanout.gateway.dialects.asked import Asked
from fanout.gateway.dialects.blocks import Block, Blocks, Cite, Close, Open, Piece, Seal, Step, events_of
from fanout.gateway.dialects.chat import with_notes
from fanout.gateway.dialects.faults import Fault
from fanout.gateway.dialects.replaced import Text
from fanout.gateway.dialects.writer import Made, dump, event

_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""The types that Anthropic gives its errors, by HTTP status."""


class MessagesWriter:
    """Writes one answer as a stream of Messages. What a refusal says goes into the end, where Anthropic has it."""

    def __init__(self, asked: Asked, made: Made) -> None:
        self._made = made
        self._blocks = Blocks()
        self._index = -1
        self._begun = False
        self._text = Text()
        self._refusal = ""
        self._head = b""

    def begin(self) -> bytes:
        """Returns nothing: the message begins with its first block, when its model is known."""
        return b""

    def feed(self, events: Sequence[Event]) -> bytes:
        """Returns the events of the winner, as events of blocks that follow one another."""
        out: list[bytes] = []
        for one in events:
            if isinstance(one, Refusal):
                self._refusal += one.text
                continue
            if isinstance(one, Delta | Replace):
                text = self._text.news_of(one)
                if not text:
                    continue
                one = one if isinstance(one, Delta) else Delta(text)  # noqa: PLW2901
            out += map(self._write, self._blocks.feed(one))
        return self._start() + b"".join(out) if out else b""

    def ping(self) -> bytes:
        """Returns a ping."""
        return event({"type": "ping"}, "ping")

    def close(self, answer: Answer, figures: Mapping[str, Any]) -> bytes:
        """Returns the end: the stop reason, the counts and the figures."""
        steps = b"".join(map(self._write, self._blocks.close()))
        delta: dict[str, Any] = {"stop_reason": reason_of(answer), "stop_sequence": None}
        if self._refusal:
            delta["stop_details"] = _details(self._refusal)
        last = {
            "type": "message_delta",
            "delta": delta,
            "usage": usage_of(answer.usage),
            "fanout": with_notes(figures, self._text),
        }
        return self._start() + steps + event(last, "message_delta") + event({"type": "message_stop"}, "message_stop")

    def fail(self, fault: Fault) -> bytes:
        """Returns the error, after which nothing comes."""
        return event(error_of(fault), "error")

    def whole(self, answer: Answer, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the answer as one message."""
        blocks = Blocks()
        steps = [step for one in events_of(answer) if not isinstance(one, Refusal) for step in blocks.feed(one)]
        return {
            **self._message(),
            "content": _contents([*steps, *blocks.close()]),
            "stop_reason": reason_of(answer),
            "usage": usage_of(answer.usage),
            **({"stop_details": _details(answer.refusal)} if answer.refusal else {}),
            "fanout": figures,
        }

    def _start(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        usage = usage_of(Usage(self._made.tokens, 0))
        return event({"type": "message_start", "message": {**self._message(), "usage": usage}}, "message_start")

    def _message(self) -> dict[str, Any]:
        return {
            "id": f"msg_{self._made.id}",
            "type": "message",
            "role": "assistant",
            "model": self._made.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }

    def _write(self, step: Step) -> bytes:
        match step:
            case Open(block):
                self._index += 1
                kind = {"text": "text_delta", "reasoning": "thinking_delta"}.get(block.kind, "input_json_delta")
                name = {"text": "text", "reasoning": "thinking"}.get(block.kind, "partial_json")
                delta = {"type": "content_block_delta", "index": self._index, "delta": {"type": kind, name: "\x00"}}
                self._head, _, self._tail = event(delta, "content_block_delta").partition(dump("\x00"))
                return self._event("content_block_start", content_block=_beginning(block))
            case Piece(_, text):
                return self._head + dump(text) + self._tail
            case Cite(_, source):
                return self._event("content_block_delta", delta={"type": "citations_delta", "citation": _page(source)})
            case Seal(block):
                delta = {"type": "signature_delta", "signature": block.sealed}
                return self._event("content_block_delta", delta=delta)
            case Close():
                return self._event("content_block_stop")

    def _event(self, kind: str, **more: Any) -> bytes:
        return event({"type": kind, "index": self._index, **more}, kind)


def reason_of(answer: Answer) -> str:
    """Returns the stop reason of an answer."""
    return _REASONS.get(answer.finish_reason or "", "end_turn")


def usage_of(usage: Usage | None) -> dict[str, Any]:
    """Returns token counts: those of the input leave out what was cached, unlike OpenAI's."""
    usage = usage or Usage()
    cached = usage.cached or 0
    counts: dict[str, Any] = {"input_tokens": max(0, (usage.input or 0) - cached), "output_tokens": usage.output or 0}
    if usage.cached is not None:
        counts["cache_read_input_tokens"] = cached
    if usage.reasoning is not None:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return counts


def error_of(fault: Fault) -> dict[str, Any]:
    """Returns an error as Anthropic writes it."""
    return {"type": "error", "error": {"type": KINDS.get(fault.status, "api_error"), "message": fault.message}}


def _details(refusal: str) -> dict[str, Any]:
    return {"type": "refusal", "category": None, "explanation": refusal}


def _beginning(block: Block) -> dict[str, Any]:
    if block.kind == "call":
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": {}}
    if block.kind == "reasoning":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": "", "citations": None}


def _contents(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """The blocks of a whole message."""
    return [_content(step.block) for step in steps if isinstance(step, Close)]


def _content(block: Block) -> dict[str, Any]:
    begun = _beginning(block)
    if block.kind == "call":
        return {**begun, "input": _input(block.text)}
    if block.kind == "reasoning":
        return {**begun, "thinking": block.text, "signature": block.sealed}
    return {**begun, "text": block.text, "citations": [_page(source) for source in block.sources] or None}


def _input(arguments: str) -> Any:
    """The arguments of a call as an object; those that are none, as of a custom tool, under the name `input`."""
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return {"input": arguments}
    return value if isinstance(value, dict) else {"input": value}


def _page(source: Source) -> dict[str, Any]:
    page = {"url": source.url, "title": source.title, "cited_text": "", "encrypted_index": ""}
    return {"type": "web_search_result_location", **page}
