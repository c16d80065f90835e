"""Intervals and differences of samples, and tests of their being independent and steady.

The difference of two lanes is a 10 % trimmed mean of log ratios with a bootstrap over prompts. A resample is not drawn
value by value: of n uniform numbers, the two next to the cuts are drawn (Dirichlet), and those between them are
n - 2g - 2 independent draws from between the cuts. Where these are many, their sum is drawn from the normal
distribution with its exact mean and variance. So a resample costs the same for every n, and nothing is sorted.

The interval is the percentile one, widened for small samples as Hesterberg advises ("What Teachers Should Know about
the Bootstrap", The American Statistician 69(4), 2015). BCa corrects for skew and bias, of which a trimmed mean of log
ratios has next to none, and not for smallness, which is what makes the intervals of few pairs too narrow.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, chain, groupby
from math import ceil, comb, erfc, exp, fsum, inf, isinf, lgamma, log, log1p, sqrt
from operator import itemgetter, mul
from random import Random
from statistics import NormalDist, median

from attrs import frozen

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
"""The percentiles that are ever shown, by their names."""

ALPHA = 0.05
"""The share of verdicts that may be false."""

RESAMPLES = 10_000
"""Resamples of a difference. Gaps get GAP_RESAMPLES: theirs only give a standard deviation and two percentiles."""

GAP_RESAMPLES = 1_000
MOST_DRAWN = 1_000
"""Requests drawn for a resample of gaps; of more, several are drawn at once, which changes no expectation."""

TRIM = 0.1
RESOLUTION = 1e-6
"""Seconds that shorter times count as: an answer that comes in one read has gaps of 0, and 0 has no ratio."""

LEAST_PAIRS = 6
LEAST_REQUESTS_WITH_GAPS = 36
LEAST_FOR_DRIFT = 20
MOST_LAGS = 200
LARGEST_LOG = 100.0

FEW = 12
"""The number of kept values below which they are drawn one by one."""

_NORMAL = NormalDist()
_FAILED = 1e12
"""The log ratio of a pair that one lane failed: larger than any of a pair that none did, and finite, so sums work."""


@frozen
class Interval:
    """An estimate and its confidence interval, from `n` requests, in the unit of the values.

    All three are None where the sample is too small: `needs` requests would do. Infinite where failures reach so far.
    """

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    needs: int = 0


@frozen
class Difference:
    """A first lane's values compared with a second one's, less being better, over `n` pairs with the same prompt.

    `ratio` is first over second: 0.88 means 12 % less. It counts a failed request as infinitely long, and leaves out
    the pairs that both failed. `wins` is the share of pairs in which the first was better; ties count half, a failed
    request loses. `p` is that of the ratio being 1, corrected by `holm` where several pairs of lanes are compared.
    `failures` counts each lane's; `failures_p` is that of both failing equally often (McNemar's exact test).
    """

    ratio: Interval
    wins: float
    p: float
    failures: tuple[int, int]
    failures_p: float
    n: int


@frozen
class Drift:
    """The rise of the second half's median over the first's: 0.2 means 20 %; `p` is that of the rank correlation."""

    change: float
    p: float


def least_sample(q: float, level: float = 1 - ALPHA) -> int:
    """The least n for which the quantile's 95 % interval has both ends: 368, 72, 36 and 6 for p99, p95, p90, p50."""
    return ceil(log((1 - level) / 2) / log(max(q, 1 - q)))


def quantile(ordered: Sequence[float], q: float) -> float:
    """The quantile of values in ascending order: between two of them in proportion, infinite next to infinity."""
    index, part = divmod((len(ordered) - 1) * q, 1)
    low = ordered[int(index)]
    high = ordered[min(int(index) + 1, len(ordered) - 1)]
    return low if part == 0 or low == high else low + (high - low) * part


def quantile_interval(values: Sequence[float], q: float, level: float = 1 - ALPHA) -> Interval:
    """The quantile and its interval between two order statistics; the values may hold +inf, and may be in any order."""
    n = len(values)
    if n < (needs := least_sample(q, level)):
        return Interval(None, None, None, n, needs)
    ordered = sorted(values)
    low, high = _ranks(n, q, level)
    return Interval(quantile(ordered, q), ordered[low], ordered[high], n, needs)


@lru_cache(256)
def _ranks(n: int, q: float, level: float) -> tuple[int, int]:
    """Indices of the order statistics that hold the quantile between them with at least that probability."""
    tail = (1 - level) / 2
    spread = 12 * sqrt(n * q * (1 - q)) + 12
    first, last = max(0, int(n * q - spread)), min(n, int(n * q + spread))
    below = 0.0
    low = high = -1
    for k in range(first, last + 1):
        before, below = below, below + exp(_log_binomial(n, k) + k * log(q) + (n - k) * log1p(-q))
        if below > tail and low < 0:
            low = k - 1  # the k-th in order, from 1, has P(fewer than k below the quantile) <= tail
        if before < 1 - tail <= below:
            high = k
    return max(low, 0), min(high, n - 1)


def _log_binomial(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def half_width(values: Sequence[float]) -> float:
    """Half the width of the median's interval over the median: infinite where there is none. For stopping."""
    found = quantile_interval(values, 0.5)
    if not found.estimate or found.low is None or found.high is None or isinf(found.high):
        return inf
    return (found.high - found.low) / 2 / found.estimate


def share_interval(count: int, n: int) -> Interval:
    """A share and its 95 % interval (Wilson's)."""
    if not n:
        return Interval(None, None, None, 0, 1)
    z = _NORMAL.inv_cdf(1 - ALPHA / 2)
    share = count / n
    middle = share + z * z / (2 * n)
    reach = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = (middle - reach) / scale if count else 0.0
    high = (middle + reach) / scale if count < n else 1.0
    return Interval(share, low, high, n, 1)


def gap_intervals(requests: Sequence[Sequence[float]], seed: int) -> dict[str, Interval]:
    """Percentiles of the gaps of all requests by name, their intervals by a bootstrap over requests.

    What is resampled is the share of gaps up to the percentile, and the interval lies between the percentiles at the
    ends of that share's (Woodruff 1952). A percentile needs as many gaps as other metrics need requests, discounted
    for those of one request being alike, and 36 requests (the median 6).
    """
    own = [sorted(gaps) for gaps in requests if gaps]
    pooled = sorted(chain.from_iterable(own))
    if len(own) < LEAST_PAIRS:
        return {name: Interval(None, None, None, len(own), _least(q)) for name, q in QUANTILES.items()}
    points = [quantile(pooled, q) for q in QUANTILES.values()]
    counts = [[*(bisect_right(gaps, point) for point in points), len(gaps)] for gaps in own]
    resampled = _shares(counts, Random(seed))  # noqa: S311  # no secret
    found = {}
    for (name, q), point, shares in zip(QUANTILES.items(), points, resampled, strict=True):
        share = bisect_right(pooled, point) / len(pooled)
        found[name] = _gap_interval(pooled, q, [other - share for other in shares], len(own))
    return found


def _least(q: float) -> int:
    return LEAST_PAIRS if q == QUANTILES["p50"] else LEAST_REQUESTS_WITH_GAPS


def _shares(counts: Sequence[Sequence[int]], random: Random) -> list[list[float]]:
    """Resamples requests, and returns each count's shares of the last count."""
    width = 48  # a request's counts in one integer: one sum instead of five
    packed = [sum(count << (width * place) for place, count in enumerate(row)) for row in counts]
    packed = [sum(packed[start::MOST_DRAWN]) for start in range(min(MOST_DRAWN, len(packed)))]
    whole = len(counts[0]) - 1
    mask = (1 << width) - 1
    shares: list[list[float]] = [[] for _ in range(whole)]
    for _ in range(GAP_RESAMPLES):
        total = sum(random.choices(packed, k=len(packed)))
        for place, share in enumerate(shares):
            share.append((total >> width * place & mask) / (total >> width * whole))
    return shares


def _gap_interval(pooled: Sequence[float], q: float, errors: Sequence[float], n: int) -> Interval:
    """The interval at a quantile whose share of the gaps has these errors."""
    variance = fsum(error * error for error in errors) / len(errors)
    worth = min(q * (1 - q) / variance, len(pooled)) if variance else len(pooled)
    needs = max(_least(q), ceil(n * least_sample(q) / worth))
    ordered = sorted(error * _widening(n) for error in errors)
    low, high = (q + quantile(ordered, tail) for tail in (ALPHA / 2, 1 - ALPHA / 2))
    if n < needs or high > 1:
        return Interval(None, None, None, n, max(needs, n + 1))
    return Interval(quantile(pooled, q), quantile(pooled, max(low, 0)), quantile(pooled, high), n, needs)


def difference(pairs: Sequence[tuple[float, float]], seed: int, resamples: int = RESAMPLES) -> Difference:
    """Compares two lanes over pairs of values, none negative, +inf for a failed request, less being better.

    A lane that a tenth of its requests failed has no finite ratio: then no verdict can be given in its favour.
    """
    failures = sum(isinf(first) for first, _ in pairs), sum(isinf(second) for _, second in pairs)
    alone = sum(first == inf > second for first, second in pairs), sum(second == inf > first for first, second in pairs)
    wins = sum(1.0 if first < second else 0.5 if first == second else 0.0 for first, second in pairs)
    logs = sorted(_log_ratio(first, second) for first, second in pairs if min(first, second) < inf)
    ratio, p = _ratio(logs, Random(seed), resamples)  # noqa: S311  # no secret
    return Difference(
        ratio=ratio,
        wins=wins / len(pairs) if pairs else 0.5,
        p=p,
        failures=failures,
        failures_p=_sign_test(*alone),
        n=len(pairs),
    )


def _log_ratio(first: float, second: float) -> float:
    if isinf(first):
        return _FAILED
    return -_FAILED if isinf(second) else log(max(first, RESOLUTION) / max(second, RESOLUTION))


def _ratio(logs: Sequence[float], random: Random, resamples: int) -> tuple[Interval, float]:
    """The ratio with its interval, and the p-value of its being 1; `logs` in ascending order."""
    n = len(logs)
    cut = int(TRIM * n)
    if n < LEAST_PAIRS or (logs[cut] == -_FAILED and logs[-1 - cut] == _FAILED):
        return Interval(None, None, None, n, LEAST_PAIRS), 1.0
    estimate = fsum(logs[cut : n - cut]) / (n - 2 * cut)
    width = _widening(n - 2 * cut)
    draws = sorted(estimate + width * (mean - estimate) for mean in _trimmed_means(logs, cut, random, resamples))
    under = bisect_left(draws, 0.0) + (bisect_right(draws, 0.0) - bisect_left(draws, 0.0)) / 2
    p = min(1.0, 2 * (min(under, resamples - under) + 1) / (resamples + 1))
    low, high = quantile(draws, ALPHA / 2), quantile(draws, 1 - ALPHA / 2)
    return Interval(_exp(estimate), _exp(low), _exp(high), n, LEAST_PAIRS), p


def _trimmed_means(ordered: Sequence[float], cut: int, random: Random, resamples: int) -> list[float]:
    """Trimmed means of resamples, as the module's docstring says; not finite where a failure is left after the cut."""
    n = len(ordered)
    kept = n - 2 * cut
    finite = [0.0 if abs(value) == _FAILED else value for value in ordered]
    sums = [0.0, *accumulate(finite)]
    squares = [0.0, *accumulate(value * value for value in finite)]
    padded = [*ordered, ordered[-1]]  # where a product with a number just below 1 is rounded up
    means, draw, gamma = [], random.random, random.gammavariate
    for _ in range(resamples):
        first, second, third = gamma(cut + 1, 1), gamma(kept - 1, 1), gamma(cut + 1, 1)
        low, high = first / (first + second + third), (first + second) / (first + second + third)
        i, j = min(int(low * n), n - 1), min(int(high * n), n - 1)
        if ordered[i] == -_FAILED or ordered[j] == _FAILED:
            means.append(_of_failures(ordered[i] == -_FAILED, ordered[j] == _FAILED, random))
        elif kept < FEW:
            inner = fsum(padded[int(low * n + (high - low) * n * draw())] for _ in range(kept - 2))
            means.append((ordered[i] + inner + ordered[j]) / kept)
        else:
            before, after, span = low * n - i, high * n - j, (high - low) * n
            mean = (sums[j] + finite[j] * after - sums[i] - finite[i] * before) / span
            square = (squares[j] + finite[j] ** 2 * after - squares[i] - finite[i] ** 2 * before) / span
            inner = (kept - 2) * mean + sqrt(max(0.0, (kept - 2) * (square - mean * mean))) * random.gauss(0, 1)
            means.append((ordered[i] + inner + ordered[j]) / kept)
    return means


def _of_failures(low: bool, high: bool, random: Random) -> float:
    if low and high:
        return random.choice((-_FAILED, _FAILED))
    return -_FAILED if low else _FAILED


def _exp(value: float) -> float:
    """The ratio with this logarithm; what failures made of it is 0 or infinite."""
    if abs(value) > LARGEST_LOG:
        return inf if value > 0 else 0.0
    return exp(value)


def _widening(n: int) -> float:
    """The factor by which a bootstrap's interval from n values is too narrow: Student's t over z, and n over n - 1."""
    z, v = _NORMAL.inv_cdf(1 - ALPHA / 2), n - 1
    t = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)  # Cornish and Fisher's expansion
    return t / z * sqrt(n / (n - 1))


def _sign_test(first: int, second: int) -> float:
    """The two-sided p-value of two counts being as likely, exactly."""
    n = first + second
    return min(1.0, 2 * sum(comb(n, k) for k in range(min(first, second) + 1)) / (1 << n))


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values corrected for being several, in their order (Holm 1979)."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    corrected = [1.0] * len(ps)
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[index]))
        corrected[index] = largest
    return corrected


def effective_size(values: Sequence[float]) -> float:
    """The number of independent values that these are worth, in the order of sending; at most as many as they are.

    n over 1 + 2 times the sum of the autocorrelations of the ranks, up to the first that is not significant.
    """
    n = len(values)
    ranks = _centred_ranks(values)
    variance = fsum(rank * rank for rank in ranks)
    if not variance:
        return float(n)
    total = 0.0
    for lag in range(1, min(n // 2, MOST_LAGS)):
        correlation = fsum(map(mul, ranks, ranks[lag:])) / variance
        if correlation < 2 / sqrt(n):
            break
        total += correlation
    return n / (1 + 2 * total)


def drift(values: Sequence[float]) -> Drift | None:
    """Tests if the values, in the order of sending, grew or fell. Returns None where they are fewer than 20."""
    n = len(values)
    if n < LEAST_FOR_DRIFT:
        return None
    ranks = _centred_ranks(values)
    times = [index - (n - 1) / 2 for index in range(n)]
    scale = sqrt(fsum(rank * rank for rank in ranks) * fsum(time * time for time in times))
    correlation = fsum(map(mul, ranks, times)) / scale if scale else 0.0
    before, after = median(values[: n // 2]), median(values[n // 2 :])
    return Drift(after / before - 1 if before else 0.0, erfc(abs(correlation) * sqrt((n - 1) / 2)))


def _centred_ranks(values: Sequence[float]) -> list[float]:
    """The values' ranks, ties sharing theirs, with the mean taken off."""
    ordered = sorted(values)
    place = {value: (bisect_left(ordered, value) + bisect_right(ordered, value) - 1) / 2 for value in ordered}
    return [place[value] - (len(values) - 1) / 2 for value in values]


def survival_quantile(values: Sequence[tuple[float, bool]], q: float) -> Interval:
    """The quantile by Kaplan and Meier (1958) of times of which some (False) are only known to be longer.

    Its interval inverts that of the curve (Brookmeyer and Crowley 1982, log-log). Infinite where the curve ends before.
    """
    n = len(values)
    if n < least_sample(q):
        return Interval(None, None, None, n, least_sample(q))
    found = {"estimate": inf, "low": inf, "high": inf}
    surviving, greenwood, left = 1.0, 0.0, n
    for time, group in groupby(sorted(values), key=itemgetter(0)):
        observed = [seen for _, seen in group]
        deaths = sum(observed)
        if deaths and left > deaths:
            greenwood += deaths / (left * (left - deaths))
        surviving *= 1 - deaths / left
        left -= len(observed)
        bounds = {"estimate": surviving, **_survival_bounds(surviving, greenwood)}
        for name, bound in bounds.items():
            if deaths and bound <= 1 - q:
                found[name] = min(found[name], time)
    return Interval(found["estimate"], found["low"], found["high"], n, least_sample(q))


def _survival_bounds(surviving: float, greenwood: float) -> dict[str, float]:
    """The ends of the curve's interval here: the lower one is reached earlier, and bounds the quantile from below."""
    if not 0 < surviving < 1:
        return {"low": surviving, "high": surviving}
    reach = _NORMAL.inv_cdf(1 - ALPHA / 2) * sqrt(greenwood) / abs(log(surviving))
    return {"low": surviving ** exp(reach), "high": surviving ** exp(-reach)}
