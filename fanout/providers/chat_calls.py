"""Tells which tool call a piece belongs to, where services disagree about ids, names and indexes."""

from typing import Any

from attrs import define, field
from orjson import JSONDecodeError, loads

CHECKS = 64
"""Times that one call's arguments are looked at for whether they are whole: each look reads all of them."""


@define
class Piece:
    """A piece of a tool call as a service sent it, None for what it left out or sent empty.

    `index` is the declared one; in a piece that `Calls` returns it is the call's own, and the id and the name of a call
    are in the first piece that has them. `free` says that the arguments are no JSON.
    """

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    free: bool = False


@define(eq=False)
class _Call:
    """A call that has begun: what has been said of it."""

    index: int
    id: str | None = None
    name: str | None = None
    named_again: bool = False  # after its arguments were whole
    texts: list[str] = field(factory=list)
    size: int = 0
    _grows: bool = False  # each piece holds all that was said before
    _checks: int = CHECKS
    _whole: bool = False

    @property
    def whole(self) -> bool:
        """True if the arguments so far are JSON that nothing can be added to."""
        if not self._whole and self._checks and self.texts and self.texts[-1].rstrip().endswith("}"):
            self._checks -= 1
            try:
                loads("".join(self.texts))
            except JSONDecodeError:
                return False
            self._whole = True
        return self._whole

    def add(self, arguments: str, *, free: bool = False) -> str:
        """Takes the arguments of a piece and returns what is new in them; of `free` text everything is.

        Some services send all the arguments so far with every piece (NousResearch/hermes-agent#35592), or all of them
        again at the end, as they are or as a JSON text (BerriAI/litellm#20480).
        """
        if self.size and len(arguments) >= self.size and not free:
            arguments = self._news(arguments)
        if arguments:
            self.texts.append(arguments)
            self.size += len(arguments)
        return arguments

    def _news(self, arguments: str) -> str:
        said = "".join(self.texts)
        if arguments.startswith(said) and (self._grows or self.whole or _is_within(said)):
            self._grows = True
            return arguments[self.size :]
        return "" if arguments.startswith('"') and self.whole and _is_json_text(arguments, said) else arguments


class Calls:
    """The tool calls of one answer, in the order in which they began.

    A known id decides, whatever the index. A new id with a name begins a call, and so does a name alone, unless it goes
    on with one: where the call at this place has the same name, and its arguments are not whole. Everything else
    belongs to the call that began last with the declared index, or else to the call that began last of all. A declared
    index is kept where it is free.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}
        self._taken: set[int] = set()
        self._last: _Call | None = None
        self._waiting: list[tuple[_Call, Piece]] = []  # each with the call that it may belong to
        self._waiting_at: set[int] = set()

    def add(self, piece: Piece) -> list[Piece]:
        """Returns what is known now of the piece and those that waited for it; nothing if it waits or begins nothing.

        A piece with a new id and a new index waits for its name, which some services send later.
        """
        if (call := self._find(piece)) is None:
            if piece.name is None and (self._last is not None or piece.id is None):
                return self._wait(piece)
            return self.begin(piece)
        if piece.id is not None:
            self._by_id[piece.id] = call
        if piece.index is not None and piece.index not in self._by_index:
            self._by_index[piece.index] = call
        return _place(call, piece)

    def go_on(self, index: Any, arguments: str) -> int | None:
        """Takes a piece with neither id nor name; its call's own index, or None where `add` has to tell whose it is.

        Nearly every piece is one, of the call that has this index.
        """
        call = self._by_index.get(index) if type(index) is int else None
        if call is None or call.named_again or call.size <= (size := len(arguments)):
            return None
        call.texts.append(arguments)
        call.size += size
        return call.index

    def begin(self, piece: Piece) -> list[Piece]:
        """Begins a call, whatever is known: each entry of a whole message is one."""
        index = piece.index if piece.index is not None and piece.index not in self._taken else self._free()
        call = self._last = _Call(index)
        self._taken.add(index)
        waited: list[Piece] = []
        if piece.index is not None:
            waited = self._take_waiting(piece.index)
            self._by_index[piece.index] = call
        pieces = [*waited, piece]
        for one in pieces:
            if one.id is not None:
                self._by_id.setdefault(one.id, call)
        first = next((one.id for one in pieces if one.id is not None), None)
        arguments = "".join(one.arguments for one in pieces)
        return _place(call, Piece(None, first, piece.name, arguments, piece.free))

    def rest(self) -> list[Piece]:
        """Returns the pieces whose name never came: they belong to the calls that were under way when they came."""
        waiting, self._waiting = self._waiting, []
        return [placed for call, piece in waiting for placed in _place(call, piece)]

    def _find(self, piece: Piece) -> _Call | None:
        """The call that a piece belongs to, or None if it begins one or has to wait."""
        if piece.id is not None and (call := self._by_id.get(piece.id)) is not None:
            return call
        if piece.index in self._waiting_at:
            return None
        at = self._last if piece.index is None else self._by_index.get(piece.index)
        if at is not None:
            return at if _goes_on(at, piece) else None
        return None if piece.name is not None or piece.id is not None else self._last

    def _wait(self, piece: Piece) -> list[Piece]:
        at = self._last if piece.index is None else self._by_index.get(piece.index)
        if at is not None and piece.id is None and piece.index not in self._waiting_at:  # its name was said again
            return self.begin(Piece(piece.index, None, at.name, piece.arguments))
        if self._last is not None:
            self._waiting.append((self._last, piece))
            if piece.index is not None:
                self._waiting_at.add(piece.index)
        return []

    def _take_waiting(self, index: int) -> list[Piece]:
        """Takes the pieces that wait for the call at `index`."""
        if index not in self._waiting_at:
            return []
        self._waiting_at.remove(index)
        found = [piece for _, piece in self._waiting if piece.index == index]
        self._waiting = [(call, piece) for call, piece in self._waiting if piece.index != index]
        return found

    def _free(self) -> int:
        return max(self._taken, default=-1) + 1


def _place(call: _Call, piece: Piece) -> list[Piece]:
    """The piece of this call, without what was said before; none if that is all."""
    call_id = piece.id if call.id is None else None
    name = piece.name if call.name is None else None
    call.id, call.name = call.id or call_id, call.name or name
    arguments = call.add(piece.arguments, free=piece.free)
    return [Piece(call.index, call_id, name, arguments)] if call_id or name or arguments else []


def _goes_on(call: _Call, piece: Piece) -> bool:
    """True if a piece whose id is not known goes on with the call at its place, False if it begins another one."""
    if piece.name is None:
        return not (call.named_again and piece.arguments)
    if piece.id is not None and call.id is not None:
        return False
    if call.name is None:
        return True
    if piece.name != call.name:
        return not (call.texts or piece.id)
    if call.whole and piece.id is None:  # a name that is said with every piece is said after the last one too
        call.named_again = True
        return not piece.arguments.strip()
    return not call.whole


def _is_within(said: str) -> bool:
    """True if no value can begin after this beginning of JSON, so that it cannot be said again within itself."""
    return said.lstrip()[:1] in ("{", "[") and said.rstrip()[-1] not in ":[,"


def _is_json_text(text: str, value: str) -> bool:
    """True if `text` is the JSON of the string `value`."""
    try:
        return bool(loads(text) == value)
    except JSONDecodeError:
        return False
