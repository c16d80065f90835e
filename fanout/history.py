"""What has been said in a run, lane by lane, so that a later prompt can go on from it; JSON in and out."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from fanout.errors import UsageError
from fanout.prompt import Media, Message, Prompt, ToolUse

VERSION = 1
"""Of the form in which it is written."""


@frozen
class Turns:
    """One lane's conversation: its messages from the beginning, and what its service needs to go on with it.

    `state` is the data of the service's own Conversation event; without one the messages are sent anew.
    """

    messages: tuple[Message, ...]
    state: Mapping[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def after(
        cls, asked: Sequence[Message], text: str, tool_uses: tuple[ToolUse, ...], state: Mapping[str, Any] | None
    ) -> "Turns":
        """The conversation after an answer to what was asked."""
        return cls((*asked, Message("assistant", text, tool_uses=tool_uses)), state)

    def before(self, prompt: Prompt) -> Prompt:
        """The prompt with this before it. A new system text goes in place of the old one."""
        system = tuple(message for message in prompt.messages if message.role in _SYSTEM)
        new = tuple(message for message in prompt.messages if message.role not in _SYSTEM)
        old = tuple(message for message in self.messages if not system or message.role not in _SYSTEM)
        state = self.state if system in ((), tuple(m for m in self.messages if m.role in _SYSTEM)) else None
        return evolve(prompt, messages=(*system, *old, *new), state=state)


_SYSTEM = ("system", "developer")


@frozen
class History:
    """The conversations of a run's lanes, and the one that a lane without its own goes on from, in words.

    A lane that gave no whole answer has none of its own; `usual` is the winner's, which is what the reader saw.
    """

    lanes: Mapping[str, Turns]
    usual: Turns | None = None

    def turns(self, lane: str) -> Turns | None:
        """What the lane of this name goes on from; None: it begins."""
        return self.lanes.get(lane, self.usual)

    def to_json(self) -> dict[str, Any]:
        """Plain data, which `from_json` takes."""
        return {
            "version": VERSION,
            "lanes": {name: _turns_data(turns) for name, turns in self.lanes.items()},
            "usual": _turns_data(self.usual) if self.usual else None,
        }

    @classmethod
    def from_json(cls, data: Any) -> "History":
        """The history that `to_json` gave. Raises UsageError for anything else."""
        try:
            if data["version"] != VERSION:
                raise UsageError(f"the saved conversation has version {data['version']!r}; this fanout reads {VERSION}")
            lanes = {str(name): _turns(turns) for name, turns in data["lanes"].items()}
            return cls(lanes, _turns(data["usual"]) if data["usual"] else None)
        except (AttributeError, LookupError, TypeError) as error:
            raise UsageError(f"that is no saved conversation: {type(error).__name__}: {error}") from None


def _turns_data(turns: Turns) -> dict[str, Any]:
    return {"messages": [_message_data(message) for message in turns.messages], "state": turns.state}


def _turns(data: Any) -> Turns:
    return Turns(tuple(map(Message.of, data["messages"])), data["state"])


def _message_data(message: Message) -> dict[str, Any]:
    """As OpenAI writes it, which `Message.of` reads."""
    data: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.media:
        data["content"] = [{"type": "text", "text": message.text}, *map(_media_data, message.media)]
    if message.tool_uses:
        data["tool_calls"] = [
            {"id": use.id, "type": "function", "function": {"name": use.name, "arguments": use.arguments}}
            for use in message.tool_uses
        ]
    if message.tool_call_id:
        data["tool_call_id"] = message.tool_call_id
    if message.name:
        data["name"] = message.name
    return data


def _media_data(media: Media) -> dict[str, Any]:
    if media.data is None:
        return {"type": "image_url", "image_url": {"url": media.url}}
    uri = f"data:{media.media_type or 'application/octet-stream'};base64,{b64encode(media.data).decode()}"
    if (media.media_type or "").startswith("image/") and not media.name:
        return {"type": "image_url", "image_url": {"url": uri}}
    return {"type": "file", "file": {"file_data": uri, "filename": media.name}}
