"""Responses: what OpenAI's newer clients and Codex ask."""

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import define, field

from fanout.errors import UsageError
from fanout.gateway.dialects.asked import (
    Asked,
    Fields,
    make_options,
    make_prompt,
    need,
    optional,
    optional_text,
    read_fusion,
    read_model,
)
from fanout.gateway.dialects.sealed import Parts, Pieces
from fanout.prompt import Media, Message, ToolUse
from fanout.wire.json_text import show

WIRE = "responses"

_OWN = ("max_tool_calls", "truncation", "prompt_cache_key", "safety_identifier", "service_tier", "context_management")
_ADVICE = frozenset(
    {
        *("parallel_tool_calls", "truncation", "prompt_cache_key", "safety_identifier", "service_tier"),
        *("reasoning", "context_management"),
    }
)

_STATEFUL = {
    "previous_response_id": "send the whole conversation as input: this gateway keeps no responses",
    "conversation": "send the whole conversation as input: this gateway keeps none",
    "background": "this gateway answers while the client is there; leave it out",
    "prompt": "this gateway keeps no prompts; send instructions and input",
}


def read(body: Mapping[str, Any]) -> Asked:
    """Returns what a body of Responses asks. Raises UsageError with the name of what is wrong."""
    fields = Fields(body)
    model, models, fastest = read_model(fields), fields.texts("models"), fields.switch("fastest_response")
    for name, instead in _STATEFUL.items():
        if fields.take(name, object, "") not in (None, False):
            raise UsageError(f"{name} is not supported: {instead}")
    instructions = fields.text("instructions")
    given = fields.take("input", str | list, "a string or a list of items")
    system = [Message("system", instructions)] if instructions else []
    said = [Message("user", given)] if isinstance(given, str) else _messages(given or ())
    reasoning, text = fields.table("reasoning"), fields.table("text")
    schema, own = _read_text(text)
    own |= fields.own(_OWN)
    if len(reasoning) > 1:
        own["reasoning"] = reasoning
    parallel = fields.take("parallel_tool_calls", bool, "true or false")
    tools = tuple(_tool(tool) for tool in fields.rows("tools"))
    if parallel is not None and tools:
        own["parallel_tool_calls"] = parallel
    options = make_options(
        max_tokens=fields.whole("max_output_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        reasoning=optional_text(reasoning, "effort"),
        schema=schema,
        tools=tools,
        tool_choice=_choice(fields.take("tool_choice", str | dict, "a string or an object")),
    )
    stream, fusion = fields.switch("stream"), read_fusion(fields)
    fields.refuse({"top_logprobs": (0,), "frequency_penalty": (0,), "presence_penalty": (0,)})
    fields.leave(
        ("store", "include", "metadata", "user", "stream_options", "client_metadata", "prompt_cache_retention")
    )
    fields.check_all_taken()
    prompt = make_prompt([*system, *said], options)
    return Asked(WIRE, model, prompt, stream, models, fastest, own=own, advice=_ADVICE, given=body, fusion=fusion)


def custom_names(body: Mapping[str, Any]) -> frozenset[str]:
    """Returns the names of the tools in a request that take any text in place of JSON."""
    tools = body.get("tools")
    rows = tools if isinstance(tools, list) else ()
    return frozenset(str(row.get("name")) for row in rows if isinstance(row, dict) and row.get("type") == "custom")


def _read_text(text: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, dict[str, Any]]:
    """The schema that an answer must fit, and what only this wire knows of an answer's text."""
    rest = {name: value for name, value in text.items() if name != "format" and value is not None}
    match text.get("format"):
        case {"type": "json_schema", "schema": dict(schema)}:
            return schema, {"text": dict(text)} if rest else {}
        case {"type": "json_object"}:
            return None, {"text": dict(text)}
        case None | {"type": "text"}:
            return None, {"text": rest} if rest else {}
    raise UsageError("text.format must be text, json_object, or json_schema with a schema")


def _messages(items: Iterable[Any]) -> list[Message]:
    """The messages that the items of an input are: an assistant's words, reasoning and calls are one."""
    out: list[Message] = []
    turn = _Turn()
    for item in items:
        match item:
            case {"type": "function_call", "call_id": str(call), "name": str(name), "arguments": str(words)} | {
                "type": "custom_tool_call",
                "call_id": str(call),
                "name": str(name),
                "input": str(words),
            }:
                turn.uses.append(ToolUse(call, name, words))
            case {"type": "reasoning"}:
                turn.think(item)
            case {"role": "assistant", "content": content}:
                text, media = _parts(content)
                turn.said.add(text)
                turn.media += media
            case {"type": "function_call_output" | "custom_tool_call_output", "call_id": str(call), "output": output}:
                out += turn.end()
                text, media = _parts(output)
                out.append(Message("tool", text, media, tool_call_id=call))
            case {"role": "user" | "system" | "developer" as role, "content": content}:
                out += turn.end()
                text, media = _parts(content)
                out.append(Message(role, text, media))
            case _:
                raise UsageError(f"an item of the input must be a message, a call or its output; got {show(item)}")
    return [*out, *turn.end()]


@define
class _Turn:
    """An assistant's turn, item by item."""

    said: Pieces = field(factory=Pieces)
    media: list[Media] = field(factory=list)
    thoughts: Pieces = field(factory=Pieces)
    uses: list[ToolUse] = field(factory=list)
    parts: Parts = field(factory=Parts)

    def think(self, item: Mapping[str, Any]) -> None:
        """Takes an item of reasoning, with what is opaque in it."""
        self.thoughts.add(_thoughts(item))
        if sealed := optional_text(item, "encrypted_content"):
            self.parts.add(sealed, self.said.size, self.thoughts.size, len(self.uses))

    def end(self) -> list[Message]:
        """Returns the turn as a message, if there is one, and begins the next."""
        text, thoughts = self.said.text, self.thoughts.text
        uses, media, opaque = tuple(self.uses), tuple(self.media), self.parts.opaque
        said = bool(text or uses or media)
        self.__init__()  # type: ignore[misc]  # as new
        message = Message("assistant", text, media, uses, reasoning=thoughts, opaque=opaque)
        return [message] if said else []


def _thoughts(item: Mapping[str, Any]) -> str:
    rows = [row for name in ("summary", "content") for row in optional(list, item, name, "a list") or ()]
    return "".join(row["text"] for row in rows if isinstance(row, dict) and isinstance(row.get("text"), str))


def _parts(content: Any) -> tuple[str, tuple[Media, ...]]:
    if isinstance(content, str):
        return content, ()
    texts: list[str] = []
    media: list[Media] = []
    for part in need(list, content, "content is a string or a list of parts"):
        match part:
            case {"type": "input_text" | "output_text" | "text", "text": str(text)}:
                texts.append(text)
            case {"type": "refusal", "refusal": str(text)}:
                texts.append(text)
            case {"type": "input_image", "image_url": str(url)}:
                media.append(Media.from_data_uri(url) if url.startswith("data:") else Media(url=url))
            case {"type": "input_file", "file_data": str(data)}:
                media.append(Media.from_data_uri(data, optional_text(part, "filename")))
            case {"type": "input_file", "file_url": str(url)}:
                media.append(Media(url=url, media_type="application/pdf", name=optional_text(part, "filename")))
            case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(form)}}:
                media.append(Media.from_data_uri(f"data:audio/{form};base64,{data}"))
            case _:
                raise UsageError(f"a part must be input_text, input_image, input_file or input_audio; got {show(part)}")
    return "".join(texts), tuple(media)


def _tool(tool: Any) -> Mapping[str, Any]:
    """A function or custom tool in the form of Chat Completions, which every lane knows; others stay as they are."""
    given: dict[str, Any] = need(dict, tool, "a tool is an object")
    kind = given.get("type")
    if kind not in ("function", "custom") or kind in given:
        return given
    need(str, given.get("name"), "a tool has a name")
    own = {name: value for name, value in given.items() if name != "type" and value is not None}
    return {"type": kind, kind: own}


def _choice(choice: Any) -> Any:
    match choice:
        case {"type": "function" | "custom" as kind, "name": str(name)}:
            return {"type": kind, kind: {"name": name}}
    return choice
