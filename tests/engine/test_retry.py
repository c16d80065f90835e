from math import inf
from random import Random

import pytest

from fanout.abc import Login, Provider
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.engine.keys import Keys
from fanout.engine.retry import Budget, Relogin, Retries, Wait, pause
from fanout.errors import AuthError, InvalidRequest, LoginRequired, ProviderError, RateLimited, ServerError
from fanout.providers.openai import OpenAI

ONE, TWO = OpenAI("m", key=Secret("k1")), OpenAI("m", key=Secret("k2"))


class Desk(Login):
    async def renew(self, provider: Provider, refused: Credentials | None) -> Credentials | None:
        raise NotImplementedError

    async def keep(self, credentials: Credentials) -> None:
        raise NotImplementedError


def retries(*providers: Provider, allowed: int = 0, login: Login | None = None, tried: int = 1) -> Retries:
    lane = Retries(Keys(providers or (ONE,), login=login), Budget(), allowed, Random(0))
    for _ in range(tried):
        lane.begin(0)
    return lane


def after(lane: Retries, error: ProviderError, now: float = 0, due: float = inf) -> Wait | Relogin | None:
    return lane.after(error, False, now, due)


def test_what_cannot_succeed_later_is_not_repeated() -> None:
    assert pause(AuthError("no"), 1, Random(0)) is None


def test_the_services_own_wait_is_taken_exactly() -> None:
    assert pause(RateLimited("no", retry_after=7), 1, Random(0)) == 7
    assert pause(RateLimited("no", retry_after=0), 1, Random(0)) == 0


def test_a_wait_before_now_is_none_at_all() -> None:
    assert pause(RateLimited("no", retry_after=-3), 1, Random(0)) == 0


def test_a_wait_beyond_two_minutes_is_not_slept() -> None:
    assert pause(RateLimited("no", retry_after=120), 1, Random(0)) == 120
    assert pause(RateLimited("no", retry_after=120.1), 1, Random(0)) is None


def test_without_a_word_the_wait_doubles_and_is_jittered() -> None:
    random = Random(1)
    waits = [[pause(ServerError("no"), attempt, random) or 0 for _ in range(200)] for attempt in (1, 2, 3, 10)]
    for tops, bound in zip(waits, (0.5, 1.0, 2.0, 8.0), strict=True):
        assert bound / 2 < max(tops) <= bound
        assert min(tops) < bound / 10


def test_a_budget_forbids_retries_below_half_and_recovers_slowly() -> None:
    budget = Budget()
    for _ in range(4):
        budget.note_failure()
    assert (budget.tokens, budget.allows) == (6, True)
    budget.note_failure()
    assert (budget.tokens, budget.allows) == (5, False)
    budget.note_success()
    assert (budget.tokens, budget.allows) == (5.1, True)
    for _ in range(100):
        budget.note_failure()
    assert budget.tokens == 0
    for _ in range(1000):
        budget.note_success()
    assert budget.tokens == budget.full


def test_before_its_first_try_a_lanes_provider_is_that_with_the_first_key() -> None:
    assert retries(ONE, TWO, tried=0).provider is ONE


def test_what_is_retryable_follows_after_its_pause_as_often_as_allowed() -> None:
    lane = retries(allowed=2)
    assert after(lane, RateLimited("x", retry_after=7)) == Wait(7)
    lane.begin(7)
    assert after(lane, RateLimited("x", retry_after=3)) == Wait(3)
    lane.begin(10)
    assert after(lane, RateLimited("x", retry_after=3)) is None


def test_nothing_follows_what_has_begun_to_answer_but_what_it_teaches_is_learnt() -> None:
    lane = retries(ONE, TWO, allowed=5, login=Desk())
    assert lane.after(RateLimited("x"), True, 0, inf) is None
    assert (lane.keys.known.blocked, lane.budget.tokens, lane.allowed) == ({ONE: 60}, 9, 5)
    assert lane.after(LoginRequired("x"), True, 0, inf) is None
    assert lane.budget.tokens == 9


def test_nothing_follows_what_finished_which_the_budget_likes() -> None:
    lane = retries(allowed=5)
    lane.budget.tokens = 7
    assert lane.after(None, True, 0, inf) is None
    assert lane.budget.tokens == pytest.approx(7.1)


def test_nothing_follows_in_a_lane_that_is_closed_but_what_it_teaches_is_learnt() -> None:
    lane = retries(ONE, TWO, allowed=5, login=Desk())
    lane.close()
    for error in (RateLimited("x"), ServerError("x"), LoginRequired("x")):
        assert after(lane, error) is None
    assert (lane.keys.known.blocked, lane.budget.tokens) == ({ONE: 60}, 8)


def test_a_try_that_is_cut_off_teaches_too() -> None:
    lane = retries(ONE, TWO, allowed=5)
    lane.learn(None, 0)
    assert lane.budget.tokens == 10
    lane.learn(RateLimited("x", retry_after=7), 1)
    assert (lane.keys.known.blocked, lane.budget.tokens, lane.allowed) == ({ONE: 8}, 9, 5)


def test_a_provider_that_fails_to_learn_from_a_try_that_is_cut_off_hurts_nobody() -> None:
    class Failing(OpenAI):
        def adapted(self, error: ProviderError) -> OpenAI | None:
            raise RateLimited("of all things")

    lane = retries(Failing("m", key=Secret("k1")), allowed=5)
    lane.learn(ServerError("x"), 1)
    assert lane.budget.tokens == 10


@pytest.mark.parametrize(("due", "then"), [(7.1, Wait(7)), (7, None), (0, None), (-inf, None)])
def test_a_pause_ends_before_the_next_clock_fires(due: float, then: Wait | None) -> None:
    assert after(retries(allowed=1), RateLimited("x", retry_after=7), due=due) == then


def test_once_a_clock_has_fired_neither_login_nor_key_nor_form_is_tried_but_they_are_known() -> None:
    lane = retries(ONE, TWO, allowed=5, login=Desk())
    for error in (RateLimited("x"), InvalidRequest("unknown field stream_options"), LoginRequired("x")):
        assert after(lane, error, now=5, due=5) is None
    assert (lane.allowed, lane.keys.known.blocked) == (5, {ONE: 65})
    assert lane.keys.known.forms == {ONE: OpenAI("m", key=Secret("k1"), stream_usage=False)}
    assert lane.budget.tokens == 9


def test_another_key_or_form_is_tried_at_once_and_is_no_retry() -> None:
    lane = retries(ONE, TWO)
    assert after(lane, RateLimited("x")) == Wait(0)
    assert lane.begin(0) is TWO
    assert after(lane, InvalidRequest("unknown field stream_options")) == Wait(0)
    assert lane.begin(0) == OpenAI("m", key=Secret("k2"), stream_usage=False)
    assert after(lane, RateLimited("x")) is None
    assert lane.keys.known.blocked == {ONE: 60, TWO: 60}
    assert lane.budget.tokens == 9  # only the last was no change of key or form


def test_another_login_is_asked_for_once() -> None:
    lane = retries(login=Desk())
    needed = LoginRequired("who are you?")
    assert after(lane, needed) == Relogin(needed)
    lane.begin(0)
    assert after(lane, needed) is None
    assert after(retries(), needed) is None


def test_a_failure_that_repeating_might_mend_counts_against_the_budget_until_nothing_follows() -> None:
    budget = Budget()
    lane = Retries(Keys((ONE,)), budget, 100, Random(0))
    lane.begin(0)
    follows = [after(lane, ServerError("x", retry_after=0)) for _ in range(6)]
    assert follows == [Wait(0)] * 4 + [None] * 2
    after(lane, AuthError("x"))
    assert budget.tokens == 4
