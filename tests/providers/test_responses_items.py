from functools import partial
from typing import Any

import pytest

from fanout.providers.responses_items import Item, Items, Part, arguments_of
from tests.cost import seconds


def part(*pieces: str) -> Part:
    made = Part()
    made.pieces.extend(pieces)
    return made


@pytest.mark.parametrize(
    ("pieces", "whole", "missing"),
    [
        ((), "Hello", "Hello"),
        (("Hel",), "Hello", "lo"),
        (("Hel", "lo"), "Hello", ""),
        (("Hel", "lo"), "", ""),
        (("Hel", "lo"), "Hell", None),
        (("Hel", "lo"), "Hallo", None),
        (("a", "\n", "b"), "a\nb\n", "\n"),
    ],
)
def test_what_is_missing_of_a_text_is_its_end(pieces: tuple[str, ...], whole: str, missing: str | None) -> None:
    text = part(*pieces)
    assert text.missing(whole) == missing
    assert text.missing(whole) == missing


def test_texts_that_were_told_without_their_indexes_are_compared_together() -> None:
    item = Item("message")
    item.part("text", 0).pieces.append("One. Tw")
    assert item.missing("text", [(0, "One."), (1, " Two.")]) == ["", "o."]
    assert item.missing("text", [(0, "One!"), (1, " Two.")]) is None


def test_a_reasoning_that_ends_as_a_summary_is_the_same() -> None:
    item = Item("reasoning")
    item.part("content", 0).pieces.append("hm")
    assert item.missing("summary", [(0, "hmm")]) == ["m"]
    other = Item("reasoning")
    other.part("content", 0).pieces.append("hm")
    assert other.missing("summary", [(0, "A summary.")]) == ["A summary."]


def message(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text}], **fields}


def call(arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "name": "f", "arguments": arguments, **fields}


def test_a_call_with_a_new_id_is_the_one_with_the_same_arguments() -> None:
    items = Items()
    first = items.of_event(call("", call_id="a"), 0, added=True)
    second = items.of_event(call("", call_id="b"), 1, added=True)
    for item, text in ((first, '{"x":1}'), (second, '{"x":2}')):
        item.name = "f"
        item.part("arguments", 0).pieces.append(text)
    rows = [call('{"x":2}', call_id="new_b"), call('{"x":1}', call_id="new_a"), call('{"x":1}', call_id="c")]
    matched = [item for item, _ in items.match(rows)]
    assert matched[:2] == [second, first]
    assert matched[2] not in (first, second)


def test_what_the_output_leaves_out_is_not_taken_for_what_it_has() -> None:
    """As a gateway was seen to send it: the reasoning is left out, and the message has another id and place."""
    items = Items()
    reasoning = items.of_event({"type": "reasoning", "id": "rs_1"}, 0, added=True)
    text = items.of_event(message("", id="msg_1"), 1, added=True)
    text.part("text", 0).pieces.append("Shipped.")
    ((item, _),) = items.match([message("Shipped.", id="msg_9")])
    assert item is text and item is not reasoning


def test_the_same_id_for_all_does_not_make_them_one() -> None:
    items = Items()
    first = items.of_event(call("", id="x", call_id="a"), 0, added=True)
    second = items.of_event(call("", id="x", call_id="b"), 1, added=True)
    assert first is not second
    assert items.of_piece("function_call", "x", 0) is first
    assert items.of_piece("function_call", "x", 1) is second
    assert items.of_event(call("{}", id="x", call_id="a"), 0, added=False) is first


def test_a_call_may_be_done_under_another_call_id() -> None:
    """OpenAI's own tool search was recorded so: the item's id stays, that of its call changes."""
    items = Items()
    row = {"type": "tool_search_call", "id": "tsc_1", "execution": "client"}
    item = items.of_event({**row, "call_id": "call_a"}, 0, added=True)
    assert items.of_event({**row, "call_id": "call_b"}, 0, added=False) is item
    assert item.call_id == "call_b"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (call('{"x":1}'), '{"x":1}'),
        (call({"x": 1}), '{"x":1}'),
        (call([]), "[]"),
        (call(None), ""),
        (call(7), ""),
        ({"type": "custom_tool_call", "input": "ls"}, "ls"),
    ],
)
def test_arguments_may_be_an_object(row: dict[str, Any], text: str) -> None:
    assert arguments_of(row) == text


def read_repetitions(count: int) -> None:
    """Takes a text in so many pieces, and as many events that repeat or contradict it."""
    items = Items()
    for number in range(count):
        item = items.of_piece("message", "m", 0)
        item.part("text", 0).pieces.append("ab")
        item.part("text", 0).missing("abx")
        item.missing("text", [(number, "x"), (number + 1, "y")])
        items.of_event(message("ab", id=f"{number}"), 0, added=bool(number % 2))
    items.match([message("ab", id=f"o{number}") for number in range(count)])


def test_the_time_is_linear_in_what_came() -> None:
    short, long = (partial(read_repetitions, count) for count in (3_000, 12_000))
    assert any(seconds(long) <= 6 * max(seconds(short), 0.01) for _ in range(3))
