"""The items of a response: which of them an event speaks of, and how much of each text has come.

An event should name its item by `item_id` and `output_index`. GitHub Copilot gives an item another id in every event
(recorded in vercel/ai), mistral.rs another one in each phase (EricLBuehler/mistral.rs#1944), LiteLLM one
`output_index` to several items (BerriAI/litellm#36375); llama.cpp has no `output_index`, and others have neither. So an
item is known by both, else by its id, else by its place, each only among the items of its type.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from attrs import define, field

from fanout.providers.reader import text_of
from fanout.wire.json_text import encode

Row = Mapping[str, Any]
"""An item as an event or the output tells it."""

CALLS = frozenset({"function_call", "custom_tool_call"})
"""Types of items whose `call_id`, name and arguments tell one from another."""


_TWINS = {"summary": "content", "content": "summary"}


class Part:
    """One text of an item. `pieces` are what has come of it, none of them empty."""

    __slots__ = ("_compared", "_whole", "pieces")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._whole = ""
        self._compared = 0

    def missing(self, whole: str) -> str | None:
        """Returns the end of the whole text that has not come yet; None if what has come is not its beginning.

        An empty text says nothing of what has come. Takes no longer than it takes to read `whole`.
        """
        if not whole or (len(self.pieces) == self._compared and whole == self._whole):
            return ""
        rest = beyond(self.pieces, whole)
        if rest == "":
            self._whole, self._compared = whole, len(self.pieces)
        return rest


def beyond(pieces: Iterable[str], whole: str) -> str | None:
    """Returns what follows these pieces, which are not empty, in a text; None if it does not begin with them."""
    at = 0
    for piece in pieces:
        if not whole.startswith(piece, at):
            return None
        at += len(piece)
    return whole[at:]


@define(eq=False)
class Item:
    """One item of the output, of the type `kind`.

    `index` is its place as far as the service says it; `added` and `done` tell which of its two events have come, and
    `first` is the item as it was when it was added. `call` is the index of its tool call, once that has begun, and
    `told` that everything has been said of an item that comes whole; `identified` that the id of its tool call has been
    told, and `disputed` that its arguments came in two forms.
    """

    kind: str
    index: int | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    added: bool = False
    done: bool = False
    first: Row | None = None
    call: int | None = None
    identified: bool = False
    told: bool = False
    disputed: bool = False
    parts: dict[str, dict[int, Part]] = field(factory=dict)

    def part(self, family: str, index: int) -> Part:
        """Returns the text with this index among those of its family."""
        parts = self.parts.setdefault(family, {})
        part = parts.get(index)
        if part is None:
            part = parts[index] = Part()
        return part

    def pieces(self, family: str) -> Iterator[str]:
        """Returns all that has come of the texts of a family, one text after the other."""
        parts = self.parts.get(family, {})
        return chain.from_iterable(parts[index].pieces for index in sorted(parts))

    def missing(self, family: str, wholes: Sequence[tuple[int, str]]) -> list[str] | None:
        """Returns what has not come yet of whole texts, given each with its index; None if what has come differs.

        If it differs text by text, their indexes may not have been told: then all of it together is compared. A service
        may also stream a reasoning as such and end it as a summary, or the other way round.
        """
        own = [self.part(family, index).missing(whole) for index, whole in wholes]
        differs = None in own
        came = family if differs else _TWINS.get(family, "")
        if (differs or not self._has(family)) and 0 < len(self.parts.get(came, ())) <= len(wholes) and self._has(came):
            rest = beyond(self.pieces(came), "".join(whole for _, whole in wholes))
            if rest is not None:
                return [*[""] * (len(wholes) - 1), rest]
        return None if differs else [text or "" for text in own]

    def _has(self, family: str) -> bool:
        """Returns True if a text of this family has come: the first that was looked for is the first that came."""
        return any(part.pieces for part in islice(self.parts.get(family, {}).values(), 1))

    @property
    def is_empty(self) -> bool:
        """True if nothing has come of it but that it exists."""
        return not self.told and not any(part.pieces for parts in self.parts.values() for part in parts.values())


class Items:
    """All items of a response so far, in the order in which they came up."""

    def __init__(self) -> None:
        self.all: list[Item] = []
        self._known: dict[tuple[str | int | None, ...], Item] = {}

    def of_piece(self, kind: str, item_id: str | None, index: int | None) -> Item:
        """Returns the item of this type to which a piece of a text belongs.

        Where neither its id nor its place is known, it is the newest one that is not done, because none was announced
        after it; and a piece that names no item belongs to the newest in any case.
        """
        found = self._of_id(kind, item_id, index)
        if found is None and index is not None:
            found = self._known.get((kind, index))
        elif found is None and (newest := self._known.get((kind,))) and not (item_id and newest.done):
            found = newest
        return found or self._new(kind, item_id, None, index)

    def of_event(self, row: Row, index: int | None, *, added: bool) -> Item:
        """Returns the item that this event says is added, or done.

        That is said once of an item: if it is said again under another name, it is said of another item.
        """
        kind, item_id, call_id = row["type"], text_of(row.get("id")), text_of(row.get("call_id"))
        found = self._of_id(kind, item_id, index) or self._of_id(kind, call_id, index)
        if found is not None:
            again = (found.added if added else found.done) and (
                _differ(found.call_id, call_id) or _differ(found.index, index)
            )
        else:
            found = self._placed(kind, index)
            again = found is not None and ((found.added if added else found.done) or _differ(found.call_id, call_id))
        if found is None or again:
            found = self._new(kind, item_id, call_id, index)
        else:
            self._name(found, item_id, call_id, index)
        return found

    def knows(self, kind: str, item_id: str | None) -> bool:
        """Returns True if an item of this type has come with this id."""
        return item_id is not None and (kind, item_id) in self._known

    def match(self, rows: Sequence[Row]) -> list[tuple[Item, Row]]:
        """Pairs the items of the whole output with those that have come, or with new ones.

        Some services give them new ids here, and leave some out (Wei-Shaw/sub2api#6118): so they are known by their
        ids, then by their places, then in their order. A call with a new id is known by its name and arguments.
        """
        found: dict[int, Item] = {}
        taken: set[int] = set()
        by_arguments = _queue((item for item in self.all if item.kind in CALLS), _call_of, _call_in, taken)
        by_order = _queue(self.all, lambda item: item.kind, lambda row: row["type"], taken)
        for known, is_sure in ((self._by_id, True), (by_arguments, True), (self._by_place, False), (by_order, False)):
            for index, row in enumerate(rows):
                item = None if index in found else known(row, index)
                if item is not None and id(item) not in taken and (is_sure or _may_be(item, row)):
                    found[index] = item
                    taken.add(id(item))
        for index, row in enumerate(rows):
            if index not in found:
                found[index] = self._new(row["type"], text_of(row.get("id")), text_of(row.get("call_id")), index)
        return [(found[index], row) for index, row in enumerate(rows)]

    def _by_id(self, row: Row, index: int) -> Item | None:
        kind = row["type"]
        return self._of_id(kind, text_of(row.get("id")), index) or self._of_id(kind, text_of(row.get("call_id")), index)

    def _by_place(self, row: Row, index: int) -> Item | None:
        return self._known.get((row["type"], index))

    def _of_id(self, kind: str, name: str | None, index: int | None) -> Item | None:
        return (self._known.get((kind, name, index)) or self._known.get((kind, name))) if name else None

    def _placed(self, kind: str, index: int | None) -> Item | None:
        """The item at this place; without one the newest, if nothing else is known of it than that it came last."""
        newest = self._known.get((kind,))
        if index is None:
            return newest
        nameless = newest is not None and newest.id is None and newest.index is None
        return self._known.get((kind, index)) or (newest if nameless else None)

    def _new(self, kind: str, item_id: str | None, call_id: str | None, index: int | None) -> Item:
        item = Item(kind)
        self.all.append(item)
        self._known[kind,] = item
        self._name(item, item_id, call_id, index)
        return item

    def _name(self, item: Item, item_id: str | None, call_id: str | None, index: int | None) -> None:
        """Keeps the names under which an item may be spoken of; one that tells nothing new is the newest item's."""
        item.id = item.id or item_id
        item.call_id = call_id or item.call_id
        for name in (item_id, call_id):
            if name:
                self._known[item.kind, name] = self._known[item.kind, name, index] = item
        if index is not None:
            item.index = index if item.index is None else item.index
            self._known[item.kind, index] = item


def arguments_of(row: Row) -> str:
    """Returns the arguments of a call as text. Some services write them as an object."""
    value = row.get("input" if row["type"] == "custom_tool_call" else "arguments")
    if isinstance(value, dict | list):
        return encode(value)
    return value if isinstance(value, str) else ""


def _queue(
    items: Iterable[Item], key: Callable[[Item], Hashable], key_in: Callable[[Row], Hashable], taken: set[int]
) -> Callable[[Row, int], Item | None]:
    """Returns what finds for a row the first item with the same key that is not taken yet."""
    queues: dict[Hashable, deque[Item]] = {}
    for item in items:
        queues.setdefault(key(item), deque()).append(item)

    def known(row: Row, _index: int) -> Item | None:
        queue = queues.get(key_in(row), ())
        while queue and id(queue[0]) in taken:
            queue.popleft()
        return queue[0] if queue else None

    return known


def _call_of(item: Item) -> Hashable:
    return item.kind, item.name, "".join(item.pieces("arguments"))


def _call_in(row: Row) -> Hashable:
    return row["type"], text_of(row.get("name")), arguments_of(row)


def _may_be(item: Item, row: Row) -> bool:
    """True unless `row` is another call than this one; of other types there are few, and they may change."""
    if item.kind not in CALLS:
        return True
    came = beyond(item.pieces("arguments"), arguments_of(row)) is not None
    same = not _differ(item.call_id, text_of(row.get("call_id"))) and not _differ(item.name, text_of(row.get("name")))
    return came and same


def _differ(one: object, other: object) -> bool:
    return one is not None and other is not None and one != other
