"""A lane's place in a group, without a loop: what becomes of its answer."""

from typing import Any

import pytest

from fanout.answers import Answer
from fanout.engine.attempt import Attempt
from fanout.engine.judging import LONGEST_REASON, make_refusal, weigh
from fanout.engine.seats import Seat, call_all
from fanout.errors import Refused, TimedOut
from fanout.events import Status
from fanout.transports.memory import MemoryTransport
from tests.words import Words


def seat() -> Seat:
    return Seat(Attempt("a", Words("a"), MemoryTransport({})))


def test_a_seat_is_open_until_it_is_known_what_becomes_of_its_lane() -> None:
    one = seat()
    assert one.open and not one.good
    one.status = Status.FINISHED
    assert (one.open, one.good) == (False, True)
    one.refusal = "no"
    assert not one.good


def fail(error: BaseException) -> Any:
    def accept(_: Answer) -> bool:
        raise error

    return accept


def test_what_accept_says_is_noted_in_the_seat() -> None:
    for accept, refusal in ((lambda _: True, None), (lambda _: False, ""), (fail(ValueError("bad")), "bad")):
        one = seat()
        assert weigh(one, accept) is None
        assert one.refusal == refusal
    one = seat()
    with pytest.raises(KeyError):
        weigh(one, fail(KeyError("mine")))
    assert one.refusal == "accept raised an exception"


def test_a_refusal_says_why_and_of_which_text() -> None:
    error = make_refusal(Answer("a", text="x"), "y" * 1000)
    assert isinstance(error, Refused)
    assert (error.lane, error.partial) == ("a", "x")
    assert len(error.message) < LONGEST_REASON + 50
    late = TimedOut("late")
    assert make_refusal(Answer("a"), late) is late


def test_every_call_is_made_and_what_one_raises_comes_out_then() -> None:
    made: list[str] = []

    def bad() -> None:
        made.append("bad")
        raise KeyError("x")

    with pytest.raises(KeyError):
        call_all([bad, lambda: made.append("good")])
    assert made == ["bad", "good"]
