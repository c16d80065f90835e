from fanout.abc import Provider
from fanout.errors import QuotaError, RateLimited, ServerError
from fanout.keys import KEY_BLOCK, Keys
from fanout.providers.openai import OpenAI
from fanout.secret import Secret

ONE, TWO = OpenAI("m", key=Secret("k1")), OpenAI("m", key=Secret("k2"))


def test_the_first_key_is_used_until_it_is_blocked() -> None:
    keys = Keys((ONE, TWO))
    assert keys.usable(0) is ONE
    assert not keys.change(ONE, ServerError("x"), 0)
    assert keys.change(ONE, QuotaError("x"), 0)
    assert keys.usable(0) is TWO
    assert not keys.change(TWO, RateLimited("x", retry_after=5), 0)
    assert keys.usable(0) is TWO  # the one that is soonest free
    assert keys.usable(KEY_BLOCK) is ONE


def test_one_key_alone_is_never_blocked() -> None:
    keys = Keys((ONE,))
    assert not keys.change(ONE, RateLimited("x"), 0)
    assert keys.usable(0) is ONE
    assert not keys.blocked


def test_what_is_blocked_is_known_to_all_who_share_it() -> None:
    blocked: dict[Provider, float] = {}
    first, second = Keys((ONE, TWO), blocked), Keys((ONE, TWO), blocked)
    first.change(ONE, RateLimited("x", retry_after=9), 0)
    assert second.usable(0) is TWO
