import time
from math import comb, exp, inf, isinf, log
from random import Random
from statistics import NormalDist, fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.bench.analysis import statistics
from fanout.bench.analysis.statistics import (
    QUANTILES,
    RESAMPLES,
    RESOLUTION,
    Difference,
    difference,
    drift,
    effective_size,
    gap_intervals,
    half_width,
    holm,
    least_sample,
    quantile,
    quantile_interval,
    share_interval,
    survival_quantile,
)

NORMAL = NormalDist()
SIGMA = 0.3


def inside(low: float | None, value: float, high: float | None) -> bool:
    assert low is not None
    assert high is not None
    return low <= value <= high


@pytest.mark.parametrize(("q", "n"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368)])
def test_a_percentile_needs_as_many_requests_as_its_interval_needs_to_have_an_end(q: float, n: int) -> None:
    assert least_sample(q) == n
    assert q**n <= 0.025 < q ** (n - 1)
    few, enough = quantile_interval([1.0] * (n - 1), q), quantile_interval([1.0] * n, q)
    assert (few.estimate, few.low, few.high, few.n, few.needs) == (None, None, None, n - 1, n)
    assert (enough.estimate, enough.low, enough.high) == (1.0, 1.0, 1.0)


def test_a_quantile_lies_between_two_values_in_proportion() -> None:
    assert quantile([1.0, 2.0, 4.0], 0.5) == 2.0
    assert quantile([1.0, 2.0], 0.5) == 1.5
    assert quantile([1.0, 2.0, 4.0], 0.95) == pytest.approx(3.8)
    assert quantile([3.0], 0.99) == 3.0


def test_a_quantile_is_infinite_as_soon_as_a_failure_is_in_it() -> None:
    assert quantile([1.0, inf], 0.5) == inf
    assert quantile([1.0, 2.0, inf], 0.5) == 2.0
    assert quantile([inf, inf], 0.5) == inf


@pytest.mark.parametrize("n", [6, 7, 50, 200, 1001])
@pytest.mark.parametrize("q", [0.5, 0.9, 0.95, 0.99])
def test_the_interval_of_a_quantile_holds_it_as_often_as_the_binomial_says(q: float, n: int) -> None:
    if n < least_sample(q):
        return
    found = quantile_interval([float(index) for index in range(n)], q)
    assert found.low is not None
    assert found.high is not None
    low, high = round(found.low), round(found.high)

    def below(k: int) -> float:
        return sum(comb(n, i) * q**i * (1 - q) ** (n - i) for i in range(k))

    assert below(low + 1) <= 0.025 < below(low + 2)
    assert 1 - below(high + 1) <= 0.025 < 1 - below(high)


@pytest.mark.slow
def test_of_400_benchmarks_the_interval_of_the_median_holds_the_truth_in_93_to_97_per_cent() -> None:
    random = Random(1)
    held = 0
    for _ in range(400):
        found = quantile_interval([random.lognormvariate(0, SIGMA) for _ in range(200)], 0.5)
        held += inside(found.low, 1.0, found.high)
    assert 0.93 * 400 <= held <= 0.97 * 400


@pytest.mark.slow
@pytest.mark.parametrize("q", [0.9, 0.95, 0.99])
def test_of_200_benchmarks_the_intervals_of_the_tail_hold_the_truth_in_at_least_92_per_cent(q: float) -> None:
    random, truth = Random(2), exp(SIGMA * NORMAL.inv_cdf(q))
    held = 0
    for _ in range(200):
        found = quantile_interval([random.lognormvariate(0, SIGMA) for _ in range(400)], q)
        held += inside(found.low, truth, found.high)
    assert held >= 0.92 * 200


def test_failures_count_in_a_percentile_and_in_its_interval() -> None:
    values = [index / 100 for index in range(1, 96)] + [inf] * 5
    median, tail = quantile_interval(values, 0.5), quantile_interval(values, 0.95)
    assert median.estimate == pytest.approx(0.505)
    assert tail.estimate == inf
    assert inside(0.8, tail.low or 0, 0.95)
    assert quantile_interval(values, 0.9).high == inf


@given(st.lists(st.floats(1e-3, 1e3) | st.just(inf), min_size=6, max_size=80), st.sampled_from([0.5, 0.9, 0.95]))
def test_an_interval_is_in_order_and_does_not_depend_on_the_values_order(values: list[float], q: float) -> None:
    found = quantile_interval(values, q)
    assert found == quantile_interval(values[::-1], q)
    if found.estimate is not None:
        assert found.low is not None
        assert found.high is not None
        assert min(values) <= found.low <= found.estimate <= found.high <= max(values)


def test_half_the_width_is_five_per_cent_of_200_requests_and_half_that_of_1000() -> None:
    random = Random(3)
    assert half_width([random.lognormvariate(0, SIGMA) for _ in range(200)]) == pytest.approx(0.05, abs=0.015)
    assert half_width([random.lognormvariate(0, SIGMA) for _ in range(1000)]) == pytest.approx(0.024, abs=0.006)


@pytest.mark.parametrize("values", [[], [1.0] * 5, [1.0, 1.0, inf, inf, inf, inf], [0.0] * 9])
def test_there_is_no_width_without_an_interval(values: list[float]) -> None:
    assert half_width(values) == inf


def test_a_share_s_interval_is_wilson_s() -> None:
    found = share_interval(10, 100)
    assert found.estimate == 0.1
    assert found.low == pytest.approx(0.0552, abs=1e-4)
    assert found.high == pytest.approx(0.1744, abs=1e-4)
    assert (share_interval(0, 50).low, share_interval(50, 50).high) == (0.0, 1.0)
    assert share_interval(0, 0).estimate is None


# Gaps


def paced(random: Random, requests: int, pieces: int) -> list[list[float]]:
    """Each request has a pace of its own, so its gaps are alike."""
    paces = [random.lognormvariate(0, SIGMA) for _ in range(requests)]
    return [[pace * random.uniform(0.7, 1.3) for _ in range(pieces)] for pace in paces]


@pytest.mark.slow
def test_gaps_that_are_alike_within_a_request_do_not_make_the_interval_too_narrow() -> None:
    random = Random(4)
    pooled = sorted(gap for gaps in paced(random, 4000, 10) for gap in gaps)
    held = {"p50": 0, "p90": 0}
    for seed in range(60):
        found = gap_intervals(paced(random, 60, 12), seed)
        for name in held:
            held[name] += inside(found[name].low, quantile(pooled, QUANTILES[name]), found[name].high)
    assert all(53 <= count <= 60 for count in held.values()), held


def test_alike_gaps_are_worth_about_as_many_as_requests() -> None:
    random = Random(5)
    alike = [[random.lognormvariate(0, SIGMA)] * 50 for _ in range(100)]
    different = [[random.lognormvariate(0, SIGMA) for _ in range(50)] for _ in range(100)]
    assert gap_intervals(alike, 1)["p99"].estimate is None
    assert gap_intervals(alike, 1)["p99"].needs > 200
    assert gap_intervals(different, 1)["p99"].estimate == pytest.approx(exp(SIGMA * NORMAL.inv_cdf(0.99)), rel=0.05)


def test_percentiles_of_gaps_are_of_gaps_and_not_of_means() -> None:
    random = Random(6)
    gaps = [[0.22 if random.random() < 0.02 else 0.02 for _ in range(63)] for _ in range(200)]
    found = gap_intervals(gaps, 1)
    assert found["p99"].estimate == 0.22
    assert found["p95"].estimate == found["p50"].estimate == 0.02


def test_of_many_requests_several_are_drawn_at_once_and_the_intervals_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted(Random):
        drawn = 0

        def choices(self, *given: Any, **more: Any) -> list[Any]:
            made = super().choices(*given, **more)
            Counted.drawn = max(Counted.drawn, len(made))
            return made

    monkeypatch.setattr(statistics, "Random", Counted)
    for n in (1500, 5000):
        gaps = paced(Random(n), n, 12)
        found = gap_intervals(gaps, 1)
        assert Counted.drawn == statistics.MOST_DRAWN
        with monkeypatch.context() as patch:
            patch.setattr(statistics, "MOST_DRAWN", 10**9)
            plain = gap_intervals(gaps, 1)
        Counted.drawn = 0
        for name, interval in found.items():
            assert interval.estimate == plain[name].estimate
            widths = [(i.high or 0) - (i.low or 0) for i in (interval, plain[name])]
            assert widths[0] == pytest.approx(widths[1], rel=0.15), (n, name)


def test_few_requests_have_no_tail_of_gaps_however_many_gaps_they_have() -> None:
    found = gap_intervals([[0.01 * index for index in range(1, 500)]] * 20, 1)
    assert found["p50"].estimate is not None
    assert found["p90"].estimate is None
    assert found["p90"].needs == 36


@pytest.mark.parametrize("requests", [[], [[], []], [[0.02]], [[0.02, 0.03]] * 5])
def test_gaps_of_five_requests_are_too_few(requests: list[list[float]]) -> None:
    found = gap_intervals(requests, 1)
    assert (found["p50"].estimate, found["p50"].needs) == (None, 6)
    assert (found["p99"].estimate, found["p99"].needs) == (None, 36)


def test_a_request_that_fell_silent_ends_with_an_infinite_gap() -> None:
    gaps = [[0.02] * 20 + ([inf] if index % 4 == 0 else []) for index in range(200)]
    found = gap_intervals(gaps, 1)
    assert found["p50"].estimate == 0.02
    assert found["p99"].estimate == inf


# Differences


def pairs_of(random: Random, n: int, ratio: float = 1.0, sigma: float = SIGMA) -> list[tuple[float, float]]:
    """Two lanes that get the same prompts, some harder than others; the first takes `ratio` times as long."""
    hard = [random.gauss(0, 0.3) for _ in range(n)]
    return [(ratio * exp(h + random.gauss(0, sigma)), exp(h + random.gauss(0, sigma))) for h in hard]


def plainly(pairs: list[tuple[float, float]], random: Random) -> list[float]:
    """The trimmed means of resamples drawn value by value, in order."""
    logs, n = [log(first / second) for first, second in pairs], len(pairs)
    cut = n // 10
    return sorted(fmean(sorted(random.choices(logs, k=n))[cut : n - cut]) for _ in range(4000))


@pytest.mark.slow
@pytest.mark.parametrize("n", [12, 40, 200])
def test_the_fast_bootstrap_is_the_plain_one(n: int) -> None:
    pairs = pairs_of(Random(n), n)
    means = plainly(pairs, Random(1))
    found = difference(pairs, seed=2)
    assert found.ratio.low is not None
    assert found.ratio.high is not None
    widened = log(found.ratio.high) - log(found.ratio.low)
    plain = quantile(means, 0.975) - quantile(means, 0.025)
    widening = {12: 1.22, 40: 1.06, 200: 1.01}[n]  # Student's t and n over n - 1, of the values that trimming leaves
    assert widened / plain == pytest.approx(widening, rel=0.03)
    middle = (log(found.ratio.high) + log(found.ratio.low)) / 2
    assert middle == pytest.approx((quantile(means, 0.975) + quantile(means, 0.025)) / 2, abs=0.05 * plain)


def test_ten_thousand_resamples_of_a_thousand_pairs_take_less_than_half_a_second() -> None:
    pairs = pairs_of(Random(1), 1000)
    begun = time.process_time()
    difference(pairs, seed=1, resamples=RESAMPLES)
    assert time.process_time() - begun < 0.5


@pytest.mark.slow
def test_of_200_comparisons_of_a_lane_with_itself_at_most_16_find_a_difference() -> None:
    random = Random(7)
    assert sum(difference(pairs_of(random, 200), seed, 300).p < 0.05 for seed in range(200)) <= 16


@pytest.mark.slow
def test_comparisons_of_few_pairs_err_no_more_often() -> None:
    random = Random(8)
    assert sum(difference(pairs_of(random, 12), seed, 300).p < 0.05 for seed in range(200)) <= 16


@pytest.mark.slow
def test_a_tenth_more_time_is_found_in_200_pairs_in_at_least_85_per_cent() -> None:
    random = Random(9)
    found = [difference(pairs_of(random, 200, 1.1), seed, 600) for seed in range(300)]
    assert sum(each.p < 0.05 for each in found) >= 0.85 * 300
    assert not any(each.p < 0.05 and (each.ratio.estimate or 0) < 1 for each in found)
    assert fmean(each.ratio.estimate or 0 for each in found) == pytest.approx(1.1, rel=0.01)
    assert 0.92 <= fmean(inside(each.ratio.low, 1.1, each.ratio.high) for each in found) <= 0.98


def test_the_seed_decides_and_nothing_else() -> None:
    pairs = pairs_of(Random(10), 50)
    assert difference(pairs, 1) == difference(pairs, 1)
    assert difference(pairs, 1) != difference(pairs, 2)


def test_a_pair_that_one_lane_failed_is_an_extreme_and_no_more() -> None:
    pairs = pairs_of(Random(11), 200)
    whole = difference(pairs, 1)
    holed = difference([*pairs[:196], *((inf, second) for _, second in pairs[196:])], 1)
    assert whole.ratio.estimate is not None
    assert holed.ratio.estimate == pytest.approx(whole.ratio.estimate, rel=0.03)
    assert (holed.failures, holed.n, holed.ratio.n) == ((4, 0), 200, 200)
    assert holed.wins <= whole.wins


def test_who_fails_more_than_a_tenth_takes_infinitely_longer() -> None:
    pairs = [(inf, 1.0)] * 30 + pairs_of(Random(12), 170)
    assert difference(pairs, 1).ratio.estimate == inf
    turned = difference([(second, first) for first, second in pairs], 1).ratio
    assert (turned.estimate, turned.low) == (0.0, 0.0)


def test_where_both_fail_more_than_a_tenth_there_is_no_ratio() -> None:
    found = difference([(inf, 1.0)] * 30 + [(1.0, inf)] * 30 + pairs_of(Random(13), 140), 1)
    assert (found.ratio.estimate, found.p) == (None, 1.0)
    assert found.failures == (30, 30)


def test_pairs_that_both_failed_say_nothing_of_speed() -> None:
    pairs = pairs_of(Random(14), 60)
    found = difference(pairs + [(inf, inf)] * 20, 1)
    assert found.ratio == difference(pairs, 1).ratio
    assert (found.n, found.ratio.n, found.failures_p) == (80, 60, 1.0)


def test_equal_values_differ_in_nothing() -> None:
    found = difference([(0.5, 0.5)] * 40, 1)
    assert (found.ratio.estimate, found.ratio.low, found.ratio.high) == (1.0, 1.0, 1.0)
    assert (found.p, found.wins) == (1.0, 0.5)


@pytest.mark.parametrize("n", [0, 5])
def test_five_pairs_are_too_few(n: int) -> None:
    found = difference([(1.0, 2.0)] * n, 1)
    assert (found.ratio.estimate, found.ratio.needs, found.p) == (None, 6, 1.0)


@pytest.mark.parametrize(
    ("first", "second", "p"), [(0, 6, 0.03125), (6, 0, 0.03125), (1, 5, 0.21875), (3, 3, 1), (0, 0, 1)]
)
def test_failures_are_compared_by_the_exact_test(first: int, second: int, p: float) -> None:
    found = difference([(inf, 1.0)] * first + [(1.0, inf)] * second + [(1.0, 1.0)] * 40 + [(inf, inf)] * 9, 1)
    assert found.failures_p == pytest.approx(p)


@given(st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3) | st.just(inf)), min_size=6, max_size=30))
def test_a_difference_is_the_other_way_round_for_the_other(pairs: list[tuple[float, float]]) -> None:
    one, other = difference(pairs, 1, 200), difference([(second, first) for first, second in pairs], 1, 200)
    assert one.wins == pytest.approx(1 - other.wins)
    assert one.failures == other.failures[::-1]
    if one.ratio.estimate is not None and other.ratio.estimate is not None and not isinf(other.ratio.estimate):
        assert one.ratio.estimate * other.ratio.estimate == pytest.approx(1 if one.ratio.estimate else 0)


@pytest.mark.slow
def test_timeouts_on_what_is_slow_do_not_make_a_lane_look_faster() -> None:
    """Two equal lanes, one of which gives up on its slowest tenth. Without those it would be ahead by 6 %."""
    random, limit = Random(15), SIGMA * NORMAL.inv_cdf(0.9)
    claimed = flattered = 0
    for seed in range(200):
        hard = [random.gauss(0, 0.3) for _ in range(100)]
        own = [(h, random.gauss(0, SIGMA), random.gauss(0, SIGMA)) for h in hard]
        pairs = [(exp(h + first) if first < limit else inf, exp(h + second)) for h, first, second in own]
        claimed += claims(difference(pairs, seed, 300))
        flattered += claims(difference([pair for pair in pairs if pair[0] < inf], seed, 300))
    assert claimed == 0
    assert flattered >= 30


@pytest.mark.slow
def test_a_faster_lane_with_a_tenth_of_timeouts_is_not_called_faster_than_it_is() -> None:
    random = Random(16)
    for seed in range(100):
        pairs = [(inf if random.random() < 0.1 else first, second) for first, second in pairs_of(random, 200, 0.9)]
        found = difference(pairs, seed, 300)
        assert not claims(found)
        assert (found.ratio.high or 0) >= 0.9


def claims(found: Difference) -> bool:
    """True if the first may be called faster, failures allowing."""
    return found.p < 0.05 <= found.failures_p and found.ratio.estimate is not None and found.ratio.estimate < 1


def test_holm_corrects_in_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


# Whether the sample is what it seems


def autocorrelated(random: Random, n: int, rho: float) -> list[float]:
    values = [random.gauss(0, 1)]
    while len(values) < n:
        values.append(rho * values[-1] + random.gauss(0, (1 - rho * rho) ** 0.5))
    return [exp(0.3 * value) for value in values]


@pytest.mark.parametrize(("rho", "worth"), [(0.0, 1.0), (0.5, 1 / 3), (0.8, 1 / 9)])
def test_requests_that_depend_on_the_one_before_are_worth_fewer(rho: float, worth: float) -> None:
    random = Random(16)
    found = fmean(effective_size(autocorrelated(random, 1000, rho)) / 1000 for _ in range(10))
    assert found == pytest.approx(worth, rel=0.25)


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 50, [inf] * 50, [1.0, inf] * 25])
def test_values_that_do_not_follow_one_another_are_worth_themselves(values: list[float]) -> None:
    assert effective_size(values) == len(values)


def test_a_slow_down_of_a_fifth_is_noticed_and_its_size_told() -> None:
    random = Random(17)
    found = drift([(1.2 if index >= 200 else 1) * random.lognormvariate(0, SIGMA) for index in range(400)])
    assert found is not None
    assert found.p < 0.001
    assert found.change == pytest.approx(0.2, abs=0.08)


@pytest.mark.slow
def test_no_drift_is_noticed_where_there_is_none() -> None:
    random = Random(18)
    found = [drift([random.lognormvariate(0, SIGMA) for _ in range(100)]) for _ in range(200)]
    assert sum(each is not None and each.p < 0.01 for each in found) <= 6


def test_of_a_few_requests_no_drift_is_told() -> None:
    assert drift([1.0] * 19) is None
    still = drift([1.0] * 20)
    assert still is not None
    assert (still.change, still.p) == (0.0, 1.0)


# Races

REMISSION = [(6, 1), (6, 1), (6, 1), (6, 0), (7, 1), (9, 0), (10, 1), (10, 0), (11, 0), (13, 1), (16, 1), (17, 0),
             (19, 0), (20, 0), (22, 1), (23, 1), (25, 0), (32, 0), (32, 0), (34, 0), (35, 0)]  # fmt: skip
"""Weeks of remission under 6-mercaptopurine (Freireich and others 1963), the usual example; 0 is censored."""


def test_the_median_of_the_usual_example_of_survival_is_the_usual_one() -> None:
    found = survival_quantile([(weeks, bool(seen)) for weeks, seen in REMISSION], 0.5)
    assert (found.estimate, found.low, found.high) == (23, 13, inf)


def test_without_censoring_survival_gives_the_plain_quantile() -> None:
    values = [float(index) for index in range(1, 102)]
    assert survival_quantile([(value, True) for value in values], 0.5).estimate == 51.0


@pytest.mark.slow
def test_losers_that_were_cancelled_do_not_make_the_median_shorter() -> None:
    random = Random(19)
    held = biased = 0
    for _ in range(100):
        values = [(random.lognormvariate(0, SIGMA), random.lognormvariate(0.1, SIGMA)) for _ in range(200)]
        found = survival_quantile([(min(own, rival), own <= rival) for own, rival in values], 0.5)
        held += inside(found.low, 1.0, found.high)
        biased += quantile(sorted(own for own, rival in values if own <= rival), 0.5) < 0.93
    assert held >= 90
    assert biased >= 90


def test_a_curve_that_ends_above_the_quantile_leaves_it_open() -> None:
    found = survival_quantile([(1.0, True)] * 3 + [(2.0, False)] * 17, 0.5)
    assert (found.estimate, found.high) == (inf, inf)
    assert survival_quantile([(1.0, True)] * 5, 0.5).estimate is None


def test_a_time_of_nothing_is_the_shortest_that_can_be_told() -> None:
    assert difference([(0.0, 0.0)] * 12, 0).ratio.estimate == 1.0
    found = difference([(0.0, 0.1)] * 12, 0).ratio.estimate
    assert found == pytest.approx(RESOLUTION / 0.1)
