"""Puts what a service must have back at its place in a message: for the provider that made it, and for no other."""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from fanout.prompt import Message, ToolUse

MARK = ("wire", "service", "model")


@frozen
class Kept:
    """The opaque part at one place of an answer: its data, and the reasoning that came with it."""

    data: Mapping[str, Any]
    thought: str


def is_own(message: Message, maker: Mapping[str, Any] | None) -> bool:
    """Tells whether a message was made by the provider with this mark; None is that of no provider."""
    opaque = message.opaque
    return opaque is not None and maker is not None and all(opaque[name] == maker[name] for name in MARK)


def split(message: Message, maker: Mapping[str, Any] | None) -> Iterator[str | ToolUse | Kept]:
    """Yields a message in the order in which it was made: pieces of its text, its tool calls, and what is opaque.

    A message that this maker has not made has its text, then its calls. Nothing opaque is left where the reasoning has
    been shortened since: it would go back changed.
    """
    text = reasoning = calls = 0
    parts = [part for part in _parts(message, maker) if "call" not in part]
    if any(part["reasoning"] > len(message.reasoning) for part in parts):
        parts = []
    for part in parts:
        if piece := message.text[text : part["text"]]:
            yield piece
        yield from message.tool_uses[calls : part["calls"]]
        yield Kept(part["data"], message.reasoning[reasoning : part["reasoning"]])
        text, reasoning, calls = max(text, part["text"]), part["reasoning"], max(calls, part["calls"])
    if piece := message.text[text:]:
        yield piece
    yield from message.tool_uses[calls:]


def data_of_calls(message: Message, maker: Mapping[str, Any] | None) -> Mapping[str, Mapping[str, Any]]:
    """Returns what must go back with tool calls, by their ids."""
    return {part["call"]: part["data"] for part in _parts(message, maker) if "call" in part}


def _parts(message: Message, maker: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    return list(message.opaque["parts"]) if message.opaque is not None and is_own(message, maker) else []
