"""The money and tokens that a fan-out spent for nothing: every prompt that was sent, of losers and of earlier tries."""

from collections.abc import Iterator

import pytest
from trio.testing import MockClock

import fanout
from fanout import Race
from fanout.abc import Head
from fanout.answers import Answer, Wasted
from fanout.events import Status, Usage
from fanout.formats.summary import describe_waste
from fanout.gateway.dialects.writer import figures_of
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.words import memory, said, words

PROMPT = "word " * 80  # about a hundred tokens


async def test_the_prompt_of_a_loser_counts_before_its_first_content(autojump_clock: MockClock) -> None:
    run = await fanout.ask(
        PROMPT, Race(*words("a", "b", "c")), transport=memory(a=said("x"), b=[Head(200), HANG], c=[HANG])
    )
    assert run.winner and run.winner.lane == "a"
    assert run.wasted.input == 200
    assert run.wasted.at_least


async def test_the_prompt_of_a_lane_that_never_started_does_not_count(autojump_clock: MockClock) -> None:
    run = await fanout.ask(PROMPT, fanout.Fallback(*words("a", "b")), transport=memory(a=said("x"), b=[HANG]))
    assert (run.wasted.input, run.wasted.at_least) == (0, False)


@pytest.mark.parametrize(("status", "billed"), [(500, 100), (429, 0)])
async def test_an_earlier_try_counts_unless_its_service_says_that_it_read_nothing(
    status: int, billed: int, autojump_clock: MockClock
) -> None:
    scripts: Iterator[Script] = iter([[Head(status)], said("x")])
    transport = MemoryTransport(lambda _: next(scripts))
    run = await fanout.ask(PROMPT, [*words("a")], transport=transport, retries=1)
    assert run.winner and run.winner.repeated == billed
    assert (run.wasted.input, run.wasted.at_least) == (billed, bool(billed))
    assert run.to_dict()["wasted"]["input"] == billed


def test_what_is_said_of_waste_is_the_same_in_the_table_and_in_the_gateway() -> None:
    won = Answer("a", status=Status.FINISHED, text="x", cost=0.1, repeated=30)
    lost = Answer("b", status=Status.CANCELLED, usage=Usage(input=100, output=7), cost=0.5)
    wasted = Wasted.of([lost], [won])
    assert wasted == Wasted(0, 7, 0.5, input=130, at_least=True)
    run = fanout.Run((won, lost), won, wasted, 1.0)
    assert describe_waste(run) == ["  wasted: 7 tok, 130 tok of prompts, at least 0.500 USD"]
    expected = {"chunks": 0, "tokens": 7, "cost": 0.5, "input": 130, "at_least": True}
    assert figures_of(run)["wasted"] == run.to_dict()["wasted"] == expected
