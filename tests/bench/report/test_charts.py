"""The laws of every chart, whatever its data are; `test_charts_*.py` has those of one."""

import re
from collections.abc import Callable
from math import inf
from xml.etree import ElementTree as ET

import pytest

from fanout.bench.report.charts import (
    amounts,
    ecdf,
    forest,
    gaps,
    intervals,
    sweep,
    tail,
    timeline,
    tradeoff,
    waterfall,
    winners,
)
from fanout.bench.report.markup import Markup

SVG = "{http://www.w3.org/2000/svg}"
ODD = '<b>"lane" & \x00 co.'
"""A name that is neither markup nor XML."""

AXES = tradeoff.Axis("x", amounts.seconds, amounts.log_seconds), tradeoff.Axis("y", amounts.count, amounts.short)


def run(**more: object) -> timeline.Timeline:
    values: dict[str, object] = {"width": 1.0, "finished": [], "failed": [], "in_flight": []}
    return timeline.Timeline(**{**values, **more})  # type: ignore[arg-type]  # made of keywords


def bar(end: str = "finished", first: float | None = 0.1, before: float = 0.0, ended: float = 1.0) -> waterfall.Bar:
    times = [] if first is None else [first, first + 0.1]
    return waterfall.Bar(ODD, 0, before, first and first / 2, [], times, ended, end, ODD)


CHARTS: dict[str, Callable[[], Markup]] = {
    "intervals-none": lambda: intervals.intervals("n", [], amounts.seconds, amounts.log_seconds),
    "intervals-one": lambda: intervals.intervals(
        "n", [intervals.IntervalRow(ODD, 0, 0.2, 0.1, 0.3)], amounts.seconds, amounts.log_seconds
    ),
    "intervals-all-unknown": lambda: intervals.intervals(
        "n", [intervals.IntervalRow(ODD, 0, None, note=ODD)], amounts.seconds, amounts.log_seconds
    ),
    "intervals-infinite": lambda: intervals.intervals(
        "n",
        [intervals.IntervalRow(ODD, 0, inf, 1.0, inf), intervals.IntervalRow("b", 1, 2.0, None, inf)],
        amounts.seconds,
        amounts.log_seconds,
    ),
    "intervals-zero": lambda: intervals.intervals(
        "n", [intervals.IntervalRow(ODD, 9, 0.0, 0.0, 0.0)], amounts.seconds, amounts.log_seconds, zero=True
    ),
    "ecdf-none": lambda: ecdf.ecdf("n", []),
    "ecdf-empty": lambda: ecdf.ecdf("n", [ecdf.Sample(ODD, 0, [])]),
    "ecdf-one": lambda: ecdf.ecdf("n", [ecdf.Sample(ODD, 0, [0.3])], limit=0.3),
    "ecdf-all-failed": lambda: ecdf.ecdf("n", [ecdf.Sample(ODD, 0, [inf, inf])]),
    "ecdf-many": lambda: ecdf.ecdf(
        "n", [ecdf.Sample(ODD, i, [0.001 * 3**j for j in range(12)] + [inf]) for i in range(9)]
    ),
    "ecdf-zero": lambda: ecdf.ecdf("n", [ecdf.Sample(ODD, 0, [0.0, 0.0])]),
    "tail-none": lambda: tail.tail("n", []),
    "tail-one": lambda: tail.tail("n", [ecdf.Sample(ODD, 0, [0.3])]),
    "tail-all-failed": lambda: tail.tail("n", [ecdf.Sample(ODD, 0, [inf])]),
    "tail-many": lambda: tail.tail("n", [ecdf.Sample(ODD, 0, [0.01 * j for j in range(1, 2000)] + [inf] * 5)]),
    "gaps-none": lambda: gaps.gaps("n", []),
    "gaps-empty": lambda: gaps.gaps("n", [gaps.Gaps(ODD, 0, {})]),
    "gaps-one": lambda: gaps.gaps("n", [gaps.Gaps(ODD, 0, {gaps.class_of(0.02): 1}, 0.25, marks={"p50": 0.02})]),
    "gaps-stalled": lambda: gaps.gaps("n", [gaps.Gaps(ODD, 0, {-96: 10**7, -9: 1, 3: 1}, 0.25, 2, 2.2, {"p99": inf})]),
    "waterfall-none": lambda: waterfall.waterfall("n", []),
    "waterfall-one": lambda: waterfall.waterfall("n", [waterfall.PromptBars(ODD, [bar()])]),
    "waterfall-ends": lambda: waterfall.waterfall(
        "n",
        [
            waterfall.PromptBars(
                ODD, [bar(), bar("failed", None), bar("timed_out", None, ended=99.0), bar("cancelled", before=0.2)]
            )
        ],
    ),
    "waterfall-at-once": lambda: waterfall.waterfall(
        "n", [waterfall.PromptBars(ODD, [bar("failed", None, ended=0.0)])]
    ),
    "timeline-none": lambda: timeline.timeline("n", run()),
    "timeline-one": lambda: timeline.timeline("n", run(finished=[1], failed=[0], in_flight=[0.5])),
    "timeline-holes": lambda: timeline.timeline(
        "n",
        run(
            finished=[0, 0, 3],
            failed=[0, 2, 0],
            in_flight=[1.0, 0.0, 2.5],
            paces=[timeline.Pace(ODD, 0, [None, 0.2, 0.3]), timeline.Pace("b", 1, [0.1, None, 0.1])],
            borders=[1.0],
        ),
    ),
    "forest-none": lambda: forest.forest("n", []),
    "forest-unknown": lambda: forest.forest("n", [forest.Pair(ODD, "b", 0, None, note=ODD)]),
    "forest-extremes": lambda: forest.forest(
        "n", [forest.Pair(ODD, "b", 0, 0.001, 0.0, 0.002, verdict=True), forest.Pair("c", ODD, 1, 400.0, 2.0, inf)]
    ),
    "forest-equal": lambda: forest.forest("n", [forest.Pair(ODD, "b", 0, 1.0, 1.0, 1.0)]),
    "tradeoff-none": lambda: tradeoff.tradeoff("n", [], *AXES),
    "tradeoff-infinite": lambda: tradeoff.tradeoff("n", [tradeoff.Spot(ODD, 0, inf, 1.0)], *AXES),
    "tradeoff-one": lambda: tradeoff.tradeoff("n", [tradeoff.Spot(ODD, 0, 0.2, 30, (0.1, None), (None, 40))], *AXES),
    "tradeoff-joined": lambda: tradeoff.tradeoff(
        "n", [tradeoff.Spot(str(i), 0, 0.1 * i, 5.0 - i, (0.0, inf), (1, 2), path="p") for i in range(4)], *AXES
    ),
    "winners-none": lambda: winners.winners("n", []),
    "winners-unasked": lambda: winners.winners("n", [winners.WinnerRow(ODD, 0, "")]),
    "winners-many": lambda: winners.winners(
        "n", [winners.WinnerRow(ODD, 0, "wlf-" * 500), winners.WinnerRow("b", 1, "l" * 3)]
    ),
    "sweep-none": lambda: sweep.sweep("n", [], "load", amounts.count),
    "sweep-unknown": lambda: sweep.sweep(
        "n", [sweep.LoadCurve(ODD, 0, {1.0: None, 2.0: inf})], "load", amounts.count, limit=3.0
    ),
    "sweep-knee": lambda: sweep.sweep(
        "n",
        [sweep.LoadCurve(ODD, 0, {1.0: 1.0, 8.0: 7.0, 64.0: 9.0}, knee=8.0, band={1.0: (0.5, 2.0)})],
        "load",
        amounts.count,
    ),
    "sweep-zero": lambda: sweep.sweep(
        "n", [sweep.LoadCurve(ODD, 0, {0.0: 0.0, 2.0: 0.0}, faint=True)], "load", amounts.count
    ),
}


def parsed(chart: str) -> ET.Element:
    """The chart as XML, as a page would read it."""
    return ET.fromstring(f'<page xmlns="http://www.w3.org/2000/svg">{chart}</page>')[0]


@pytest.mark.parametrize("name", CHARTS)
def test_it_is_well_formed_and_has_a_name_and_a_description(name: str) -> None:
    root = parsed(CHARTS[name]())
    assert root.tag == f"{SVG}svg" and root.get("role") == "img" and root.get("aria-label") == "n"
    described = root.find(f"{SVG}desc")
    assert described is not None and described.text and described.text.endswith(".")


@pytest.mark.parametrize("name", CHARTS)
def test_every_coordinate_is_a_number_inside_the_chart(name: str) -> None:
    root = parsed(CHARTS[name]())
    height = float(root.get("height", "nan"))
    assert height > 0
    for element in root.iter():
        for key, value in element.attrib.items():
            if key not in ("aria-label", "class"):
                assert not re.search(r"nan|inf|None|e[-+]\d", value), f"{element.tag} {key}={value}"
        for key in ("x", "x1", "x2", "width"):
            share = element.get(key, "0%")
            assert share.endswith("%") and -0.01 <= float(share[:-1]) <= 100.01
        for key in ("y1", "y2"):
            assert -20 <= float(element.get(key, 0)) <= height + 40


@pytest.mark.parametrize("name", CHARTS)
def test_every_path_stays_in_its_box(name: str) -> None:
    for box in parsed(CHARTS[name]()).iter(f"{SVG}svg"):
        if (view := box.get("viewBox")) is None:
            continue
        width, height = map(float, view.split()[2:])
        for path in box.iter(f"{SVG}path"):
            for command, numbers in re.findall(r"([MLHV])([-\d. ]*)", path.get("d", "")):
                values = list(map(float, numbers.split()))
                x, y = values if len(values) == 2 else (values[0], 0) if command == "H" else (0, values[0])
                assert -0.1 <= x <= width + 0.1 and -1 <= y <= height + 1


@pytest.mark.parametrize("name", CHARTS)
def test_no_name_of_a_lane_becomes_markup(name: str) -> None:
    assert not list(parsed(CHARTS[name]()).iter(f"{SVG}b"))
