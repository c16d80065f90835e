import pytest

from fanout.answers import Answer
from fanout.engine.verdicts import LONGEST_REASON, decide, make_refusal
from fanout.errors import Refused, TimedOut


async def say(taken: object) -> bool:
    if isinstance(taken, Exception):
        raise taken
    return bool(taken)


@pytest.mark.parametrize(
    ("said", "why"), [(True, None), (False, ""), (Refused("too short"), "refused: too short"), (ValueError("x"), "x")]
)
async def test_an_answer_is_taken_or_there_is_a_reason(said: object, why: str | None) -> None:
    assert await decide(say(said)) == why


async def test_any_other_exception_is_the_callers() -> None:
    with pytest.raises(KeyError):
        await decide(say(KeyError("x")))


def test_a_refusal_names_its_lane_and_keeps_the_text() -> None:
    error = make_refusal(Answer("a", text="words"), "why " * 500)
    assert (error.lane, error.partial) == ("a", "words")
    assert len(error.message) < LONGEST_REASON + 50
    assert "empty" in make_refusal(Answer("a"), "").message
    late = TimedOut("late")
    assert make_refusal(Answer("a"), late) is late
