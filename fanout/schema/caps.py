"""The bounds of a schema that somebody else sends."""

from collections.abc import Mapping
from typing import Any

import orjson

from fanout.errors import UsageError

MOST_BYTES = 64 << 10
MOST_LEVELS = 32
MOST_PROPERTIES = 500
"""The bounds of a schema that a client sends."""

NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""The keywords whose value names schemas."""


def check_caps(document: Any) -> None:
    """Raises UsageError for a schema from elsewhere that is beyond the caps, which it names."""
    try:
        size = len(orjson.dumps(document, default=dict))
    except (TypeError, ValueError, RecursionError):
        raise UsageError("a schema is plain JSON data of few levels") from None
    if size > MOST_BYTES:
        raise UsageError(f"a schema may have {MOST_BYTES} bytes ({MOST_BYTES >> 10} KB), and this has {size}")
    if _levels(document) > MOST_LEVELS:
        raise UsageError(f"a schema may be nested {MOST_LEVELS} levels deep, and this is deeper")
    if (count := _count_properties(document)) > MOST_PROPERTIES:
        raise UsageError(f"a schema may have {MOST_PROPERTIES} properties, and this has {count}")


def _levels(document: Any) -> int:
    """The levels of schemas within schemas; what only names or lists them is none."""
    levels, level = 0, [document]
    while level:
        levels += any(isinstance(one, Mapping) for one in level)
        inner: list[Any] = []
        for one in level:
            if isinstance(one, Mapping):
                for key, value in one.items():
                    named = key in NAMED and isinstance(value, Mapping)
                    inner += value.values() if named else value if isinstance(value, list) else [value]
            elif isinstance(one, list):
                inner += one
        level = [one for one in inner if isinstance(one, Mapping | list)]
        if levels > MOST_LEVELS:
            break
    return levels


def _count_properties(document: Any) -> int:
    count, todo = 0, [document]
    while todo:
        one = todo.pop()
        if isinstance(one, Mapping):
            count += len(one["properties"]) if isinstance(one.get("properties"), Mapping) else 0
            todo += one.values()
        elif isinstance(one, list):
            todo += one
    return count
