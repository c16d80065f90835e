import gc
from math import inf

import trio
from attrs import define, evolve
from trio.testing import MockClock

from fanout.abc import Head, Provider, Reader, Request
from fanout.credentials.secret import Secret
from fanout.engine.attempt import Attempt
from fanout.engine.keys import FORMS, KEY_BLOCK, MAX_REMEMBERED, REFUSED_BLOCK, Keys, Known
from fanout.errors import AuthError, InvalidRequest, LoginRequired, ProviderError, QuotaError, RateLimited, ServerError
from fanout.prompt import Prompt
from fanout.providers.openai import OpenAI
from tests.words import Words, memory, said

ONE, TWO = OpenAI("m", key=Secret("k1")), OpenAI("m", key=Secret("k2"))


def test_the_first_key_is_used_until_it_is_blocked() -> None:
    keys = Keys((ONE, TWO))
    assert keys.usable(0) is ONE
    assert not keys.learn(ONE, ServerError("x"), 0)
    assert keys.learn(ONE, QuotaError("x"), 0)
    assert keys.usable(0) is TWO
    assert not keys.learn(TWO, RateLimited("x", retry_after=5), 0)
    assert keys.usable(0) is TWO  # the one that is soonest free
    assert keys.usable(KEY_BLOCK) is ONE


def test_one_key_alone_is_never_blocked() -> None:
    keys = Keys((ONE,))
    assert not keys.learn(ONE, RateLimited("x"), 0)
    assert keys.usable(0) is ONE
    assert not keys.known.blocked


def test_what_is_known_is_known_to_all_who_share_it() -> None:
    known = Known()
    first, second = Keys((ONE, TWO), known), Keys((ONE, TWO), known)
    first.learn(ONE, RateLimited("x", retry_after=9), 0)
    assert second.usable(0) is TWO


def test_a_form_that_the_service_takes_is_used_from_then_on_and_keeps_its_key() -> None:
    known = Known()
    keys = Keys((ONE, TWO), known)
    assert keys.learn(ONE, InvalidRequest("unknown field stream_options"), 0)
    form = keys.usable(0)
    assert form == evolve(ONE, stream_usage=False)
    assert keys.learn(form, RateLimited("x", retry_after=9), 0)
    assert keys.usable(0) is TWO
    assert Keys((ONE,), known).usable(10) == form


def test_a_service_that_refuses_every_form_is_not_asked_for_ever() -> None:
    keys = Keys((ONE,))
    assert keys.learn(ONE, InvalidRequest("unsupported: max_completion_tokens; use max_tokens"), 0)
    form = keys.usable(0)
    assert form == evolve(ONE, max_tokens="max_tokens")
    assert not keys.learn(form, InvalidRequest("unsupported: max_tokens; use max_completion_tokens"), 0)
    assert keys.usable(0) == form


def test_a_complaint_about_a_value_is_none_about_the_option() -> None:
    assert not Keys((ONE,)).learn(ONE, InvalidRequest("max_tokens is too large: 99999"), 0)


def test_a_form_that_another_lane_has_found_is_used_by_one_that_still_tries_an_older() -> None:
    known = Known()
    first, second = Keys((ONE,), known), Keys((ONE,), known)
    assert first.learn(ONE, InvalidRequest("unknown field stream_options"), 0)
    other_name = InvalidRequest("unsupported: max_completion_tokens; use max_tokens")
    assert first.learn(first.usable(0), other_name, 0)
    assert second.learn(ONE, InvalidRequest("unknown field stream_options"), 0)
    assert second.usable(0) == evolve(ONE, stream_usage=False, max_tokens="max_tokens")
    assert not second.learn(second.usable(0), InvalidRequest("unknown field stream_options"), 0)


def test_a_key_is_limited_though_another_lane_has_changed_its_form_meanwhile() -> None:
    known = Known()
    first, second = Keys((ONE, TWO), known), Keys((ONE, TWO), known)
    assert first.learn(ONE, InvalidRequest("unknown field stream_options"), 0)
    assert second.learn(ONE, RateLimited("x", retry_after=9), 0)
    assert second.usable(0) is TWO
    assert not second.learn(OpenAI("m", key=Secret("k3")), RateLimited("x"), 0)


def test_a_lane_changes_to_each_other_key_once() -> None:
    known = Known()
    keys = Keys((ONE, TWO), known)
    assert keys.learn(ONE, RateLimited("x", retry_after=1), 0)
    assert not keys.learn(TWO, RateLimited("x", retry_after=1), 5)
    assert not keys.learn(ONE, RateLimited("x", retry_after=1), 6.5)
    assert Keys((ONE, TWO), known).usable(6.5) is TWO  # what it learns is known all the same
    three = Keys((ONE, TWO, evolve(ONE, key=Secret("k3"))))
    assert [three.learn(three.usable(0), RateLimited("x"), 0) for _ in range(3)] == [True, True, False]


def test_a_service_that_wants_to_be_asked_again_at_once_does_not_lose_its_key_for_a_minute() -> None:
    keys = Keys((ONE, TWO))
    assert keys.learn(ONE, RateLimited("x", retry_after=0), 0)
    assert keys.usable(0) is TWO
    assert keys.usable(0.1) is ONE


@define
class Listed(Provider):
    """A provider that cannot be hashed."""

    model: str | None = None
    name: str = "listed"
    lost: int = 0

    def read(self, head: Head, request: Request | None = None) -> Reader:
        raise NotImplementedError

    def adapted(self, error: ProviderError) -> "Listed":
        return evolve(self, lost=self.lost + 1)


def test_a_provider_without_a_hash_is_never_taken_for_another_at_its_old_address() -> None:
    known = Known()
    for number in range(1000):
        provider = Listed(f"m{number}")
        keys = Keys((provider,), known)
        assert keys.usable(0) is provider, number
        assert keys.learn(provider, ServerError("gone"), 0)
        assert keys.usable(0) == Listed(f"m{number}", lost=1)
        del provider, keys
        gc.collect(0)


def test_what_is_known_does_not_grow_for_ever_and_the_oldest_goes_first() -> None:
    known = Known()
    for number in range(2 * MAX_REMEMBERED):
        last = evolve(ONE, model=f"m{number}")
        keys = Keys((last, TWO), known)
        keys.learn(last, InvalidRequest("unknown field stream_options"), 0)
        keys.learn(last, RateLimited("x"), 0)
    assert (len(known.forms), len(known.blocked)) == (MAX_REMEMBERED, MAX_REMEMBERED)
    assert keys.usable(0) is TWO
    assert keys.usable(KEY_BLOCK) == evolve(last, stream_usage=False)
    first = evolve(ONE, model="m0")
    assert Keys((first,), known).usable(0) is first


def test_a_provider_that_always_has_another_form_is_not_followed_for_ever() -> None:
    keys = Keys((Listed(),))
    changes = 0
    while keys.learn(keys.usable(0), ServerError("gone"), 0):
        changes += 1
        assert changes <= FORMS
    assert changes == FORMS


def test_a_key_that_the_service_refuses_rests_and_the_next_is_used() -> None:
    keys = Keys((ONE, TWO))
    assert keys.learn(ONE, AuthError("no such key", status=401), 0)
    assert keys.usable(0) is TWO
    assert keys.notes == ["key 1 of 2 was refused (401)"]
    assert keys.check_rest(0) is None
    assert keys.usable(REFUSED_BLOCK) is ONE


def test_a_login_that_is_wanted_is_no_refused_key() -> None:
    keys = Keys((ONE, TWO))
    assert not keys.learn(ONE, LoginRequired("log in"), 0)
    assert keys.usable(0) is ONE


def test_while_all_keys_rest_the_error_says_until_when_and_teaches_nothing() -> None:
    keys = Keys((ONE, TWO))
    keys.learn(ONE, RateLimited("x", retry_after=198300), 0)
    keys.learn(TWO, AuthError("x", status=401), 0)
    error = keys.check_rest(100)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 500
    assert "all 2 keys rest; the first may be used again in 500 s" in str(error)
    assert not keys.learn(ONE, error, 100)
    assert keys.check_rest(600) is None
    keys.learn(ONE, AuthError("x", status=401), 600)
    keys.learn(TWO, AuthError("x", status=401), 600)
    assert isinstance(keys.check_rest(601), AuthError)


async def test_nothing_is_sent_while_all_keys_of_a_lane_rest(autojump_clock: MockClock) -> None:
    known = Known()
    one, two = Words("a"), Words("b")
    for provider in (one, two):
        Keys((one, two), known).learn(provider, RateLimited("x", retry_after=300), trio.current_time())
    transport = memory(a=said("x"), b=said("y"))
    attempt = Attempt("l", one, transport, keys=Keys((one, two), known), retries=2)
    await attempt.run(Prompt.of("?"), inf)
    error = attempt.answer.error
    assert isinstance(error, RateLimited)
    assert error.retry_after == 300
    assert not transport.exchanges
