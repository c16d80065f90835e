import re
from math import exp, inf, log
from random import Random
from statistics import fmean

import pytest

from fanout.bench.analysis.metrics import measure_all
from fanout.bench.analysis.statistics import difference
from fanout.bench.analysis.verdict import Comparison, _comparison, compare, percent
from fanout.bench.load.design.order import interleave
from fanout.bench.records.record import Record
from tests.bench.answers import answer, failure


def compared(records: list[Record], *metrics: str, looks: int = 1, baseline: str | None = None) -> list[Comparison]:
    lanes = dict.fromkeys(record.lane for record in records)
    pairs = {name: measure_all(record for record in records if record.lane == name) for name in lanes}
    return compare(pairs, metrics or ("ttft",), seed=1, looks=looks, baseline=baseline)


def run(blocks: int, ratio: float = 0.88, lanes: str = "ab", sigma: float = 0.1) -> list[Record]:
    """The first lane takes `ratio` times as long to its first token as the others."""
    random = Random(blocks)
    return [
        answer(name, block, first=(ratio if name == lanes[0] else 1) * 0.2 * random.lognormvariate(0, sigma))
        for block in range(blocks)
        for name in lanes
    ]


def test_the_verdict_says_who_is_faster_by_how_much_and_how_surely() -> None:
    (found,) = compared(run(200))
    assert (found.first, found.second, found.metric, found.verdict) == ("a", "b", "ttft", "faster")
    assert found.sentence == "a takes 11 % less time to first token than b, 95 % CI 9.4 to 13 %, wins 80 % of prompts"


def test_the_slower_lane_named_first_changes_nothing_in_the_sentence() -> None:
    records = run(200)
    (found,) = compared(records[1:] + records[:1])
    assert (found.first, found.verdict) == ("b", "slower")
    assert found.sentence.startswith("a takes 11 % less time to first token than b, 95 % CI 9.")
    assert found.sentence.endswith(" to 13 %, wins 80 % of prompts")


def test_without_a_difference_the_sentence_says_what_is_excluded() -> None:
    (found,) = compared(run(200, ratio=1.0))
    assert found.verdict == "none"
    assert found.sentence == "no difference in time to first token larger than 2.9 % can be claimed between a and b"


def test_no_verdict_where_one_lane_failed_more_often() -> None:
    records = [failure("a", r.block) if r.lane == "a" and r.block % 10 == 0 else r for r in run(200)]
    (found,) = compared(records)
    assert found.verdict == "withheld"
    assert found.sentence == "no verdict on time to first token: a failed 10 % of its requests, b 0 %"


def test_no_verdict_on_five_prompts() -> None:
    (found,) = compared(run(5))
    assert found.sentence == "no verdict on time to first token: a and b both answered too few of the same prompts (5)"


def test_no_verdict_where_both_failed_too_often() -> None:
    records = [failure(r.lane, r.block) if (r.block + (r.lane == "a")) % 5 == 0 else r for r in run(100)]
    (found,) = compared(records)
    assert found.sentence == "no verdict on time to first token: too many requests failed, 20 of a and 20 of b"


def test_three_lanes_are_three_pairs_and_holm_makes_each_harder() -> None:
    records = run(30, ratio=0.95, lanes="abc")
    three = compared(records)
    (alone,) = compared([record for record in records if record.lane != "c"])
    assert [(found.first, found.second) for found in three] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert three[0].difference.ratio == alone.difference.ratio
    assert three[0].difference.p > alone.difference.p


def test_against_a_baseline_each_lane_is_said_to_be_faster_or_slower_than_it() -> None:
    records = [*run(60, ratio=0.8, lanes="ab"), *(r for r in run(60, ratio=1.3, lanes="cb") if r.lane == "c")]
    faster, slower = compared(records, baseline="b")
    assert [(found.first, found.second) for found in (faster, slower)] == [("a", "b"), ("c", "b")]
    assert faster.sentence.startswith("a takes 21 % less time to first token than b, 95 % CI 18 to 24 %")
    assert slower.sentence.startswith("c takes 28 % more time to first token than b, 95 % CI 23 to 32 %")
    assert slower.difference.ratio.estimate == pytest.approx(1.3, abs=0.05)
    assert slower.difference.wins < 0.1
    assert slower.sentence.endswith(f"wins {percent(slower.difference.wins)} of prompts")


def test_fewer_pairs_against_a_baseline_are_corrected_for_fewer() -> None:
    records = run(60, ratio=0.95, lanes="abc")
    every, against = compared(records)[0], compared(records, baseline="b")[0]
    assert (every.first, every.second) == (against.first, against.second) == ("a", "b")
    assert against.difference.p < every.difference.p


def test_a_baseline_of_which_nothing_is_known_leaves_nothing_to_compare() -> None:
    records = [answer(name, block, streamed=name == "a") for block in range(20) for name in "ab"]
    assert compared(records, "ttft", baseline="b") == []


def test_a_lane_that_is_much_slower_may_have_no_upper_bound() -> None:
    records = [r if r.lane == "b" or r.block % 12 else failure("a", r.block) for r in run(40, ratio=1.5)]
    (found,) = compared(records, baseline="b")
    assert found.difference.ratio.high == inf
    assert re.search(r"a takes \d+ % more time to first token than b, 95 % CI \d+ % or more, wins", found.sentence)


def test_each_metric_is_said_in_its_own_words_and_corrected_for_itself() -> None:
    found = compared(run(60), "ttft", "e2e", "itl")
    assert [comparison.metric for comparison in found] == ["ttft", "e2e", "itl"]
    assert "less time to the end of the answer than" in found[1].sentence
    assert found[2].sentence.startswith("no difference in time per token")


def test_a_metric_that_a_lane_does_not_have_is_not_compared() -> None:
    records = [answer(name, block, streamed=name == "a") for block in range(20) for name in "ab"]
    assert [found.metric for found in compared(records, "ttft", "e2e")] == ["e2e"]


def test_who_looks_often_needs_more_to_say() -> None:
    records = run(40, ratio=0.92)
    once, often = compared(records)[0], compared(records, looks=10)[0]
    assert once.verdict == "faster"
    assert 0.005 < once.difference.p < 0.05
    assert often.verdict == "none"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.123, "12 %"), (0.0512, "5.1 %"), (0.0, "0 %"), (1.0, "100 %"), (0.0996, "10 %"), (-0.02, "-2.0 %")],
)
def test_shares_below_a_tenth_have_a_digit_more(share: float, text: str) -> None:
    assert percent(share) == text


# What interleaving is for


def timed(order: list[tuple[int, str]], slow_from: float, slow: str) -> list[Record]:
    """Asks the lanes in this order, one after the other; those named slow down by a fifth at that share of the run."""
    random = Random(20)
    hard = [random.gauss(0, 0.3) for _ in range(1 + max(block for block, _ in order))]
    records = []
    for place, (block, name) in enumerate(order):
        late = name in slow and place >= slow_from * len(order)
        first = 0.2 * exp(hard[block] + random.gauss(0, 0.1)) * (1.2 if late else 1)
        records.append(answer(name, block, first=first, pieces=2, sent=float(place)))
    return records


def ratio(records: list[Record]) -> float:
    """The difference by which b takes longer than a."""
    (found,) = compared(records)
    assert found.difference.ratio.estimate is not None
    return found.difference.ratio.estimate ** (1 if found.first == "b" else -1)


def mixed(blocks: int) -> list[tuple[int, str]]:
    return [(block, name) for block, order in enumerate(interleave("ab", blocks, seed=1)) for name in order]


def apart(blocks: int) -> list[tuple[int, str]]:
    return [(block, name) for name in "ab" for block in range(blocks)]


@pytest.mark.slow
def test_a_slow_down_of_everything_half_way_is_cancelled_by_interleaving() -> None:
    assert ratio(timed(mixed(400), 0.5, "ab")) == pytest.approx(1.0, abs=0.02)
    assert ratio(timed(apart(400), 0.5, "ab")) > 1.15


@pytest.mark.slow
def test_a_slow_down_of_one_lane_half_way_counts_for_half_when_interleaved_and_wholly_when_not() -> None:
    truth = exp(fmean([0, log(1.2)]))
    assert ratio(timed(mixed(400), 0.5, "b")) == pytest.approx(truth, rel=0.02)
    assert ratio(timed(apart(400), 0.5, "b")) > 1.06 * truth


@pytest.mark.parametrize("failing", [(0, 2), (2, 0), (2, 2), (1, 1), (0, 0)])
@pytest.mark.parametrize("turned", [False, True])
def test_whatever_fails_there_is_a_sentence_without_infinity(failing: tuple[int, int], turned: bool) -> None:
    for seed in range(60):
        random = Random(seed)
        values = [[inf if random.random() < share / 3 else random.random() for _ in range(12)] for share in failing]
        pairs = list(zip(*values, strict=True))
        found = _comparison("a", "b", "ttft", difference(pairs, 1, 200), 0.05, turned=turned)
        assert not re.search(r"\b(inf|nan)\b", found.sentence)
