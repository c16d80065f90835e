from typing import Any

import pytest

from fanout.events import Delta, End, Reasoning
from fanout.providers.chat_details import Details
from tests.providers.wires.chat import DONE, STOP, chunk, read


def joined(*lists: Any, name: str = "reasoning_details", whole: bool = False) -> Any:
    details = Details()
    for one in lists:
        details.add(name, one, whole=whole)
    return details.data().get(name)


def words(text: str, index: int | None = 0, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": text, **({} if index is None else {"index": index}), **more}


def test_pieces_of_one_text_are_joined_with_its_signature() -> None:
    pieces = [
        [words("Let")],
        [words(" me", signature=None)],
        [{"type": "reasoning.text", "index": 0, "signature": "s"}],
    ]
    assert joined(*pieces) == [words("Let me", signature="s")]
    assert joined(*([words(one["text"], None)] for [one] in pieces[:2])) == [words("Let me", None)]


def test_texts_with_other_indexes_or_types_are_apart() -> None:
    summary = {"type": "reasoning.summary", "summary": "s", "index": 1}
    assert joined([words("a")], [words("b", 1)], [summary], [summary]) == [
        words("a"),
        words("b", 1),
        {**summary, "summary": "ss"},
    ]


def test_what_follows_a_signature_without_an_index_is_another_text() -> None:
    first, second = words("a", None, signature="s"), words("b", None)
    assert joined([first], [second]) == [first, second]


def test_encrypted_parts_come_whole() -> None:
    part = {"type": "reasoning.encrypted", "data": "x", "index": 0}
    assert joined([part], [part]) == [part, part]


def test_a_whole_message_counts_as_it_is() -> None:
    assert joined([words("a"), words("b")], whole=True) == [words("a"), words("b")]


def test_thinking_blocks_of_a_gateway_are_joined_too() -> None:
    pieces = [{"type": "thinking", "thinking": word, "signature": ""} for word in ("a", "b")]
    signed = {"type": "thinking", "thinking": "", "signature": "s"}
    assert joined(*([one] for one in (*pieces, signed)), name="thinking_blocks") == [
        {"type": "thinking", "thinking": "ab", "signature": "s"}
    ]


@pytest.mark.parametrize("odd", [None, 5, "x", {}, [None, 3], []])
def test_a_list_that_is_none_is_nothing(odd: Any) -> None:
    assert joined(odd) is None


def test_they_are_told_once_when_the_answer_is_whole() -> None:
    deltas = [chunk(delta={"reasoning_details": [words(word)]}) for word in ("a", "b", "c")]
    *events, kept, _end = read(*deltas, chunk(delta={"content": "Hi"}), STOP, DONE)
    assert events == [Reasoning("a"), Reasoning("b"), Reasoning("c"), Delta("Hi")]
    assert isinstance(kept, Reasoning) and kept.opaque is not None
    assert (kept.text, kept.opaque["data"]) == ("", {"reasoning_details": [words("abc")]})
    assert read(*deltas)[:-1] == events[:-1]  # cut off


def test_details_that_nest_too_deeply_are_left_out_and_told() -> None:
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    *events, end = read(chunk(delta={"reasoning_details": [{"type": "x", "data": deep}], "content": "a"}), STOP, DONE)
    assert events == [Delta("a")]
    assert isinstance(end, End) and "nested too deeply" in end.notes[0]
