from typing import Any

import pytest

from fanout.prompt import Message, ToolUse
from fanout.providers.anthropic_messages import may_think, turns_of
from tests.providers.wires.anthropic import MAKER

USE = ToolUse("toolu_1", "add", "{}")


def signed(*parts: dict[str, Any], **fields: Any) -> Message:
    given: dict[str, Any] = {"text": "So.", "reasoning": "hm", "tool_uses": (USE,), **fields}
    return Message("assistant", opaque={**MAKER, "parts": list(parts)}, **given)


def thought(text: int, reasoning: int, calls: int = 0, **data: str) -> dict[str, Any]:
    return {"text": text, "reasoning": reasoning, "calls": calls, "data": data}


def contents(*messages: Message, maker: Any = MAKER) -> list[Any]:
    return [turn["content"] for turn in turns_of(messages, maker)]


def test_thoughts_go_back_to_their_maker_alone() -> None:
    message = signed(thought(0, 2, type="thinking", signature="s"))
    text, call = {"type": "text", "text": "So."}, {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}}
    assert contents(message) == [[{"type": "thinking", "thinking": "hm", "signature": "s"}, text, call]]
    assert contents(message, maker={**MAKER, "model": "m-2"}) == [[text, call]]
    assert contents(message, maker=None) == [[text, call]]


def test_a_blank_text_between_thoughts_is_left_out() -> None:
    first, second = thought(0, 2, type="thinking", signature="s"), thought(2, 2, type="redacted_thinking", data="d")
    [blocks] = contents(signed(first, second, text="\n\nSo."))
    assert [block["type"] for block in blocks] == ["thinking", "redacted_thinking", "text", "tool_use"]


@pytest.mark.parametrize("data", [{"type": "thinking", "signature": ""}, {"type": "new"}, {}, {"type": "thinking"}])
def test_what_is_no_block_of_thoughts_is_left_out(data: dict[str, str]) -> None:
    assert contents(signed({**thought(0, 0), "data": data}, tool_uses=())) == ["So."]


def test_thinking_goes_on_within_a_loop_only_where_it_began_with_it() -> None:
    question, result = Message("user", "?"), Message("tool", "2", tool_call_id="toolu_1")
    thinking, plain = signed(thought(0, 2, type="thinking", signature="s")), Message("assistant", "", tool_uses=(USE,))
    for messages, expected in (
        ((question,), True),
        ((question, plain, result), False),
        ((question, thinking, result), True),
        ((question, thinking, result, plain, result), True),
        ((question, plain, result, thinking, result), False),
        ((question, plain, result, question), True),
    ):
        assert may_think(list(turns_of(messages, MAKER))) is expected
