"""Schedules: the times at which requests are due."""

from itertools import islice, pairwise
from statistics import mean, pvariance

import pytest

from fanout.bench.load.design.schedule import Arrival, Closed, Open, Replay, make_schedules
from fanout.errors import UsageError


def first(schedule: Open | Replay, number: int) -> list[float]:
    return list(islice(schedule.times(), number))


def test_a_constant_rate_starts_at_even_times() -> None:
    assert first(Open(4, "constant"), 5) == [0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("arrival", "burstiness", "variation"), [("poisson", 1, 1), ("gamma", 0.25, 4), ("gamma", 4, 0.25)]
)
def test_random_arrivals_keep_the_rate_and_vary_as_their_distribution_says(
    arrival: Arrival, burstiness: float, variation: float
) -> None:
    gaps = [later - earlier for earlier, later in pairwise(first(Open(5, arrival, burstiness, seed=1), 20_000))]
    assert mean(gaps) == pytest.approx(0.2, rel=0.03)
    assert pvariance(gaps) / mean(gaps) ** 2 == pytest.approx(variation, rel=0.1)


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    assert first(Open(5, seed=7), 100) == first(Open(5, seed=7), 100)
    assert first(Open(5, seed=7), 100) != first(Open(5, seed=8), 100)


def test_on_a_ramp_the_rate_rises_evenly_and_then_stays() -> None:
    times = first(Open(10, "constant", ramp=4), 61)
    assert sum(at < 1 for at in times) == 2  # the integral of 2.5 t is 1.25 after a second
    assert sum(at < 2 for at in times) == 5
    assert sum(at < 4 for at in times) == 20
    assert [later - earlier for earlier, later in pairwise(times[20:])] == pytest.approx([0.1] * 40)


def test_streams_begin_evenly_over_the_ramp() -> None:
    assert [Closed(4, ramp=8).beginning(i) for i in range(4)] == [0, 2, 4, 6]
    assert [Closed(2).beginning(i) for i in range(2)] == [0, 0]


def test_a_trace_may_run_faster() -> None:
    assert first(Replay([0, 3, 4.5], speedup=3), 3) == [0, 1, 1.5]


def test_a_list_of_streams_or_rates_is_a_sweep() -> None:
    assert [schedule.label for schedule in make_schedules([1, 8, 64], [], None)] == ["c=1", "c=8", "c=64"]
    assert [schedule.label for schedule in make_schedules([], [0.5, 2], None)] == ["0.5/s", "2/s"]
    assert make_schedules([], [], None) == [Closed(1)]
    assert make_schedules([8], [2], None) == [Open(2, streams=8)]
    assert [schedule.label for schedule in make_schedules([], [], [0, 1], speedup=2)] == ["trace x2"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rates": [1], "trace": [0]}, "choose one"),
        ({"burstiness": 2}, "gamma"),
        ({"speedup": 2}, "--trace"),
        ({"concurrency": [1, 2], "rates": [1]}, "one number"),
        ({"trace": [0], "ramp": 3}, "--ramp"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_schedules(**{"concurrency": [], "rates": [], "trace": None, **given})  # type: ignore[arg-type]
