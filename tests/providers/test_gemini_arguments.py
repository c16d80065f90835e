import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.errors import ProtocolError
from fanout.providers.gemini_arguments import DEPTH, Arguments
from fanout.wire.json_text import encode
from tests.cpu import is_linear


def put(*pieces: dict[str, Any]) -> Any:
    arguments = Arguments()
    for piece in pieces:
        arguments.add(piece)
    return arguments.value()


def text(path: str, value: str, **fields: Any) -> dict[str, Any]:
    return {"jsonPath": path, "stringValue": value, **fields}


def number(path: Any, value: float = 1) -> dict[str, Any]:
    return {"jsonPath": path, "numberValue": value}


def test_the_pieces_of_a_text_are_joined() -> None:
    arguments = Arguments()
    pieces = [("$.city", "Par", True), ("$.days", "2", False), ("$.city", "is", True), ("$.city", "", False)]
    opened = []
    for path, value, goes_on in pieces:
        arguments.add(text(path, value, **({"willContinue": True} if goes_on else {})))
        opened.append(arguments.is_open)
    assert opened == [True, True, True, False]
    assert arguments.value() == {"city": "Paris", "days": "2"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.a", {"a": 1}),
        ("a", {"a": 1}),
        ("$.a.b", {"a": {"b": 1}}),
        ("$.a[0].c", {"a": [{"c": 1}]}),
        ("$.a[0][0]", {"a": [[1]]}),
        ("$['a b']", {"a b": 1}),
        ('$["a.b"]', {"a.b": 1}),
        ("$.a['b'].c", {"a": {"b": {"c": 1}}}),
        (r"$['it\'s']", {"it's": 1}),
        (r'$["say \"hi\""]', {'say "hi"': 1}),
        (r"""$['say "hi"']""", {'say "hi"': 1}),
        (r"$['\u00e9\\']", {"é\\": 1}),
        ("$.größe", {"größe": 1}),
        ("$.a-b c", {"a-b c": 1}),
        ("$.__proto__", {"__proto__": 1}),
        ("$.0", {"0": 1}),
        ("$[0]", [1]),
    ],
)
def test_a_path_leads_to_its_place(path: str, value: Any) -> None:
    assert put(number(path)) == value


@pytest.mark.parametrize(
    ("piece", "value"),
    [
        ({"numberValue": 0}, 0),
        ({"numberValue": 0.5}, 0.5),
        ({"boolValue": False}, False),
        ({"boolValue": True}, True),
        ({"nullValue": None}, None),
        ({"nullValue": "NULL_VALUE"}, None),
        ({"nullValue": 0}, None),
        ({"stringValue": ""}, ""),
        ({"stringValue": None, "numberValue": 3, "boolValue": None, "nullValue": None}, 3),
    ],
)
def test_every_kind_of_value_is_one(piece: dict[str, Any], value: Any) -> None:
    assert put({"jsonPath": "$.a", **piece}) == {"a": value}


def test_a_piece_without_a_value_announces_one() -> None:
    arguments = Arguments()
    arguments.add({"jsonPath": "$.a", "willContinue": True})
    assert (arguments.is_open, arguments.value()) == (True, {})
    arguments.add(text("$.a", "x"))
    assert (arguments.is_open, arguments.value()) == (False, {"a": "x"})


def test_the_last_of_several_values_counts_and_elements_may_come_in_any_order() -> None:
    assert put(number("$.a", 1), number("$.a", 2)) == {"a": 2}
    assert put(number("$.a[1]", 1), number("$.a[0]", 0)) == {"a": [0, 1]}


@pytest.mark.parametrize(
    "path", [None, 7, "", "$", "$.", "$..a", "$.a[", "$.a[x]", "$.a[-1]", "$.a['b", "$.a[1234567890]", "$" + ".a" * 65]
)
def test_a_path_that_is_none_is_a_protocol_error(path: Any) -> None:
    with pytest.raises(ProtocolError, match="an argument with"):
        put(number(path))


@pytest.mark.parametrize(
    "pieces",
    [
        [number("$.a"), number("$.a.b")],
        [number("$.a.b"), number("$.a")],
        [number("$.a.b"), number("$.a[0]")],
        [number("$.a[0]"), number("$.a.b")],
        [text("$.a", "x"), number("$.a")],
        [number("$.a"), text("$.a", "x")],
        [text("$.a", "x"), number("$.a.b")],
        [number("$.a[999999999]")],
        [number("$.a[0]"), number("$.a[2]")],
    ],
)
def test_places_that_do_not_fit_together_are_a_protocol_error(pieces: list[dict[str, Any]]) -> None:
    with pytest.raises(ProtocolError, match="arguments"):
        put(*pieces)


def test_the_depth_is_bounded_and_what_is_within_can_be_written() -> None:
    assert json.loads(encode(put(number("$" + ".a" * DEPTH))))
    assert json.loads(encode(put(number("$" + "[0]" * DEPTH))))


LEAVES = st.text(max_size=8) | st.integers(-(2**53), 2**53) | st.booleans() | st.none()
VALUES = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.text(max_size=5), inner, min_size=1),
        max_leaves=12,
    ),
    max_size=4,
)


def pieces_of(value: Any, path: str, size: int) -> Iterator[dict[str, Any]]:
    """The pieces in which Vertex AI would send a value; its texts are cut into pieces of `size` characters."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from pieces_of(inner, f"{path}[{json.dumps(name)}]", size)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from pieces_of(inner, f"{path}[{index}]", size)
    elif isinstance(value, str):
        for start in range(0, len(value), size):
            yield text(path, value[start : start + size], willContinue=True)
        yield text(path, "")
    else:
        yield {"jsonPath": path, {bool: "boolValue", int: "numberValue"}.get(type(value), "nullValue"): value}


@given(VALUES, st.integers(1, 5))
@settings(deadline=None)
def test_whatever_is_sent_in_pieces_is_put_together(value: dict[str, Any], size: int) -> None:
    assert put(*pieces_of(value, "$", size)) == value


def many_pieces(count: int) -> None:
    """So many pieces of one text, of an array and of an object."""
    arguments = Arguments()
    for index in range(count):
        arguments.add(text("$.text", "words ", willContinue=True))
        arguments.add(number(f"$.rows[{index}].x"))
        arguments.add(text(f"$['n {index}']", "x", willContinue=True))
    arguments.value()


def test_the_time_is_linear_in_what_came() -> None:
    assert is_linear(many_pieces, 2000)
