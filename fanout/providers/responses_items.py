"""The items of a response: which of them an event speaks of, and how much of each text has come.

An event should name its item by `item_id` and `output_index`. GitHub Copilot gives an item another id in every event
(recorded in vercel/ai), mistral.rs another one in each phase (EricLBuehler/mistral.rs#1944), LiteLLM one
`output_index` to several items (BerriAI/litellm#36375); llama.cpp has no `output_index`, and others have neither. So an
item is known by both, else by its id, else by its place, each only among the items of its type.
"""

from collections import deque
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from attrs import define, field

from fanout.providers.reader import rows_of, text_of
from fanout.wire.json_text import encode

Row = Mapping[str, Any]
"""An item as an event or the output tells it."""

CALLS = frozenset({"function_call", "custom_tool_call"})
"""Types of items whose `call_id`, name and arguments tell one from another."""


_FAMILIES = {
    "message": ("text", "refusal"),
    "reasoning": ("summary", "content"),
    **dict.fromkeys(CALLS, ("arguments",)),
}
"""Families of texts by the type of the item that has them."""

_TWINS = {"summary": "content", "content": "summary"}

REFUSALS = 64
"""Whole items with which one is compared in vain, so that the time stays linear."""


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


def _match_all(parts: Mapping[int, Part], but: Container[int], whole: str) -> tuple[Part, str] | None:
    """The last of these parts, and what follows all of them in a text; None if it does not begin with them."""
    at, last = 0, None
    for index, part in parts.items():
        if index in but:
            continue
        for piece in part.pieces:
            if not whole.startswith(piece, at):
                return None
            at += len(piece)
        last = part
    return None if last is None else (last, whole[at:])


@define(eq=False)
class Item:
    """One item of the output, of the type `kind`.

    `index` is its place as far as the service says it; `added` and `done` tell which of its two events have come, and
    `first` is the item as it was when it was added. `call` is the index of its tool call, once that has begun, and
    `told` that everything has been said of an item that comes whole; `identified` that the id of its tool call has been
    told, `disputed` that its arguments came in two forms, and `kept` that it will go back; `refused` counts the whole
    items that it cannot be.
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
    refused: int = 0
    kept: bool = False
    parts: dict[str, dict[int, Part]] = field(factory=dict)
    _loose: dict[str, dict[int, Part]] = field(factory=dict)  # those that nothing has told whole

    def part(self, family: str, index: int) -> Part:
        """Returns the text with this index among those of its family."""
        parts = self.parts.setdefault(family, {})
        part = parts.get(index)
        if part is None:
            part = parts[index] = self._loose.setdefault(family, {})[index] = Part()
        return part

    def pieces(self, family: str) -> Iterator[str]:
        """Returns all that has come of the texts of a family, one text after the other."""
        parts = self.parts.get(family, {})
        return chain.from_iterable(parts[index].pieces for index in sorted(parts))

    def take(self, family: str, wholes: Sequence[tuple[int, str]], *, all_of_it: bool) -> list[str] | None:
        """Takes whole texts, each with its index, and returns what of them is new; None if what has come differs.

        Indexes are not to be relied on: vLLM counts on over several items, or with every delta (vllm-project/vllm#45742
        and #35184), others have none. So texts that were told under other indexes count for those that none came for,
        if they are the beginning of these. A service may also stream a reasoning as such and end it as a summary.

        `all_of_it`: these are all texts of the family that the item has; else others may have been told already.
        """
        parts = self.parts.get(family, {})
        rest = [parts[index].missing(whole) if index in parts else whole for index, whole in wholes]
        fit = {index for (index, _), text in zip(wholes, rest, strict=True) if index in parts and text is not None}
        for index in fit:
            self._loose[family].pop(index, None)
        unmatched = [number for number, (index, _) in enumerate(wholes) if index not in fit]
        strays = parts if all_of_it else self._loose.get(family, {})
        if not parts:
            strays = self.parts.get(_TWINS.get(family, ""), {})
        known = _match_all(strays, fit, "".join(wholes[number][1] for number in unmatched)) if unmatched else None
        if known is not None:
            for number in unmatched:
                rest[number] = ""
        elif None in rest:
            return None
        new = [(self.part(family, index), text) for (index, _), text in zip(wholes, rest, strict=True) if text]
        new += [known] if known is not None and known[1] else []
        for part, text in new:
            part.pieces.append(text)
        return [text for _, text in new]

    @property
    def is_empty(self) -> bool:
        """True if nothing has come of it but that it exists."""
        return not self.told and not any(part.pieces for parts in self.parts.values() for part in parts.values())


class Items:
    """All items of a response so far, in the order in which they came up."""

    def __init__(self) -> None:
        self.all: list[Item] = []
        self._known: dict[tuple[str | int | None, ...], Item] = {}
        self._is_steady = False  # an id was found again: this service does not change them from event to event
        self._crowded: set[tuple[str, int]] = set()  # places that more than one item was said to have

    def of_piece(self, kind: str, item_id: str | None, index: int | None) -> Item:
        """Returns the item of this type to which a piece of a text belongs.

        One that names no item belongs to the newest, and the newest may have had no name until now.
        """
        found = self._of_id(kind, item_id, index)
        if found is not None:
            self._is_steady = True
        elif index is not None:
            found = self._known.get((kind, index))
        elif newest := self._known.get((kind,)):
            found = newest if item_id is None or newest.id is None else None
        return found or self._new(kind, item_id, None, index)

    def of_event(self, row: Row, index: int | None, *, added: bool) -> Item:
        """Returns the item that this event says is added, or done.

        That is said once of an item: if it is said again under another name, it is said of another item.
        """
        kind, item_id, call_id = row["type"], text_of(row.get("id")), text_of(row.get("call_id"))
        found = self._of_id(kind, item_id, index)
        self._is_steady = self._is_steady or found is not None
        found = found or self._of_id(kind, call_id, index)
        if found is not None:
            again = (found.added if added else found.done) and (
                _differ(found.call_id, call_id) or _differ(found.index, index)
            )
        else:
            found = self._find_placed(kind, item_id or call_id, index)
            again = found is not None and (found.done or (added and found.added) or _differ(found.call_id, call_id))
        if found is None or again:
            found = self._new(kind, item_id, call_id, index)
        else:
            self._name(found, item_id, call_id, index)
        found.added, found.done = found.added or added, found.done or not added
        return found

    def knows(self, kind: str, item_id: str | None) -> bool:
        """Returns True if an item of this type has come with this id."""
        return item_id is not None and (kind, item_id) in self._known

    def match(self, rows: Sequence[Row]) -> list[tuple[Item, Row]]:
        """Pairs the items of the whole output with those that have come, or with new ones.

        Some services give them new ids here, and leave some out (Wei-Shaw/sub2api#6118): so they are known by their
        ids, then by what has come of them, then by their places, then in their order.
        """
        found: dict[int, Item] = {}
        taken: set[int] = set()
        by_contents = _queue(self.all, _contents_of, _contents_in, taken)
        by_order = _queue(self.all, lambda item: item.kind, lambda row: row["type"], taken)
        for known, is_sure in ((self._by_id, True), (by_contents, True), (self._by_place, False), (by_order, False)):
            for index, row in enumerate(rows):
                item = None if index in found else known(row, index)
                if item is None or id(item) in taken:
                    continue
                if is_sure or _may_be(item, row, is_steady=self._is_steady):
                    found[index] = item
                else:
                    item.refused += 1
                if index in found or item.refused > REFUSALS:
                    taken.add(id(item))
        for index, row in enumerate(rows):
            if index not in found:
                found[index] = self._new(row["type"], text_of(row.get("id")), text_of(row.get("call_id")), index)
        return [(found[index], row) for index, row in enumerate(rows)]

    def _by_id(self, row: Row, index: int) -> Item | None:
        kind = row["type"]
        return self._of_id(kind, text_of(row.get("id")), index) or self._of_id(kind, text_of(row.get("call_id")), index)

    def _by_place(self, row: Row, index: int) -> Item | None:
        place = row["type"], index
        return None if place in self._crowded else self._known.get(place)

    def _of_id(self, kind: str, name: str | None, index: int | None) -> Item | None:
        return (self._known.get((kind, name, index)) or self._known.get((kind, name))) if name else None

    def _find_placed(self, kind: str, name: str | None, index: int | None) -> Item | None:
        """The item at this place, or else the newest one, if it or this event has no name."""
        newest = self._known.get((kind,))
        if index is None:
            return newest if newest and (name is None or newest.id is None) else None
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
            if self._known.setdefault((item.kind, index), item) is not item:
                self._crowded.add((item.kind, index))
                self._known[item.kind, index] = item


def data_to_keep(kind: str, row: Row, *, thought: bool) -> dict[str, Any] | None:
    """Returns what must go back of an item to a service that keeps nothing itself; None: nothing.

    A reasoning goes back as it is, encrypted or, from open models, in words: one with neither is looked up in vain. The
    messages and calls after it (`thought`) go back under their ids, by which it is known what it led to. A `status`, or
    null for what there is not, is refused.
    """
    if kind == "reasoning" and (row.get("encrypted_content") or row.get("content")):
        given = {name: value for name, value in row.items() if value and name != "status"}
        return {"summary": [], **given}
    names = {"message": ("id", "phase"), **dict.fromkeys(CALLS, ("id", "call_id"))}.get(kind, ())
    data = {name: text for name in names if (text := text_of(row.get(name)))}
    return {"type": kind, **data} if data and (thought or "phase" in data) else None


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

    def find(row: Row, _index: int) -> Item | None:
        queue = queues.get(key_in(row), ())
        while queue and id(queue[0]) in taken:
            queue.popleft()
        return queue[0] if queue else None

    return find


def _contents_of(item: Item) -> Hashable:
    return item.kind, item.name, *("".join(item.pieces(family)) for family in _FAMILIES.get(item.kind, ()))


def _contents_in(row: Row) -> Hashable:
    return row["type"], text_of(row.get("name")), *_texts_in(row).values()


def _texts_in(row: Row) -> dict[str, str]:
    """All texts of an item by their families."""
    kind = row["type"]
    if kind in CALLS:
        return {"arguments": arguments_of(row)}
    fields = {"summary": ("summary", "text"), "content": ("content", "text"), "refusal": ("content", "refusal")}
    named = {family: fields.get(family, ("content", "text")) for family in _FAMILIES.get(kind, ())}
    return {
        family: "".join(text_of(part.get(name)) or "" for part in rows_of(row.get(parts)))
        for family, (parts, name) in named.items()
    }


def _may_be(item: Item, row: Row, *, is_steady: bool) -> bool:
    """True unless `row` must be another item than this one, because it does not begin with what came.

    Where ids change anyway, only calls are looked at: there are many of them, while a text may have been corrected.
    """
    if item.kind in CALLS:
        if _differ(item.call_id, text_of(row.get("call_id"))) or _differ(item.name, text_of(row.get("name"))):
            return False
    elif not is_steady:
        return True
    texts = _texts_in(row)
    return all(
        beyond(item.pieces(family), text or texts.get(_TWINS.get(family, ""), "")) is not None
        for family, text in texts.items()
    )


def _differ(one: object, other: object) -> bool:
    return one is not None and other is not None and one != other
