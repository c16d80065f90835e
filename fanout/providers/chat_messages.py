"""Writes a conversation as the messages of Chat Completions, in the form that a service takes."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from string import ascii_letters, digits
from typing import Any, Literal

from attrs import frozen

from fanout.prompt import Media, Message
from fanout.providers.chat_details import NAMES
from fanout.providers.media import base64_of, data_uri, type_of
from fanout.providers.opaque import Kept, data_of_calls, is_own, split

SHORT = 9
"""Letters and digits that the id of a tool call has at Mistral, neither more nor less."""

WhichReasoning = Literal["none", "tool turns", "all"]
"""Whose reasoning goes back to the service.

"tool turns": that of a turn in which tools were called, as far as it is known. "all": that of every message of the
assistant, which is an empty text where it is not known.
"""

_SOUNDS = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav"}
_ALPHABET = digits + ascii_letters


@frozen
class MessageForm:
    """The form of messages that a service takes.

    `developer`: it knows the role of that name. `names`: it takes them in other messages than those of tools. `nulls`:
    it takes null for the content of a message with tool calls and no text, which OpenAI writes so. `short_ids`: it
    takes only ids of nine letters and digits for tool calls.
    """

    developer: bool = True
    names: bool = True
    nulls: bool = True
    short_ids: bool = False
    reasoning: WhichReasoning = "none"

    def write(self, messages: Sequence[Message], maker: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Returns the messages as OpenAI writes them. Raises InvalidRequest for media that cannot be carried.

        `maker` is the mark of the service that they are written for: what another one has thought is left out.
        """
        ids = _short_ids(messages) if self.short_ids else {}
        turns = _tool_turns(messages) if self.reasoning == "tool turns" else ()
        return [self._message(message, ids, maker, thinks=place in turns) for place, message in enumerate(messages)]

    def _message(
        self, message: Message, ids: dict[str, str], maker: Mapping[str, Any] | None, *, thinks: bool
    ) -> dict[str, Any]:
        role = "system" if message.role == "developer" and not self.developer else message.role
        given: dict[str, Any] = {"role": role, "content": self._content(message)}
        if message.name is not None and (self.names or role == "tool"):
            given["name"] = message.name
        thought = message.reasoning if message.opaque is None or is_own(message, maker) else ""
        if role == "assistant" and (self.reasoning == "all" or (thinks and thought)):
            given["reasoning_content"] = thought
        for piece in split(message, maker):
            if isinstance(piece, Kept):
                given.update((name, piece.data[name]) for name in NAMES if name in piece.data)
        if message.tool_call_id:
            given["tool_call_id"] = ids.get(message.tool_call_id, message.tool_call_id)
        if message.tool_uses:
            kept = data_of_calls(message, maker)
            given["tool_calls"] = [
                {
                    "id": ids.get(use.id, use.id),
                    "type": "function",
                    "function": {"name": use.name, "arguments": use.arguments or "{}"},
                    **{name: data for name, data in kept.get(use.id, {}).items() if name == "extra_content"},
                }
                for use in message.tool_uses
            ]
        return given

    def _content(self, message: Message) -> Any:
        if message.media:
            text = [{"type": "text", "text": message.text}] if message.text else []
            return text + [_part(media) for media in message.media]
        return message.text or (None if message.tool_uses and self.nulls else "")


def _tool_turns(messages: Sequence[Message]) -> set[int]:
    """The places of the messages in turns in which tools were called; a user's message begins a turn."""
    turns: list[list[int]] = [[]]
    for place, message in enumerate(messages):
        if message.role == "user":
            turns.append([])
        turns[-1].append(place)
    return {place for turn in turns if any(messages[at].tool_uses for at in turn) for place in turn}


def _short_ids(messages: Sequence[Message]) -> dict[str, str]:
    """A short id for every long one, always the same, and never one that another call has."""
    ids = dict.fromkeys(call_id for message in messages for call_id in _ids(message))
    taken = {call_id for call_id in ids if _is_short(call_id)}
    short: dict[str, str] = {}
    for call_id in ids:
        if not _is_short(call_id):
            made = next(made for number in count() if (made := _hash(call_id, number)) not in taken)
            short[call_id] = made
            taken.add(made)
    return short


def _ids(message: Message) -> Iterator[str]:
    yield from (use.id for use in message.tool_uses)
    if message.tool_call_id:
        yield message.tool_call_id


def _is_short(call_id: str) -> bool:
    return len(call_id) == SHORT and call_id.isascii() and call_id.isalnum()


def _hash(call_id: str, number: int) -> str:
    value = int.from_bytes(hashlib.sha256(f"{number}:{call_id}".encode("utf-8", "surrogatepass")).digest())
    return "".join(_ALPHABET[value // len(_ALPHABET) ** place % len(_ALPHABET)] for place in range(SHORT))


def _part(media: Media) -> dict[str, Any]:
    """A picture by its address or bytes; sound and other files by their bytes."""
    kind = type_of(media)
    if kind.startswith("image/"):
        url = media.url if media.data is None else data_uri(media)
        return {"type": "image_url", "image_url": {"url": url}}
    if kind.startswith("audio/"):
        form = _SOUNDS.get(kind, kind.removeprefix("audio/"))
        return {"type": "input_audio", "input_audio": {"data": base64_of(media), "format": form}}
    return {"type": "file", "file": {"filename": media.name or "file", "file_data": data_uri(media)}}
