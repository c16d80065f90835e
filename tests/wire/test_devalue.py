import json
from contextlib import suppress
from math import inf, isnan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.chats.huggingchat.conversation import check_messages
from fanout.errors import ProtocolError, ProviderError, RedirectRefused
from fanout.wire.devalue import MAX_DEPTH, page_nodes, unflatten
from tests.servers.huggingchat import flattened, recorded


def test_every_number_inside_an_object_or_a_list_is_an_index() -> None:
    values = [{"messages": 1, "title": 4}, [2, 3], {"id": 4}, {"id": 5}, "a-1", 7]
    assert unflatten(values) == {"messages": [{"id": "a-1"}, {"id": 7}], "title": "a-1"}


@pytest.mark.parametrize("value", ["text", 1.5, 0, True, None, [], {}])
def test_a_root_may_be_any_value(value: Any) -> None:
    assert unflatten([value]) == value


def test_negative_numbers_stand_for_what_json_has_no_words_for() -> None:
    undefined, hole, not_a_number, *rest = unflatten([[-1, -2, -3, -4, -5, -6]])
    assert (undefined, hole, isnan(not_a_number), rest) == (None, None, True, [inf, -inf, 0.0])
    assert str(rest[-1]) == "-0.0"
    assert unflatten(-1) is None


@pytest.mark.parametrize(
    ("values", "value"),
    [
        ([["Date", "2026-01-01T00:00:00.000Z"]], "2026-01-01T00:00:00.000Z"),
        ([["BigInt", "12345678901234567890"]], 12345678901234567890),
        ([["RegExp", "a+", "gi"]], "a+"),
        ([["RegExp", "a+"]], "a+"),
        ([["Set", 1, 2], "a", 5], ["a", 5]),
        ([["Map", 1, 2], "a", [1]], {"a": ["a"]}),
        ([["null", "a", 1, "b", -1], "x"], {"a": "x", "b": None}),
        ([["Promise", 1], 1], None),
        ([["ObjectId", 1], "c0ffee"], "c0ffee"),
        ([["Set"]], []),
        ([["null"]], {}),
    ],
)
def test_types_that_json_does_not_have(values: Any, value: Any) -> None:
    assert unflatten(values) == value


def test_a_value_that_several_refer_to_is_made_once() -> None:
    made = unflatten([[1, 1, 2], {"a": 2}, []])
    assert made == [{"a": []}, {"a": []}, []]
    assert made[0] is made[1] and made[0]["a"] is made[2]


@pytest.mark.parametrize(
    "values",
    [
        [],
        {},
        None,
        "text",
        5,
        -7,
        [[1]],
        [[0]],
        [{"a": 1}, [2], {"b": 0}],
        [[-7]],
        [[True]],
        [[1.0], 1],
        [{"a": "1"}, 1],
        [{"a": None}],
        [["Date", 5]],
        [["Date"]],
        [["BigInt", "12a"]],
        [["BigInt", "9" * 5000]],
        [["Map", 1], "a"],
        [["Map", 1, 1], []],
        [["null", "a"]],
        [["null", [], 1], "a"],
        [["Set", "a"]],
        [["Unknown", 1, 1], 1],
        [["Unknown"]],
        [["Unknown", "a"]],
    ],
)
def test_what_is_not_flattened_so_is_a_protocol_error(values: Any) -> None:
    with pytest.raises(ProtocolError):
        unflatten(values)


def test_the_depth_is_bounded_and_nothing_recurses() -> None:
    deepest = [*([i + 1] for i in range(MAX_DEPTH - 1)), "end"]
    made = unflatten(deepest)
    for _ in range(MAX_DEPTH - 1):
        (made,) = made
    assert made == "end"
    for depth in (MAX_DEPTH, 200_000):
        with pytest.raises(ProtocolError, match="levels"):
            unflatten([*([i + 1] for i in range(depth)), "end"])


def test_sharing_costs_no_time() -> None:
    """As a tree, these sixty values would have two to the power of sixty leaves."""
    made = unflatten([*([i + 1, i + 1] for i in range(60)), "end"])
    for _ in range(60):
        made = made[0]
    assert made == "end"


def test_only_the_first_line_is_the_page() -> None:
    body = b'{"type":"data","nodes":[{"type":"skip"},null]}\n{"type":"chunk","id":1,"data":[[]]}\n'
    assert page_nodes(body) == [{"type": "skip"}, None]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"type":"data"}', b'{"type":"data","nodes":5}', b"\xff"]
)
def test_what_is_no_data_of_a_page_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        page_nodes(body)


def test_a_redirect_is_refused() -> None:
    with pytest.raises(RedirectRefused):
        page_nodes(b'{"type":"redirect","location":"https://elsewhere.test/"}')


def test_json_that_nests_too_deep_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        page_nodes(b'{"type":"data","nodes":' + b"[" * 200_000)


RECORDED = [exchange for exchange in recorded(2025) if "__data.json" in exchange.request["target"]]


@pytest.mark.parametrize("exchange", RECORDED, ids=lambda exchange: str(exchange.name))
def test_every_recorded_page_is_read(exchange: Any) -> None:
    nodes = page_nodes(b"".join(exchange.chunks))
    roots = [unflatten(node["data"]) for node in nodes if node and node["type"] == "data"]
    assert roots or nodes[-1]["type"] == "error"
    for root in roots:
        rows = root.get("messages") or root["models"]
        assert all(isinstance(row["id"], str) for row in rows)
        assert "-0000-4000-8000-" in rows[0]["id"] or rows[0]["id"] == "org/text"


def test_the_recorded_conversation_is_whole() -> None:
    exchange = next(found for found in RECORDED if found.name == "leaf id after the first answer")
    (page,) = (node for node in page_nodes(b"".join(exchange.chunks)) if node["type"] == "data")
    system, user, assistant = unflatten(page["data"])["messages"]
    assert [message["from"] for message in (system, user, assistant)] == ["system", "user", "assistant"]
    assert user["content"] == "Name one colour."
    assert assistant["ancestors"] == [system["id"], user["id"]]
    assert assistant["updates"][-1]["text"] == assistant["content"]
    assert assistant["interrupted"] is False


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(JSON)
@settings(deadline=None)
def test_what_was_flattened_comes_back(value: Any) -> None:
    assert unflatten(json.loads(json.dumps(flattened(value)))) == value


ODD = st.recursive(
    st.none() | st.integers(-8, 8) | st.floats() | st.sampled_from(["Date", "Set", "Map", "null", "BigInt", "x", "7"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=3),
    max_leaves=15,
)


@given(ODD)
@settings(deadline=None, max_examples=400)
def test_hostile_values_give_a_value_or_a_typed_error(values: Any) -> None:
    with suppress(ProviderError):
        unflatten(values)


def test_what_is_wrong_is_said_in_bounded_time_however_often_values_are_shared() -> None:
    levels = [[index + 2, index + 2] for index in range(60)]
    root = unflatten([{"messages": 1}, *levels, "x"])
    with pytest.raises(ProtocolError, match="a conversation without messages"):
        check_messages({"messages": {"shared": root}})
