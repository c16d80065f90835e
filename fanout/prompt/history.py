"""The turns of a run, lane by lane, so that a later prompt can go on from them; JSON in and out."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from attrs import asdict, evolve, field, frozen

from fanout.errors import UsageError
from fanout.prompt import ROLES, SYSTEM, Media, Message, Prompt, ToolUse

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
        cls,
        asked: Sequence[Message],
        text: str,
        tool_uses: tuple[ToolUse, ...],
        state: Mapping[str, Any] | None,
        reasoning: str = "",
        opaque: Mapping[str, Any] | None = None,
    ) -> "Turns":
        """The conversation after an answer to what was asked, with its reasoning if tools were called in this turn.

        What is opaque in it is always kept, with the reasoning that belongs to it.
        """
        called = bool(tool_uses) or (bool(asked) and asked[-1].role == "tool")
        if not called and not (opaque and opaque["parts"]):
            reasoning, opaque = "", None
        answer = Message("assistant", text, tool_uses=tool_uses, reasoning=reasoning, opaque=opaque)
        return cls((*asked, answer), state)

    def before(self, prompt: Prompt) -> Prompt:
        """The prompt with this before it. A new system text goes in place of the old one."""
        system = tuple(message for message in prompt.messages if message.role in SYSTEM)
        new = tuple(message for message in prompt.messages if message.role not in SYSTEM)
        old = tuple(message for message in self.messages if not system or message.role not in SYSTEM)
        state = self.state if system in ((), tuple(m for m in self.messages if m.role in SYSTEM)) else None
        return evolve(prompt, messages=(*system, *old, *new), state=state)


@frozen
class History:
    """The conversations of a run's lanes, and the one that a lane without its own goes on from, in words.

    A lane that gave no whole answer has none of its own; `usual` is the winner's, which is what the reader saw.
    """

    lanes: Mapping[str, Turns]
    usual: Turns | None = None

    def turns(self, lane: str) -> Turns | None:
        """The turns from which the lane of this name goes on; None: it begins."""
        return self.lanes.get(lane, self.usual)

    def to_json(self) -> dict[str, Any]:
        """Plain data, which `from_json` takes."""
        return {
            "version": VERSION,
            "lanes": {name: _turns_data(turns) for name, turns in self.lanes.items()},
            "usual": None if self.usual is None else _turns_data(self.usual),
        }

    @classmethod
    def from_json(cls, data: Any) -> "History":
        """The history that `to_json` gave. Raises UsageError for anything else."""
        try:
            if data["version"] != VERSION:
                raise UsageError(f"the saved conversation has version {data['version']!r}; this fanout reads {VERSION}")
            lanes = {str(name): _turns(turns) for name, turns in data["lanes"].items()}
            return cls(lanes, _turns(data["usual"]) if data["usual"] is not None else None)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise UsageError(f"this is no saved conversation: {type(error).__name__}: {error}") from None


def _turns_data(turns: Turns) -> dict[str, Any]:
    state = None if turns.state is None else dict(turns.state)
    return {"messages": [_message_data(message) for message in turns.messages], "state": state}


def _turns(data: Any) -> Turns:
    state = data["state"]
    if state is not None:
        _of(dict, state)
    return Turns(tuple(map(_message, _of(list, data["messages"]))), state)


def _message_data(message: Message) -> dict[str, Any]:
    """Its fields by their names, those that say nothing left out."""
    media = [{**asdict(one), "data": _base64(one.data)} for one in message.media]
    fields = {**asdict(message), "media": media, "tool_uses": list(map(asdict, message.tool_uses))}
    return {name: value for name, value in fields.items() if value or name == "text"}


def _base64(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode()


def _message(data: Any) -> Message:
    role = data["role"]
    if role not in ROLES:
        raise ValueError(f"a message of {role!r:.80}")
    name, call = data.get("name"), data.get("tool_call_id")
    return Message(
        role=role,
        text=_of(str, data["text"]),
        media=tuple(map(_media, data.get("media", ()))),
        tool_uses=tuple(ToolUse(**use) for use in data.get("tool_uses", ())),
        tool_call_id=call and _of(str, call),
        name=name and _of(str, name),
        reasoning=_of(str, data.get("reasoning", "")),
        opaque=data.get("opaque"),
    )


def _media(fields: Any) -> Media:
    data = fields["data"]
    return Media(**{**fields, "data": None if data is None else b64decode(data, validate=True)})


T = TypeVar("T")


def _of(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.80} is no {kind.__name__}")
    return value
