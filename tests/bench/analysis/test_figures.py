from math import inf
from typing import Any

import pytest

from fanout.bench.analysis.figures import Figure, Stamps, all_figures
from fanout.bench.analysis.metrics import LATENCIES, SPEEDS, measure_all
from fanout.bench.analysis.statistics import Interval
from fanout.bench.records.record import Record
from tests.bench.answers import answer, failure, timeout


def figures(*records: Record) -> dict[str, Figure]:
    pairs = measure_all(records)
    return all_figures(pairs, Stamps.of([request.record for request in pairs]), seed=1)


def runs(count: int, **more: Any) -> list[Record]:
    return [answer(block=block, first=0.2 + block / 1000, **more) for block in range(count)]


def estimates(percentiles: dict[str, Interval] | object) -> dict[str, float | None]:
    assert isinstance(percentiles, dict)
    return {name: found.estimate for name, found in percentiles.items()}


def test_every_metric_is_there_also_where_it_does_not_exist() -> None:
    found = figures(*(answer(block=block, streamed=False) for block in range(10)))
    assert set(found) == {*LATENCIES, *SPEEDS, "gap"}
    for name in ("ttft", "ttfo", "ttst", "itl", "tpot", "tps_user", "speed", "gap", "ttfb"):
        assert (found[name].n, found[name].mean) == (0, None), name
    assert found["e2e"].n == 10


def test_a_metric_that_does_not_exist_is_not_made_infinite_by_a_failure() -> None:
    found = figures(*(answer(block=block, streamed=False) for block in range(10)), failure(block=10))
    assert found["ttft"].n == 0
    assert found["e2e"].n == 11
    assert found["tps_user"].n == 0


def test_failures_are_infinite_in_one_column_and_absent_in_the_other() -> None:
    found = figures(*runs(90), *(failure(block=block) for block in range(90, 100)))["ttft"]
    assert estimates(found.all) == {"p50": pytest.approx(0.2495), "p90": inf, "p95": inf, "p99": None}
    assert estimates(found.finished) == {
        "p50": pytest.approx(0.2445), "p90": pytest.approx(0.2801), "p95": pytest.approx(0.28455), "p99": None,
    }  # fmt: skip
    assert found.mean == pytest.approx(0.2445)
    assert (found.n, found.all["p50"].n, found.finished["p50"].n) == (100, 100, 90)


def test_what_is_infinite_is_known_to_exceed_every_finished_request() -> None:
    found = figures(*runs(90), *(failure(block=block) for block in range(90, 100)))["ttft"]
    assert found.beyond == {"p90": pytest.approx(0.289), "p95": pytest.approx(0.289)}


def test_where_all_that_did_not_finish_timed_out_the_end_is_known_to_exceed_the_timeout() -> None:
    found = figures(*runs(90), *(timeout(block=block, ended=30.0) for block in range(90, 100)))
    assert found["e2e"].beyond["p95"] == 30.0
    assert found["ttft"].beyond["p95"] < 1


def test_a_lane_that_always_fails_is_infinitely_slow() -> None:
    found = figures(*(failure(block=block) for block in range(10)))
    assert found["ttft"].all["p50"].estimate == inf
    assert found["tps_user"].all["p50"].estimate == 0
    assert (found["ttft"].mean, found["ttft"].n) == (None, 10)


def test_a_failed_request_has_speed_nought() -> None:
    found = figures(*runs(5), *(failure(block=block) for block in range(5, 20)))["tps_user"]
    assert found.all["p50"].estimate == 0
    assert found.finished["p50"].estimate is None
    assert found.mean == pytest.approx(50)


def test_what_arrived_of_a_failed_request_does_not_make_it_quick() -> None:
    broken = [failure(block=block, times=(0.001,), kinds="d", sizes=(1,)) for block in range(10)]
    assert figures(*runs(9), *broken)["ttft"].all["p50"].estimate == inf


def test_an_idle_timeout_is_an_infinite_gap() -> None:
    silent = [timeout(block=block, clock="idle", times=(0.1, 0.2), kinds="dd", sizes=(1, 1)) for block in range(40)]
    found = figures(*runs(40, pieces=3), *silent)["gap"]
    assert found.all["p90"].estimate == inf
    assert found.finished["p90"].estimate == pytest.approx(0.02)
    assert found.beyond["p90"] == pytest.approx(0.02)


# Trust


def trusted(*records: Record) -> dict[str, bool]:
    return {name: figure.trusted for name, figure in figures(*records).items()}


def test_stamps_of_the_kernel_are_trusted() -> None:
    assert all(trusted(*runs(10)).values())


def test_our_own_stamps_are_not_for_nothing_tells_how_late_they_are() -> None:
    records = runs(10, kernel=0, lateness=None)
    assert not any(trusted(*records).values())
    found = Stamps.of(records).trust(0.2)
    assert (found.stamp, found.trusted, found.lateness_p99) == ("user", False, None)
    assert found.reason == "the stamps are our own, and nothing tells how late they are"


def test_merged_segments_spoil_what_is_short_and_not_what_is_long() -> None:
    found = trusted(*runs(10, coalesced=2, lateness=0.001))
    assert (found["ttft"], found["e2e"]) == (True, True)
    assert (found["gap"], found["itl"], found["tps_user"]) == (False, False, False)


def test_up_to_one_piece_in_two_hundred_may_be_merged() -> None:
    few = [answer(block=block, lateness=0.5, coalesced=block == 0) for block in range(10)]
    many = [answer(block=block, lateness=0.5, coalesced=block < 4) for block in range(10)]
    assert all(trusted(*few).values())
    assert not any(trusted(*many).values())


def test_a_doubt_is_told_with_its_figures() -> None:
    found = Stamps.of(runs(10, kernel=48, unpeeked=16, lateness=0.004)).trust(0.2)
    assert (found.stamp, found.unpeeked, found.coalesced) == ("mixed", 0.25, 0)
    assert found.lateness_p50 == found.lateness_p99 == pytest.approx(0.004)
    assert (
        found.reason
        == "25.0 % of the pieces have no exact stamp of the kernel, and our own are up to 4.0 ms late (p99)"
    )


def test_nothing_came_and_nothing_is_trusted() -> None:
    assert Stamps.of([failure()]).trust(None).reason == "no content came"
