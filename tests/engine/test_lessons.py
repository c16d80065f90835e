from typing import Any

import pytest

from fanout.engine.lessons import Lessons
from fanout.errors import ServerError, TimedOut
from fanout.events import Delta, End, Reasoning, Status
from fanout.learning.latencies import FIRST, Key, Latencies, Measure

KEY = Key("a", "", None)
OUTPUT = Measure(thoughts=False)
WHOLE = Measure(whole=True, thoughts=False)
ALL = (FIRST, OUTPUT, WHOLE, Measure(whole=True))


class Noted(Latencies):
    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[Measure, float] = {}

    def saw(self, key: Key, size: int, seconds: float, measure: Measure = FIRST) -> None:
        self.seen[measure] = seconds


def lesson(*pieces: tuple[float, Any], end: End, at: float, overtaken: bool = False) -> dict[Measure, float]:
    """Returns what a lane teaches that began at 10."""
    noted = Noted()
    lessons = Lessons(KEY, noted, ALL)
    lessons.begin(10.0)
    for when, event in pieces:
        lessons.content(when, [event])
    lessons.overtaken = overtaken
    lessons.end(end, at)
    return noted.seen


FINISHED, CANCELLED = End(Status.FINISHED), End(Status.CANCELLED)


def test_a_whole_answer_teaches_its_first_words_and_its_longest_silences() -> None:
    seen = lesson((11, Reasoning("hm")), (12, Reasoning("hm")), (15, Delta("x")), (16, Delta("y")), end=FINISHED, at=18)
    assert seen == {FIRST: 1, OUTPUT: 5, WHOLE: 5, Measure(whole=True): 3}


def test_the_silence_before_the_end_is_one_too() -> None:
    assert lesson((11, Delta("x")), end=FINISHED, at=20)[WHOLE] == 9


def test_a_loser_teaches_nothing_unless_the_next_lane_started_because_it_was_late() -> None:
    assert lesson(end=CANCELLED, at=13) == {}
    assert lesson((11, Delta("x")), end=CANCELLED, at=13) == {}
    assert lesson(end=CANCELLED, at=13, overtaken=True)[FIRST] == 3
    assert lesson((11, Delta("x")), end=CANCELLED, at=15, overtaken=True) == {
        FIRST: 1, OUTPUT: 1, WHOLE: 4, Measure(whole=True): 4,
    }  # fmt: skip


def test_a_failure_is_no_latency() -> None:
    assert lesson(end=End(Status.FAILED, error=ServerError("broken")), at=13) == {}
    assert lesson((11, Delta("x")), end=End(Status.FAILED, error=ServerError("broken")), at=13, overtaken=True) == {}


def test_a_time_out_took_at_least_that_long() -> None:
    late = End(Status.TIMED_OUT, error=TimedOut("late", clock="first", seconds=60))
    assert lesson(end=late, at=70)[FIRST] == 60
    idle = End(Status.TIMED_OUT, error=TimedOut("late", clock="idle", seconds=30))
    seen = lesson((11, Delta("x")), end=idle, at=41)
    assert (seen[FIRST], seen[WHOLE]) == (1, 30)


def test_the_callers_deadline_says_nothing_of_the_service() -> None:
    assert lesson(end=End(Status.TIMED_OUT, error=TimedOut("late", clock="deadline")), at=10.1) == {}


def test_a_try_that_follows_a_failure_counts_from_its_own_start() -> None:
    noted = Noted()
    lessons = Lessons(KEY, noted)
    lessons.begin(10.0)
    lessons.begin(20.0)
    lessons.content(20.5, [Delta("x")])
    lessons.end(FINISHED, 21)
    assert noted.seen[FIRST] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("on_cancel", "usual", "limit", "most"),
    [
        ("stops", 200, 500, 10),
        ("runs", 200, 500, 200),
        ("unknown", 200, 500, 200),
        ("runs", None, 500, 500),
        ("runs", 200, 50, 50),
        ("runs", 5, None, 10),
        ("unknown", None, None, None),
    ],
)
def test_an_answer_that_was_cut_off_may_be_billed_whole(
    on_cancel: str, usual: int | None, limit: int | None, most: int | None
) -> None:
    lessons = Lessons(KEY, Latencies(), on_cancel=on_cancel)
    if usual is not None:
        lessons.lengths.saw(KEY, usual)
    assert lessons.count_most(10, limit) == most
