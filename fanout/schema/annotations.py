"""Python's types to JSON schemas: TypedDicts, attrs classes and dataclasses, and the values that JSON can hold."""

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import attrs

from fanout.errors import UsageError

_PLAIN: Mapping[Any, Mapping[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    None: {"type": "null"},
    Any: {},
    object: {},
    dict: {"type": "object"},
    list: {"type": "array"},
}
_LISTS = (list, tuple, Sequence, set, frozenset)


def is_record(kind: Any) -> bool:
    """True for a class whose fields are known: a TypedDict, an attrs class or a dataclass."""
    return isinstance(kind, type) and (is_typeddict(kind) or attrs.has(kind) or dataclasses.is_dataclass(kind))


def schema_of(kind: type) -> dict[str, Any]:
    """Returns the JSON schema of a record. Raises UsageError for a type in it that JSON has no value of."""
    records: dict[str, Any] = {}
    root = _of(kind, records, {}, kind.__name__)
    return {**root, **({"$defs": records} if records else {})}


def _of(kind: Any, records: dict[str, Any], names: dict[Any, str], place: str) -> dict[str, Any]:
    """The schema of one type; records go by name into `records`, so that they may contain themselves."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Annotated, Required, NotRequired):
        return _of(arguments[0], records, names, place)
    if is_record(kind):
        if kind not in names:
            names[kind] = name = _name_for(kind, records)
            records[name] = {}
            records[name] = _of_record(kind, records, names)
        return {"$ref": f"#/$defs/{names[kind]}"}
    try:
        plain = _PLAIN.get(kind)
    except TypeError:
        plain = None
    if plain is not None:
        return dict(plain)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, UnionType):
        return {"anyOf": [_of(one, records, names, place) for one in arguments]}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    if origin in _LISTS:
        return _of_list(origin, arguments, records, names, place)
    if origin in (dict, Mapping) and arguments[:1] == (str,):
        return {"type": "object", "additionalProperties": _of(arguments[1], records, names, place)}
    raise UsageError(f"{place}: JSON has no value for {kind!r:.80}; use str, int, float, bool, list, dict or a class")


def _of_list(
    origin: Any, arguments: tuple[Any, ...], records: dict[str, Any], names: dict[Any, str], place: str
) -> dict[str, Any]:
    if origin is tuple and arguments[1:] != (...,):
        first = [_of(one, records, names, place) for one in arguments]
        return {"type": "array", "prefixItems": first, "minItems": len(first), "maxItems": len(first)}
    made: dict[str, Any] = {"type": "array", "items": _of(arguments[0], records, names, place)}
    return {**made, "uniqueItems": True} if origin in (set, frozenset) else made


def _of_record(kind: Any, records: dict[str, Any], names: dict[Any, str]) -> dict[str, Any]:
    try:
        if attrs.has(kind):
            attrs.resolve_types(kind)  # for cattrs, too, which takes them from the class
        hints = get_type_hints(kind, include_extras=True)
    except (NameError, TypeError) as error:
        raise UsageError(f"{kind.__name__}: its annotations cannot be read: {error}") from None
    needed = _needed(kind)
    fields = [name for name in hints if name in _fields_of(kind)]
    properties = {name: _of(hints[name], records, names, f"{kind.__name__}.{name}") for name in fields}
    made: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if needed:
        made["required"] = [name for name in fields if name in needed]
    return made


def _fields_of(kind: Any) -> set[str]:
    """Returns the names of a record's fields, those that it inherits among them."""
    if is_typeddict(kind):
        return {*kind.__required_keys__, *kind.__optional_keys__}
    if attrs.has(kind):
        return {one.name for one in attrs.fields(kind) if one.init}
    return {one.name for one in dataclasses.fields(kind) if one.init}


def _needed(kind: Any) -> set[str]:
    if is_typeddict(kind):
        return {*kind.__required_keys__}
    if attrs.has(kind):
        return {one.name for one in attrs.fields(kind) if one.init and one.default is attrs.NOTHING}
    missing = dataclasses.MISSING
    return {
        o.name for o in dataclasses.fields(kind) if o.init and o.default is missing and o.default_factory is missing
    }


def _name_for(kind: type, records: Mapping[str, Any]) -> str:
    name, number = kind.__name__, 1
    while name in records:
        number += 1
        name = f"{kind.__name__}{number}"
    return name
