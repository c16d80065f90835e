"""Chat Completions: what OpenAI's clients ask, and the form of its answers."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import define

from fanout.answers import Answer
from fanout.errors import UsageError
from fanout.events import Delta, Event, File, Reasoning, Refusal, Replace, Source, Sources, ToolCall, Usage
from fanout.gateway.dialects.asked import (
    SILENT,
    Asked,
    Fields,
    make_options,
    make_prompt,
    need,
    optional_switch,
    read_fusion,
    read_model,
)
from fanout.gateway.dialects.blocks import new_call_id
from fanout.gateway.dialects.faults import Fault
from fanout.gateway.dialects.replaced import Text
from fanout.gateway.dialects.writer import Made, dump, event
from fanout.prompt import Message

WIRE = "chat"

_OWN = (
    *("frequency_penalty", "presence_penalty", "logit_bias", "top_k", "min_p", "repetition_penalty", "verbosity"),
    *("modalities", "audio", "prediction", "web_search_options"),
)
"""Fields that go to services of this wire as they are; the others have no place for them."""

_ADVICE = frozenset({"parallel_tool_calls"})

_HARMLESS: Mapping[str, Sequence[Any]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "background": (False,),
}

_FINISHES = {None: "stop", "unknown": "stop"}

KINDS = {401: "authentication_error", 402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error"}
"""The types that OpenAI gives its errors, by HTTP status; those of others follow from who is at fault."""


def read(body: Mapping[str, Any]) -> Asked:
    """Returns what a body of Chat Completions asks. Raises UsageError with the name of what is wrong."""
    fields = Fields(body)
    model, models, fastest = read_model(fields), fields.texts("models"), fields.switch("fastest_response")
    messages = [Message.of(message) for message in fields.rows("messages")]
    stream, form = fields.switch("stream"), fields.table("response_format")
    counted = optional_switch(fields.table("stream_options"), "include_usage")
    schema, own = _read_format(form)
    limits = fields.whole("max_completion_tokens"), fields.whole("max_tokens")
    options = make_options(
        max_tokens=next((limit for limit in limits if limit is not None), None),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        stop=fields.texts("stop"),
        seed=fields.whole("seed"),
        reasoning=fields.text("reasoning_effort"),
        tools=tuple(need(dict, tool, "a tool is an object") for tool in fields.rows("tools")),
        tool_choice=fields.take("tool_choice", str | dict, "a string or an object"),
        schema=schema,
    )
    own |= fields.own(_OWN)
    fusion = read_fusion(fields)
    parallel = fields.take("parallel_tool_calls", bool, "true or false")
    if parallel is not None and options.tools:
        own["parallel_tool_calls"] = parallel
    fields.refuse(_HARMLESS)
    fields.leave((*SILENT, "store"))
    fields.check_all_taken()
    prompt = make_prompt(messages, options)
    return Asked(WIRE, model, prompt, stream, models, fastest, counted, own, _ADVICE, given=body, fusion=fusion)


def _read_format(form: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, dict[str, Any]]:
    """The schema that an answer must fit, and the form that only this wire knows: any JSON object."""
    match form:
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema, {}
        case {"type": "json_object"}:
            return None, {"response_format": dict(form)}
        case {} if not form or form.get("type") == "text":
            return None, {}
    raise UsageError("response_format must be text, json_object, or json_schema with json_schema.schema")


class ChatWriter:
    """Writes one answer as chunks of Chat Completions."""

    def __init__(self, asked: Asked, made: Made) -> None:
        self._counted = asked.counted
        self._made = made
        self._begun = False
        self._text = Text()
        self._calls = Calls()
        self._head = b""

    def begin(self) -> bytes:
        """Returns nothing: the role comes with the first content."""
        return b""

    def feed(self, events: Sequence[Event]) -> bytes:
        """Returns a chunk for each event that a client should see."""
        out: list[bytes] = []
        for one in events:
            kind = type(one)
            if kind is Delta and self._begun:
                self._text.add(one.text)  # type: ignore[union-attr]  # nearly always
                out.append(self._head + dump(one.text) + self._tail)  # type: ignore[union-attr]
            else:
                out += [self._chunk(delta) for delta in self._deltas(one)]
        return b"".join(out)

    def ping(self) -> bytes:
        """Returns a comment."""
        return b": keep-alive\n\n"

    def close(self, answer: Answer, figures: Mapping[str, Any]) -> bytes:
        """Returns the chunk with the finish reason, that with the counts if they were asked for, and the end mark."""
        out = [self._chunk(delta) for delta in self._calls.rest()]
        if not self._begun:
            out.append(self._chunk({"content": ""}))
        out.append(self._chunk({}, finish_of(answer)))
        if self._counted:
            counts = {"choices": [], "usage": usage_of(answer.usage), "fanout": with_notes(figures, self._text)}
            out.append(event({**self._fields(), **counts}))
        return b"".join([*out, b"data: [DONE]\n\n"])

    def fail(self, fault: Fault) -> bytes:
        """Returns the error, after which nothing comes: no end mark."""
        return event(error_of(fault))

    def whole(self, answer: Answer, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the answer as a chat.completion."""
        choice = {"index": 0, "message": _message(answer), "logprobs": None, "finish_reason": finish_of(answer)}
        return {
            **self._fields("chat.completion"),
            "choices": [choice],
            "usage": usage_of(answer.usage),
            "fanout": figures,
        }

    def _deltas(self, one: Event) -> list[dict[str, Any]]:
        match one:
            case Delta() | Replace():
                text = self._text.news_of(one)
                return [{"content": text}] if text else []
            case Reasoning():
                return [{"reasoning_content": one.text}] if one.text else []
            case Refusal():
                return [{"refusal": one.text}]
            case ToolCall():
                return self._calls.deltas(one)
            case File():
                return [{"images": [_picture(one)]}]
            case Sources():
                return [{"annotations": [annotation(source) for source in one.items]}]
        return []

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        if not self._begun:
            self._begin_text()
            delta = {"role": "assistant", "content": None, **delta}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**self._fields(), "choices": [choice], **({"usage": None} if self._counted else {})})

    def _begin_text(self) -> None:
        """Makes what stands before and after a piece of text, which is the same in every chunk but the first."""
        self._begun = True
        whole = self._chunk({"content": "\x00"})
        self._head, _, self._tail = whole.partition(dump("\x00"))

    def _fields(self, kind: str = "chat.completion.chunk") -> dict[str, Any]:
        made = self._made
        return {"id": f"chatcmpl-{made.id}", "object": kind, "created": made.created, "model": made.model}


class Calls:
    """Writes tool calls, numbered from 0 in the order in which they begin; each begins with its name."""

    def __init__(self) -> None:
        self._begun: dict[int, _Begun] = {}
        self._unnamed: dict[int, ToolCall] = {}

    def deltas(self, piece: ToolCall) -> list[dict[str, Any]]:
        """Returns the delta of a piece; none while its call has no name."""
        if (begun := self._begun.get(piece.index)) is not None:
            return [
                {"tool_calls": [{"index": begun.index, "function": {"arguments": text}}]}
                for text in begun.cut(piece.arguments)
            ]
        if before := self._unnamed.pop(piece.index, None):
            arguments = before.arguments + piece.arguments
            piece = ToolCall(piece.index, before.id or piece.id, before.name or piece.name, arguments)
        if not piece.name:
            self._unnamed[piece.index] = piece
            return []
        return [self._begin(piece)]

    def rest(self) -> list[dict[str, Any]]:
        """Returns the calls whose name never came."""
        waiting, self._unnamed = self._unnamed, {}
        return [self._begin(piece) for piece in waiting.values()]

    def _begin(self, piece: ToolCall) -> dict[str, Any]:
        begun = self._begun[piece.index] = _Begun(len(self._begun), [piece.arguments], len(piece.arguments))
        call = call_of(piece.id or new_call_id(), piece.name or "", piece.arguments)
        return {"tool_calls": [{"index": begun.index, **call}]}


@define
class _Begun:
    """A call that has begun: its index, and the arguments that were written."""

    index: int
    pieces: list[str]
    size: int

    def cut(self, text: str) -> Iterator[str]:
        """Yields a piece of the arguments, in parts where it begins with all that came before.

        Some services send all the arguments so far with every piece, so a client, ours too, may take it for that.
        """
        while 1 < self.size <= len(text) and text.startswith("".join(self.pieces)):
            yield self._add(text[: self.size - 1])
            text = text[len(self.pieces[-1]) :]
        if text:
            yield self._add(text)

    def _add(self, text: str) -> str:
        self.pieces.append(text)
        self.size += len(text)
        return text


def call_of(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """Returns a tool call as this wire writes it."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def finish_of(answer: Answer) -> str:
    """Returns the finish reason of an answer."""
    return _FINISHES.get(answer.finish_reason) or answer.finish_reason or "stop"


def usage_of(usage: Usage | None) -> dict[str, Any]:
    """Returns token counts; what was not counted is left out, or 0 where a client counts on it."""
    usage = usage or Usage()
    given, made = usage.input or 0, usage.output or 0
    counts: dict[str, Any] = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
    if usage.cached is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": usage.cached}
    if usage.reasoning is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return counts


def error_of(fault: Fault) -> dict[str, Any]:
    """Returns an error as OpenAI writes it."""
    kind = KINDS.get(fault.status, "server_error" if fault.status >= 500 else "invalid_request_error")
    return {"error": {"message": fault.message, "type": kind, "param": None, "code": fault.kind}}


def with_notes(figures: Mapping[str, Any], text: Text) -> Mapping[str, Any]:
    """Returns the figures with the text that replaces what was sent, if a service took it back."""
    return {**figures, "replaced": text.replaced} if text.replaced is not None else figures


def annotation(source: Source) -> dict[str, Any]:
    """Returns a page that an answer cites."""
    page = {"url": source.url, "title": source.title or source.url, "start_index": 0, "end_index": 0}
    return {"type": "url_citation", "url_citation": page}


def _message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text or (None if answer.tool_calls or answer.refusal else ""),
        "refusal": answer.refusal or None,
    }
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        message["tool_calls"] = [call_of(call.id, call.name, call.arguments) for call in answer.tool_calls]
    if answer.files:
        message["images"] = [_picture(file) for file in answer.files]
    if answer.sources:
        message["annotations"] = [annotation(source) for source in answer.sources]
    return message


def _picture(file: File) -> dict[str, Any]:
    url = file.url or ""
    if file.data is not None:
        url = f"data:{file.media_type or 'application/octet-stream'};base64,{b64encode(file.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
