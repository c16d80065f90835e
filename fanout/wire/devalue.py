"""Devalue, in which SvelteKit writes the data of a page: a flat list of values that refer to each other by index.

In `[{"messages":1},[2],{"id":3},"a-1"]` element 0 is the root, and every number inside an object or a list is the index
of a value; negative ones stand for values that JSON has no words for. A list that begins with a text is a value of a
type that JSON does not have: `["Date","2026-01-01T00:00:00.000Z"]`.
"""

from collections.abc import Callable, Sequence
from math import inf, nan
from typing import Any

from fanout.errors import ProtocolError, RedirectRefused
from fanout.wire.json_text import JsonText, excerpt, show

MAX_DEPTH = 64
"""Values within one another."""

# Undefined, a hole in a list, NaN, both infinities, and zero with a sign.
_SPECIAL: dict[int, Any] = {-1: None, -2: None, -3: nan, -4: inf, -5: -inf, -6: -0.0}
_LEAST = min(_SPECIAL)
_BARE = ("Date", "BigInt", "RegExp", "Promise")  # types whose values refer to no others


def page_nodes(body: bytes) -> list[Any]:
    """The nodes of a `__data.json`: one for each layout and one for the page, None where the server has none.

    What follows the first line are values that the server promised to send later. Raises ProtocolError for what is no
    such answer, and RedirectRefused if the page redirects.
    """
    line = body.decode("utf-8", "replace").lstrip().partition("\n")[0]
    match JsonText().decode(line):
        case {"type": "data", "nodes": list(nodes)}:
            return nodes
        case {"type": "redirect"}:
            raise RedirectRefused("the page redirects, which is not followed")
    raise ProtocolError(f"no data of a page: {excerpt(line)}")


def unflatten(values: Any) -> Any:
    """The root of flattened values, made of JSON's types.

    A Date is its text, a Set a list, a Map a dict, a BigInt an int, a RegExp its source, a Promise None, and a type of
    the application's own what it is made of. A value that several others refer to is one object. Raises ProtocolError
    for values that are not flattened so, refer to themselves, or lie deeper than `MAX_DEPTH`.
    """
    if type(values) is int:
        return _special(values)
    if not isinstance(values, list) or not values:
        raise ProtocolError(f"no flattened values: {show(values)}")
    made: dict[int, Any] = {}
    path: set[int] = set()
    pending = [0]
    while pending:
        index = pending[-1]
        if index in made:  # two values referred to it before it was made
            pending.pop()
        elif index in path:
            made[index] = _make(values[index], made)
            path.remove(index)
            pending.pop()
        else:
            path.add(index)
            if len(path) > MAX_DEPTH:
                raise ProtocolError(f"flattened values of more than {MAX_DEPTH} levels")
            inner = [i for i in _references(values[index], len(values)) if i >= 0 and i not in made]
            if not path.isdisjoint(inner):
                raise ProtocolError("a flattened value that holds itself")
            pending += inner
    return made[0]


def _references(value: Any, count: int) -> list[int]:
    """The indices that a value refers to, all of them in range."""
    match value:
        case dict():
            found = list(value.values())
        case [str(tag), *rest]:
            found = _references_of(tag, rest)
        case list():
            found = value
        case _:
            return []
    for index in found:
        if type(index) is not int or not (_LEAST <= index < count):
            raise ProtocolError(f"{show(index)} is the index of no flattened value; there are {count}")
    return found


def _references_of(tag: str, rest: Sequence[Any]) -> list[Any]:
    if tag in _BARE:
        return []
    if tag == "null":
        return list(rest[1::2])
    if tag in ("Set", "Map") or len(rest) == 1:
        return list(rest)
    raise ProtocolError(f"a flattened value of the unknown type {excerpt(tag)}")


def _make(value: Any, made: dict[int, Any]) -> Any:
    """A value whose references have all been made."""

    def at(index: int) -> Any:
        return _special(index) if index < 0 else made[index]

    match value:
        case dict():
            return {name: at(index) for name, index in value.items()}
        case [str(tag), *rest]:
            return _make_of(tag, rest, at)
        case list():
            return [at(index) for index in value]
    return value


def _make_of(tag: str, rest: Sequence[Any], at: Callable[[int], Any]) -> Any:
    match tag, rest:
        case "Date", [str(text)]:
            return text
        case "BigInt", [str(digits)]:
            return _integer(digits)
        case "RegExp", [str(source), *_]:
            return source
        case "Promise", _:
            return None
        case "Set", _:
            return [at(index) for index in rest]
        case "Map", _ if len(rest) % 2 == 0:
            return _dict([at(key) for key in rest[::2]], rest[1::2], at)
        case "null", _ if len(rest) % 2 == 0:
            return _dict(rest[::2], rest[1::2], at)
        case _, [int(index)] if tag not in (*_BARE, "Map"):
            return at(index)
    raise ProtocolError(f"a flattened {tag} of {show(rest)}")


def _dict(names: Sequence[Any], indices: Sequence[int], at: Callable[[int], Any]) -> dict[Any, Any]:
    try:
        return {name: at(index) for name, index in zip(names, indices, strict=True)}
    except TypeError:
        raise ProtocolError("a flattened Map whose keys are objects") from None


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        raise ProtocolError(f"a flattened BigInt of {excerpt(digits)}") from None


def _special(number: int) -> Any:
    if number not in _SPECIAL:
        raise ProtocolError(f"no flattened value is {number}")
    return _SPECIAL[number]
