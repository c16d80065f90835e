"""A plan is checked before anything is sent."""

import resource
from pathlib import Path
from typing import Any

import pytest

from fanout.bench.load.design.schedule import Closed, Open
from fanout.bench.load.planning import MOST_REQUESTS, OTHER_FILES, RAMP_SECONDS, plan_run
from fanout.bench.load.wish import RunWish
from fanout.errors import UsageError


def test_streams_begin_one_after_the_other_unless_the_wish_has_a_ramp() -> None:
    assert plan_run(RunWish(concurrency=[1, 8])).schedules == [Closed(1, RAMP_SECONDS), Closed(8, 8 * RAMP_SECONDS)]
    assert plan_run(RunWish(concurrency=[8], ramp=0)).schedules == [Closed(8, 0.0)]
    assert plan_run(RunWish(rate=[2.0], seed=7)).schedules == [Open(2.0, seed=7)]


def test_without_a_lane_the_embedded_model_is_measured_and_options_go_to_every_lane() -> None:
    (lane,) = plan_run(RunWish(options=[("temperature", "0")])).setup.lanes
    assert (lane.name, lane.options.temperature, lane.retries) == ("local", 0, 0)
    lanes = plan_run(RunWish(lanes=["local?seed=1", "b=local"], options=[("seed", "2")], aa=True)).setup.lanes
    assert [(lane.name, lane.options.seed) for lane in lanes] == [("local", 1), ("b", 2), ("local-again", 1)]


def test_a_run_until_it_is_precise_has_an_end_all_the_same() -> None:
    assert plan_run(RunWish(until_ci=0.05)).setup.limits.requests == MOST_REQUESTS
    assert plan_run(RunWish(duration=9)).setup.limits.requests is None


def test_this_process_may_open_a_connection_for_each_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    set_: list[tuple[int, int]] = []
    monkeypatch.setattr("fanout.bench.load.planning.getrlimit", lambda _: (100, 1000))
    monkeypatch.setattr("fanout.bench.load.planning.setrlimit", lambda kind, pair: set_.append(pair))
    plan_run(RunWish(concurrency=[30]))
    assert set_ == []
    plan_run(RunWish(concurrency=[200]))
    assert set_ == [(200 + OTHER_FILES, 1000)]
    with pytest.raises(UsageError, match=r"2000 streams need 2064 open files, and `ulimit -Hn` allows 1000"):
        plan_run(RunWish(concurrency=[2000]))
    assert resource.RLIMIT_NOFILE


def test_prompts_of_a_list_and_of_standard_input(tmp_path: Path) -> None:
    assert plan_run(RunWish(prompts=["a", "b"])).setup.workload.source == "a list of 2"
    read = plan_run(RunWish(prompts="-", read_stdin=lambda: b"one\ntwo\nthree")).setup.workload
    assert (read.source, len(read.items)) == ("standard input", 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"prompts": "-"}, "read_stdin"),
        ({"prompts": []}, "prompts is an empty list"),
        ({"prompts": ["caf\udce9"]}, "UTF-8"),
        ({"lanes": ["groqq/x"]}, "groq"),
        ({"baseline": "b"}, "--baseline b"),
        ({"slo": "fast"}, "--slo"),
        ({"asserts": ["p95(ttft) < 800"]}, "--assert"),
        ({"asserts": ["p50(ttft, lcal) < 9s"]}, "'lcal'"),
        ({"rate": [1.0], "concurrency": [1, 2]}, "one number"),
        ({"speedup": 2.0}, "--speedup"),
    ],
)
def test_a_wish_that_contradicts_itself_or_the_world_is_a_usage_error(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as raised:
        plan_run(RunWish(**wrong))
    assert words in str(raised.value)


def test_a_group_is_refused_with_the_names_of_its_lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fanout.toml").write_text('[groups.quick]\npolicy = "race"\nlanes = ["local", "b=local"]\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="local,b=local"):
        plan_run(RunWish(lanes=["quick"], options=[("seed", "1")]))
