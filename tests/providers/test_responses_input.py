from typing import Any

from fanout.prompt import Message, ToolUse
from fanout.providers.responses_input import items_of

MAKER = {"wire": "responses", "service": "https://api.openai.com/v1", "model": "m-1"}
USE = ToolUse("call_1", "add", "{}")
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}


def part(text: int, calls: int, data: dict[str, Any]) -> dict[str, Any]:
    return {"text": text, "reasoning": 0, "calls": calls, "data": data}


def items(*parts: dict[str, Any], maker: Any = MAKER, **fields: Any) -> list[dict[str, Any]]:
    given: dict[str, Any] = {"text": "", "tool_uses": (USE,), **fields}
    return [*items_of(Message("assistant", opaque={**MAKER, "parts": list(parts)}, **given), (), maker)]


CALL = {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": "{}"}
IDS = {"type": "function_call", "call_id": "call_1", "id": "fc_1"}


def test_a_reasoning_goes_before_what_it_led_to_with_its_id() -> None:
    assert items(part(0, 0, REASONING), part(0, 1, IDS)) == [REASONING, {**CALL, "id": "fc_1"}]


def test_an_id_goes_nowhere_without_the_reasoning() -> None:
    assert items(part(0, 1, IDS)) == [CALL]
    assert items(part(0, 1, IDS), part(0, 1, REASONING)) == [CALL]
    assert items(part(0, 0, REASONING), part(0, 1, IDS), maker={**MAKER, "model": "m-2"}) == [CALL]


def test_a_reasoning_that_led_to_nothing_stays_here() -> None:
    assert items(part(0, 0, REASONING), tool_uses=()) == [{"role": "assistant", "content": ""}]
    assert items(part(2, 0, REASONING), text="Hi", tool_uses=()) == [{"role": "assistant", "content": "Hi"}]


def test_each_message_has_its_phase_and_its_id() -> None:
    notes, answer = (
        {"type": "message", "id": f"msg_{n}", "phase": phase} for n, phase in ((1, "commentary"), (2, "f"))
    )
    made = items(part(0, 0, REASONING), part(3, 0, notes), part(6, 0, answer), text="I loAha", tool_uses=())
    assert [(one.get("id"), one.get("phase")) for one in made] == [
        ("rs_1", None),
        ("msg_1", "commentary"),
        ("msg_2", "f"),
        (None, None),
    ]
    [alone] = items(part(2, 0, notes), text="Hi", tool_uses=())
    assert alone == {"role": "assistant", "content": "Hi", "phase": "commentary"}
