"""A thousand lanes are made, started and summed up without one long step of the loop."""

import gc
import time

import pytest
from trio.testing import MockClock

import fanout
from fanout import All
from fanout.abc import Head, Request
from fanout.transports.memory import MemoryTransport, Script
from tests.again import again
from tests.steps import watched

LANES = 1000
STEP = 0.03
"""Seconds of the processor."""

FIRST = 0.04
"""Seconds of the processor from the call of a thousand lanes to their first request; a look-up for each took 0.05."""

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


async def test_a_run_that_is_over_leaves_nothing_to_the_garbage_collector(autojump_clock: MockClock) -> None:
    transport = MemoryTransport(answer)
    lanes = [f"openai/m{number}?base_url=https://service.test&key_env=" for number in range(50)]
    await fanout.ask("?", All(lanes[0]), transport=transport)
    gc.collect()
    gc.disable()
    try:
        await fanout.ask("?", All(*lanes), transport=transport)
        left = gc.collect()
    finally:
        gc.enable()
    assert left < len(lanes), f"{left} objects of {len(lanes)} lanes are in cycles"


@again
async def test_a_thousand_lanes_that_are_alike_are_looked_up_once(autojump_clock: MockClock) -> None:
    """The time of the processor from the call to the first request."""
    asked: list[float] = []

    def note(request: Request) -> Script:
        asked.append(time.thread_time())
        return answer(request)

    transport = MemoryTransport(note)
    lanes = ["openai/m?base_url=https://service.test&key_env="] * LANES
    await fanout.ask("?", All(lanes[0]), transport=transport)
    asked.clear()
    async with watched():
        began = time.thread_time()
        await fanout.ask("?", All(*lanes), transport=transport)
    assert asked[0] - began < FIRST
