"""Messages: what Anthropic's clients ask."""

from collections.abc import Iterator, Mapping
from typing import Any

from fanout.errors import UsageError
from fanout.gateway.dialects.asked import (
    SILENT,
    Asked,
    Fields,
    make_options,
    make_prompt,
    need,
    optional,
    optional_switch,
    optional_text,
    read_fusion,
    read_model,
)
from fanout.gateway.dialects.sealed import Parts, Pieces
from fanout.prompt import Media, Message, ToolUse
from fanout.wire.json_text import encode, show

WIRE = "messages"

_OWN = ("top_k", "container", "context_management", "mcp_servers", "inference_geo", "speed", "diagnostics")
_ADVICE = frozenset({"thinking", "cache_control", "context_management", "tool_choice", "inference_geo", "diagnostics"})

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def read(body: Mapping[str, Any], betas: tuple[str, ...] = (), *, count: bool = False) -> Asked:
    """Returns what a body of Messages asks; with `count`, of a request that only counts its tokens.

    Raises UsageError with the name of what is wrong.
    """
    fields = Fields(body)
    model, models, fastest = read_model(fields), fields.texts("models"), fields.switch("fastest_response")
    system = _system(fields.take("system", str | list, "a string or a list of text blocks"))
    rows = fields.rows("messages")
    messages = [*system, *(message for row in rows for message in _messages(row))]
    limit = fields.whole("max_tokens")
    if limit is None and not count:
        raise UsageError("max_tokens is missing")
    output, thinking = fields.table("output_config"), fields.table("thinking")
    own = fields.own(_OWN)
    tools, choice = fields.rows("tools"), fields.table("tool_choice")
    options = make_options(
        max_tokens=limit,
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        stop=fields.texts("stop_sequences"),
        reasoning=optional_text(output, "effort"),
        reasoning_tokens=_budget(thinking),
        schema=_schema(output.get("format") or fields.table("output_format")),
        tools=tuple(_tool(tool) for tool in tools),
        tool_choice=_choice(choice),
    )
    if thinking and options.reasoning_tokens is None:
        own["thinking"] = thinking
    if optional_switch(choice, "disable_parallel_tool_use"):
        own["tool_choice"] = choice
    if _caches((fields.table("cache_control"), body.get("system"), rows, tools)):
        own["cache_control"] = {"type": "ephemeral"}
    stream, fusion = fields.switch("stream"), read_fusion(fields)
    fields.leave((*SILENT, "user_profile_id", "workspace_id", "output_format"))
    fields.check_all_taken()
    return Asked(
        WIRE,
        model,
        make_prompt(messages, options),
        stream,
        models,
        fastest,
        own=own,
        advice=_ADVICE,
        betas=betas,
        given=body,
        fusion=fusion,
    )


def _budget(thinking: Mapping[str, Any]) -> int | None:
    match thinking:
        case {"type": "enabled", "budget_tokens": int(budget)}:
            return budget
        case {"type": "disabled"}:
            return 0
        case {"type": "adaptive"}:
            return None
        case {} if not thinking:
            return None
    raise UsageError("thinking must be enabled with budget_tokens, adaptive, or disabled")


def _schema(form: Any) -> Mapping[str, Any] | None:
    match form:
        case {"type": "json_schema", "schema": dict(schema)}:
            return schema
        case _ if not form:
            return None
    raise UsageError("output_config.format must be json_schema with a schema")


def _caches(parts: Any) -> bool:
    """Tells whether any block says that a service may keep what stands before it.

    A message's text has no place for such marks; the service puts one where it is best if the request has it.
    """
    if isinstance(parts, dict):
        own, inner = optional(dict, parts, "cache_control", "an object"), _caches(parts.get("content"))
        return bool(own) or inner or parts.get("type") == "ephemeral"
    return isinstance(parts, list | tuple) and any([_caches(part) for part in parts])  # noqa: C419  # each is checked


def _system(given: Any) -> list[Message]:
    if isinstance(given, str):
        return [Message("system", given)] if given else []
    return [Message("system", _text(block, "system")) for block in given or ()]


def _text(block: Any, where: str) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
    raise UsageError(f"{where} takes text blocks, not {show(block)}")


def _messages(row: Any) -> Iterator[Message]:
    """The messages of one turn: the results of tools are messages of their own."""
    match row:
        case {"role": "user" | "assistant" | "system" as role, "content": str(text)}:
            yield Message(role, text)
        case {"role": "user", "content": list(blocks)}:
            yield from _user(blocks)
        case {"role": "assistant", "content": list(blocks)}:
            yield _assistant(blocks)
        case {"role": "system", "content": list(blocks)}:
            yield from _system(blocks)
        case _:
            raise UsageError(f"a message has a role, user or assistant, and content; got {show(row)}")


def _user(blocks: list[Any]) -> Iterator[Message]:
    texts: list[str] = []
    media: list[Media] = []
    for block in blocks:
        if isinstance(block, dict) and block.get("type") == "tool_result":
            if texts or media:
                yield Message("user", "\n\n".join(texts), tuple(media))
                texts, media = [], []
            yield _result(block)
        elif isinstance(block, dict) and block.get("type") == "text":
            texts.append(_text(block, "content"))
        else:
            media.append(_media(block))
    if texts or media:
        yield Message("user", "\n\n".join(texts), tuple(media))


def _result(block: Mapping[str, Any]) -> Message:
    call_id = need(str, block.get("tool_use_id"), "a tool_result has a tool_use_id")
    content = block.get("content") if block.get("content") is not None else ""
    words = "content must be a string or a list"
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else need(list, content, words)
    texts = [_text(part, "a tool_result") for part in parts if _is_text(part)]
    media = tuple(_media(part) for part in parts if not _is_text(part))
    text = "\n\n".join(texts)
    return Message(
        "tool", f"[error] {text}" if optional_switch(block, "is_error") else text, media, tool_call_id=call_id
    )


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text"


def _media(block: Any) -> Media:
    match block:
        case {"type": "image" | "document", "source": {"type": "base64", "media_type": str(kind), "data": str(data)}}:
            return Media.from_data_uri(f"data:{kind};base64,{data}", optional_text(block, "title"))
        case {"type": "image" | "document" as kind, "source": {"type": "url", "url": str(url)}}:
            return Media(url=url, media_type="application/pdf" if kind == "document" else None)
        case {"type": "document", "source": {"type": "text", "data": str(text)}}:
            return Media(text.encode(), media_type="text/plain", name=optional_text(block, "title"))
    raise UsageError(f"a block must be text, image, document or tool_result, by its bytes or an address: {show(block)}")


def _assistant(blocks: list[Any]) -> Message:
    said, thoughts, parts = Pieces(), Pieces(), Parts()
    uses: list[ToolUse] = []
    for block in blocks:
        sealed = ""
        match block:
            case {"type": "text", "text": str(text)}:
                said.add(text)
            case {"type": "thinking", "thinking": str(thought)}:
                thoughts.add(thought)
                sealed = optional_text(block, "signature") or ""
            case {"type": "redacted_thinking"}:
                sealed = optional_text(block, "data") or ""
            case {"type": "tool_use", "id": str(call_id), "name": str(name), "input": dict(arguments)}:
                uses.append(ToolUse(call_id, name, encode(arguments)))
            case _:
                raise UsageError(f"an assistant's block must be text, thinking or tool_use; got {show(block)}")
        if sealed:
            parts.add(sealed, said.size, thoughts.size, len(uses))
    return Message("assistant", said.text, tool_uses=tuple(uses), reasoning=thoughts.text, opaque=parts.opaque)


def _tool(tool: Any) -> Mapping[str, Any]:
    """A tool of the caller as a function; those that the service runs stay as they are."""
    tool = need(dict, tool, "a tool is an object")
    if optional_text(tool, "type") not in (None, "custom"):
        return {name: value for name, value in tool.items() if name != "cache_control"}
    name = need(str, tool.get("name"), "a tool has a name")
    strict = optional(bool, tool, "strict", "true or false")
    function = {"name": name, "description": optional_text(tool, "description"), "strict": strict}
    schema = need(dict, tool.get("input_schema"), "a tool has an input_schema")
    said = {key: value for key, value in function.items() if value is not None}
    return {"type": "function", "function": {**said, "parameters": schema}}


def _choice(choice: Mapping[str, Any]) -> str | Mapping[str, Any] | None:
    match choice:
        case {"type": "tool", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
        case {"type": "auto" | "any" | "none" as kind}:
            return _CHOICES[kind]
        case {} if not choice:
            return None
    raise UsageError("tool_choice must be auto, any, none, or tool with a name")
