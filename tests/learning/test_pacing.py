from math import inf
from random import Random

import pytest

from fanout.learning.budgets import HedgeBudget
from fanout.learning.latencies import Key, Latencies
from fanout.learning.pacing import Fixed, Learnt, Sorted

A, B = Key("a", "", None), Key("b", "", None)


def latencies(**seconds: float) -> Latencies:
    made = Latencies()
    for name, one in seconds.items():
        for _ in range(50):
            made.saw(Key(name, "", None), 100, one)
    return made


@pytest.mark.parametrize("seconds", [0.0, 0.8, inf])
def test_a_fixed_pacer_has_one_delay_and_the_order_of_the_plan(seconds: float) -> None:
    pacer = Fixed(seconds)
    assert [*pacer.order(3, 100)] == [0, 1, 2]
    assert [pacer.delay(lane) for lane in range(3)] == [seconds] * 3
    assert pacer.may_hedge()


def test_a_learnt_delay_is_that_of_the_lane_that_started_last() -> None:
    pacer = Learnt(latencies(a=1.0, b=2.0), 0.95, 9.0, None, [A, B, Key("c", "", None)])
    pacer.order(3, 100)
    assert [pacer.delay(lane) for lane in range(3)] == pytest.approx([1, 2, 9])


def test_what_stands_before_the_prompt_counts() -> None:
    known = Latencies()
    for _ in range(50):
        known.saw(A, 100, 1.0)
        known.saw(A, 10_000, 5.0)
    pacer = Learnt(known, 0.95, 9.0, None, [A], before=[9_000])
    pacer.order(1, 100)
    assert pacer.delay(0) == pytest.approx(5, rel=0.1)


def test_each_prompt_brings_its_share_and_each_hedge_takes_one() -> None:
    budget = HedgeBudget(0.5, tokens=0)
    allowed = []
    for _ in range(6):
        pacer = Learnt(latencies(a=1.0), 0.95, 9.0, budget, [A, B])
        pacer.order(2, 100)
        allowed.append(pacer.may_hedge())
    assert allowed == [False, True] * 3


def orders(explore: float, known: Latencies, times: int = 2000) -> list[int]:
    """Returns the lanes that went first."""
    random = Random(1)
    pacer = Sorted(Fixed(inf), known, [A, B, Key("c", "", None)], explore, random)
    found = [pacer.order(3, 100) for _ in range(times)]
    assert all(sorted(order) == [0, 1, 2] for order in found)
    return [order[0] for order in found]


def test_the_fastest_goes_first_and_another_now_and_then() -> None:
    known = latencies(a=3.0, b=1.0, c=2.0)
    assert set(orders(0, known)) == {1}
    first = orders(0.05, known)
    assert 0.03 < 1 - first.count(1) / len(first) < 0.07
    assert {0, 2} <= set(first)


def test_a_lane_of_which_little_is_known_goes_first_every_other_time() -> None:
    first = orders(0.05, latencies(a=3.0, b=1.0))
    assert 0.45 < first.count(2) / len(first) < 0.55
    assert set(orders(0, latencies(a=3.0, b=1.0))) == {1}


def test_without_any_knowledge_the_order_is_the_plans() -> None:
    assert set(orders(0, Latencies())) == {0}


def test_a_sorted_pacer_hedges_as_its_own_pacer_says() -> None:
    known = latencies(a=3.0, b=1.0)
    pacer = Sorted(Learnt(known, 0.95, 9.0, HedgeBudget(0, tokens=1), [A, B]), known, [A, B], 0, Random(1))
    assert [*pacer.order(2, 100)] == [1, 0]
    assert pacer.delay(1) == pytest.approx(1)
    assert [pacer.may_hedge(), pacer.may_hedge()] == [True, False]
