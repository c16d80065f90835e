"""The ids by which a client knows the tool calls of an answer: the service's own, or ours where it gave none."""

import re
from collections.abc import Iterable

from attrs import define, evolve, field

from fanout.answers import Answer
from fanout.events import Event, ToolCall
from fanout.gateway.dialects.blocks import new_call_id

_COUNTED = re.compile(r"call_[0-9]{1,9}", re.ASCII)
"""An id that only counts the calls of its answer, as readers make one where a service gives none."""


@define
class CallIds:
    """Gives the calls of one answer ids that no other answer has, the same in its events and at its end.

    Clients send all turns of a conversation again, and a user has many: by a counted id a call would be taken for one
    of another turn.
    """

    _ids: dict[int, str | None] = field(factory=dict)

    def change_events(self, events: Iterable[Event]) -> list[Event]:
        """Returns the events with the ids that the client is to see."""
        return [self._change(event) if isinstance(event, ToolCall) else event for event in events]

    def change_answer(self, answer: Answer) -> Answer:
        """Returns the whole answer with the ids that its events had, if it was told by events."""
        told = [self._ids[index] for index in sorted(self._ids)]
        told += [None] * (len(answer.tool_calls) - len(told))
        pairs = zip(answer.tool_calls, told, strict=False)
        calls = tuple(evolve(call, id=known or _own(call.id)) for call, known in pairs)
        opaque = answer.opaque
        if opaque is not None:
            ids = {call.id: own.id for call, own in zip(answer.tool_calls, calls, strict=True)}
            parts = [
                {**part, "call": ids.get(part["call"], part["call"])} if "call" in part else part
                for part in opaque["parts"]
            ]
            opaque = {**opaque, "parts": parts}
        return evolve(answer, tool_calls=calls, opaque=opaque)

    def _change(self, piece: ToolCall) -> ToolCall:
        known = self._ids.get(piece.index)
        if known is None and (piece.id or piece.name):  # a call is shown to clients once it has a name
            known = _own(piece.id)
        self._ids[piece.index] = known
        return evolve(piece, id=known)


def _own(given: str | None) -> str:
    return new_call_id() if not given or _COUNTED.fullmatch(given) else given
