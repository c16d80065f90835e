from random import Random

from fanout.engine.retry import LONGEST_WAIT, Budget, pause
from fanout.errors import AuthError, RateLimited, ServerError


def test_what_cannot_succeed_later_is_not_repeated() -> None:
    assert pause(AuthError("no"), 1, Random(0)) is None


def test_the_services_own_wait_is_taken_exactly() -> None:
    assert pause(RateLimited("no", retry_after=7), 1, Random(0)) == 7
    assert pause(RateLimited("no", retry_after=0), 1, Random(0)) == 0


def test_a_wait_before_now_is_none_at_all() -> None:
    assert pause(RateLimited("no", retry_after=-3), 1, Random(0)) == 0


def test_a_wait_beyond_two_minutes_is_not_slept() -> None:
    assert pause(RateLimited("no", retry_after=LONGEST_WAIT + 1), 1, Random(0)) is None


def test_without_a_word_the_wait_doubles_and_is_jittered() -> None:
    random = Random(1)
    waits = [[pause(ServerError("no"), attempt, random) or 0 for _ in range(200)] for attempt in (1, 2, 3, 10)]
    for tops, bound in zip(waits, (0.5, 1.0, 2.0, 8.0), strict=True):
        assert bound / 2 < max(tops) <= bound
        assert min(tops) < bound / 10


def test_a_budget_forbids_retries_below_half_and_recovers_slowly() -> None:
    budget = Budget()
    for _ in range(4):
        budget.failed()
    assert (budget.tokens, budget.allows) == (6, True)
    budget.failed()
    assert (budget.tokens, budget.allows) == (5, False)
    budget.succeeded()
    assert (budget.tokens, budget.allows) == (5.1, True)
    for _ in range(100):
        budget.failed()
    assert budget.tokens == 0
    for _ in range(1000):
        budget.succeeded()
    assert budget.tokens == budget.full
