"""Writes a conversation as the items of a request of OpenAI's Responses, with the reasoning that goes back."""

from collections.abc import Container, Iterator, Mapping, Sequence
from mimetypes import guess_extension
from typing import Any

from fanout.errors import InvalidRequest
from fanout.prompt import Media, Message, ToolUse
from fanout.providers.media import base64_of, data_uri, type_of
from fanout.providers.opaque import Kept, split


def items_of(
    message: Message, custom: Container[str | None], maker: Mapping[str, Any] | None
) -> Iterator[dict[str, Any]]:
    """Yields a message as items of the input: an assistant's tool calls are items beside its words.

    `custom` are the ids of the calls of custom tools, which have an input that is no JSON. `maker` marks the messages
    whose reasoning goes back. Raises InvalidRequest for media that have no place.
    """
    if message.role == "tool":
        kind = "custom_tool_call_output" if message.tool_call_id in custom else "function_call_output"
        yield {"type": kind, "call_id": message.tool_call_id, "output": _content(message)}
    elif message.media or not (message.text or message.tool_uses):
        yield {"role": message.role, "content": _content(message)}
        yield from (_call(use, custom) for use in message.tool_uses)
    else:
        yield from _said(message, custom, list(split(message, maker)))


def _said(
    message: Message, custom: Container[str | None], pieces: Sequence[str | ToolUse | Kept]
) -> Iterator[dict[str, Any]]:
    """The words and calls of a message, with the reasoning that led to them.

    A reasoning that leads to nothing is refused, and so is the id of what it led to where it is missing.
    """
    ids = {kept.data.get("call_id"): kept.data.get("id") for kept in pieces if isinstance(kept, Kept)}
    is_led = False
    for place, piece in enumerate(pieces):
        after = pieces[place + 1 :]
        if isinstance(piece, str):
            told = next(iter(after), None)
            data = told.data if isinstance(told, Kept) and told.data.get("type") == "message" else {}
            yield _words(message.role, piece, data, named=is_led)
        elif isinstance(piece, ToolUse):
            call_id = ids.get(piece.id) if is_led else None
            yield {**_call(piece, custom), **({"id": call_id} if call_id else {})}
        elif piece.data.get("type") == "reasoning" and not all(isinstance(one, Kept) for one in after):
            is_led = True
            yield dict(piece.data)


def _words(role: str, text: str, data: Mapping[str, Any], *, named: bool) -> dict[str, Any]:
    """A message, under its id if it is `named`, and with its phase, which newer models are to have back."""
    phase = {"phase": data["phase"]} if "phase" in data else {}
    if not named or "id" not in data:
        return {"role": role, "content": text, **phase}
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": data["id"], "role": role, "status": "completed", "content": content, **phase}


def _call(use: ToolUse, custom: Container[str | None]) -> dict[str, Any]:
    if use.id in custom:
        return {"type": "custom_tool_call", "call_id": use.id, "name": use.name, "input": use.arguments}
    return {"type": "function_call", "call_id": use.id, "name": use.name, "arguments": use.arguments}


def _content(message: Message) -> Any:
    if not message.media:
        return message.text
    if message.role == "assistant":
        raise InvalidRequest("an assistant's earlier message can carry only text here")
    text = [{"type": "input_text", "text": message.text}] if message.text else []
    return [*text, *(_part(media) for media in message.media)]


_SOUNDS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}


def _part(media: Media) -> dict[str, Any]:
    media_type = type_of(media)
    if media_type.startswith("image/"):
        return {"type": "input_image", "detail": "auto", "image_url": _address(media)}
    if sound := _SOUNDS.get(media_type):
        return {"type": "input_audio", "input_audio": {"data": base64_of(media), "format": sound}}
    if media_type.startswith(("audio/", "video/")):
        raise InvalidRequest(f"pictures, files, wav and mp3 can be sent along, not {media_type}")
    if media.data is None:
        return {"type": "input_file", "file_url": media.url}
    name = media.name or f"file{guess_extension(media_type) or ''}"  # bytes without a name are refused
    return {"type": "input_file", "filename": name, "file_data": data_uri(media)}


def _address(media: Media) -> str | None:
    return media.url if media.data is None else data_uri(media)
