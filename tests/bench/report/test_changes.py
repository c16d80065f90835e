"""Two runs compared."""

from typing import Any

import pytest

from fanout.bench.analysis.summary import to_json
from fanout.bench.report.changes import CAUTION, list_changes
from fanout.errors import UsageError
from tests.bench.summaries import failed, records, summary


def run(lane: str, ttft: float, **about: Any) -> dict[str, Any]:
    return {**to_json(summary(records(lane, ttft))), "about": about}


def test_what_changed_is_clear_where_the_intervals_are_apart() -> None:
    told = list_changes(run("a", 0.2), run("a", 0.3))
    (ttft,) = [line for line in told if "TTFT" in line]
    assert "220 ms" in ttft
    assert "330 ms" in ttft
    assert ttft.endswith("+50.0 %")
    (itl,) = [line for line in told if "ITL" in line]
    assert itl.endswith("within noise")
    assert CAUTION in told


def test_one_lane_under_two_names_is_compared_all_the_same() -> None:
    assert any(
        line.split()[:4] == ["old", "->", "new", "TTFT"] for line in list_changes(run("old", 0.2), run("new", 0.3))
    )


def test_levels_of_sweeps_are_compared_with_their_like() -> None:
    old, new = (
        to_json(summary(*(records("a", ttft, level=level) for level in levels)))
        for ttft, levels in ((0.2, (1.0, 8.0)), (0.3, (8.0, 64.0)))
    )
    told = list_changes(old, new)
    assert any(line.split()[:4] == ["a", "at", "8", "TTFT"] for line in told)
    assert not any("a at 1" in line or "a at 64" in line for line in told)


def test_what_was_asked_for_differently_is_said() -> None:
    told = list_changes(run("a", 0.2, max_tokens=5, cache="warm"), run("a", 0.2, max_tokens=6, cache="warm"))
    assert [line for line in told if line.startswith("not alike")] == [
        "not alike: the bounds of the answers (--max-tokens) differ"
    ]


def test_an_option_that_only_one_run_knew_of_is_no_difference_until_it_is_used() -> None:
    old = run("a", 0.2)
    same = run("a", 0.2, fresh_connections=False, ignore_eos=False)
    other = run("a", 0.2, fresh_connections=True, ignore_eos=True)
    assert not any("not alike" in line for line in list_changes(old, same))
    assert [line for line in list_changes(old, other) if "not alike" in line] == [
        "not alike: only one opened a connection for each request (--fresh-connections)",
        "not alike: only one had answers of the full length (--ignore-eos)",
    ]


def test_runs_without_a_common_lane_or_figure_are_refused() -> None:
    two = to_json(summary(records("c", 0.2), records("d", 0.2)))
    with pytest.raises(UsageError, match="no lane in common: a and c, d"):
        list_changes(run("a", 0.2), two)
    with pytest.raises(UsageError, match="no lane in common: none and a"):
        list_changes({"version": 1}, run("a", 0.2))


def test_runs_with_a_common_lane_of_which_nothing_is_known_are_not_said_to_have_none() -> None:
    few = to_json(summary(records("a", 0.2, 3)))
    with pytest.raises(UsageError, match="no figure of a is known in both runs"):
        list_changes(few, run("a", 0.2))
    with pytest.raises(UsageError, match=r"no figure of a -> b is known in both"):
        list_changes(few, run("b", 0.2))


@pytest.mark.parametrize("wrong", [{"lanes": [1]}, {"lanes": {"a": 3}}, {"levels": [7]}, {"about": 5, "lanes": 0}])
def test_what_is_no_summary_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        list_changes(wrong, run("a", 0.2))


def test_a_figure_that_one_run_does_not_have_is_left_out() -> None:
    mostly_failed = to_json(summary(records("a", 0.2), failed("a", 300, first=200)))
    told = list_changes(run("a", 0.2), mostly_failed)
    assert not any("TTFT" in line for line in told)
    (failures,) = [line for line in told if "failed" in line]
    assert failures.split()[2:] == ["0.0", "%", "75.0", "%", "+75.0", "points"]
