import os
import subprocess
import sys

import pytest
from trio.testing import MockClock

import fanout
from fanout.answers import Answer, prices
from fanout.answers.prices import cost
from fanout.events import Usage
from tests.words import memory, said, words

if not prices.is_installed() and not os.environ.get("CI"):
    pytest.skip("genai-prices is not installed", allow_module_level=True)

COUNTED = Usage(input=1_000_000, output=1_000_000)


def priced(provider: str, model: str | None, usage: Usage | None = COUNTED) -> float | None:
    return cost(Answer("a", provider=provider, model=model, usage=usage))


def test_input_and_output_have_their_prices() -> None:
    both, only_input = priced("openai", "gpt-5-mini"), priced("openai", "gpt-5-mini", Usage(1_000_000, 0))
    assert both is not None
    assert only_input is not None
    assert 0 < only_input < both


def test_cached_input_is_cheaper() -> None:
    cached, full = (priced("openai", "gpt-5-mini", Usage(1_000_000, 0, cached=n)) for n in (900_000, 0))
    assert cached is not None
    assert full is not None
    assert cached < full


@pytest.mark.parametrize(
    ("provider", "model"), [("xai", "grok-4"), ("gemini", "gemini-2.5-flash"), ("anthropic", "claude-haiku-4-5")]
)
def test_providers_are_known_by_the_tables_names(provider: str, model: str) -> None:
    assert priced(provider, model)


def test_what_nobody_knows_has_no_price() -> None:
    assert priced("openai", "no-such-model") is None
    assert priced("nobody", "gpt-5-mini") is None
    assert priced("openai", "gpt-5-mini", None) is None
    assert priced("openai", None) is None


def test_the_embedded_model_is_free() -> None:
    assert priced("local", "smollm2", None) == 0


async def test_a_run_adds_up_what_the_losers_cost(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("fanout.api", "fanout.engine.costs"):
        monkeypatch.setattr(f"{module}.cost", lambda answer: answer.tokens / 10)
    transport = memory(a=said("x", "y", first=0.15), b=said(*"abcdefgh"))
    run = await fanout.ask("?", words("a", "b"), transport=transport)
    assert run.winner
    assert (run.winner.cost, run["b"].cost, run.wasted.cost) == (0.2, 0.2, 0.2)


def test_the_table_is_not_imported_before_a_price_is_asked_for() -> None:
    code = (
        "import sys, fanout.api; from fanout.answers import prices; prices.is_installed(); "
        "print('genai_prices' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
