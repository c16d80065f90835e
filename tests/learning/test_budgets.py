from random import Random

from fanout.learning.budgets import FULL, HedgeBudget


def test_a_budget_allows_ten_hedges_and_then_one_in_twenty_requests() -> None:
    budget = HedgeBudget(0.05)
    taken = 0
    for _ in range(1000):
        budget.note_request()
        taken += budget.take()
    assert 50 <= taken <= 60


def test_a_budget_that_rests_does_not_grow_beyond_ten() -> None:
    budget = HedgeBudget(0.05)
    for _ in range(10_000):
        budget.note_request()
    assert sum(budget.take() for _ in range(100)) == FULL


def test_a_budget_is_never_exceeded_whatever_comes() -> None:
    for seed in range(10_000):
        random = Random(seed)
        rate = random.choice([0.0, 0.01, 0.05, 0.3])
        budget, requests, hedges, wish = HedgeBudget(rate), 0, 0, random.random()
        for _ in range(random.randrange(1, 200)):
            if random.random() < wish:
                hedges += budget.take()
            else:
                requests += 1
                budget.note_request()
            assert hedges <= FULL + rate * requests + 1e-9
