from typing import Any

import pytest

from fanout.providers.responses_items import Item, Items, Part, arguments_of
from tests.cpu import is_linear


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


def item(kind: str, family: str, *pieces: str, first: int = 0) -> Item:
    """An item each of whose pieces came under another index."""
    made = Item(kind)
    for index, piece in enumerate(pieces, first):
        made.part(family, index).pieces.append(piece)
    return made


def test_texts_that_were_told_without_their_indexes_are_compared_together() -> None:
    text = item("message", "text", "One. Tw")
    assert text.take("text", [(0, "One!"), (1, " Two.")], all_of_it=True) is None
    assert text.take("text", [(0, "One."), (1, " Two.")], all_of_it=True) == ["o."]
    assert text.take("text", [(0, "One."), (1, " Two.")], all_of_it=True) == []


def test_a_text_under_a_wrong_index_is_not_told_again() -> None:
    """vLLM counts the texts of all items together, and in some versions with every delta."""
    text = item("message", "text", "Hello", first=1)
    assert text.take("text", [(1, "Hello")], all_of_it=False) == []
    assert text.take("text", [(0, "Hello")], all_of_it=True) == []
    assert text.take("text", [(0, "Hello!")], all_of_it=True) == ["!"]
    assert text.take("text", [(0, "Hello!")], all_of_it=True) == []
    for index in (6, 7, 0):
        counting = item("reasoning", "content", "I", " see", ".", first=4)
        assert counting.take("content", [(index, "I see.")], all_of_it=not index) == []
        assert counting.take("content", [(0, "I see. So")], all_of_it=True) == [" So"]


def test_a_text_that_begins_like_the_one_before_is_another() -> None:
    text = item("message", "text", "Yes")
    assert text.take("text", [(0, "Yes")], all_of_it=False) == []
    assert text.take("text", [(1, "Yes, but")], all_of_it=False) == ["Yes, but"]
    text = item("message", "text", "Yes")
    assert text.take("text", [(0, "Yes"), (1, "Yes, but")], all_of_it=True) == ["Yes, but"]


def test_a_reasoning_that_ends_as_a_summary_is_the_same() -> None:
    reasoning = item("reasoning", "content", "hm")
    assert reasoning.take("summary", [(0, "hmm")], all_of_it=True) == ["m"]
    assert reasoning.take("content", [(0, "hmm")], all_of_it=True) == []
    assert item("reasoning", "content", "hm").take("summary", [(0, "Short.")], all_of_it=True) == ["Short."]


def message(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text}], **fields}


def call(arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "name": "f", "arguments": arguments, **fields}


def test_a_call_with_a_new_id_is_the_one_with_the_same_arguments() -> None:
    items = Items()
    first = items.of_event(call("", call_id="a"), 0, added=True)
    second = items.of_event(call("", call_id="b"), 1, added=True)
    for made, text in ((first, '{"x":1}'), (second, '{"x":2}')):
        made.name = "f"
        made.part("arguments", 0).pieces.append(text)
    rows = [call('{"x":2}', call_id="new_b"), call('{"x":1}', call_id="new_a"), call('{"x":1}', call_id="c")]
    matched = [found for found, _ in items.match(rows)]
    assert matched[:2] == [second, first]
    assert matched[2] not in (first, second)


def test_what_the_output_leaves_out_is_not_taken_for_what_it_has() -> None:
    """As a gateway was seen to send it: the reasoning is left out, and the message has another id and place."""
    items = Items()
    reasoning = items.of_event({"type": "reasoning", "id": "rs_1"}, 0, added=True)
    text = items.of_event(message("", id="msg_1"), 1, added=True)
    text.part("text", 0).pieces.append("Shipped.")
    ((found, _),) = items.match([message("Shipped.", id="msg_9")])
    assert found is text and found is not reasoning


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
    found = items.of_event({**row, "call_id": "call_a"}, 0, added=True)
    assert items.of_event({**row, "call_id": "call_b"}, 0, added=False) is found
    assert found.call_id == "call_b"


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


def many_repeats(count: int) -> None:
    """A text in so many pieces, and as many events that repeat or contradict it."""
    items = Items()
    for number in range(count):
        text = items.of_piece("message", "m", 0)
        text.part("text", 0).pieces.append("ab")
        text.part("text", 0).missing("abx")
        text.take("text", [(number, "x"), (number + 1, "y")], all_of_it=bool(number % 2))
        text.part("text", number).pieces.append("c")
        text.take("text", [(number, "c")], all_of_it=False)
        items.of_event(message("ab", id=f"{number}"), 0, added=bool(number % 2))
    items.match([message("ab", id=f"o{number}") for number in range(count)])


def test_the_time_is_linear_in_what_came() -> None:
    assert is_linear(many_repeats, 3000)
