"""The geometry of each chart: what is where, and what it says."""

import re
from math import inf
from xml.etree import ElementTree as ET

import pytest
from attrs import evolve

from fanout.bench.report.charts import amounts
from fanout.bench.report.charts.drawing import COLOURS, mark_of
from fanout.bench.report.charts.ecdf import HEIGHT, MOST_POINTS, Sample, ecdf
from fanout.bench.report.charts.forest import Pair, forest
from fanout.bench.report.charts.gaps import Gaps, class_of, gaps, start_of
from fanout.bench.report.charts.intervals import IntervalRow, intervals, rank
from fanout.bench.report.charts.rows import head, room, shorten
from fanout.bench.report.charts.sweep import LoadCurve, sweep
from fanout.bench.report.charts.tail import tail
from fanout.bench.report.charts.timeline import Pace, Timeline, timeline
from fanout.bench.report.charts.tradeoff import Axis, Spot, tradeoff
from fanout.bench.report.charts.waterfall import NEAREST, Bar, PromptBars, waterfall
from fanout.bench.report.charts.winners import MOST_COLUMNS, TALL, WinnerRow, winners
from tests.bench.report.test_charts import SVG, parsed

SECONDS = Axis("x", amounts.seconds, amounts.log_seconds, log=False, zero=True)


def texts(root: ET.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


def marks(root: ET.Element, kind: str) -> list[tuple[float, float]]:
    """The places of a mark or sign, in per cent across and pixels down."""
    found = (use for use in root.iter(f"{SVG}use") if use.get("href") == f"#{kind}")
    return [(float(use.get("x", "")[:-1]), float(use.get("y", ""))) for use in found]


def paths(root: ET.Element, class_: str) -> list[str]:
    return [path.get("d", "") for path in root.iter(f"{SVG}path") if class_ in path.get("class", "").split()]


def lines(root: ET.Element, class_: str) -> list[ET.Element]:
    return [line for line in root.iter(f"{SVG}line") if class_ in line.get("class", "").split()]


def test_intervals_are_ranked_with_what_has_no_figure_last() -> None:
    rows = [IntervalRow("a", 0, 3.0), IntervalRow("b", 1, None), IntervalRow("c", 2, 1.0), IntervalRow("d", 3, inf)]
    assert [row.lane for row in rank(rows)] == ["c", "a", "d", "b"]
    assert [row.lane for row in rank(rows[:3], more_is_better=True)] == ["a", "c", "b"]


def test_an_interval_reaches_from_bound_to_bound_around_its_mark() -> None:
    root = parsed(
        intervals(
            "n", [IntervalRow("a", 0, 2.0, 1.0, 4.0), IntervalRow("b", 1, 3.0)], amounts.seconds, amounts.log_seconds
        )
    )
    [whisker] = lines(root, "whisker")
    [(at, _)] = marks(root, "m0")
    low, high = (float(whisker.get(key, "")[:-1]) for key in ("x1", "x2"))
    assert 0 < low < at < high < 100
    assert (at - low) / (high - low) == pytest.approx(1 / 3, abs=0.01)
    assert "2.00 s (1.00 to 4.00)" in texts(root) and "3.00 s" in texts(root)


def test_an_unknown_bound_reaches_the_end_of_the_axis_as_a_dashed_line() -> None:
    root = parsed(intervals("n", [IntervalRow("a", 0, 2.0, 1.0, None)], amounts.seconds, amounts.log_seconds))
    [whisker] = lines(root, "open")
    assert whisker.get("x2") == "100%"


def test_an_infinite_figure_is_a_cross_at_the_end() -> None:
    root = parsed(intervals("n", [IntervalRow("a", 0, inf, 1.0, inf)], amounts.seconds, amounts.log_seconds))
    assert [x for x, _ in marks(root, "cross")] == [100]
    assert not marks(root, "m0")


def test_an_ecdf_rises_by_each_request_and_failures_are_missing_from_it() -> None:
    root = parsed(ecdf("n", [Sample("a", 0, [1.0, 2.0, 3.0, inf])]))
    [path] = paths(root, "curve")
    heights = [float(y) for y in re.findall(r"V([\d.]+)", path)]
    assert heights == pytest.approx([HEIGHT * 3 / 4, HEIGHT / 2, HEIGHT / 4])
    [(x, y)] = marks(root, "cross")
    assert x == 100 and y == pytest.approx(HEIGHT / 4)
    assert "25 % never" in "".join(root.itertext())


def test_an_ecdf_without_failures_reaches_the_top_and_has_no_cross() -> None:
    root = parsed(ecdf("n", [Sample("a", 0, [1.0, 2.0])]))
    assert paths(root, "curve")[0].endswith("V0")
    assert not marks(root, "cross")


def test_an_ecdf_of_many_requests_has_few_points_and_keeps_both_ends() -> None:
    root = parsed(ecdf("n", [Sample("a", 0, [float(value) for value in range(1, 50_001)])]))
    [path] = paths(root, "curve")
    assert path.count("V") == MOST_POINTS
    assert path.endswith("V0")


def test_an_objective_is_drawn_where_the_axis_has_it() -> None:
    curves = [Sample("a", 0, [1.0, 2.0])]
    assert "limit 1.5 s" in texts(parsed(ecdf("n", curves, limit=1.5)))
    assert not lines(parsed(ecdf("n", curves, limit=50.0)), "limit")


def test_a_tail_shows_only_percentiles_for_which_there_are_requests() -> None:
    assert {"p50", "p90"} <= set(texts(parsed(tail("n", [Sample("a", 0, [1.0] * 10)]))))
    assert "p99" not in texts(parsed(tail("n", [Sample("a", 0, [1.0] * 99)])))
    assert "p99" in texts(parsed(tail("n", [Sample("a", 0, [1.0] * 100)])))


def test_a_tail_ends_with_a_cross_where_the_failures_begin() -> None:
    root = parsed(tail("n", [Sample("a", 0, [1.0] * 90 + [inf] * 10)]))
    [(x, y)] = marks(root, "cross")
    assert x == pytest.approx(50, abs=3) and y == 0  # p90 is half-way to p99
    assert "p90 1.00 s, p99 ∞" in "".join(root.itertext())


def test_a_class_of_gaps_holds_what_lies_between_its_bounds() -> None:
    for gap in (0.001, 0.02, 0.25, 1.0, 3.7):
        assert start_of(class_of(gap)) <= gap * (1 + 1e-9) < start_of(class_of(gap) + 1) * (1 + 1e-6)
    assert class_of(0) == class_of(1e-7) == class_of(1e-6)


def test_stalls_are_marked_apart_from_other_gaps() -> None:
    counts = {class_of(0.02): 1000, class_of(0.5): 2, class_of(0.8): 1}
    root = parsed(gaps("n", [Gaps("a", 0, counts, 0.25, 3, 1.8)]))
    assert paths(root, "stalls")[0].count("z") == 2 and paths(root, "bars")[0].count("z") == 1
    assert "1,003 gaps, 3 stalls, 1.80 s" in texts(root)
    assert len(lines(root, "limit")) == 1


def test_a_rarer_gap_is_lower_and_the_rarest_can_still_be_seen() -> None:
    root = parsed(gaps("n", [Gaps("a", 0, {-30: 10**6, -20: 10**3, -10: 1})]))
    [path] = paths(root, "bars")
    tops = [float(top) for top in re.findall(r"V([\d.]+)", path)]
    base = float(re.findall(r"M[\d.]+ ([\d.]+)", path)[0])
    assert tops[0] < tops[1] < tops[2] < base


def bar(
    end: str = "finished", *, times: tuple[float, ...] = (0.2, 0.4), ended: float = 1.0, before: float = 0.0
) -> Bar:
    return Bar("a", 0, before, 0.1, [], times, ended, end)


def test_a_request_is_drawn_from_its_sending_with_its_connection_before() -> None:
    root = parsed(waterfall("n", [PromptBars("p", [bar(before=0.25)])]))
    boxes = {rect.get("class", "").split()[0]: rect for rect in root.iter(f"{SVG}rect")}
    start = float(boxes["connect"].get("width", "")[:-1])
    assert boxes["connect"].get("x") == "0%"
    assert float(boxes["wait"].get("x", "")[:-1]) == pytest.approx(start)
    [(first, _)] = marks(root, "s0")
    assert start < first < 100


def test_a_connection_that_counts_is_drawn_as_the_first_part_of_its_request() -> None:
    counted = evolve(bar(before=0.05), counted=True)
    root = parsed(
        waterfall(
            "n", [PromptBars("p", [counted, evolve(bar("failed", times=(), ended=0.02), before=9.0, counted=True)])]
        )
    )
    opened, of_failed = (rect for rect in root.iter(f"{SVG}rect") if rect.get("class", "").startswith("connect"))
    wait = next(rect for rect in root.iter(f"{SVG}rect") if rect.get("class", "").startswith("wait"))
    assert opened.get("x") == of_failed.get("x") == "0%"
    assert wait.get("x", "") == opened.get("width", "") != "0%"
    assert float(of_failed.get("width", "")[:-1]) == pytest.approx(100 * 0.02 / 1.03, abs=0.1)


def test_each_end_but_a_good_one_has_its_sign() -> None:
    group = PromptBars("p", [bar(), bar("failed"), bar("timed_out"), bar("cancelled")])
    root = parsed(waterfall("n", [group]))
    assert [len(marks(root, sign)) for sign in ("cross", "clock", "stop")] == [1, 1, 1]


def test_a_timeout_does_not_squeeze_the_others() -> None:
    root = parsed(waterfall("n", [PromptBars("p", [bar(), bar("timed_out", times=(), ended=60.0)])]))
    assert "60.0 s →" in texts(root)
    finished = next(rect for rect in root.iter(f"{SVG}rect") if "tokens" in rect.get("class", ""))
    assert float(finished.get("width", "")[:-1]) > 50


def test_pieces_nearer_than_can_be_told_apart_are_drawn_once() -> None:
    times = tuple(index / 10_000 for index in range(1, 10_001))
    root = parsed(waterfall("n", [PromptBars("p", [bar(times=times)])]))
    assert paths(root, "ticks")[0].count("M") <= 1 / NEAREST + 1


def test_a_timeline_has_a_panel_for_each_of_rate_load_failures_and_latency() -> None:
    run = Timeline(2.0, [2, 4], [0, 1], [1.0, 3.0], [Pace("a", 0, [0.1, 0.2])], [2.0])
    said = texts(root := parsed(timeline("n", run)))
    assert {"finished requests a second", "requests under way", "failures in each interval"} <= set(said)
    assert "median time to first token" in said
    assert len(paths(root, "area")) == 3
    [border] = lines(root, "border")
    assert border.get("x1") == "50%"


def test_a_hole_in_a_lane_s_latencies_is_a_hole_in_its_line() -> None:
    run = Timeline(1.0, [1] * 4, [0] * 4, [1.0] * 4, [Pace("a", 0, [0.1, None, 0.2, 0.3])])
    assert paths(parsed(timeline("n", run)), "curve")[0].count("M") == 2


def test_no_difference_is_marked_on_the_axis_and_verdicts_are_filled() -> None:
    pairs = [Pair("a", "b", 0, 0.8, 0.7, 0.9, verdict=True), Pair("b", "c", 1, 1.05, 0.9, 1.2)]
    root = parsed(forest("n", pairs))
    assert "equal" in texts(root)
    [axis] = lines(root, "axis")
    middle = float(axis.get("x1", "")[:-1])
    assert marks(root, "m0")[0][0] < middle < marks(root, "m1")[0][0]
    hollow = [use.get("href") for use in root.iter(f"{SVG}use") if "hollow" in use.get("class", "")]
    assert hollow == ["#m1"]
    assert "-20 % (-30 to -10)".replace("-", amounts.MINUS) in texts(root)


def test_large_differences_are_multiples() -> None:
    assert f"4.0 {amounts.TIMES} (2.0 to 8.0)" in texts(parsed(forest("n", [Pair("a", "b", 1, 4.0, 2.0, 8.0)])))


def test_names_in_a_scatter_never_touch() -> None:
    spots = [Spot(f"a rather long name {index}", index, 1.0 + index / 1000, 1.0) for index in range(8)]
    root = parsed(tradeoff("n", spots, SECONDS, SECONDS))
    named = [text for text in texts(root) if text.startswith("a rather")]
    assert 1 <= len(named) < 8
    assert len(list(root.iter(f"{SVG}use"))) == 8
    apart = [Spot(f"lane {index}", index, float(index), float(index)) for index in range(5)]
    assert len([text for text in texts(parsed(tradeoff("n", apart, SECONDS, SECONDS))) if "lane" in text]) == 5


def test_won_prompts_are_filled_and_failed_ones_red() -> None:
    root = parsed(winners("n", [WinnerRow("a", 0, "wwlf")]))
    assert paths(root, "won")[0].count("z") == 2 and paths(root, "stalls")[0].count("z") == 1
    assert "won 50 % of 4, 1 failed" in texts(root)


def test_many_prompts_share_columns_and_a_half_won_one_is_half_filled() -> None:
    root = parsed(winners("n", [WinnerRow("a", 0, "wl" * MOST_COLUMNS)]))
    [path] = paths(root, "won")
    assert path.count("z") == MOST_COLUMNS
    top, base = re.findall(r"M[\d.]+ ([\d.]+)H[\d.]+V([\d.]+)", path)[0]
    assert float(base) - float(top) == pytest.approx(TALL / 2)


def test_a_sweep_shows_levels_limit_knee_and_what_never_came() -> None:
    curve = LoadCurve("a", 0, {1.0: 0.1, 8.0: 0.2, 64.0: inf}, knee=8.0)
    root = parsed(sweep("n", [curve], "requests under way", amounts.seconds, limit=0.15))
    assert {"1", "8", "64", "requests under way", "limit 150 ms"} <= set(texts(root))
    assert len(marks(root, "knee")) == len(marks(root, "cross")) == 1
    assert len(marks(root, "m0")) == 2
    xs = [x for x, _ in (*marks(root, "m0"), *marks(root, "cross"))]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.05)


def test_the_interval_of_a_level_is_a_line_through_its_mark() -> None:
    curve = LoadCurve("a", 0, {1.0: 1.0, 2.0: 2.0}, band={2.0: (1.5, 9.0)})
    root = parsed(sweep("n", [curve], "load", amounts.count))
    [bound] = lines(root, "error")
    [_, (x, y)] = marks(root, "m0")
    assert float(bound.get("x1", "")[:-1]) == x
    assert float(bound.get("y1", "")) > y > float(bound.get("y2", "")) > 0


def test_what_is_drawn_dotted_has_no_marks() -> None:
    root = parsed(sweep("n", [LoadCurve("a", 0, {1.0: 1.0, 2.0: 2.0}, faint=True)], "load", amounts.count))
    assert not list(root.iter(f"{SVG}use"))
    assert len(paths(root, "faint")) == 1


def test_a_figure_goes_below_its_name_where_both_have_no_room() -> None:
    assert room([("short", "1 ms")]) == 0
    lower = room([("short", "1 ms"), ("a" * 30, "1.00 s (0.90 to 1.10)")])
    assert lower > 0
    beside, below = (head("a", "1 ms", 0, size)[1] for size in (0, lower))
    assert 'x="100%"' in beside and 'x="0%"' in below


def test_a_very_long_name_keeps_its_ends() -> None:
    assert shorten("a" * 44) == "a" * 44
    assert shorten("begin" + "x" * 60 + "end") == "begin" + "x" * 16 + "…" + "x" * 18 + "end"


def test_the_first_lanes_differ_in_colour_and_no_two_of_64_in_colour_and_mark() -> None:
    seen = {(index % COLOURS, mark_of(index)) for index in range(COLOURS**2)}
    assert len(seen) == COLOURS**2
