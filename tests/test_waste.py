"""The money and tokens that a fan-out spent for nothing: every prompt that was sent, of losers and of earlier tries."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from trio.testing import MockClock

import fanout
from fanout import Race
from fanout.abc import Head
from fanout.answers import Answer, Wasted
from fanout.catalog import find
from fanout.catalog.entries import entries
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


@pytest.mark.parametrize(("provider", "on_cancel"), [("openai", "stops"), ("groq", "runs"), ("vercel", "unknown")])
def test_the_table_says_what_becomes_of_an_answer_that_is_cut_off(
    provider: str, on_cancel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{provider.upper()}_API_KEY", "k")
    assert find(f"{provider}/m").on_cancel == on_cancel
    assert {entry.on_cancel for entry in entries().values()} == {"stops", "runs", "unknown"}


@pytest.mark.skipif(find_spec("genai_prices") is None, reason="genai-prices is not installed")
@pytest.mark.parametrize(
    ("spec", "dear"),
    [("openai/gpt-5-mini?max_tokens=1000", False), ("groq/llama-3.3-70b-versatile?max_tokens=1000", True)],
)
async def test_the_cost_of_a_loser_is_an_interval_unless_its_service_stops(
    spec: str, dear: bool, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("GROQ_API_KEY", "k")
    begun = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
    transport = MemoryTransport(lambda request: [0.1, begun, HANG] if "http://b" not in request.url else [0.2, b"y ."])
    run = await fanout.ask(PROMPT, Race(spec, *words("b")), transport=transport)
    assert run.winner and run.winner.lane == "b"
    wasted = run.wasted
    assert wasted.cost and wasted.cost_high
    assert (wasted.cost_high > 2 * wasted.cost) is dear
    assert run.to_dict()["wasted"]["cost_high"] == wasted.cost_high
    assert (" to " in describe_waste(run)[0]) is dear
