import json
from collections.abc import Callable, Iterator
from math import inf, isfinite
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from fanout.bench.analysis.metrics import LATENCIES, SPEEDS
from fanout.bench.analysis.summary import Summary, summarize, to_json
from fanout.bench.records.record import Record, from_line, to_line
from fanout.errors import UsageError
from fanout.events import Status
from tests.bench.answers import answer, failure, timeout
from tests.bench.runs import run, swept

DOCUMENT = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text("utf-8")


def pair(blocks: int, ratio: float = 0.8, **more: Any) -> list[Record]:
    random = Random(blocks)
    return [
        answer(
            name, block, first=scale * 0.2 * random.lognormvariate(0, 0.1), sent=block + place / 2, place=place, **more
        )
        for block in range(blocks)
        for place, (name, scale) in enumerate([("a", ratio), ("b", 1.0)])
    ]


def test_a_run_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to sum up"):
        summarize([])


def test_lanes_are_in_the_order_of_their_first_requests_or_in_the_one_asked_for() -> None:
    records = pair(20)
    turned = summarize(records, lanes=["b", "a"], resamples=100)
    assert list(summarize(records[::-1], resamples=100).lanes) == ["a", "b"]
    assert list(turned.lanes) == ["b", "a"]
    assert turned.what_if[2].policy.lanes == ("b", "a")


def test_the_first_comparison_is_the_verdict_on_the_time_to_first_token() -> None:
    found = summarize(pair(50)).comparisons
    assert [comparison.metric for comparison in found] == ["ttft", "e2e", "itl"]
    assert found[0].verdict == "faster"


def test_what_is_not_streamed_is_compared_by_its_end() -> None:
    records = [answer(r.lane, r.block, r.times[0], pieces=1, streamed=False, sent=r.sent) for r in pair(50)]
    assert [(found.metric, found.verdict) for found in summarize(records).comparisons] == [("e2e", "faster")]


def test_an_open_loop_is_compared_by_its_response_time() -> None:
    records = [answer(r.lane, r.block, sent=r.sent, intended=r.sent - 0.1) for r in pair(50)]
    found = summarize(records)
    assert found.open_loop
    assert [comparison.metric for comparison in found.comparisons] == ["ttft", "response", "itl"]
    assert not any("closed loop" in warning for warning in found.warnings)


def test_levels_of_a_sweep_are_not_pooled_and_the_lightest_comes_first() -> None:
    found = summarize(list(swept([8, 1, 4], 30)), resamples=50)
    assert [level.level for level in found.levels] == [1.0, 4.0, 8.0]
    assert all(lane.requests == 30 for level in found.levels for lane in level.lanes.values())
    assert found.lanes is found.levels[0].lanes
    plain = to_json(found)
    assert [level["level"] for level in plain["levels"]] == [1.0, 4.0, 8.0]
    assert plain["lanes"] == plain["levels"][0]["lanes"]


def test_a_warning_of_a_sweep_says_at_which_level() -> None:
    records = [answer(block=block, level=level, kernel=0, lateness=None) for level in (1.0, 8.0) for block in range(5)]
    assert (
        sum(warning.startswith("at 8, a: its times are not to be trusted") for warning in summarize(records).warnings)
        == 1
    )


def test_races_stand_apart_and_count_losers_as_longer() -> None:
    races = [answer("a", block, first=0.2 + block / 1000, race=True) for block in range(100)]
    races += [
        answer("b", block, first=0.3, race=True)
        if block % 2
        else failure("b", block, ended=0.25, race=True, status=Status.CANCELLED, error=None)
        for block in range(100)
    ]
    found = summarize(races + pair(30))
    assert found.races["a"]["ttft"]["p50"].estimate == pytest.approx(0.249)
    assert found.races["b"]["ttft"]["p50"].estimate == 0.3
    assert all(lane.requests == 30 for lane in found.lanes.values())
    assert found.lanes == summarize(pair(30)).lanes


def test_a_loser_that_had_begun_has_a_first_token_and_no_end() -> None:
    begun = [answer(block=block, race=True, status=Status.CANCELLED, ended=1.0) for block in range(10)]
    found = summarize(begun).races["a"]
    assert (found["ttft"]["p50"].estimate, found["e2e"]["p50"].estimate) == (0.2, inf)


def test_a_failure_in_a_race_never_ends() -> None:
    records = [failure(block=block, ended=0.01, race=True) for block in range(6)] + [answer(block=9, race=True)] * 4
    assert summarize(records).races["a"]["ttft"]["p50"].estimate == inf


def test_only_races_make_a_summary_without_lanes() -> None:
    found = summarize([answer(race=True)])
    assert (found.lanes, found.comparisons) == ({}, ())


def test_a_stop_rule_that_looked_is_told() -> None:
    assert "looked at 7 times" in summarize(pair(20), looks=7).warnings[-1]


def test_a_baseline_is_the_second_of_every_pair_and_one_that_is_no_lane_is_refused() -> None:
    records = [answer(name, block) for block in range(20) for name in "abc"]
    found = summarize(records, baseline="b", what_if=False)
    assert {(c.first, c.second) for c in found.comparisons} == {("a", "b"), ("c", "b")}
    assert to_json(found)["baseline"] == "b"
    with pytest.raises(UsageError, match="'x' is none of the lanes: a, b, c"):
        summarize(records, baseline="x")


def test_how_the_requests_were_made_is_told() -> None:
    records = [answer(block=block, finish_reason="stop" if block < 3 else "length") for block in range(20)]
    plain = summarize(records)
    assert not any("connection" in words or "ignore_eos" in words for words in plain.warnings)
    told = summarize(records, fresh_connections=True, ignore_eos=True)
    assert "every request opened a connection of its own" in told.warnings[0]
    assert told.warnings[1].startswith("a: 3 of 20 answers ended before their bound")
    assert to_json(told)["fresh_connections"] is True
    whole = [answer(block=block, finish_reason="length" if block else None) for block in range(20)]
    assert summarize(whole, ignore_eos=True).warnings == plain.warnings


def test_a_run_of_one_lane_has_no_what_if() -> None:
    found = summarize([answer(block=block) for block in range(40)])
    assert (found.what_if, found.recommended, found.comparisons) == ((), None, ())


def test_what_if_can_be_left_out() -> None:
    assert summarize(pair(20), what_if=False).what_if == ()


# JSON


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from names(item)
    elif isinstance(value, list):
        for item in value:
            yield from names(item)


def plain_json(summary: Summary) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(to_json(summary), allow_nan=False))
    return value


def test_json_gives_percentiles_in_seconds_and_null_where_there_are_too_few() -> None:
    found = plain_json(summarize(pair(50)))
    ttft = found["lanes"]["a"]["ttft"]
    assert ttft["p50"] == pytest.approx(0.16, rel=0.1)
    assert ttft["intervals"]["p50"][0] < ttft["p50"] < ttft["intervals"]["p50"][1]
    assert (ttft["p95"], ttft["p99"]) == (None, None)
    assert ttft["needs"] == {"p95": 72, "p99": 368}
    assert ttft["n"] == 50
    assert ttft["trusted"] is found["lanes"]["a"]["trusted"] is True
    assert found["version"] == 1


def test_json_has_every_metric_of_every_lane_also_those_that_do_not_exist() -> None:
    found = plain_json(summarize([answer(streamed=False)]))["lanes"]["a"]
    for metric in (*LATENCIES, *SPEEDS, "gap"):
        assert {"mean", "p50", "p90", "p95", "p99"} <= set(found[metric]), metric
    assert (found["ttft"]["n"], found["ttft"]["mean"], found["ttft"]["p50"]) == (0, None, None)


def test_what_is_infinite_is_null_and_says_what_it_exceeds() -> None:
    records = pair(50) + [timeout("a", block, ended=20.0) for block in range(50, 60)]
    found = plain_json(summarize(records))["lanes"]["a"]
    assert found["e2e"]["p90"] is None
    assert found["e2e"]["beyond"] == {"p90": 20.0}
    assert found["errors"] == {"timeout (total)": {"count": 10, "sample": "broken"}}


def test_json_of_a_made_up_run_holds_nothing_that_json_cannot() -> None:
    records = list(run(60)) + [timeout("slow", block) for block in range(40)]
    summary = summarize(records, objectives={"ttft": 0.5, "itl": 0.05}, resamples=100)
    found = to_json(summary)
    assert all(not isinstance(leaf, float) or isfinite(leaf) for leaf in leaves(found))
    assert all(leaf is None or isinstance(leaf, str | int | float) for leaf in leaves(found))
    assert found["objectives"] == {"ttft": 0.5, "itl": 0.05}


def test_every_field_of_the_json_is_documented() -> None:
    records = [*pair(80, server={"prompt": 0.1}, cost=0.1), *(answer("a", block, race=True) for block in range(9))]
    summary = summarize(records, objectives={"ttft": 0.5})
    lanes_and_kinds = {"a", "b"}
    undocumented = {name for name in names(to_json(summary)) if f"`{name}`" not in DOCUMENT} - lanes_and_kinds
    assert undocumented == set()


def test_a_summary_is_the_same_from_records_that_were_written_and_read() -> None:
    records = list(run(30))
    read = [from_line(to_line(record)) for record in records]
    again = [from_line(to_line(record)) for record in read]
    assert to_json(summarize(read, resamples=50)) == to_json(summarize(again, resamples=50))


def test_the_order_of_the_records_does_not_matter() -> None:
    records = list(run(30))
    assert to_json(summarize(records, resamples=50)) == to_json(summarize(records[::-1], resamples=50))


def anything(make: Callable[..., Record], lane: str, block: int, first: float, **more: Any) -> Record:
    return evolve(make(lane, block, first), **more)


ANY = st.builds(
    anything,
    st.sampled_from([answer, failure, timeout]),
    st.sampled_from("ab"),
    st.integers(0, 9),
    st.floats(1e-4, 100),
    status=st.sampled_from(Status),
    warmup=st.booleans(),
    race=st.booleans(),
    level=st.sampled_from([None, 1.0, 2.0]),
    streamed=st.booleans(),
    clock=st.sampled_from([None, "idle"]),
)


@pytest.mark.slow
@given(st.lists(ANY, min_size=1, max_size=25))
def test_whatever_was_recorded_can_be_summed_up(records: list[Record]) -> None:
    plain_json(summarize(records, resamples=50))
