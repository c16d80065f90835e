"""The page's colours: lanes can be told apart by everybody, and everything can be read."""

import re
from collections.abc import Sequence
from importlib.resources import files
from itertools import combinations
from math import dist

import pytest

from fanout.bench.report.charts.drawing import COLOURS

CSS = files("fanout.bench.report").joinpath("page.css").read_text("utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): ([^;]+);", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
)
THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])

# How colours look to who lacks one kind of cones: Machado, Oliveira and Fernandes 2009, severity 1.
EYES: dict[str, Sequence[Sequence[float]]] = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def linear(colour: str) -> list[float]:
    """Red, green and blue in linear light, from 0 to 1."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def oklab(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """Ottosson's OKLab, in which distances are as large as they look."""
    long = max(0, 0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    middle = max(0, 0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = max(0, 0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.793617785 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.428592205 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.808675766 * short,
    )


def seen(colour: str, eyes: str) -> tuple[float, float, float]:
    light = linear(colour)
    red, green, blue = (
        min(1, max(0, sum(weight * part for weight, part in zip(row, light, strict=True)))) for row in EYES[eyes]
    )
    return oklab(red, green, blue)


def contrast(one: str, other: str) -> float:
    """As the WCAG have it: from 1 to 21."""
    low, high = sorted(
        0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in (linear(one), linear(other))
    )
    return (high + 0.05) / (low + 0.05)


@THEMES
@pytest.mark.parametrize("eyes", EYES)
def test_any_two_lanes_can_be_told_apart_by_any_eyes(theme: dict[str, str], eyes: str) -> None:
    for one, other in combinations(range(COLOURS), 2):
        # 0.02 is a difference that can just be seen side by side.
        assert dist(seen(theme[f"c{one}"], eyes), seen(theme[f"c{other}"], eyes)) > 0.08, (one, other)


@THEMES
def test_lines_and_marks_stand_out_from_the_page(theme: dict[str, str]) -> None:
    for index in range(COLOURS):
        assert contrast(theme[f"c{index}"], theme["page"]) >= 3


@THEMES
@pytest.mark.parametrize(
    ("name", "least"),
    [("ink", 7), ("soft", 4.5), ("link", 4.5), ("bad", 4.5), ("good", 4.5), ("doubt", 4.5), ("faint", 3)],
)
def test_words_can_be_read(theme: dict[str, str], name: str, least: float) -> None:
    assert contrast(theme[name], theme["page"]) >= least


def test_both_themes_have_the_same_colours() -> None:
    assert set(LIGHT) == set(DARK)
    used = set(re.findall(r"var\(--([\w-]+)\)", CSS)) - {"c", "dash"}
    assert used <= set(LIGHT)


def test_lanes_differ_in_their_dashes_too() -> None:
    dashes = re.findall(r"\.l(\d) \{ --c: var\(--c\1\); --dash: ([^;]+); \}", CSS)
    assert len(dashes) == len({dash for _, dash in dashes}) == COLOURS
