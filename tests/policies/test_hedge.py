from math import inf
from typing import Any

import pytest

from fanout.errors import UsageError
from fanout.events import End, Status
from fanout.policies.hedge import Hedge
from tests.policies.standings import Stood


def test_a_hedge_is_a_race_with_a_delay() -> None:
    hedge = Hedge("a", "b", after=0.8)
    assert hedge.pace == 0.8
    assert hedge.lanes == ("a", "b")
    assert list(hedge.losers(1, End(Status.FINISHED), [Stood(), Stood(Status.FINISHED)])) == [0]


def test_a_hedge_starts_another_lane_rather_than_repeating_one() -> None:
    assert Hedge.retries == 0


def test_a_hedge_may_start_all_at_once() -> None:
    assert Hedge("a", "b", after=0).pace == 0


def test_a_delay_of_which_nothing_is_said_is_that_of_a_slow_first_token() -> None:
    assert Hedge("a", "b").pace == 0.8


@pytest.mark.parametrize("after", [-1.0, float("nan"), True, "1", None])
def test_a_delay_must_be_a_time(after: Any) -> None:
    with pytest.raises(UsageError, match="after"):
        Hedge("a", after=after)


def test_a_delay_may_be_learnt() -> None:
    hedge = Hedge("a", "b", after="p95")
    assert (hedge.percentile, hedge.pace, hedge.budget) == (0.95, 1.0, 0.05)
    assert Hedge("a", "b", after="p99.5", fallback=2, budget=inf).percentile == pytest.approx(0.995)
    assert Hedge("a", "b", after=0.8).percentile is None


@pytest.mark.parametrize(
    "given",
    [
        {"after": "p100"},
        {"after": "p0"},
        {"after": "95"},
        {"after": "fast"},
        {"after": ""},
        {"after": None},
        {"after": "p95", "fallback": -1},
        {"after": "p95", "budget": -0.1},
        {"after": "p95", "budget": True},
    ],
)
def test_what_is_neither_a_time_nor_a_percentile_is_a_mistake(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=[*given][-1]):
        Hedge("a", "b", **given)
