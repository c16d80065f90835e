from itertools import repeat
from typing import Any

import pytest

from fanout.errors import ProtocolError, TooLarge, Truncated
from fanout.wire.json_text import JsonText
from fanout.wire.ndjson import JsonLines
from tests.conformance.cases import cut_at_sizes


def values(*chunks: bytes, framing: JsonLines | None = None) -> list[Any]:
    framing = framing or JsonLines()
    return [value for chunk in chunks for value in framing.feed(chunk)] + framing.close()


def test_every_line_is_a_value_and_comes_out_with_its_lf() -> None:
    framing = JsonLines()
    assert framing.feed(b'{"a":1}\n{"a":2}\n{"a"') == [{"a": 1}, {"a": 2}]
    assert framing.feed(b":3}\n") == [{"a": 3}]


def test_the_last_line_needs_no_lf() -> None:
    assert values(b'{"a":1}\n{"a":2}') == [{"a": 1}, {"a": 2}]


def test_blank_lines_and_a_bom_are_skipped() -> None:
    assert values(b'\xef\xbb\xbf\n \t\r\n{"a":1}\r\n\n') == [{"a": 1}]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_only_lf_ends_a_line(separator: str) -> None:
    assert values(f'{{"a":"x{separator}y"}}\n'.encode()) == [{"a": f"x{separator}y"}]


def test_two_values_on_one_line_are_two_values() -> None:
    assert values(b'{"a":1}{"a":2} {"a":3}\n') == [{"a": 1}, {"a": 2}, {"a": 3}]


@pytest.mark.parametrize("rest", [b'{"a":', b'{"a":"x', b'{"a":"x\\', b'{"a":[1,2', b'{"a":"}]\\""'])
def test_half_a_value_at_the_end_is_truncated(rest: bytes) -> None:
    framing = JsonLines()
    assert values(b'{"a":1}\n', rest, framing=framing) == [{"a": 1}]
    assert isinstance(framing.error, Truncated)


def test_the_whole_values_before_half_a_value_on_its_line_are_kept() -> None:
    framing = JsonLines()
    assert values(b'{"a":1}{"a":', framing=framing) == [{"a": 1}]
    assert isinstance(framing.error, Truncated)


@pytest.mark.parametrize("line", [b"oops\n", b"<html>", b'{"a":1,}\n', b'{"a":\n', b'{"a":NaN}\n'])
def test_a_line_that_is_no_json_is_never_skipped(line: bytes) -> None:
    framing = JsonLines()
    assert values(b'{"a":1}\n', line, b'\n{"a":2}\n', framing=framing) == [{"a": 1}]
    assert isinstance(framing.error, ProtocolError)
    assert "line 2" in framing.error.message


def test_the_error_quotes_a_short_beginning_without_control_characters() -> None:
    framing = JsonLines()
    values(b"\x1b[31m" + b"x" * 500 + b"\n", framing=framing)
    assert framing.error is not None
    assert "\\x1b[31mxxx" in framing.error.message
    assert len(framing.error.message) < 150


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_line_over_the_cap_is_too_large_however_it_is_cut(size: int) -> None:
    framing = JsonLines(max_line=20)
    stream = b'{"a":1}\n{"a":"' + b"x" * 20 + b'"}\n{"a":2}\n'
    assert values(*cut_at_sizes(stream, repeat(size)), framing=framing) == [{"a": 1}]
    assert isinstance(framing.error, TooLarge)


def test_nothing_comes_after_an_error() -> None:
    framing = JsonLines()
    framing.feed(b"oops\n")
    assert framing.feed(b"{}\n") == framing.close() == []


def test_the_decoder_tells_of_halves() -> None:
    json = JsonText()
    values(b'{"a":"\\ud83c"}\n', framing=JsonLines(json))
    assert json.halves
