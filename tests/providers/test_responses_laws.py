"""Whatever way a response takes: each of its texts and calls is in the answer, whole and once."""

import json
from collections.abc import Iterator
from itertools import chain, count, zip_longest
from typing import Any

import pytest
from attrs import evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.abc import Head
from fanout.answers import Answer, Fold
from fanout.events import Status
from fanout.providers.responses import Responses

NAMINGS = ("both", "ids", "indexes", "another id in each event", "one index for all")
INDEXES = ("right", "right", "right", "none", "counting on", "counting with each delta")
OUTPUTS = ("as it came", "with other ids", "without ids", "the unfinished alone", "empty")
WHOLES = ("text.done", "part.done", "item.done", "output")


@frozen
class Item:
    """An item: its type, its texts, and how they come.

    `streamed` is how many characters of all its texts come by delta, `wholes` are the events that hold them whole.
    """

    kind: str
    number: int
    lengths: tuple[int, ...]
    added: bool
    streamed: int
    wholes: frozenset[str]
    texts: tuple[str, ...] = field(init=False)

    @texts.default
    def _texts(self) -> tuple[str, ...]:
        # Characters of its own, each once, so that what is there shows which of them came, and how often.
        starts = (0x4E00 + 200 * self.number + 40 * part for part in range(len(self.lengths)))
        return tuple("".join(map(chr, range(start, start + n))) for start, n in zip(starts, self.lengths, strict=True))


@st.composite
def items(draw: st.DrawFn) -> list[Item]:
    made = []
    for number in range(draw(st.integers(1, 4))):
        kind = draw(
            st.sampled_from(("message", "refusal", "reasoning", "summary", "function_call", "custom_tool_call"))
        )
        parts = 1 if kind.endswith("call") else draw(st.integers(1, 3))
        lengths = tuple(draw(st.integers(1, 6)) for _ in range(parts))
        wholes = draw(
            st.frozensets(st.sampled_from([w for w in WHOLES if w != "part.done" or not kind.endswith("call")]))
        )
        streamed = draw(st.integers(0, sum(lengths))) if wholes else sum(lengths)
        added = draw(st.booleans()) if "item.done" in wholes or "output" in wholes else True
        made.append(Item(kind, number, lengths, added, streamed, wholes))
    return made


class Stream:
    """Writes the events of a response in which the items are named in one of the ways that were seen.

    `in_turns`: the items come at the same time, an event of each in turn.
    """

    def __init__(self, items: list[Item], naming: str, output: str, indexes: str, *, in_turns: bool) -> None:
        self._items = items
        self._indexes = indexes
        self._count = count(3)
        self._in_turns = in_turns
        self._naming = naming
        self._output = output
        self._fresh = count()

    def events(self) -> Iterator[dict[str, Any]]:
        """The events, from first to last."""
        yield {"type": "response.created", "response": {"status": "in_progress", "model": "m"}}
        streams = [[*self._item(item)] for item in self._items]
        if self._in_turns:
            streams = [[event for event in turn if event] for turn in zip_longest(*streams)]
        yield from chain.from_iterable(streams)
        rows = [self._row(item) for item in self._items if self._is_in_output(item)]
        yield {"type": "response.completed", "response": {"status": "completed", "output": rows}}

    def _is_in_output(self, item: Item) -> bool:
        if self._output == "empty":
            return False
        return "output" in item.wholes if self._output == "the unfinished alone" else True

    def _row(self, item: Item) -> dict[str, Any]:
        row = _whole(item)
        if self._output == "without ids":
            return row
        return {**row, "id": f"new_{item.number}" if self._output == "with other ids" else f"it_{item.number}"}

    def _item(self, item: Item) -> Iterator[dict[str, Any]]:
        if item.added:
            yield self._event("output_item.added", item, item={**_empty(item), **self._id(item)})
        left = item.streamed
        for index, text in enumerate(item.texts):
            piece, left = text[:left], max(0, left - len(text))
            for start in range(0, len(piece), 2):
                yield self._piece(item, index, delta=piece[start : start + 2])
            if "text.done" in item.wholes:
                yield self._piece(item, index, whole=text)
            if "part.done" in item.wholes and not item.kind.endswith("call"):
                yield self._part(item, index)
        if "item.done" in item.wholes:
            yield self._event("output_item.done", item, item={**_whole(item), **self._id(item)})

    def _id(self, item: Item) -> dict[str, str]:
        if self._naming == "indexes":
            return {}
        return {"id": f"any_{next(self._fresh)}" if "another" in self._naming else f"it_{item.number}"}

    def _event(self, kind: str, of: Item, **fields: Any) -> dict[str, Any]:
        index = {} if self._naming == "ids" else {"output_index": 0 if "one index" in self._naming else of.number}
        return {"type": f"response.{kind}", **index, **fields}

    def _named(self, kind: str, of: Item, **fields: Any) -> dict[str, Any]:
        name = {"item_id": name} if (name := self._id(of).get("id")) else {}
        return self._event(kind, of, **name, **fields)

    def _piece(self, item: Item, index: int, *, delta: str | None = None, whole: str | None = None) -> dict[str, Any]:
        kind, place, name = _FORMS[item.kind]
        fields = self._index(place, item, index)
        if delta is not None:
            return self._named(f"{kind}.delta", item, **fields, delta=delta)
        return self._named(f"{kind}.done", item, **fields, **{name: whole})

    def _part(self, item: Item, index: int) -> dict[str, Any]:
        event = "reasoning_summary_part.done" if item.kind == "summary" else "content_part.done"
        return self._named(event, item, **self._index(_FORMS[item.kind][1], item, index), part=_parts(item)[index])

    def _index(self, place: str, item: Item, index: int) -> dict[str, int]:
        if not place or self._indexes == "none":
            return {}
        wrong = {"counting on": item.number, "counting with each delta": next(self._count)}
        return {place: wrong.get(self._indexes, index)}


_FORMS = {
    "message": ("output_text", "content_index", "text"),
    "refusal": ("refusal", "content_index", "refusal"),
    "reasoning": ("reasoning_text", "content_index", "text"),
    "summary": ("reasoning_summary_text", "summary_index", "text"),
    "function_call": ("function_call_arguments", "", "arguments"),
    "custom_tool_call": ("custom_tool_call_input", "", "input"),
}


def _parts(item: Item) -> list[dict[str, Any]]:
    kind = {"message": "output_text", "reasoning": "reasoning_text", "summary": "summary_text"}.get(
        item.kind, "refusal"
    )
    return [{"type": kind, _FORMS[item.kind][2]: text} for text in item.texts]


def _empty(item: Item) -> dict[str, Any]:
    if item.kind.endswith("call"):
        return {"type": item.kind, "call_id": f"c{item.number}", "name": "f", _FORMS[item.kind][2]: ""}
    if item.kind in ("reasoning", "summary"):
        return {"type": "reasoning", "summary": []}
    return {"type": "message", "role": "assistant", "content": []}


def _whole(item: Item) -> dict[str, Any]:
    if item.kind.endswith("call"):
        return {**_empty(item), _FORMS[item.kind][2]: item.texts[0]}
    return {**_empty(item), "summary" if item.kind == "summary" else "content": _parts(item)}


def read(events: Iterator[dict[str, Any]]) -> Answer:
    reader = Responses("m").read(Head(200, {"content-type": "text/event-stream"}))
    fold = Fold("a")
    for event in events:
        fold.add(reader.feed(b"data: " + json.dumps(event).encode() + b"\n\n"), 0.0)
    fold.add(reader.close(), 0.0)
    return fold.answer


def only(text: str, characters: str) -> str:
    return "".join(character for character in text if character in characters)


def _one_text(item: Item) -> Item:
    """The item with its first text alone."""
    length = item.lengths[0]
    return Item(item.kind, item.number, (length,), item.added, min(item.streamed, length), item.wholes)


def _tellable(item: Item, output: str) -> Item:
    """The item, told by more events if it would not be told at all without the output."""
    if output != "empty" and ("output" in item.wholes or output != "the unfinished alone"):
        return item
    if not item.wholes - {"output"}:
        item = evolve(item, streamed=sum(item.lengths))
    return item if "item.done" in item.wholes else evolve(item, added=True)


@pytest.mark.slow
@given(items(), st.sampled_from(NAMINGS), st.sampled_from(OUTPUTS), st.sampled_from(INDEXES), st.booleans())
@settings(deadline=None, max_examples=300)
def test_every_text_and_call_is_whole_and_there_once(
    items: list[Item], naming: str, output: str, indexes: str, in_turns: bool
) -> None:
    if indexes != "right":  # where several texts have no index of their own, only their item tells them apart
        items = [_one_text(item) for item in items]
    if naming in ("indexes", "another id in each event") and output == "the unfinished alone":
        output = "as it came"  # else neither an id nor a place would tell what the output holds
    items = [_tellable(item, output) for item in items]
    if "one index" in naming:  # an item that nobody announced would be taken for the one before
        items = [evolve(item, added=True) for item in items]
    answer = read(Stream(items, naming, output, indexes, in_turns=in_turns).events())
    assert answer.status is Status.FINISHED, answer.error
    calls = {call.id: call.arguments for call in answer.tool_calls}
    assert len(calls) == len(answer.tool_calls)
    for item in items:
        whole = "".join(item.texts)
        if item.kind.endswith("call"):
            assert calls.pop(f"c{item.number}") == whole
        else:
            came = {"message": answer.text, "refusal": answer.refusal}.get(item.kind, answer.reasoning)
            assert only(came, whole) == whole
    assert not calls
    assert not answer.notes
