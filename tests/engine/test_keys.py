import gc
from math import inf
from random import Random

import trio
from attrs import define, evolve
from trio.testing import MockClock

from fanout.abc import Head, Provider, Reader, Request
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.engine.attempt import Attempt
from fanout.engine.keys import REFUSED_BLOCK, Keys, Known
from fanout.engine.retry import Budget, Retries
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


def test_a_key_that_has_rested_is_no_better_than_one_that_never_had_to() -> None:
    keys = Keys((ONE, TWO))
    keys.learn(TWO, RateLimited("x", retry_after=1), 1)
    assert keys.usable(10) is ONE


def test_what_is_learnt_again_is_not_the_oldest_that_is_known() -> None:
    known = Known()
    others = [evolve(TWO, key=Secret(f"other {number}")) for number in range(256)]
    for limited in (ONE, *others[:-1], ONE, others[-1]):
        Keys((limited, evolve(ONE, model="spare")), known).learn(limited, RateLimited("x"), 0)
    assert ONE in known.blocked and others[0] not in known.blocked


def test_a_limited_key_rests_for_a_minute_or_as_long_as_the_service_says() -> None:
    for error, seconds in ((RateLimited("x"), 60), (QuotaError("x"), 60), (RateLimited("x", retry_after=90), 90)):
        keys = Keys((ONE, TWO))
        keys.learn(ONE, error, 5)
        assert [keys.usable(5 + seconds - 0.1), keys.usable(5 + seconds)] == [TWO, ONE]


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


def test_where_every_other_key_rests_too_no_key_is_changed() -> None:
    known = Known()
    Keys((ONE, TWO), known).learn(TWO, RateLimited("x", retry_after=9), 0)
    assert not Keys((ONE, TWO), known).learn(ONE, RateLimited("x", retry_after=9), 1)
    assert Keys((ONE, TWO), known).learn(ONE, RateLimited("x", retry_after=9), 9)  # the other is free in this moment


def test_a_service_that_wants_to_be_asked_again_at_once_does_not_lose_its_key_for_a_minute() -> None:
    keys = Keys((ONE, TWO))
    assert keys.learn(ONE, RateLimited("x", retry_after=0), 0)
    assert keys.usable(0) is TWO
    assert keys.usable(0.1) is ONE


async def test_where_nobody_keeps_logins_what_is_renewed_is_let_go() -> None:
    keys = Keys((ONE,))
    await keys.keep(Credentials("a", "https://a"))
    needed = LoginRequired("x")
    assert await keys.log_in(ONE, needed) is needed
    assert Retries(keys, Budget(), 0, Random(0)).after(needed, False, 0, inf) is None


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
    for number in range(2 * 256):
        last = evolve(ONE, model=f"m{number}")
        keys = Keys((last, TWO), known)
        keys.learn(last, InvalidRequest("unknown field stream_options"), 0)
        keys.learn(last, RateLimited("x"), 0)
    assert (len(known.forms), len(known.blocked)) == (256, 256)
    assert keys.usable(0) is TWO
    assert keys.usable(60) == evolve(last, stream_usage=False)
    first = evolve(ONE, model="m0")
    assert Keys((first,), known).usable(0) is first


def test_a_provider_that_always_has_another_form_is_not_followed_for_ever() -> None:
    keys = Keys((Listed(),))
    changes = 0
    while keys.learn(keys.usable(0), ServerError("gone"), 0):
        changes += 1
        assert changes <= 8
    assert changes == 8


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


def test_what_is_known_of_keys_is_not_shown() -> None:
    assert repr(Known({ONE: 1.0}, {ONE: TWO}, {ONE})) == "Known()"


def test_a_key_that_was_refused_and_then_limited_is_a_limited_one() -> None:
    keys = Keys((ONE, TWO))
    for key in (ONE, TWO):
        keys.learn(key, AuthError("no", status=401), 0)
    error = keys.check_rest(1)
    assert type(error) is AuthError
    assert str(error) == "auth: all 2 keys rest; the first may be used again in 599 s; the service refused them"
    keys.learn(ONE, RateLimited("slow down"), REFUSED_BLOCK)
    keys.learn(TWO, RateLimited("slow down"), REFUSED_BLOCK)
    assert type(keys.check_rest(REFUSED_BLOCK + 1)) is RateLimited


def test_the_note_on_a_refused_key_says_the_status_or_the_kind() -> None:
    keys = Keys((ONE, TWO))
    keys.learn(ONE, AuthError("no", status=403), 0)
    keys.learn(TWO, AuthError("no"), 0)
    assert keys.notes == ["key 1 of 2 was refused (403)", "key 2 of 2 was refused (auth)"]


def test_each_change_of_key_is_counted() -> None:
    keys = Keys((ONE, TWO, evolve(ONE, key=Secret("k3"))))
    changed = [keys.learn(keys.usable(now), RateLimited("x", retry_after=0), now) for now in (1.0, 2.0, 3.0, 4.0)]
    assert changed == [True, True, False, False]


class Equal(Words):
    """Adapts itself to what it is already."""

    def adapted(self, error: ProviderError) -> Provider | None:
        return Words(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Words)

    def __hash__(self) -> int:  # type: ignore[override]  # Words have none
        return 1


def test_a_form_that_is_the_same_is_no_other() -> None:
    equal = Equal("a")
    keys = Keys((equal,))
    assert not keys.learn(equal, InvalidRequest("x"), 0)
    assert not keys.known.forms


async def test_a_login_is_asked_about_the_provider_that_was_refused() -> None:
    asked: list[object] = []

    class Desk:
        async def renew(self, provider: Provider, credentials: Credentials | None) -> Credentials | None:
            asked.append((provider, credentials))
            return None

        async def keep(self, credentials: Credentials) -> None:
            raise AssertionError

    needed = LoginRequired("no")
    assert await Keys((ONE,), login=Desk()).log_in(ONE, needed) is needed
    assert asked == [(ONE, ONE.credentials)]


def test_a_lane_with_one_key_asks_though_others_have_learnt_that_it_rests() -> None:
    known = Known()
    Keys((ONE, TWO), known).learn(ONE, RateLimited("x"), 0)
    assert Keys((ONE,), known).check_rest(1) is None
