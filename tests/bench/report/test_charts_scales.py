import re
from itertools import pairwise
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.bench.report.charts import amounts, drawing
from fanout.bench.report.charts.scales import Scale, around, thin

FINITE = st.floats(-1e9, 1e9)
POSITIVE = st.floats(1e-6, 1e6)


def test_a_linear_scale_places_values_evenly_and_the_rest_at_its_ends() -> None:
    scale = Scale(10, 20)
    assert [scale.at(value) for value in (10, 12.5, 20)] == [0, 0.25, 1]
    assert [scale.at(value) for value in (-inf, 0, 20.5, inf)] == [0, 0, 1, 1]
    assert scale.at(nan) == 0


def test_a_logarithmic_scale_places_equal_factors_equally_far_apart() -> None:
    scale = Scale(0.01, 100, log=True)
    assert [scale.at(value) for value in (0.01, 0.1, 1, 10, 100)] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert scale.at(0) == scale.at(-1) == 0
    assert scale.at(inf) == 1


@given(st.lists(st.one_of(FINITE, st.just(inf), st.just(nan)), max_size=20), st.booleans())
def test_every_finite_value_has_a_place_of_its_own_scale(values: list[float], zero: bool) -> None:
    scale = around(values, zero=zero)
    assert scale.low < scale.high
    for value in values:
        assert 0 <= scale.at(value) <= 1
        if -inf < value < inf and not (zero and value < 0):
            assert scale.low <= value <= scale.high


@given(st.lists(POSITIVE, min_size=1, max_size=20))
def test_a_scale_chosen_for_a_wide_range_is_logarithmic(values: list[float]) -> None:
    scale = around(values, log=None)
    assert scale.log == (max(values) > 20 * min(values))
    assert all(scale.low <= value <= scale.high for value in values)


@pytest.mark.parametrize("values", [[], [inf], [nan], [inf, -inf]])
def test_without_a_number_a_scale_is_from_0_to_1(values: list[float]) -> None:
    scale = around(values)
    assert scale.low == 0 and scale.high > 0
    assert around(values, log=True).low > 0


def test_one_value_is_in_the_middle_of_its_scale() -> None:
    assert around([-5.0]).at(-5) == pytest.approx(0.5)
    assert 0 < around([5.0]).at(5) < 1
    assert 0 < around([0.0]).at(0.1) < 1
    assert around([7.0], log=True).at(7) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (0, 1, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        (-3, 3, [-3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3]),
        (97, 103, [97, 98, 99, 100, 101, 102, 103]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    found = Scale(low, high).ticks()
    assert len(found) <= 11
    assert {round(tick, 9) for tick in found} <= set(ticks)


def test_logarithmic_ticks_are_powers_of_ten_with_2_and_5_between_where_there_is_room() -> None:
    assert Scale(0.01, 1, log=True).ticks() == pytest.approx([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])
    assert Scale(1e-4, 1e2, log=True).ticks() == pytest.approx([1e-4, 1e-3, 0.01, 0.1, 1, 10, 100])
    assert len(Scale(1e-12, 1e12, log=True).ticks()) <= 13


def test_a_logarithmic_scale_of_a_narrow_range_has_linear_ticks() -> None:
    assert Scale(40, 47, log=True).ticks() == [40, 41, 42, 43, 44, 45, 46, 47]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.booleans())
def test_ticks_are_on_the_scale_and_the_main_ones_are_few_and_among_them(low: float, size: float, log: bool) -> None:
    low = abs(low) + 1e-6 if log else low
    scale = Scale(low, low + max(size, abs(low) * 1e-3), log=log)
    ticks = scale.ticks()
    assert len(ticks) <= 14
    margin = 1e-6 * (scale.high - scale.low) + 1e-9 * abs(scale.high)
    assert all(scale.low - margin <= tick <= scale.high + margin for tick in ticks)
    main = scale.main_ticks()
    assert main <= set(ticks) and len(main) <= 7
    assert bool(main) == bool(ticks)


@given(st.integers(0, 3000), st.integers(2, 200))
def test_thinning_keeps_both_ends_and_no_more_than_asked_for(count: int, most: int) -> None:
    kept = thin(count, most)
    assert kept == sorted(set(kept)) and len(kept) == min(count, most)
    assert not count or (kept[0], kept[-1]) == (0, count - 1)


def spans(axis: str, classes: tuple[str, ...], pixels: float) -> list[tuple[float, float]]:
    """The pixels from left to right of the labels of these classes, with 7 to a letter."""
    found = []
    for text in re.findall(r"<text [^>]*>[^<]*</text>", axis):
        said = dict(re.findall(r'([\w-]+)="([^"]*)"', text))
        if said["class"] in classes:
            wide = 7 * len(re.sub("<[^>]*>", "", text))
            at = float(said["x"].rstrip("%")) / 100 * pixels
            left = at - {"start": 0, "middle": wide / 2, "end": wide}[said["text-anchor"]]
            found.append((left, left + wide))
    return sorted(found)


@given(low=st.floats(1e-4, 100), factor=st.floats(1.01, 1e5), log=st.booleans())
def test_labels_of_an_axis_never_touch_on_a_small_screen_nor_on_a_wide_one(
    low: float, factor: float, log: bool
) -> None:
    scale = Scale(low, low * factor, log=log)
    axis = "".join(drawing.x_axis(scale, 100, amounts.log_seconds))
    for classes, pixels in ((("t",), drawing.NARROW), (("t", "t w"), drawing.WIDE)):
        labels = spans(axis, classes, pixels)
        assert labels
        assert all(right <= left for (_, right), (left, _) in pairwise(labels))
