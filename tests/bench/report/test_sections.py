"""The parts of the sections."""

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any
from weakref import finalize

import pytest
from attrs import evolve

from fanout.bench.analysis.metrics import METRICS
from fanout.bench.analysis.statistics import Interval
from fanout.bench.analysis.summary import summarize
from fanout.bench.analysis.whatif import SimulatedPolicy, WhatIf
from fanout.bench.records.record import Record
from fanout.bench.report.page import make_page
from fanout.bench.report.sections.comparisons import win_share
from fanout.bench.report.sections.definitions import DEFINITIONS
from fanout.bench.report.sections.digest import INTERVALS, REQUESTS, Digest, digest, outcomes
from fanout.bench.report.sections.layout import Table, Term, foreign, grid
from fanout.bench.report.sections.load import knee
from fanout.bench.report.sections.policies import title
from fanout.bench.report.sections.view import View
from fanout.events import Status
from tests.bench import runs


def record(lane: str, block: int, ttft: float | None, *, sent: float = 0.0, **more: Any) -> Record:
    times = () if ttft is None else (ttft, ttft + 0.1)
    given = Record(
        lane=lane,
        block=block,
        status=Status.FAILED if ttft is None else Status.FINISHED,
        sent=sent,
        ended=1.0,
        times=times,
        kinds="d" * len(times),
        sizes=(4,) * len(times),
        output=len(times),
    )
    return evolve(given, **more)


def read(*records: Record, lanes: tuple[str, ...] = ("a", "b"), level: float | None = None) -> Digest:
    return digest(records, lanes, level, open_loop=False)


def test_a_failure_is_infinitely_long_and_a_cancellation_is_left_out() -> None:
    made = read(record("a", 0, 0.2), record("a", 1, None), record("a", 2, 0.3, status=Status.CANCELLED))
    assert list(made.seen["a"].ttft) == [0.2, inf]
    assert list(made.seen["a"].total) == pytest.approx([0.3, inf])


def test_warm_up_races_and_other_levels_are_in_no_distribution() -> None:
    others = [
        record("a", 0, 0.1, level=1.0),
        record("a", 1, 0.2, level=1.0, warmup=True),
        record("a", 2, 0.3, level=1.0, race=True),
        record("a", 3, 0.4, level=2.0, sent=5.0),
    ]
    made = read(*others, level=1.0)
    assert list(made.seen["a"].ttft) == [0.1]
    assert made.starts == {1.0: 0.0, 2.0: 5.0}
    assert list(made.timeline.borders) == [5.0]


def test_an_open_loop_counts_whole_answers_from_their_planned_start() -> None:
    late = record("a", 0, 0.2, sent=2.0, intended=1.5)
    assert list(digest([late], ["a"], None, open_loop=True).seen["a"].total) == pytest.approx([0.8])


def test_outcomes_are_in_the_order_of_asking_and_ties_are_won_by_both() -> None:
    made = read(
        record("a", 7, 0.1, sent=0.0),
        record("b", 7, 0.2, sent=0.0),
        record("a", 3, None, sent=1.0),
        record("b", 3, 0.2, sent=1.0),
        record("a", 5, 0.2, sent=2.0),
        record("b", 5, 0.2, sent=2.0),
        record("b", 6, 0.2, sent=3.0),
    )
    assert outcomes(made, ["a", "b"]) == {"a": "wfw-", "b": "lwww"}


def test_a_share_of_wins_counts_ties_half_and_failures_as_lost() -> None:
    records = [
        *(record("a", 0, 0.1), record("b", 0, 0.2)),
        *(record("a", 1, None), record("b", 1, 9.0)),
        *(record("a", 2, 0.3), record("b", 2, 0.3)),
        *(record("a", 3, None), record("b", 3, None)),
        record("a", 4, 0.1),
    ]
    shown = View(summarize(records), read(*records))
    assert win_share(shown, "a", "b") == pytest.approx((1 + 0 + 0.5 + 0.5) / 4)
    assert win_share(shown, "b", "a") == pytest.approx(1 - (1 + 0 + 0.5 + 0.5) / 4)


def test_the_timeline_counts_every_request_once_and_its_time_under_way() -> None:
    records = list(runs.run(50))
    run = read(*records, lanes=tuple(kind.name for kind in runs.KINDS)).timeline
    assert 4 <= len(run.finished) <= INTERVALS
    assert sum(run.finished) == sum(one.finished for one in records)
    assert sum(run.failed) == sum(not one.finished for one in records)
    assert sum(run.in_flight) * run.width == pytest.approx(sum(one.ended for one in records))


class Stored(Sequence[Record]):
    """Records that are made anew each time they are read, as a store's are."""

    def __init__(self) -> None:
        self.passes = 0
        self.alive = self.most = 0

    def __len__(self) -> int:
        return 400

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("records are read in order")

    def __iter__(self) -> Iterator[Record]:
        self.passes += 1
        for one in runs.run(200, runs.KINDS[:2]):
            self.alive += 1
            self.most = max(self.most, self.alive)
            finalize(one, self.forget)
            yield one

    def forget(self) -> None:
        self.alive -= 1


def test_records_are_read_twice_and_few_are_kept() -> None:
    stored = Stored()
    digest(stored, [kind.name for kind in runs.KINDS[:2]], None, open_loop=False)
    assert stored.passes == 2
    assert stored.most <= REQUESTS + 10


@pytest.mark.slow
def test_few_requests_are_shown_whole_from_the_whole_run_and_a_failure_is_among_them() -> None:
    records = list(runs.run(500, runs.KINDS[:2]))
    made = read(*records, lanes=tuple(kind.name for kind in runs.KINDS[:2]))
    shown = [one for block in made.blocks.values() for one in block]
    assert len(shown) <= REQUESTS + 2
    assert (min(made.blocks), max(made.blocks)) == (0, 499)
    assert any(not one.finished for one in shown)
    assert all(len(block) == 2 for block in made.blocks.values())


@pytest.mark.parametrize(
    ("rates", "delays", "found"),
    [
        ({1: 1.0, 8: 7.0, 64: 8.0}, {1: 1.0, 8: 1.1, 64: 8.0}, 8),
        ({1: 1.0, 8: 8.0, 64: 64.0}, {1: 1.0, 8: 1.0, 64: 1.0}, None),
        ({1: 5.0, 8: 5.0, 64: 5.0}, {1: 1.0, 8: 8.0, 64: 64.0}, None),
        ({1: None, 8: 5.0}, {1: 1.0, 8: None}, None),
        ({1: 1.0, 8: 7.0, 64: 8.0}, {1: 1.0, 8: 1.1, 64: inf}, 8),
        ({}, {}, None),
    ],
)
def test_the_knee_is_the_most_throughput_for_its_latency_unless_it_is_at_an_end(
    rates: dict[float, float | None], delays: dict[float, float | None], found: float | None
) -> None:
    assert knee(rates, delays) == found


def test_policies_are_named_by_what_they_do() -> None:
    def named(*lanes: str, pace: float = 0.0) -> str:
        none = {"p95": Interval(None, None, None, 0)}
        return title(WhatIf(SimulatedPolicy(lanes, pace), 1, none, none, 0, 0, 0, None, 0))

    assert [named("a"), named("a", "b"), named("a", "b", pace=inf)] == ["a", "race", "fallback"]
    assert named("a", "b", pace=0.42) == "hedge 420 ms"


def shown(**how: Any) -> str:
    records = [record(lane, block, 0.2, connect=0.05, level=1.0) for block in range(10) for lane in "abc"]
    return make_page(summarize(records, **how), records, {})


def test_a_baseline_comes_last_in_the_title_and_is_said() -> None:
    assert "<h1>a against b against c</h1>" in shown()
    against = shown(baseline="a")
    assert "<h1>b, c against a</h1>" in against
    assert "compared with a" in against
    assert "All against a. " in against


def test_connections_that_count_are_told_and_have_a_column() -> None:
    assert "a new connection for each request" not in shown()
    made = shown(fresh_connections=True)
    assert "a new connection for each request" in made
    assert ">connect, TLS p50</a>" in made


def test_what_a_lane_does_in_a_second_is_not_shown_where_it_waited_for_the_others() -> None:
    assert 'href="#def-tps_total"' not in shown()
    alone = [record("a", block, 0.2, level=1.0) for block in range(10)]
    assert 'href="#def-tps_total"' in make_page(summarize(alone), alone, {})


def test_every_metric_that_has_a_name_is_defined() -> None:
    assert set(METRICS) <= set(DEFINITIONS)
    assert all(meaning.endswith(".") for _, meaning in DEFINITIONS.values())


def test_heads_of_tables_lead_to_definitions_and_groups_span_columns() -> None:
    made = grid(Table(("lane", Term("p50", "percentile")), [("a", "<1>")], groups=[(None, 1), ("TTFT", 1)]))
    assert '<a href="#def-percentile">p50</a>' in made
    assert '<th colspan="1" scope="colgroup">TTFT</th>' in made
    assert "<td>&lt;1&gt;</td>" in made and 'aria-label="Table: TTFT"' in made


def test_foreign_words_cannot_reorder_the_text_around_them() -> None:
    assert foreign("a\u202eb\u2066c") == '<bdi class="foreign">a\ufffdb\ufffdc</bdi>'
    assert foreign("x" * 9, most=4) == '<bdi class="foreign">xxxx…</bdi>'
