"""The memory of earlier requests, bounded in number and time: who made a tool call, which key ran what."""

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Generic, TypeVar

import orjson
from attrs import define, field, frozen

from fanout.prompt import ToolUse

DAY = 86400.0
"""Seconds that an idempotency key counts."""

MOST_CALLS = 20_000
"""Tool calls whose lane is known: of agents that work at the same time, and of those that pause."""

MOST_OPAQUE = 32 << 20
"""Characters that what is opaque in them may come to, about."""

MOST_KEYS = 4096
"""Idempotency keys that are known at a time."""

Value = TypeVar("Value")


@define
class Bounded(Generic[Value]):
    """A map that forgets the oldest first: beyond `most` entries, beyond a weight of all, and after `seconds`.

    `heaviest` is that weight. Times are those of any one clock.
    """

    most: int
    seconds: float
    heaviest: int = 1 << 62
    _entries: OrderedDict[str, tuple[Value, float, int]] = field(factory=OrderedDict)
    _weight: int = 0

    def put(self, key: str, value: Value, now: float, weight: int = 1) -> None:
        """Keeps a value, in place of one that the key had."""
        self.drop(key)
        self._entries[key] = (value, now, weight)
        self._weight += weight
        while self._entries and (len(self._entries) > self.most or self._weight > self.heaviest):
            self.drop(next(iter(self._entries)))

    def get(self, key: str, now: float) -> Value | None:
        """Returns what is kept for a key, or None."""
        found = self._entries.get(key)
        if found is None:
            return None
        value, since, _ = found
        if now - since > self.seconds:
            self.drop(key)
            return None
        return value

    def drop(self, key: str) -> None:
        """Forgets a key."""
        if (found := self._entries.pop(key, None)) is not None:
            self._weight -= found[2]

    def __len__(self) -> int:
        return len(self._entries)


@frozen
class Turn:
    """The lane that made the `calls`, and what its service must have back with the message that holds them."""

    lane: str
    reasoning: str = ""
    opaque: Mapping[str, Any] | None = None
    calls: tuple[ToolUse, ...] = ()

    def made(self, use: ToolUse) -> bool:
        """Returns whether a call is as it was made: some services give the calls of all answers the same ids."""
        return all(_facts(call) == _facts(use) for call in self.calls if call.id == use.id)


class Calls:
    """Remembers which lane made which tool call, for each user apart."""

    def __init__(self) -> None:
        self._turns: Bounded[Turn] = Bounded(MOST_CALLS, DAY, MOST_OPAQUE)

    def note(self, user: str, ids: list[str], turn: Turn, now: float) -> None:
        """Notes the calls of one answer."""
        weight = 100 + len(turn.reasoning) + (len(repr(turn.opaque)) if turn.opaque else 0)
        weight += sum(len(call.name) + len(call.arguments) for call in turn.calls)
        for call_id in ids:
            self._turns.put(_key(user, call_id), turn, now, weight)

    def find(self, user: str, call_id: str, now: float) -> Turn | None:
        """Returns who made a call; None where that is not known."""
        return self._turns.get(_key(user, call_id), now)


def _facts(use: ToolUse) -> tuple[str, Any]:
    """A call's name and arguments, however a client writes them: as JSON, or as the object that has no other place."""
    try:
        value = orjson.loads(use.arguments or "{}")
    except orjson.JSONDecodeError:
        value = use.arguments
    return use.name, value if isinstance(value, dict) else {"input": value}


def _key(user: str, name: str) -> str:
    return sha256(f"{user}\0{name}".encode("utf-8", "surrogatepass")).hexdigest()


def key_of(user: str, path: str, name: str) -> str:
    """Returns a hash of an idempotency key, which is all that is kept of it: of this user and this interface."""
    return _key(user, f"{path}\0{name}")


def digest_of(body: bytes) -> str:
    """Returns a hash of a request's body."""
    return sha256(body).hexdigest()
