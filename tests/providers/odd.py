"""Streams that no service would send, and what must hold for them all the same."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from fanout.events import End, Event


def odd_json(names: Sequence[str], words: Sequence[str]) -> st.SearchStrategy[Any]:
    """JSON of any shape, made of a protocol's own names and words, and of half surrogate pairs."""
    return st.recursive(
        st.none() | st.booleans() | st.integers(-1, 200) | st.sampled_from([*words, "\ud83c", "\udf88"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(names), inner, max_size=5),
        max_leaves=20,
    )


def assert_sound(events: list[Event]) -> None:
    """One End, last, and every text can be encoded."""
    assert [type(event) is End for event in events] == [False] * (len(events) - 1) + [True]
    for event in events:
        for name in ("text", "arguments", "id", "name", "raw", "model", "url", "media_type"):
            (getattr(event, name, None) or "").encode()
