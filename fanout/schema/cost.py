"""The checks that a schema may cost: one that refers to itself twice over doubles them with every level of a value."""

from collections.abc import Iterable, Mapping
from typing import Any

MOST_DEPTH = 200
"""Levels that a value may have."""

MOST_NODES = 30_000
"""Schemas within a schema that are weighed: more than a client's may have."""

CEILING = 1e12

_HERE_ONE = ("not", "if", "then", "else", "contentSchema")
_HERE_MANY = ("allOf", "anyOf", "oneOf")
_HERE_NAMED = ("dependentSchemas", "dependencies")
_ANY_MEMBER = ("additionalProperties", "unevaluatedProperties")
_ANY_ITEM = ("items", "contains", "unevaluatedItems", "additionalItems")


class Weigher:
    """Bounds how often schemas are applied along one way down a value, from its root to a depth.

    A value of n parts costs at most n times that. Schemas that stand at different names, or one for objects and one for
    arrays, are never applied to the same part, so the largest counts; those that stand at the same place add up.
    """

    def __init__(self, document: Any) -> None:
        self._root = document
        self._anchors: dict[str, list[Any]] = {}
        self._size = self._scan(document)
        self._levels: list[float] = []
        self._nodes: dict[int, Any] = {}

    def weigh(self, depth: int) -> float:
        """Returns the bound for values of this depth, or of MOST_DEPTH where that is less."""
        if not self._levels:
            self._weigh_all()
        return self._levels[min(depth, len(self._levels) - 1)]

    def _weigh_all(self) -> None:
        """Goes down level by level with the number of times that each schema is applied at one place."""
        if self._size > MOST_NODES:  # nobody's but the caller's own: a client's is smaller
            self._levels.append(1.0)
            return
        counts: dict[int, float] = {id(self._root): 1.0}
        before: dict[int, float] = {}
        self._nodes[id(self._root)] = self._root
        total = step = 0.0
        while counts and total < CEILING and len(self._levels) <= MOST_DEPTH:
            if counts != before:  # otherwise this level is as the one above
                here = self._close(counts)
                step = sum(count * _weight_of(self._nodes[node]) for node, count in here.items())
                before, counts = counts, self._below(here)
            total = min(CEILING, total + step)
            self._levels.append(total)

    def _close(self, counts: Mapping[int, float]) -> dict[int, float]:
        """Adds the schemas that are applied at the same place; a schema that comes back to itself there is cut off."""
        here: dict[int, float] = {}
        order: list[int] = []
        seen: set[int] = set()
        stack = [(node, False) for node in counts]
        while stack:  # depth first, so that each comes after all that apply it
            node, left = stack.pop()
            if left:
                order.append(node)
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                for inner in self._here(self._nodes[node]):
                    self._nodes[id(inner)] = inner
                    stack.append((id(inner), False))
        here.update(counts)
        for node in reversed(order):
            for inner in self._here(self._nodes[node]):
                here[id(inner)] = min(CEILING, here.get(id(inner), 0.0) + here.get(node, 0.0))
        return here

    def _here(self, schema: Any) -> list[Any]:
        if not isinstance(schema, Mapping):
            return []
        inner = [schema[key] for key in _HERE_ONE if key in schema]
        for key in _HERE_MANY:
            inner += schema[key] if isinstance(schema.get(key), list) else []
        for key in _HERE_NAMED:
            inner += schema[key].values() if isinstance(schema.get(key), Mapping) else []
        for key in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(ref := schema.get(key), str):
                inner += self._follow(ref)
        return [one for one in inner if isinstance(one, Mapping)]

    def _follow(self, ref: str) -> list[Any]:
        base, _, fragment = ref.partition("#")
        if base:  # of an embedded schema, or of nobody
            return self._anchors.get(base.rpartition("/")[2], [])
        if fragment.startswith("/") or not fragment:
            found = follow_pointer(self._root, fragment)
            return [found] if isinstance(found, Mapping) else []
        return self._anchors.get(fragment, [])

    def _below(self, here: Mapping[int, float]) -> dict[int, float]:
        """The schemas at the costliest place one level down."""
        names: dict[str, dict[int, float]] = {}
        any_member: dict[int, float] = {}
        any_item: dict[int, float] = {}
        for node, count in here.items():
            schema = self._nodes[node]
            if not isinstance(schema, Mapping):
                continue
            named = schema.get("properties")
            for name, inner in named.items() if isinstance(named, Mapping) else ():
                self._add(names.setdefault(name, {}), [inner], count)
            patterns = schema.get("patternProperties")
            self._add(any_member, patterns.values() if isinstance(patterns, Mapping) else (), count)
            self._add(any_member, [schema[key] for key in _ANY_MEMBER if key in schema], count)
            items = [schema[key] for key in _ANY_ITEM if key in schema]
            self._add(any_item, [one for one in items if not isinstance(one, list)], count)
            for several in (schema.get("prefixItems"), schema.get("items")):
                self._add(any_item, several if isinstance(several, list) else (), count)
        ways = [any_item, *(_sum(found, any_member) for found in names.values())] if names else [any_item, any_member]
        return max(ways, key=self._weight_of_all)

    def _weight_of_all(self, way: Mapping[int, float]) -> float:
        return sum(way.values())

    def _add(self, to: dict[int, float], schemas: Iterable[Any], count: float) -> None:
        for schema in schemas:
            if isinstance(schema, Mapping):
                self._nodes[id(schema)] = schema
                to[id(schema)] = min(CEILING, to.get(id(schema), 0.0) + count)

    def _scan(self, document: Any) -> int:
        """Counts the schemas, and finds the names that a reference may use."""
        count, todo = 0, [document]
        while todo and count <= MOST_NODES:
            one = todo.pop()
            if isinstance(one, Mapping):
                count += 1
                for key in ("$anchor", "$dynamicAnchor", "$id", "id"):
                    if isinstance(name := one.get(key), str):
                        self._anchors.setdefault(name.rpartition("/")[2].lstrip("#"), []).append(one)
                todo += one.values()
            elif isinstance(one, list):
                todo += one
        return count


def _sum(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    return {node: one.get(node, 0.0) + other.get(node, 0.0) for node in {**one, **other}}


def _weight_of(schema: Any) -> float:
    if not isinstance(schema, Mapping):
        return 1.0
    options = schema.get("enum")
    return 1.0 + (len(options) / 16 if isinstance(options, list) else 0.0)


def follow_pointer(document: Any, fragment: str) -> Any:
    """Returns the part of a document that a JSON pointer names, percent-encoded as in a reference; None without one."""
    from urllib.parse import unquote  # noqa: PLC0415  # few schemas refer to anything

    for part in unquote(fragment).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, Mapping):
            document = document.get(key)
        elif isinstance(document, list) and key.isdecimal() and len(key) < 7 and int(key) < len(document):
            document = document[int(key)]
        else:
            return None
    return document


def depth_of(value: Any) -> int:
    """Returns the levels of a value, at most one more than MOST_DEPTH."""
    level, depth = [value], 0
    while depth <= MOST_DEPTH:
        level = [
            inner
            for one in level
            if type(one) in (dict, list)
            for inner in (one.values() if type(one) is dict else one)
            if type(inner) in (dict, list)
        ]
        depth += 1
        if not level:
            break
    return depth
