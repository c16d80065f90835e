"""The typed errors of what a provider's code raises."""

import pytest

from fanout.credentials.scrub import scrub
from fanout.credentials.secret import Secret
from fanout.errors import AuthError, InternalError, InvalidRequest, ProtocolError, UsageError
from fanout.errors.parsing import parsing, translate


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


@pytest.mark.parametrize("error", [AuthError("no key"), UsageError("no file")])
def test_errors_that_are_typed_and_those_of_the_caller_pass_through(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, parsing():
        raise error
    assert caught.value is error


def endless(depth: int = 0) -> int:
    return endless(depth + 1)


@pytest.mark.internal
@pytest.mark.parametrize(
    "error", [AttributeError("bug"), RuntimeError("bug"), AssertionError(), ExceptionGroup("g", [OSError()])]
)
def test_a_mistake_of_the_code_is_internal_and_logged_without_its_words(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    words = f"the code that talks to the service failed: {type(error).__name__}"
    with pytest.raises(InternalError, match=words) as caught, parsing():
        raise error
    assert caught.value.__cause__ is error
    assert not caught.value.retryable
    assert [(record.name, record.levelname) for record in caplog.records] == [("fanout", "ERROR")]
    assert f"{type(error).__name__} at test_parsing.py:" in caplog.text
    assert "bug" not in caplog.text


@pytest.mark.internal
def test_a_recursion_without_end_is_internal_too() -> None:
    with pytest.raises(InternalError, match="RecursionError"), parsing():
        endless()


def test_nothing_is_made_of_what_an_exception_holds_but_the_beginning_of_its_text() -> None:
    class Costly:
        def __repr__(self) -> str:
            raise NotImplementedError

    assert translate(KeyError(Costly())).message == "the answer does not make sense: KeyError: "
    assert translate(ValueError(Costly(), "x" * 1000)).message.endswith("ValueError: " + "x" * 200)


def test_a_key_in_what_came_is_blanked_though_it_is_cut() -> None:
    key = "sk-proj-" + "A1b2C3d4" * 8
    error = translate(ValueError("x" * 150 + key))
    scrub(error, [Secret(key)])
    assert key[:8] not in error.message
