"""A thousand lanes are made, started and summed up without one long step of the loop."""

import pytest
from trio.testing import MockClock

import fanout
from fanout import All
from fanout.abc import Head, Request
from fanout.transports.memory import MemoryTransport, Script
from tests.steps import watched

LANES = 1000
STEP = 0.03
"""Seconds of the processor."""

BODY = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def answer(request: Request) -> Script:
    return [Head(200, {"content-type": "text/event-stream"}), BODY]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["m", "m{}"], ids=["one model", "a model each"])
async def test_no_step_of_a_thousand_lanes_is_long(autojump_clock: MockClock, model: str) -> None:
    transport = MemoryTransport(answer)
    lanes = [f"openai/{model.format(number)}?base_url=https://service.test&key_env=" for number in range(LANES)]
    await fanout.ask("?", All(lanes[0]), transport=transport)  # what is loaded at first use
    async with watched() as steps:
        run = await fanout.ask("?", All(*lanes), transport=transport)
    assert [one.status for one in run.answers] == ["finished"] * LANES
    assert steps.longest < STEP, steps.whose
