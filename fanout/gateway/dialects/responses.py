"""Responses: the form of the answers that OpenAI's newer clients and Codex read, as Open Responses specifies it."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define

from fanout.answers import Answer
from fanout.events import Delta, Event, File, Replace, Source, Usage
from fanout.gateway.dialects.asked import Asked
from fanout.gateway.dialects.blocks import Block, Blocks, Cite, Close, Open, Piece, Seal, Step, events_of
from fanout.gateway.dialects.chat import with_notes
from fanout.gateway.dialects.faults import Fault
from fanout.gateway.dialects.replaced import Text
from fanout.gateway.dialects.responses_read import custom_names
from fanout.gateway.dialects.writer import Made, dump, event

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}

_CODES = {400: "invalid_prompt", 429: "rate_limit_exceeded"}

_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": 1,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1,
    "truncation": "disabled",
}
"""Fields of a response that repeat the request, and what they are where it says nothing."""

_FIXED: Mapping[str, Any] = {
    "background": False,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "previous_response_id": None,
    "service_tier": "default",
    "store": False,
    "top_logprobs": 0,
}
"""Fields of a response that are the same in all: what this gateway does not do."""


@define(eq=False)
class _Item:
    """An item of the output as it grows: its id, its place, the texts of its parts."""

    id: str
    place: int
    kind: str
    block: Block


class ResponsesWriter:
    """Writes one answer as a stream of Responses. A refusal is a part of a message of its own."""

    def __init__(self, asked: Asked, made: Made) -> None:
        self._asked = asked.given
        self._custom = custom_names(asked.given)
        self._made = made
        self._blocks = Blocks()
        self._text = Text()
        self._number = -1
        self._begun = False
        self._item: _Item | None = None
        self._output: list[dict[str, Any]] = []
        self._around = (b"", b"", b"")

    def begin(self) -> bytes:
        """Returns the first events: that there is a response, and that it is under way."""
        if self._begun:
            return b""
        self._begun = True
        kinds = ("response.created", "response.in_progress")
        return b"".join(self._event(kind, response=self._response("in_progress")) for kind in kinds)

    def feed(self, events: Sequence[Event]) -> bytes:
        """Returns the events of the winner, as events of items."""
        return self.begin() + b"".join(self._write_event(one) for one in events)

    def ping(self) -> bytes:
        """Returns a comment."""
        return b": keep-alive\n\n"

    def close(self, answer: Answer, figures: Mapping[str, Any]) -> bytes:
        """Returns the end, with the whole response."""
        out = self.begin() + b"".join(map(self._write, self._blocks.close()))
        status = status_of(answer)
        response = self._response(status, answer, with_notes(figures, self._text))
        return out + self._event(f"response.{status}", response=response)

    def fail(self, fault: Fault) -> bytes:
        """Returns the end of a response that failed."""
        error = {"code": _CODES.get(fault.status, "server_error"), "message": fault.message}
        out = self.begin()
        return out + self._event("response.failed", response={**self._response("failed"), "error": error})

    def whole(self, answer: Answer, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the answer as one response."""
        self.feed(events_of(answer))
        for step in self._blocks.close():
            self._write(step)
        return self._response(status_of(answer), answer, figures)

    def _write_event(self, one: Event) -> bytes:
        if isinstance(one, Delta | Replace):
            text = self._text.news_of(one)
            if not text:
                return b""
            one = one if isinstance(one, Delta) else Delta(text)
        if isinstance(one, File) and one.data is not None and (one.media_type or "image/").startswith("image/"):
            return self._write_picture(one.data)
        return b"".join(map(self._write, self._blocks.feed(one)))

    def _write(self, step: Step) -> bytes:
        match step:
            case Open(block):
                return self._open(block)
            case Piece(_, text):
                self._number += 1
                before, between, after = self._around
                return before + b"%d" % self._number + between + dump(text) + after
            case Cite(block, source):
                index = len(block.sources) - 1
                at = {**self._at, "content_index": 0, "annotation_index": index}
                return self._event("response.output_text.annotation.added", **at, annotation=_page(source))
            case Seal():
                return b""  # it comes with the whole item
            case Close():
                return self._close()

    @property
    def _at(self) -> dict[str, Any]:
        assert self._item is not None
        return {"item_id": self._item.id, "output_index": self._item.place}

    def _open(self, block: Block) -> bytes:
        kind = {"call": "function_call", "reasoning": "reasoning"}.get(block.kind, "message")
        if block.kind == "call" and block.name in self._custom:
            kind = "custom_tool_call"
        place = len(self._output)
        prefix = {"message": "msg", "reasoning": "rs"}.get(kind, "fc")
        item = self._item = _Item(f"{prefix}_{self._made.id}_{place}", place, kind, block)
        out = self._event("response.output_item.added", output_index=place, item=_item(item, "in_progress"))
        if kind == "reasoning":
            part = {"type": "summary_text", "text": ""}
            out += self._event("response.reasoning_summary_part.added", **self._at, summary_index=0, part=part)
        elif kind == "message":
            out += self._event("response.content_part.added", **self._at, content_index=0, part=_part(block, ""))
        self._prepare(item)
        return out

    def _prepare(self, item: _Item) -> None:
        """Makes what is the same in the events of all pieces of a block, around the number and the text."""
        name, more = _piece_of(item)
        fields = {"type": name, "sequence_number": -7, **self._at, **more, "delta": "\x00"}
        before, _, rest = event(fields, name).partition(b"-7")
        between, _, after = rest.partition(dump("\x00"))
        self._around = before, between, after

    def _close(self) -> bytes:
        item = self._item
        assert item is not None
        text, at = item.block.text, self._at
        match item.kind:
            case "reasoning":
                part = {"type": "summary_text", "text": text}
                out = self._event("response.reasoning_summary_text.done", **at, summary_index=0, text=text)
                out += self._event("response.reasoning_summary_part.done", **at, summary_index=0, part=part)
            case "function_call":
                name = item.block.name
                out = self._event("response.function_call_arguments.done", **at, name=name, arguments=text)
            case "custom_tool_call":
                out = self._event("response.custom_tool_call_input.done", **at, input=text)
            case _:
                key = {"content_index": 0}
                if item.block.kind == "refusal":
                    out = self._event("response.refusal.done", **at, **key, refusal=text)
                else:
                    out = self._event("response.output_text.done", **at, **key, text=text, logprobs=[])
                out += self._event("response.content_part.done", **at, **key, part=_part(item.block, text))
        whole = _item(item, "completed")
        self._output.append(whole)
        self._item = None
        return out + self._event("response.output_item.done", output_index=item.place, item=whole)

    def _write_picture(self, data: bytes) -> bytes:
        """Writes a picture as an item of its own, after what is open."""
        out = b"".join(map(self._write, self._blocks.close()))
        place = len(self._output)
        item = {"type": "image_generation_call", "id": f"ig_{self._made.id}_{place}", "status": "in_progress"}
        out += self._event("response.output_item.added", output_index=place, item={**item, "result": None})
        whole = {**item, "status": "completed", "result": b64encode(data).decode()}
        self._output.append(whole)
        return out + self._event("response.output_item.done", output_index=place, item=whole)

    def _event(self, kind: str, **more: Any) -> bytes:
        self._number += 1
        return event({"type": kind, "sequence_number": self._number, **more}, kind)

    def _response(
        self, status: str, answer: Answer | None = None, figures: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        given = {name: self._asked.get(name) for name in _ECHOED}
        reason = _INCOMPLETE.get((answer and answer.finish_reason) or "") if status == "incomplete" else None
        return {
            "id": f"resp_{self._made.id}",
            "object": "response",
            "created_at": self._made.created,
            "completed_at": None if answer is None else self._made.created + round(answer.elapsed or 0),
            "status": status,
            "error": None,
            "incomplete_details": {"reason": reason} if reason else None,
            "model": self._made.model,
            "output": list(self._output),
            "usage": None if answer is None else usage_of(answer.usage),
            "reasoning": {"effort": None, "summary": None, **(self._asked.get("reasoning") or {})},
            "text": {"format": {"type": "text"}, **(self._asked.get("text") or {})},
            **_FIXED,
            **{name: _ECHOED[name] if value is None else value for name, value in given.items()},
            "tools": [_tool(tool) for tool in given["tools"] or ()],
            **({"fanout": figures} if figures is not None else {}),
        }


def status_of(answer: Answer) -> str:
    """Returns the status of the response with this answer."""
    return "incomplete" if answer.finish_reason in _INCOMPLETE else "completed"


def usage_of(usage: Usage | None) -> dict[str, Any]:
    """Returns token counts; what was not counted is 0."""
    usage = usage or Usage()
    given, made = usage.input or 0, usage.output or 0
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": usage.cached or 0, "cache_write_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": given + made,
    }


def _piece_of(item: _Item) -> tuple[str, dict[str, Any]]:
    """The type of the events that bring an item's text, and their further fields."""
    match item.kind:
        case "reasoning":
            return "response.reasoning_summary_text.delta", {"summary_index": 0}
        case "function_call":
            return "response.function_call_arguments.delta", {}
        case "custom_tool_call":
            return "response.custom_tool_call_input.delta", {}
    if item.block.kind == "refusal":
        return "response.refusal.delta", {"content_index": 0}
    return "response.output_text.delta", {"content_index": 0, "logprobs": []}


def _item(item: _Item, status: str) -> dict[str, Any]:
    """An item, at its beginning or whole."""
    block, whole = item.block, status == "completed"
    own = {"type": item.kind, "id": item.id, "status": status}
    match item.kind:
        case "reasoning":
            summary = [{"type": "summary_text", "text": block.text}] if whole and block.text else []
            return {**own, "summary": summary, **({"encrypted_content": block.sealed} if block.sealed else {})}
        case "function_call":
            return {**own, "call_id": block.id, "name": block.name, "arguments": block.text if whole else ""}
        case "custom_tool_call":
            return {**own, "call_id": block.id, "name": block.name, "input": block.text if whole else ""}
    return {**own, "role": "assistant", "content": [_part(block, block.text)] if whole else []}


def _part(block: Block, text: str) -> dict[str, Any]:
    if block.kind == "refusal":
        return {"type": "refusal", "refusal": text}
    annotations = [_page(source) for source in block.sources]
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def _tool(tool: Any) -> Any:
    """A tool of the request, in which the specification wants every field of a function."""
    is_function = isinstance(tool, dict) and tool.get("type") == "function"
    return {"description": None, "parameters": None, "strict": None, **tool} if is_function else tool


def _page(source: Source) -> dict[str, Any]:
    page = {"url": source.url, "title": source.title or source.url}
    return {"type": "url_citation", **page, "start_index": 0, "end_index": 0}
