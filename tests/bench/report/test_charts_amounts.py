from math import inf

import pytest

from fanout.bench.report.charts import amounts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, amounts.NONE),
        (inf, "∞"),
        (0.0, "0 s"),
        (0.000_012_3, "12.3 µs"),
        (0.000_412, "412 µs"),
        (0.041_26, "41.3 ms"),
        (0.4126, "413 ms"),
        (0.9996, "1.00 s"),
        (1.234, "1.23 s"),
        (123.4, "123 s"),
        (-0.02, f"{amounts.MINUS}20.0 ms"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(value: float | None, text: str) -> None:
    assert amounts.seconds(value) == text


def test_the_ticks_of_one_axis_share_a_unit() -> None:
    write = amounts.seconds_like(1.2)
    assert [write(value) for value in (0, 0.5, 1)] == ["0", "0.5 s", "1 s"]
    assert [amounts.seconds_like(0.4)(value) for value in (0.05, 0.1)] == ["50 ms", "100 ms"]
    assert [amounts.log_seconds(value) for value in (0.001, 0.02, 1, 10)] == ["1 ms", "20 ms", "1 s", "10 s"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, amounts.NONE), (0, "0 %"), (0.0001, "<0.1 %"), (0.125, "12.5 %"), (0.5, "50 %"), (1, "100 %")],
)
def test_shares_are_percentages(value: float | None, text: str) -> None:
    assert amounts.share(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, amounts.NONE), (0.000_45, "$0.000450"), (0.25, "$0.250"), (1234.5, "$1,234.50")]
)
def test_money_keeps_its_cents(value: float | None, text: str) -> None:
    assert amounts.dollars(value) == text


def test_numbers_keep_three_figures_and_all_before_the_point() -> None:
    assert [amounts.count(value) for value in (0, 1.234, 12.34, 123.4, 1234.5)] == ["0", "1.23", "12.3", "123", "1,234"]
    assert amounts.count(inf) == "∞" and amounts.count(None) == amounts.NONE
    assert [amounts.short(value) for value in (1.0, 1.5, 20.0, 0.25)] == ["1", "1.5", "20", "0.25"]


def test_changes_have_a_sign() -> None:
    assert [amounts.with_sign(value) for value in (12.3, -12.3, 0)] == ["+12", f"{amounts.MINUS}12", "0"]


def test_an_interval_has_a_common_unit_once() -> None:
    write = amounts.seconds
    assert amounts.with_interval(0.2, 0.1, 0.3, write) == "200 ms (100 to 300)"
    assert amounts.with_interval(0.9, 0.8, 1.2, write) == "900 ms (800 ms to 1.20 s)"
    assert amounts.with_interval(0.9, None, 1.2, write) == "900 ms (? to 1.20 s)"
    assert amounts.with_interval(0.9, None, None, write) == "900 ms"
    assert amounts.with_interval(inf, inf, inf, write) == "∞"
    assert amounts.between(0.1, 0.3, write) == "100 to 300 ms"
    assert amounts.between(0.1, inf, write) == "100 ms to ∞"
    assert amounts.between(None, None, write) == amounts.NONE


def test_one_is_not_several() -> None:
    assert (amounts.several(1, "request"), amounts.several(1200, "request")) == ("1 request", "1,200 requests")
