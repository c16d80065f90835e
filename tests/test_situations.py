"""An answer of an unknown kind is paid for once; a loser is counted by what came, not by a count before it."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from trio.testing import MockClock

import fanout
from fanout.credentials.secret import Secret
from fanout.providers.anthropic import Anthropic
from fanout.providers.openai import OpenAI
from fanout.transports.memory import HANG, MemoryTransport, Step
from tests.conformance.lanes import provider_at

KEY = Secret("canary")


def event(value: dict[str, Any]) -> bytes:
    """One event, named by its type if it has one."""
    name = f"event: {value['type']}\n" if "type" in value else ""
    return f"{name}data: {json.dumps(value)}\n\n".encode()


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


def started(output: int) -> bytes:
    """The beginning of Anthropic's answers, which counts the input and something of the output."""
    usage = {"input_tokens": 42, "output_tokens": output}
    return event({"type": "message_start", "message": {"model": "m", "content": [], "usage": usage}})


HOLOGRAM = {"type": "hologram", "shape": "cube"}
DONE = {"id": "r", "status": "completed", "output": [], "usage": {"input_tokens": 9, "output_tokens": 48}}
UNKNOWN: dict[str, Sequence[bytes]] = {
    "openai-chat": [
        chunk({"content": [HOLOGRAM]}),
        chunk({}, "stop", usage={"prompt_tokens": 9, "completion_tokens": 48}),
        b"data: [DONE]\n\n",
    ],
    "openai-responses": [
        event({"type": "response.output_item.done", "output_index": 0, "item": {"id": "i", **HOLOGRAM}}),
        event({"type": "response.completed", "response": DONE}),
    ],
    "anthropic": [
        started(0),
        event({"type": "content_block_start", "index": 0, "content_block": HOLOGRAM}),
        event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 48}}),
        event({"type": "message_stop"}),
    ],
    "gemini-sse": [
        event(
            {
                "candidates": [{"content": {"parts": [{"hologram": {"shape": "cube"}}]}, "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 48},
            }
        )
    ],
    "cohere": [
        event({"type": "content-start", "index": 0, "delta": {"message": {"content": HOLOGRAM}}}),
        event(
            {
                "type": "message-end",
                "delta": {
                    "finish_reason": "COMPLETE",
                    "usage": {"billed_units": {"input_tokens": 9, "output_tokens": 48}},
                },
            }
        ),
    ],
}
"""By wire, an answer that ended well and was counted, of a kind that nobody knows."""


@pytest.mark.parametrize("wire", UNKNOWN)
async def test_an_answer_of_an_unknown_kind_is_paid_for_once_and_told_by_its_kind(
    wire: str, autojump_clock: MockClock
) -> None:
    transport = MemoryTransport(lambda _: UNKNOWN[wire])
    run = await fanout.ask("?", [provider_at(wire)], transport=transport)
    (answer,) = run.answers
    assert len(transport.exchanges) == 1
    assert answer.usage is not None
    assert answer.usage.output == 48
    assert answer.error is not None
    assert not answer.error.retryable
    assert "hologram" in answer.error.message


@pytest.mark.parametrize("wire", UNKNOWN)
async def test_after_an_answer_of_an_unknown_kind_another_service_is_asked(
    wire: str, autojump_clock: MockClock
) -> None:
    words = [chunk({"content": "Hi"}, "stop"), b"data: [DONE]\n\n"]
    transport = MemoryTransport(lambda request: words if "other.test" in request.url else UNKNOWN[wire])
    lanes = [provider_at(wire), OpenAI("m", name="other", base_url="https://other.test", key=KEY)]
    run = await fanout.ask("?", fanout.Fallback(*lanes), transport=transport)
    assert run.winner is not None
    assert run.winner.text == "Hi"
    assert len(transport.exchanges) == 2


THOUGHTS = 69


@pytest.mark.parametrize("output", [0, 1])
async def test_a_loser_is_counted_by_what_came_not_by_a_count_before_the_answer(
    output: int, autojump_clock: MockClock
) -> None:
    thought = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm, "}}
    loser: list[Step] = [started(output), *[event(thought)] * THOUGHTS, HANG]
    winner: list[Step] = [1.0, chunk({"content": "Hi"}, "stop"), b"data: [DONE]\n\n"]
    transport = MemoryTransport({"loser.test": loser, "winner.test": winner})
    lanes = [
        Anthropic("m", name="loser", base_url="https://loser.test", key=KEY),
        OpenAI("m", name="winner", base_url="https://winner.test", key=KEY),
    ]
    run = await fanout.ask("?", fanout.Race(*lanes), transport=transport)
    assert run.winner is not None
    assert run.winner.text == "Hi"
    lost = run.answers[0]
    assert lost.usage is not None
    assert lost.usage.output is not None
    assert (lost.usage.input, lost.usage.estimated) == (42, True)
    assert lost.usage.output >= THOUGHTS
    assert run.wasted.tokens == lost.usage.output
