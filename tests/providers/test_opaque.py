from typing import Any

import pytest

from fanout.prompt import Message, ToolUse
from fanout.providers.opaque import Kept, data_of_calls, is_own, split

MARK = {"wire": "anthropic", "service": "https://a.example", "model": "m"}
A, B = ToolUse("a", "f", "{}"), ToolUse("b", "f", "{}")


def part(text: int, reasoning: int, calls: int, name: str) -> dict[str, Any]:
    return {"text": text, "reasoning": reasoning, "calls": calls, "data": {"name": name}}


def message(*parts: Any, **fields: Any) -> Message:
    given = {"text": "So be it.", "tool_uses": (A, B), "reasoning": "one two", **fields}
    return Message("assistant", opaque={**MARK, "parts": list(parts)}, **given)


def test_each_part_stands_where_it_came() -> None:
    made = message(part(0, 3, 0, "x"), part(3, 7, 1, "y"), part(9, 7, 2, "z"))
    assert [*split(made, MARK)] == [
        Kept({"name": "x"}, "one"),
        "So ",
        A,
        Kept({"name": "y"}, " two"),
        "be it.",
        B,
        Kept({"name": "z"}, ""),
    ]


@pytest.mark.parametrize("other", [{**MARK, name: "x"} for name in MARK] + [None])
def test_another_maker_gets_the_text_and_the_calls(other: Any) -> None:
    made = message(part(0, 3, 0, "x"), {"call": "a", "data": {"signature": "s"}})
    assert [*split(made, other)] == ["So be it.", A, B]
    assert not is_own(made, other)
    assert data_of_calls(made, other) == {}
    assert data_of_calls(made, MARK) == {"a": {"signature": "s"}}


def test_a_text_that_was_shortened_since_keeps_what_is_opaque() -> None:
    made = message(part(0, 3, 0, "x"), part(9, 7, 2, "y"), text="So", tool_uses=(A,))
    assert [*split(made, MARK)] == [Kept({"name": "x"}, "one"), "So", A, Kept({"name": "y"}, " two")]


def test_a_reasoning_that_was_shortened_since_loses_it() -> None:
    assert [*split(message(part(0, 7, 0, "x"), reasoning="one"), MARK)] == ["So be it.", A, B]


def test_a_message_without_text_or_calls_has_no_pieces() -> None:
    assert [*split(Message("assistant", ""), MARK)] == []
