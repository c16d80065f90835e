"""Writes a conversation as Anthropic's turns of blocks, with the thoughts that the model must have back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, takewhile
from typing import Any

from fanout.errors import InvalidRequest, ProtocolError
from fanout.prompt import SYSTEM, Media, Message, ToolUse
from fanout.providers.media import base64_of, type_of
from fanout.providers.opaque import Kept, split
from fanout.wire.json_text import JsonText


def system_texts(messages: Iterable[Message]) -> Iterator[str]:
    """Yields the texts of the messages that instruct the model. Raises InvalidRequest where they have media."""
    for message in messages:
        if message.role in SYSTEM:
            if message.media:
                raise InvalidRequest(f"a {message.role} message can carry only text here")
            yield message.text


def turns_of(messages: Iterable[Message], maker: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yields the turns of user and assistant. The results of tools are the user's, all that answer one turn together.

    `maker` marks the messages whose thoughts go back; None: those of none. Raises InvalidRequest for what has no place.
    """
    spoken = (message for message in messages if message.role not in SYSTEM)
    for is_tool, group in groupby(spoken, lambda message: message.role == "tool"):
        if is_tool:
            yield {"role": "user", "content": [_tool_result(message) for message in group]}
        else:
            yield from ({"role": message.role, "content": _content(message, maker)} for message in group)


def may_think(turns: Sequence[Mapping[str, Any]]) -> bool:
    """Returns False within a tool loop that was begun without thinking, or by another service.

    Thinking cannot begin in the midst of it: newer models then leave it out by themselves, older ones refuse
    (platform.claude.com/docs, extended thinking, "Toggling thinking modes in conversations").
    """
    loop = list(takewhile(lambda turn: turn["role"] == "assistant" or _kinds(turn) == ["tool_result"], reversed(turns)))
    begun = [turn for turn in loop if turn["role"] == "assistant"]
    return not begun or _kinds(begun[-1])[:1] in (["thinking"], ["redacted_thinking"])


def _kinds(turn: Mapping[str, Any]) -> list[str]:
    """The types of the blocks of a turn, each once."""
    content = turn["content"]
    return ["text"] if isinstance(content, str) else list(dict.fromkeys(block["type"] for block in content))


def _content(message: Message, maker: Mapping[str, Any] | None = None) -> Any:
    if message.media and message.role == "assistant":
        raise InvalidRequest("an assistant's earlier message can carry only text here")
    blocks = [_block(media) for media in message.media]  # Anthropic wants them before the words about them
    blocks += filter(None, map(_said, split(message, maker)))
    return blocks if any(block["type"] != "text" for block in blocks) else message.text


def _said(piece: str | ToolUse | Kept) -> dict[str, Any] | None:
    if isinstance(piece, ToolUse):
        return _tool_use(piece)
    if isinstance(piece, Kept):
        return _thought(piece)
    # A text that is blank is refused; between thoughts there may be line ends alone.
    return {"type": "text", "text": piece} if piece.strip() else None


def _thought(kept: Kept) -> dict[str, Any] | None:
    """A block of thoughts as it came. One without words and without a signature says nothing, and is refused."""
    match kept.data:
        case {"type": "redacted_thinking", "data": str(data)}:
            return {"type": "redacted_thinking", "data": data}
        case {"type": "thinking", "signature": str(signature)} if signature or kept.thought:
            return {"type": "thinking", "thinking": kept.thought, "signature": signature}
    return None


def _tool_result(message: Message) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": _content(message)}


def _tool_use(use: ToolUse) -> dict[str, Any]:
    try:
        arguments = JsonText().decode(use.arguments or "{}")
    except ProtocolError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequest(f"the arguments of the tool call {use.id} are no JSON object")
    return {"type": "tool_use", "id": use.id, "name": use.name, "input": arguments}


def _block(media: Media) -> dict[str, Any]:
    media_type = type_of(media)
    if media_type.startswith("image/"):
        return {"type": "image", "source": _source(media, media_type)}
    if media_type == "application/pdf":
        return _document(media, _source(media, media_type))
    if media_type.startswith("text/") and media.data is not None:
        text = media.data.decode("utf-8", "replace")
        return _document(media, {"type": "text", "media_type": "text/plain", "data": text})
    address = " by address" if media.data is None else ""
    raise InvalidRequest(f"pictures, PDFs and texts can be sent along, not {media_type}{address}")


def _document(media: Media, source: dict[str, Any]) -> dict[str, Any]:
    title = {"title": media.name} if media.name else {}
    return {"type": "document", "source": source, **title}


def _source(media: Media, media_type: str) -> dict[str, Any]:
    if media.data is None:
        return {"type": "url", "url": media.url}
    return {"type": "base64", "media_type": media_type, "data": base64_of(media)}
