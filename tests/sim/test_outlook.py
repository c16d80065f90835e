"""Policies on lanes of a file: what the engine comes to is what can be computed by hand."""

from math import inf

import pytest

from fanout.errors import UsageError
from fanout.sim.latencies import ScriptedLane, Spread
from fanout.sim.notation import parse_shape
from fanout.sim.outlook import Outlook, compare

SURE = {
    "slow": ScriptedLane("slow", Spread.of("1s"), gap=0.1, pieces=11),
    "fast": ScriptedLane("fast", Spread.of("0.3s"), gap=0.01, pieces=11),
    "down": ScriptedLane("down", Spread.of("0.2s"), fails=1.0),
}


def look(*plans: str, n: int = 3, lanes: dict[str, ScriptedLane] = SURE) -> list[Outlook]:
    return compare([parse_shape(plan) for plan in plans], lanes, n, 1, "finish", lambda *_: None)


def test_times_requests_and_waste_are_those_of_the_engine() -> None:
    alone, race, hedge, fallback, nobody = look(
        "race(slow)", "race(slow, fast)", "hedge:500ms(slow, fast)", "fallback(down, fast)", "fallback(down)"
    )
    assert [alone.first["p50"], alone.total["p50"]] == pytest.approx([1.0, 2.0])
    assert [race.first["p99"], race.total["p99"], race.extra] == pytest.approx([0.3, 0.4, 1])
    assert [hedge.first["p50"], hedge.total["p50"], hedge.extra] == pytest.approx([0.8, 0.9, 1])
    assert [fallback.first["p50"], fallback.extra, fallback.failed] == pytest.approx([0.5, 1, 0])
    assert (nobody.first["p50"], nobody.total["p99"], nobody.failed) == (inf, inf, 1)


def test_a_quorum_and_all_end_with_the_last_that_they_need() -> None:
    quorum, both = look("quorum:2(slow, fast)", "all(slow, fast)")
    assert quorum.total["p50"] == pytest.approx(2.0)
    assert both.total["p50"] == pytest.approx(2.0)
    assert (quorum.wasted, both.wasted) == (0, 0)


@pytest.mark.slow
def test_a_hedge_after_a_quantile_asks_again_for_the_share_above_it() -> None:
    lanes = {"a": ScriptedLane("a", Spread.of({"p50": 0.4, "p95": 1.2, "p99": 5.0}), pieces=1)}
    alone, hedged = look("race(a)", "hedge:p95(a, a)", n=1000, lanes=lanes)
    assert hedged.extra == pytest.approx(0.05, abs=0.015)
    assert hedged.first["p99"] < alone.first["p99"] / 2
    assert hedged.first["p50"] == pytest.approx(alone.first["p50"])  # both meet the same luck


def test_the_same_seed_gives_the_same_figures() -> None:
    lanes = {"a": ScriptedLane("a", Spread.of({"p50": 0.4, "p95": 1.2}), pieces=2)}
    assert look("race(a, a)", n=20, lanes=lanes) == look("race(a, a)", n=20, lanes=lanes)


@pytest.mark.parametrize(
    ("plan", "words"), [("race(gone)", "no lane 'gone'"), ("hedge:p95(race(slow), fast)", "nobody"), ("quorum:9", "9")]
)
def test_a_plan_that_cannot_be_is_a_usage_error(plan: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        look(plan)
