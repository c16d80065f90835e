import pytest

from fanout.bench.analysis.lane import ErrorCount, LaneSummary, sum_up_lane
from fanout.bench.analysis.metrics import measure_all
from fanout.bench.records.record import Record
from fanout.events import Status
from tests.bench.answers import answer, failure, timeout


def lane(*records: Record, **limits: float) -> LaneSummary:
    return sum_up_lane("a", records, measure_all(records), limits, seed=1)


def test_every_request_is_counted_once_by_what_became_of_it() -> None:
    found = lane(
        answer(block=0, warmup=True),
        answer(block=1),
        answer(block=2),
        failure(block=3),
        timeout(block=4),
        answer(block=5, status=Status.CANCELLED),
    )
    assert (found.requests, found.finished, found.failed, found.timed_out) == (4, 2, 1, 1)
    assert (found.cancelled, found.warmup) == (1, 1)
    assert found.failure_share.estimate == 0.5


def test_warm_up_and_cancelled_requests_are_in_no_figure() -> None:
    slow = [answer(first=9.0, warmup=True), answer(first=9.0, status=Status.CANCELLED), answer(first=9.0, race=True)]
    quick = [answer(block=block) for block in range(8)]
    assert lane(*quick, *slow).figures == lane(*quick).figures


def test_errors_are_counted_by_kind_the_commonest_first_and_timeouts_by_clock() -> None:
    found = lane(
        failure(message="first"), failure(message="second"), timeout(clock="idle", message="silent"), answer(block=1)
    )
    assert found.errors == (ErrorCount("server", 2, "first"), ErrorCount("timeout (idle)", 1, "silent"))


def test_rates_are_over_the_time_from_the_first_start_to_the_last_end() -> None:
    found = lane(*(answer(block=block, sent=10.0 + block, ended=1.5) for block in range(4)))
    assert found.seconds == pytest.approx(4.5)
    assert found.rate == pytest.approx(4 / 4.5)
    assert found.tps_total == pytest.approx(4 * 64 / 4.5)


def test_a_failed_request_is_a_miss_of_every_objective() -> None:
    found = lane(answer(block=0), answer(block=1, first=0.6), failure(block=2), timeout(block=3, ended=1.0), ttft=0.5)
    assert found.attained is not None
    assert found.attained.estimate == 0.25
    assert found.goodput == pytest.approx(1 / found.seconds)
    assert found.token_goodput == pytest.approx(64 / found.seconds)


def test_without_objectives_there_is_no_goodput() -> None:
    found = lane(answer())
    assert (found.goodput, found.token_goodput, found.attained) == (None, None, None)


def test_tokens_of_requests_that_did_not_finish_are_wasted() -> None:
    cut = failure(block=1, times=(0.1, 0.2), kinds="dd", sizes=(20, 20))
    cancelled = answer(block=2, status=Status.CANCELLED, output=30)
    found = lane(answer(block=0), cut, cancelled)
    assert (found.tokens, found.wasted) == (64, 40)
    assert found.estimated


def test_cost_is_unknown_as_soon_as_one_finished_request_s_is() -> None:
    priced = [answer(block=0, cost=0.01), answer(block=1, cost=0.03), failure(block=2)]
    found = lane(*priced)
    assert found.cost == pytest.approx(0.04)
    assert found.cost_per_1k == pytest.approx(0.04 / 3 * 1000)
    assert lane(*priced, answer(block=3)).cost is None


def test_the_service_s_own_timings_stand_beside_ours() -> None:
    records = [answer(block=block, server={"prompt": 0.15, "queue": 0.05}) for block in range(3)] + [answer(block=9)]
    prompt, queue = lane(*records).server
    assert (prompt.name, prompt.server, prompt.ours, prompt.metric, prompt.n) == ("prompt", 0.15, 0.2, "ttft", 3)
    assert (queue.server, queue.ours, queue.metric) == (0.05, None, None)


def test_stalls_are_counted_with_their_seconds() -> None:
    stalling = answer(block=1, pieces=4, times=(0.2, 0.22, 0.24, 1.0))
    found = lane(answer(block=0), stalling)
    assert found.stalls == 1
    assert found.stall_seconds == pytest.approx(0.76)


def test_a_lane_that_is_not_streamed_is_judged_by_its_end() -> None:
    records = [
        answer(block=b, first=2.0, pieces=1, streamed=False, kernel=0, coalesced=0, lateness=0.001) for b in range(9)
    ]
    assert lane(*records).trust.trusted


def test_connections_are_told_apart_from_the_requests() -> None:
    found = lane(answer(connect=0.03, tls=0.05), answer(block=1, connect=0.05), answer(block=2))
    assert (found.connect, found.tls) == (0.04, 0.05)


def test_cached_tokens_are_a_share_of_the_prompt_s_where_the_service_tells_both() -> None:
    assert lane(answer(input=100, cached=80), answer(block=1, input=100, cached=0)).cached_share == 0.4
    assert lane(answer(input=100)).cached_share is None


def test_a_lane_of_which_nothing_counts_has_no_figures() -> None:
    found = lane(answer(warmup=True))
    assert (found.requests, found.seconds, found.rate, found.cost, found.independent) == (0, 0, None, None, None)
    assert found.failure_share.estimate is None
    assert found.figures["ttft"].n == 0
