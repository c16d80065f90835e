"""Verdicts on which lane is faster, and their sentences."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import inf

from attrs import evolve, frozen

from fanout.bench.analysis.metrics import METRICS, Measurements
from fanout.bench.analysis.statistics import ALPHA, LEAST_PAIRS, RESAMPLES, Difference, difference, holm


@frozen
class Comparison:
    """Two lanes in one metric: `verdict` is faster, slower, none or withheld, of the first; `sentence` says it."""

    first: str
    second: str
    metric: str
    difference: Difference
    verdict: str
    sentence: str


def compare(
    lanes: Mapping[str, Measurements],
    metrics: Sequence[str],
    seed: int,
    looks: int = 1,
    resamples: int = RESAMPLES,
    baseline: str | None = None,
) -> list[Comparison]:
    """Compares every two lanes in each metric, or each lane with the `baseline`, which is the second one then.

    Each metric is a family of its own: Holm corrects for its pairs of lanes. A verdict needs p below 5 %, divided by
    the number of times that a stop rule looked at the data.
    """
    found = []
    together = list(combinations(lanes, 2)) if baseline is None else [(n, baseline) for n in lanes if n != baseline]
    for metric in metrics:
        values = {lane: _values(measured, metric) for lane, measured in lanes.items()}
        couples = [
            (first, second, difference(pairs, seed, resamples))
            for first, second in together
            if (pairs := _pairs(values[first], values[second]))
        ]
        corrected = holm([each.p for _, _, each in couples])
        found += [
            _comparison(first, second, metric, evolve(each, p=p), ALPHA / looks, turned=baseline is None)
            for (first, second, each), p in zip(couples, corrected, strict=True)
        ]
    return found


def _values(measured: Measurements, metric: str) -> dict[int, float]:
    """The metric by block, +inf for a failed request; empty where no finished request has it."""
    values = {
        request.record.block: inf if value is None or not request.record.finished else value
        for request in measured
        if (value := request[metric]) is not None or not request.record.finished
    }
    exists = any(value < inf for value in values.values()) or not any(request.record.finished for request in measured)
    return values if exists else {}


def _pairs(first: Mapping[int, float], second: Mapping[int, float]) -> list[tuple[float, float]]:
    return [(value, second[block]) for block, value in first.items() if block in second]


def _comparison(first: str, second: str, metric: str, found: Difference, alpha: float, *, turned: bool) -> Comparison:
    """Makes the verdict and its sentence; with `turned` that is of the second lane, if it is the faster one."""
    verdict = _verdict(found, alpha)
    if verdict == "withheld":
        sentence = _withheld(first, second, metric, found)
    elif verdict == "none":
        largest = _largest(found)
        bound = f" larger than {percent(largest)}" if largest < 1 else ""
        sentence = f"no difference in {_noun(metric)}{bound} can be claimed between {first} and {second}"
    elif verdict == "faster":
        sentence = _faster(first, second, metric, found)
    elif not turned:
        sentence = _slower(first, second, metric, found)
    else:
        sentence = _faster(second, first, metric, _turn_round(found))
    return Comparison(first, second, metric, found, verdict, sentence)


def _verdict(found: Difference, alpha: float) -> str:
    if found.failures_p < ALPHA or found.ratio.estimate is None:
        return "withheld"
    if found.p >= alpha:
        return "none"
    return "faster" if found.ratio.estimate < 1 else "slower"


def _turn_round(found: Difference) -> Difference:
    """The same difference, seen from the second lane."""
    ratio = found.ratio
    low, middle, high = (_inverse(value) for value in (ratio.high, ratio.estimate, ratio.low))
    return evolve(
        found,
        ratio=evolve(ratio, estimate=middle, low=low, high=high),
        wins=1 - found.wins,
        failures=found.failures[::-1],
    )


def _inverse(value: float | None) -> float | None:
    return None if value is None else 1 / value if value else inf


def _largest(found: Difference) -> float:
    """The largest difference that the interval leaves possible, as less time in either direction."""
    ratio = found.ratio
    inverse = _inverse(ratio.high)
    # Without an interval, as where one lane failed all the time, nothing is ruled out.
    return 1.0 if ratio.low is None or inverse is None else max(1 - ratio.low, 1 - inverse)


def _faster(first: str, second: str, metric: str, found: Difference) -> str:
    ratio = found.ratio
    assert ratio.estimate is not None
    assert ratio.low is not None
    assert ratio.high is not None
    return (
        f"{first} takes {percent(1 - ratio.estimate)} less time {_after(metric)} than {second}, "
        f"95 % CI {percent(1 - ratio.high, unit='')} to {percent(1 - ratio.low)}, "
        f"wins {percent(found.wins)} of prompts"
    )


def _slower(first: str, second: str, metric: str, found: Difference) -> str:
    ratio = found.ratio
    assert ratio.estimate is not None
    assert ratio.low is not None
    assert ratio.high is not None
    if ratio.estimate == inf:
        failed = f"{found.failures[0]} of its {found.n} requests failed"
        return f"{first} is slower {_after(metric)} than {second}: {failed}, wins {percent(found.wins)} of prompts"
    least = percent(ratio.low - 1, unit="")
    bounds = f"{least} to {percent(ratio.high - 1)}" if ratio.high < inf else f"{least} % or more"
    return (
        f"{first} takes {percent(ratio.estimate - 1)} more time {_after(metric)} than {second}, "
        f"95 % CI {bounds}, wins {percent(found.wins)} of prompts"
    )


def _withheld(first: str, second: str, metric: str, found: Difference) -> str:
    noun = _noun(metric)
    if found.failures_p < ALPHA:
        shares = [percent(failed / found.n) for failed in found.failures]
        return f"no verdict on {noun}: {first} failed {shares[0]} of its requests, {second} {shares[1]}"
    if found.ratio.n < LEAST_PAIRS:
        return f"no verdict on {noun}: {first} and {second} both answered too few of the same prompts ({found.ratio.n})"
    failed = " and ".join(f"{count} of {lane}" for count, lane in zip(found.failures, (first, second), strict=True))
    return f"no verdict on {noun}: too many requests failed, {failed}"


def _after(metric: str) -> str:
    verdict = METRICS[metric].verdict
    return verdict[0] if verdict else f"in {METRICS[metric].label}"


def _noun(metric: str) -> str:
    verdict = METRICS[metric].verdict
    return verdict[1] if verdict else METRICS[metric].label


def percent(share: float, unit: str = " %") -> str:
    """A share in per cent, with a digit after the point where it is below 10."""
    value = 100 * share
    return f"{value:.0f}{unit}" if abs(value) >= 9.95 or value == 0 else f"{value:.1f}{unit}"
