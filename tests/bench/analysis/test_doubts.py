from random import Random

from fanout.bench.analysis import doubts
from fanout.bench.analysis.lane import LaneSummary, sum_up_lane
from fanout.bench.analysis.metrics import measure_all
from fanout.bench.records.record import Record
from fanout.events import Status
from tests.bench.answers import answer

CLOSED = "closed loop: service time, not response time; a slow answer delays the next request and hides its wait"


def lane(records: list[Record], name: str = "a") -> LaneSummary:
    return sum_up_lane(name, records, measure_all(records), {}, seed=1)


def said(records: list[Record]) -> list[str]:
    return list(doubts.of_lane(lane(records)))


def noisy(count: int, seed: int = 1, late: float = 1.0) -> list[Record]:
    """The second half takes `late` times as long."""
    random = Random(seed)
    half = count // 2
    return [
        answer(block=block, first=(late if block >= half else 1) * 0.2 * random.lognormvariate(0, 0.1))
        for block in range(count)
    ]


def test_of_a_plain_lane_there_is_nothing_to_say() -> None:
    assert said(noisy(100)) == []


def test_a_lane_that_slowed_down_is_named() -> None:
    (first, *_) = said(noisy(100, late=1.3))
    assert first.startswith("a got ")
    assert first.endswith(" % more time in the second half of the run than in the first")


def test_a_lane_that_became_faster_is_named_too() -> None:
    assert " % less time in the second half" in said(noisy(100, late=0.7))[0]


def test_requests_that_depend_on_one_another_are_worth_fewer() -> None:
    records = [answer(block=block, first=0.2 + 0.1 * (block // 10 % 2)) for block in range(200)]
    (found,) = said(records)
    assert found.startswith("a: its 200 requests depend on one another and are worth ")


def test_cancelled_requests_are_told() -> None:
    records = [*noisy(30), answer(block=99, status=Status.CANCELLED)]
    assert said(records) == ["a: requests that were cancelled and are left out: 1"]


def test_stamps_that_cannot_be_trusted_are_told_with_the_reason() -> None:
    records = [answer(block=block, kernel=0, lateness=None) for block in range(5)]
    (found,) = said(records)
    assert found == (
        "a: its times are not to be trusted to a hundredth: the stamps are our own, and nothing tells how late they are"
    )


def test_prompts_out_of_the_cache_are_told() -> None:
    records = [answer(block=block, input=100, cached=25) for block in range(5)]
    assert said(records) == ["a: 25 % of the prompt tokens came out of the service's cache"]


def test_lanes_that_answer_at_different_length_are_not_compared_to_the_end() -> None:
    short = lane([answer("a", block, pieces=40) for block in range(5)], "a")
    long = lane([answer("b", block, pieces=100) for block in range(5)], "b")
    (found,) = doubts.of_lanes({"a": short, "b": long})
    assert found.startswith("b answers at greater length than a (100 and 40 tokens)")
    assert list(doubts.of_lanes({"a": short, "b": lane([answer("b", pieces=50)], "b")})) == []


def test_lanes_asked_one_after_the_other_are_told() -> None:
    apart = [answer(name, block, sent=float(block + 10 * (name == "b"))) for name in "ab" for block in range(10)]
    mixed = [answer(name, block, sent=block + (name == "b") / 2) for name in "ab" for block in range(10)]
    once = [answer(name, 0, sent=float(name == "b")) for name in "ab"]
    (told, closed) = doubts.of_order(apart)
    assert told.startswith("the lanes were asked one after the other")
    assert closed == CLOSED
    assert list(doubts.of_order(mixed)) == list(doubts.of_order(once)) == [CLOSED]


def test_levels_one_after_the_other_are_as_they_should_be() -> None:
    records = [
        answer(name, block, sent=level * 100 + block + (name == "b") / 2, level=level)
        for level in (1.0, 8.0)
        for block in range(10)
        for name in "ab"
    ]
    assert list(doubts.of_order(records)) == [CLOSED]


def test_an_open_loop_is_not_called_a_closed_one() -> None:
    assert list(doubts.of_order([answer(block=block, intended=float(block)) for block in range(5)])) == []
    assert list(doubts.of_order([])) == []
