from xml.etree import ElementTree as ET

import pytest

from fanout.bench.report.markup import Markup, join, number, plain, tag


def test_words_become_text_and_never_markup() -> None:
    made = tag("p", "<b>a & b</b>", title='"><script>')
    assert made == '<p title="&quot;&gt;&lt;script&gt;">&lt;b&gt;a &amp; b&lt;/b&gt;</p>'
    assert ET.fromstring(made).text == "<b>a & b</b>"


def test_what_is_markup_already_stays_so() -> None:
    assert tag("p", tag("b", "x"), ["y", None, [tag("i", "<")]]) == "<p><b>x</b>y<i>&lt;</i></p>"
    assert isinstance(tag("p", join(tag("b"), "&")), Markup)


def test_only_elements_that_are_ever_empty_are_written_without_an_end() -> None:
    assert tag("path", d="M0 0") == '<path d="M0 0"/>'
    assert tag("td") == "<td></td>"
    assert tag("use", tag("title", "x"), href="#m0") == '<use href="#m0"><title>x</title></use>'


def test_attributes_are_hyphenated_and_none_is_left_out() -> None:
    assert tag("text", class_="t", text_anchor="end", viewBox="0 0 1 1", rx=None, x=1.50) == (
        '<text class="t" text-anchor="end" viewBox="0 0 1 1" x="1.5"></text>'
    )


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\ud800", "\ufffe", "\x7f\x00", "\x0b"])
def test_what_xml_cannot_hold_is_replaced(character: str) -> None:
    assert "\ufffd" in plain(character)
    ET.fromstring(tag("p", character, title=character).encode())


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (-0.001, "0"), (1.2345, "1.23"), (100, "100"), (-2.5, "-2.5"), (1e6, "1000000")]
)
def test_numbers_are_no_longer_than_they_need_to_be(value: float, text: str) -> None:
    assert number(value) == text
