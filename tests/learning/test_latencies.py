import json
from random import Random

import pytest

from fanout.learning.latencies import FIRST, LEAST, MOST, WINDOW, Key, Latencies, Measure

KEY = Key("a", "https://a.test/v1", "m")


def learnt(*seconds: float, size: int = 100) -> Latencies:
    latencies = Latencies()
    for one in seconds:
        latencies.saw(KEY, size, one)
    return latencies


def test_nothing_is_said_of_fewer_than_twenty_requests() -> None:
    latencies = learnt(*[1.0] * (LEAST - 1))
    assert latencies.delay(KEY, 100, 0.95) is None
    latencies.saw(KEY, 100, 1.0)
    assert latencies.delay(KEY, 100, 0.95) == pytest.approx(1)
    assert latencies.delay(Key("a", "https://a.test/v1", "other"), 100, 0.95) is None


def test_one_in_twenty_is_later_than_the_95th_percentile() -> None:
    random, latencies, late = Random(1), Latencies(), 0
    for number in range(20_000):
        seconds = random.lognormvariate(0, 0.5)
        late += number >= WINDOW and seconds > (latencies.delay(KEY, 100, 0.95) or 0)
        latencies.saw(KEY, 100, seconds)
    assert 0.045 < late / (20_000 - WINDOW) < 0.055


def test_a_long_prompt_has_a_longer_delay() -> None:
    latencies = Latencies()
    for _ in range(200):
        latencies.saw(KEY, 100, 0.5)
        latencies.saw(KEY, 10_000, 4.0)
    assert latencies.delay(KEY, 100, 0.95) == pytest.approx(0.5, rel=0.05)
    assert latencies.delay(KEY, 10_000, 0.95) == pytest.approx(4, rel=0.05)
    assert latencies.delay(KEY, 9_000, 0.95) == pytest.approx(4, rel=0.05)  # of the same power of two


def test_a_size_that_never_came_is_taken_for_the_nearest() -> None:
    latencies = learnt(*[0.5] * 50)
    assert latencies.delay(KEY, 1_000_000, 0.95) == pytest.approx(0.5)


def test_only_the_last_requests_count() -> None:
    latencies = learnt(*[9.0] * WINDOW, *[1.0] * WINDOW)
    assert latencies.delay(KEY, 100, 0.95) == pytest.approx(1, rel=0.01)


def test_a_service_that_gets_slower_is_followed() -> None:
    latencies = learnt(*[1.0] * 300, *[3.0] * 60)
    assert 2.5 < (latencies.delay(KEY, 100, 0.5) or 0) < 3.5


def test_the_measures_do_not_mix() -> None:
    latencies = learnt(*[1.0] * 30)
    silence = Measure(whole=True)
    assert latencies.delay(KEY, 100, 0.95, silence) is None
    for _ in range(30):
        latencies.saw(KEY, 100, 5.0, silence)
    assert latencies.delay(KEY, 100, 0.95, silence) == pytest.approx(5)
    assert latencies.delay(KEY, 100, 0.95, FIRST) == pytest.approx(1)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_time_of_nothing_does_no_harm(seconds: float) -> None:
    assert (learnt(*[seconds] * 30).delay(KEY, 0, 0.95) or 0) > 0


def test_the_service_that_was_used_least_lately_is_forgotten() -> None:
    latencies = learnt(1.0)
    for number in range(MOST):
        latencies.saw(Key("b", "", str(number)), 100, 1.0)
        if number < MOST - 1:
            latencies.saw(KEY, 100, 1.0)
    assert latencies.count(KEY) == MOST
    assert latencies.count(Key("b", "", "0")) == 0
    assert latencies.count(Key("b", "", "1")) == 1


def test_json_keeps_what_is_known_to_three_digits() -> None:
    random = Random(2)
    latencies = Latencies()
    for _ in range(100):
        latencies.saw(KEY, random.randrange(10_000), random.lognormvariate(0, 1))
    again = Latencies.from_json(json.loads(json.dumps(latencies.to_json())))
    for size in (10, 1000, 9999):
        assert again.delay(KEY, size, 0.95) == pytest.approx(latencies.delay(KEY, size, 0.95), rel=0.01)
    assert not again.fresh  # they are another process's


GOOD = learnt(*[1.0] * 30).to_json()[0]


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        {"a": 1},
        [7],
        [{**GOOD, "provider": 7}],
        [{**GOOD, "measure": "other"}],
        [{**GOOD, "ratios": ["x"]}],
        [{**GOOD, "ratios": [-1.0]}],
        [{**GOOD, "ratios": [float("nan")]}],
        [{**GOOD, "ratios": 5}],
        [{**GOOD, "expected": {}}],
        [{**GOOD, "expected": {"7": [1e9, 3]}}],
        [{**GOOD, "expected": {"-1": [0.0, 3]}}],
        [{**GOOD, "expected": {"7": [0.0, 0]}}],
        [{**GOOD, "expected": {"7": None}}],
        [{**GOOD, "expected": {"7": ["a", 1]}}],
    ],
)
def test_what_is_no_latency_is_left_out(data: object) -> None:
    assert Latencies.from_json(data).count(KEY) == 0


def test_two_processes_lose_only_the_oldest_points() -> None:
    mine, theirs = learnt(*[1.0] * 30), learnt(*[2.0] * 30)
    kept = Latencies.from_json(theirs.to_json())
    kept.add_fresh(mine)
    assert kept.count(KEY) == 60
    both = Latencies.from_json(kept.to_json())
    assert 1 < (both.delay(KEY, 100, 0.95) or 0) < 2.5
