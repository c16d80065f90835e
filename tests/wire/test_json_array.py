from itertools import repeat
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fanout.errors import InvalidRequest, ProtocolError, ProviderError, RateLimited, TooLarge, Truncated
from fanout.wire.faults import fault
from fanout.wire.json_array import JsonArray
from fanout.wire.json_text import encode
from tests.conformance.cases import cut_at_sizes

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def values(*chunks: bytes, framing: JsonArray | None = None) -> list[Any]:
    framing = framing or JsonArray()
    return [value for chunk in chunks for value in framing.feed(chunk)] + framing.close()


def test_an_element_comes_out_when_it_closes() -> None:
    framing = JsonArray()
    assert framing.feed(b'[{"a":1') == []
    assert framing.feed(b"}") == [{"a": 1}]
    assert framing.feed(b'\n,\r\n{"a":2}]') == [{"a": 2}]
    assert framing.close() == []
    assert framing.error is None


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_brackets_and_quotes_in_strings_do_not_count(size: int) -> None:
    stream = b'\xef\xbb\xbf [{"a":"]}\\"{["},{"b\\\\":["[",{"c":"\\u005d"}]}] junk'
    framing = JsonArray()
    expected = [{"a": ']}"{['}, {"b\\": ["[", {"c": "]"}]}]
    assert values(*cut_at_sizes(stream, repeat(size)), framing=framing) == expected
    assert framing.error is None


@given(st.lists(st.dictionaries(st.text(), ANYTHING, max_size=4), max_size=5), st.integers(1, 20))
@settings(deadline=None)
def test_whatever_objects_go_in_come_out(objects: list[dict[str, Any]], size: int) -> None:
    framing = JsonArray()
    assume(not any(map(fault, objects)))
    assert values(*cut_at_sizes(encode(objects).encode(), repeat(size)), framing=framing) == objects
    assert framing.error is None


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (b"", Truncated),
        (b"[", Truncated),
        (b'[{"a":1},', Truncated),
        (b'[{"a":1', Truncated),
        (b"[1]", ProtocolError),
        (b"<html>", ProtocolError),
        (b"]", ProtocolError),
        (b'[{"a":1}}', ProtocolError),
        (b'[{"a":oops}]', ProtocolError),
        (b"{}", ProtocolError),
        (b'{"error":{"code":400,"message":"bad"}}', InvalidRequest),
        (b'[{"error":{"code":400,"message":"bad"}}]', InvalidRequest),
        (b'[{"a":"' + b"x" * 100, TooLarge),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_is_no_array_of_objects_is_an_error(stream: bytes, error: type[ProviderError], size: int) -> None:
    framing = JsonArray(max_element=50)
    values(*cut_at_sizes(stream, repeat(size)), framing=framing)
    assert type(framing.error) is error


def test_an_element_that_is_an_error_comes_after_the_values_before_it() -> None:
    framing = JsonArray()
    assert values(b'[{"a":1},{"error":{"code":429}},{"a":2}]', framing=framing) == [{"a": 1}]
    assert isinstance(framing.error, RateLimited)


def test_an_element_with_an_empty_error_is_a_value() -> None:
    framing = JsonArray()
    assert values(b'[{"a":1,"error":null}]', framing=framing) == [{"a": 1, "error": None}]
    assert framing.error is None


def test_an_empty_array_has_no_values() -> None:
    framing = JsonArray()
    assert values(b"[]", framing=framing) == []
    assert framing.error is None
