"""What of a provider's failures becomes a typed error, and what stays a bug."""

import pytest

from fanout.errors import AuthError, InvalidRequest, ProtocolError
from fanout.parsing import parsing, translate
from fanout.scrub import scrub
from fanout.secret import Secret


@pytest.mark.parametrize("error", [KeyError("id"), IndexError("list"), TypeError("None"), ValueError("no JSON")])
def test_an_answer_of_another_shape_makes_no_sense(error: Exception) -> None:
    words = rf"the answer does not make sense: {type(error).__name__}: "
    with pytest.raises(ProtocolError, match=words) as caught, parsing():
        raise error
    assert caught.value.__cause__ is error


def test_it_says_what_was_being_made_and_not_all_of_what_came() -> None:
    error = translate(ValueError("x" * 1000), "the request cannot be made", InvalidRequest)
    assert type(error) is InvalidRequest
    assert error.message == f"the request cannot be made: ValueError: {'x' * 200}"


@pytest.mark.parametrize(
    "error", [AuthError("no key"), ZeroDivisionError(), AttributeError("bug"), RuntimeError("bug")]
)
def test_errors_that_are_typed_and_bugs_pass_through(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, parsing():
        raise error
    assert caught.value is error


def test_a_key_in_what_came_is_blanked_though_it_is_cut() -> None:
    key = "sk-proj-" + "A1b2C3d4" * 8
    error = translate(ValueError("x" * 150 + key))
    scrub(error, [Secret(key)])
    assert key[:8] not in error.message
