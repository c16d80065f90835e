"""Conditions that a run must meet."""

import pytest

from fanout.bench.analysis.assertions import Assertion
from fanout.errors import UsageError
from tests.bench.summaries import failed, records, summary

RUN = summary(records("fast", 0.2), records("slow", 0.3, 90), failed("slow", 10, first=90))


@pytest.mark.parametrize(
    "text",
    [
        "p95(ttft, fast) < 800ms",
        "p95(ttft,fast)<0.8s",
        "p50(ttft) <= 400 ms",
        "mean(itl) < 21ms",
        "p50(tps_user) > 40",
        "failures < 10.1%",
        "failures < 0.11",
        "tps_total > 1",
        "p90(gap, slow) >= 19ms",
    ],
)
def test_a_condition_that_holds_says_nothing(text: str) -> None:
    assert Assertion.of(text).failures(RUN) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p50(ttft) < 250ms", ["p50(ttft) < 250ms: it is 333.3 ms for slow"]),
        ("failures <= 1%", ["failures <= 1%: it is 10 % for slow"]),
        ("p99(ttft, fast) < 9s", ["p99(ttft, fast) < 9s: not known for fast: 100 requests, p99 needs 368"]),
        ("goodput > 1", ["goodput > 1: not known for fast", "goodput > 1: not known for slow"]),
        ("p95(ttft, slow) < 9s", ["p95(ttft, slow) < 9s: it is endless for slow"]),
    ],
)
def test_a_condition_that_does_not_hold_says_for_whom_and_why(text: str, said: list[str]) -> None:
    assert Assertion.of(text).failures(RUN) == said


def test_it_must_hold_at_every_level() -> None:
    sweep = summary(records("a", 0.2, level=1.0), records("a", 0.4, level=8.0))
    (said,) = Assertion.of("p50(ttft) < 300ms").failures(sweep)
    assert said.endswith("for a at 8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ttft", "write it like"),
        ("p95(ttft) = 8ms", "write it like"),
        ("p97(ttft) < 8ms", "one of mean, p50"),
        ("p95(tft) < 8ms", "one of ttfb, ttft"),
        ("p95(ttft) < 800", "takes ms or s"),
        ("p95(ttft) < 8%", "takes ms or s"),
        ("p50(tps_user) > 40ms", "no unit"),
        ("errors < 1%", "failures"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        Assertion.of(text)
    assert "--assert" in str(raised.value)


def test_a_lane_that_will_not_be_measured_is_named_beforehand() -> None:
    condition = Assertion.of("p95(ttft, quick) < 1s")
    with pytest.raises(UsageError, match="no lane 'quick', but fast, slow"):
        condition.check(["fast", "slow"])
    condition.check(["quick"])
    Assertion.of("p95(ttft) < 1s").check(["fast"])


def test_of_a_lane_that_was_not_measured_after_all_nothing_is_known() -> None:
    (said,) = Assertion.of("p95(ttft, quick) < 1s").failures(RUN)
    assert said == "p95(ttft, quick) < 1s: not known for quick: it was asked nothing"


@pytest.mark.parametrize(
    ("text", "requests"),
    [
        ("p50(ttft) < 1s", 6),
        ("p99(ttft) < 1s", 368),
        ("mean(ttft) < 1s", 1),
        ("p99(gap) < 1s", 36),
        ("failures < 1%", 1),
    ],
)
def test_a_percentile_needs_requests(text: str, requests: int) -> None:
    assert Assertion.of(text).requests == requests
