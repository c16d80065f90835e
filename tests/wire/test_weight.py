import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanout.wire import weight
from fanout.wire.weight import Weight

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a"\\\\{}[],é'),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text('a"\\\\{,'), inner, max_size=5),
    max_leaves=30,
)


@pytest.fixture(autouse=True)
def count_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight, "LIGHT", 0)


def count(value: Any) -> int:
    """The objects and lists in a value."""
    if isinstance(value, dict):
        return 1 + sum(map(count, value.values()))
    return 1 + sum(map(count, value)) if isinstance(value, list) else 0


@given(JSON, st.integers(1, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_objects_are_counted_however_the_text_is_cut(value: Any, size: int) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    weighed = Weight()
    for at in range(0, len(text), size):
        weighed.add(text[at : at + size])
    assert weighed._objects == count(value)
    assert not weighed.is_open


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        (b'{"a":', True),
        (b'[{"a":"]}', True),
        (b'{"a":"\\', True),
        (b"oops", False),
        (b'{"a":1,}', False),
        (b'"a', False),
    ],
)
def test_a_cut_text_can_be_told_from_a_wrong_one(text: bytes, *, is_open: bool) -> None:
    weighed = Weight()
    weighed.add(text)
    assert weighed.is_open is is_open


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{}" * 11, "objects"),
        (b"[" * 11, "objects"),
        (b"1," * 21, "values"),
        (b'"a"' * 21, "values"),
        (b"\\" * 31, "escapes"),
    ],
)
def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch, text: bytes, said: str) -> None:
    monkeypatch.setattr(weight, "OBJECTS", 10)
    monkeypatch.setattr(weight, "VALUES", 20)
    monkeypatch.setattr(weight, "ESCAPES", 30)
    weighed = Weight()
    weighed.add(text)
    assert said in str(weighed.error)


def test_what_stands_in_a_string_weighs_nothing() -> None:
    weighed = Weight()
    weighed.add(b'{"a":"' + b'{[,\\"' * 1_000_000 + b'"}')
    assert weighed.error is None
    assert (weighed._objects, weighed._values) == (1, 3)


def test_a_light_text_is_counted_only_where_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight, "LIGHT", 10)
    weighed = Weight()
    weighed.add(b'{"a":')
    assert (weighed.is_open, weighed._objects) == (True, 0)
    weighed.add(b"[1],")
    assert weighed._objects == 0
    weighed.add(b'"b":[]}')
    assert (weighed.is_open, weighed._objects) == (False, 3)
