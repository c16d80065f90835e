"""The tally of a lane while the load goes on."""

from math import inf

import pytest

from fanout.bench.analysis.tally import Tally
from fanout.bench.records.record import Record
from fanout.events import Status


def ended(ttft: float, status: Status = Status.FINISHED, output: int | None = 10) -> Record:
    return Record("a", 0, status, sent=0, ended=9, times=(ttft,), kinds="d", sizes=(8,), output=output)


def test_failures_are_infinitely_slow_and_cancelled_requests_count_nowhere() -> None:
    tally = Tally()
    for record in (ended(0.3), ended(0.1), ended(0.2, Status.FAILED), ended(0.4), ended(0.1, Status.CANCELLED)):
        tally.add(record)
    assert (tally.done, tally.errors) == (4, 1)
    assert list(tally.ttfts) == [0.1, 0.3, 0.4, inf]
    assert tally.ttft == 0.4


def test_an_answer_that_came_at_once_counts_with_its_end() -> None:
    tally = Tally()
    tally.add(Record("a", 0, Status.FINISHED, sent=0, ended=9))
    assert tally.ttft == 9


def test_the_rate_is_of_the_time_in_which_something_was_in_flight() -> None:
    tally = Tally()
    assert tally.rate(5) is None
    tally.begin(10)
    tally.begin(11)
    tally.end(12)
    tally.add(ended(0.1))
    assert tally.rate(15) == pytest.approx(10 / 5)
    tally.end(20)
    tally.add(ended(0.1))
    assert tally.rate(100) == pytest.approx(20 / 10)
    tally.begin(100)
    assert tally.rate(110) == pytest.approx(20 / 20)


def test_tokens_that_nobody_counted_are_marked() -> None:
    tally = Tally()
    tally.add(ended(0.1))
    before = tally.estimated
    tally.add(ended(0.1, output=None))
    assert (before, tally.estimated, tally.tokens) == (False, True, 12)


def test_precision_narrows_with_the_number_of_requests() -> None:
    tally = Tally()
    widths = []
    for count in range(200):
        tally.add(ended(1 + (count * 37 % 100) / 100))
        if count in (0, 30, 199):
            widths.append(tally.precision)
    assert widths[0] == inf > widths[1] > widths[2] > 0
