import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.errors import ProtocolError
from fanout.wire.json_text import Joiner, JsonText, encode, excerpt, repair, show

ANY_TEXT = st.text(st.characters() | st.characters(categories=["Cs"]))


def decode(text: str) -> Any:
    return JsonText().decode(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"t":NaN}',
        '{"t":Infinity}',
        '{"t":-Infinity}',
        '{"t":1e400}',
        '{"t":1,}',
        "{'t':1}",
        '{"t":"a\x01b"}',
        '{"t":1} x',
        '{"t":1}{"t":2}',
        "",
        " ",
        "\ufeff{}",
        '{"t":' + "9" * 5000 + "}",
        '{"t":' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_what_is_not_json_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"t":"a","t":"b"}', {"t": "b"}),
        ('{"t":"a\u2028b"}', {"t": "a\u2028b"}),
        (' {"t":"\\ud83c\\udf88"}\r\n', {"t": "\U0001f388"}),
        ("{}", {}),
        ("null", None),
    ],
)
def test_what_is_json_is_its_value(text: str, value: Any) -> None:
    assert decode(text) == value


def test_a_lone_half_is_left_in_and_told_of() -> None:
    text = JsonText()
    assert text.decode('{"t":"a"}') == {"t": "a"}
    assert not text.halves
    assert text.decode('{"t":"\\uD83C"}') == {"t": "\ud83c"}
    assert text.halves


def test_values_may_follow_one_another() -> None:
    assert list(JsonText().decode_all(' {"a":1}{"a":2}\n[3] ')) == [{"a": 1}, {"a": 2}, [3]]


def test_the_halves_of_two_deltas_are_joined() -> None:
    joiner = Joiner()
    assert [joiner.join("a\ud83c"), joiner.join("\udf88b"), joiner.close()] == ["a", "\U0001f388b", ""]


def test_a_half_whose_other_half_never_comes_is_replaced() -> None:
    joiner = Joiner()
    assert [joiner.join("a\ud83c"), joiner.join("b\udf88"), joiner.join("\ud83c"), joiner.close()] == [
        "a",
        "\ufffdb\ufffd",
        "",
        "\ufffd",
    ]


def test_an_empty_delta_does_not_part_two_halves() -> None:
    joiner = Joiner()
    assert joiner.join("\ud83c") + joiner.join("") + joiner.join("\udf88") == "\U0001f388"


@given(st.lists(ANY_TEXT))
@settings(deadline=None)
def test_joined_text_can_be_encoded_and_does_not_depend_on_the_cut(deltas: list[str]) -> None:
    joiner = Joiner()
    joined = "".join([joiner.join(delta) for delta in deltas]) + joiner.close()
    assert joined.encode().decode() == repair("".join(deltas))


@given(ANY_TEXT)
@settings(deadline=None)
def test_repair_keeps_what_is_whole_and_replaces_each_lone_half_once(text: str) -> None:
    assert repair(text) == repair(json.loads(json.dumps(text)))
    assert len(repair(text)) == len(json.loads(json.dumps(text)))


@pytest.mark.parametrize("value", [{"a": [1, "ü"]}, 10**30, "\ud83c"])
def test_any_value_can_be_encoded_for_the_wire(value: Any) -> None:
    text = encode(value)
    text.encode()
    assert json.loads(text) == value
    assert ": " not in text


def test_a_value_without_end_cannot_be_encoded() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ProtocolError):
        encode(value)


def test_an_excerpt_is_short_and_printable() -> None:
    assert excerpt("plain") == "plain"
    assert excerpt("a\x1b\n\u202e\ud800b") == "a\\x1b\\n\\u202e\\ud800b"
    assert len(excerpt("x" * 1000, 500)) == len(excerpt("\n" * 1000, 500)) == 500


def test_a_value_is_shown_in_bounded_time_whatever_it_shares() -> None:
    value: Any = "x"
    for _ in range(60):
        value = [value, value]
    assert show({"messages": value}) == "{'messages': [[[…], […]], [[…], […]]]}"
    assert show("x" * 10_000_000, 20) == "'" + "x" * 18 + "…"
    assert show(5) == "5"


def test_many_values_in_place_of_one_are_refused_at_the_second() -> None:
    with pytest.raises(ProtocolError, match="not JSON"):
        decode("1 " * 4_000_000)
    with pytest.raises(ProtocolError, match="more than 1000 JSON values"):
        list(JsonText().decode_all("{}" * 2000))
