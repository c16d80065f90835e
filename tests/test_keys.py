from attrs import evolve

from fanout.errors import InvalidRequest, QuotaError, RateLimited, ServerError
from fanout.keys import KEY_BLOCK, Keys, Known
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
    assert not keys.known.blocked


def test_what_is_known_is_known_to_all_who_share_it() -> None:
    known = Known()
    first, second = Keys((ONE, TWO), known), Keys((ONE, TWO), known)
    first.change(ONE, RateLimited("x", retry_after=9), 0)
    assert second.usable(0) is TWO


def test_a_form_that_the_service_takes_is_used_from_then_on_and_keeps_its_key() -> None:
    known = Known()
    keys = Keys((ONE, TWO), known)
    assert keys.change(ONE, InvalidRequest("unknown field stream_options"), 0)
    form = keys.usable(0)
    assert form == evolve(ONE, stream_usage=False)
    assert keys.change(form, RateLimited("x", retry_after=9), 0)
    assert keys.usable(0) is TWO
    assert Keys((ONE,), known).usable(10) == form


def test_a_service_that_refuses_every_form_is_not_asked_for_ever() -> None:
    keys = Keys((ONE,))
    assert keys.change(ONE, InvalidRequest("unsupported: max_completion_tokens; use max_tokens"), 0)
    form = keys.usable(0)
    assert form == evolve(ONE, max_tokens="max_tokens")
    assert not keys.change(form, InvalidRequest("unsupported: max_tokens; use max_completion_tokens"), 0)
    assert keys.usable(0) == form


def test_a_complaint_about_a_value_is_none_about_the_option() -> None:
    assert not Keys((ONE,)).change(ONE, InvalidRequest("max_tokens is too large: 99999"), 0)
