import pytest

from fanout.errors.unwrapped import unwrapping


def test_an_exception_wrapped_alone_comes_out_with_its_own_cause_and_context() -> None:
    cause, context = KeyError("cause"), OSError("context")
    alone = ValueError("mine")
    alone.__cause__, alone.__context__ = cause, context
    with pytest.raises(ValueError, match="mine") as caught, unwrapping():
        raise ExceptionGroup("nursery", [alone])
    assert (caught.value.__cause__, caught.value.__context__) == (cause, context)


def test_a_context_that_was_shown_is_still_shown() -> None:
    alone = ValueError("mine")
    alone.__context__ = OSError("context")
    with pytest.raises(ValueError, match="mine") as caught, unwrapping():
        raise ExceptionGroup("nursery", [alone])
    assert not caught.value.__suppress_context__


def test_two_exceptions_stay_a_group() -> None:
    with pytest.RaisesGroup(ValueError, KeyError), unwrapping():
        raise ExceptionGroup("nursery", [ValueError(), KeyError()])


def test_only_one_level_is_taken_off() -> None:
    with pytest.RaisesGroup(ValueError), unwrapping():
        raise ExceptionGroup("nursery", [ExceptionGroup("the caller's own", [ValueError()])])


def test_what_was_not_wrapped_passes() -> None:
    with pytest.raises(ValueError, match="bare"), unwrapping():
        raise ValueError("bare")
    with unwrapping():
        pass
