import pytest

from fanout.errors import AuthError
from fanout.scrub import SHORTEST, scrub
from fanout.secret import Secret

KEY = Secret("Bearer sk-canary-0123")


def test_a_key_that_the_service_repeats_is_blanked_everywhere() -> None:
    error = AuthError("no such key: sk-canary-0123", request_id="sk-canary-0123/7")
    error.__cause__ = ValueError("sk-canary-0123")
    scrub(error, [KEY, "not a secret"])
    assert str(error) == "auth: no such key: ***"
    assert error.request_id == "***/7"
    assert error.args == ("no such key: ***",)
    assert error.__cause__ is None


def test_an_error_that_repeats_nothing_keeps_its_cause() -> None:
    error = AuthError("no")
    error.__cause__ = cause = ValueError("why")
    scrub(error, [KEY])
    assert error.__cause__ is cause


@pytest.mark.parametrize("word", ["no", "x" * (SHORTEST - 1)])
def test_a_short_word_is_left_alone(word: str) -> None:
    error = AuthError(f"no {word}")
    scrub(error, [Secret(word)])
    assert error.message == f"no {word}"
