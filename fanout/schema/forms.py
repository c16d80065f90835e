"""The forms in which callers say what an answer must be: to a JSON schema, and to what makes their value of JSON."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fanout.errors import UsageError
from fanout.schema.annotations import is_record, schema_of
from fanout.schema.text import NotJson, cut_line, read

Load = Callable[[Any, str], Any]
"""Makes the caller's value of the parsed one and its text. A ValueError of it refuses the answer."""

LARGEST_FILE = 1 << 20
"""Bytes of a file with a schema."""

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_NAMES = {**_TYPES, **{name: name for name in _TYPES.values()}}
_FIELD = re.compile(r"([A-Za-z_][\w-]*)(?:\s+(\w+(?:\[\w+\])?))?(?:\s*:\s*(.*))?", re.DOTALL)
_TYPE = re.compile(r"(?:list\[(\w+)\]|(\w+))")


def read_form(given: Any) -> tuple[Any, Load]:
    """Returns the JSON schema of a form, and its loader. Raises UsageError for anything else.

    A form is a schema as a dict, a class with `model_json_schema` and `model_validate_json` as pydantic's have them, a
    TypedDict, an attrs class or dataclass, or llm's short form: `name: str, age: int`.
    """
    if isinstance(given, Mapping):
        return dict(given), _keep
    if isinstance(given, str):
        return read_short_form(given), _keep
    if isinstance(given, type) and hasattr(given, "model_json_schema") and hasattr(given, "model_validate_json"):
        return given.model_json_schema(), lambda _, text: given.model_validate_json(text)
    if is_record(given):
        return schema_of(given), _make_loader(given)
    raise UsageError(
        "schema takes a JSON schema as a dict, a class of pydantic's, a TypedDict, an attrs class or dataclass, or "
        f"'name: str, age: int', not {given!r:.80}"
    )


def read_given(text: str, base: Path | None = None) -> Any:
    """Returns the schema that a text names: a file, seen from `base`, or the short form. Raises UsageError."""
    path = (base or Path()) / Path(text).expanduser() if is_file_name(text) else None
    if path is None:
        return read_short_form(text)
    return read_file(path)


def is_file_name(text: str) -> bool:
    """True if a text is meant as the name of a file: the short form has neither a slash nor such an ending."""
    return text.endswith(".json") or (("/" in text or "\\" in text) and ":" not in text)


def read_file(path: Path) -> Any:
    """Returns the schema in a file. Raises UsageError, which names it."""
    try:
        if not path.is_file():  # a FIFO or device might never end
            raise UsageError(f"{path}: there is no such file with a schema")
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise UsageError(f"{path}: a schema's file may have {LARGEST_FILE} bytes")
        found = read(data.decode("utf-8-sig").strip())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: this is not text in UTF-8") from None
    except NotJson as error:
        raise UsageError(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: a schema is a JSON object, and this is {cut_line(repr(found), 40)}")
    return found


def read_short_form(text: str) -> dict[str, Any]:
    """Returns the schema of `name: str, age: int`. Raises UsageError.

    Types are str, int, float, bool, and list[…] of them; without one it is str. As in llm, `age int` is the same, and
    what follows a colon and is no type describes the field: `age int: in years`. Lines stand for commas.
    """
    properties: dict[str, Any] = {}
    for part in re.split(r"\n" if "\n" in text.strip() else ",", text):
        if not part.strip():
            continue
        match = _FIELD.fullmatch(part.strip())
        if match is None:
            raise UsageError(f"the schema's {cut_line(part.strip(), 40)!r} is no field; write 'name: str, age: int'")
        name, kind, about = match[1], match[2], (match[3] or "").strip()
        if kind is None and _type_of(about):
            kind, about = about, ""
        found = _type_of(kind or "str")
        if found is None:
            known = ", ".join(_TYPES)
            raise UsageError(f"the schema's {name} has no type {cut_line(kind, 40)!r}; there are {known}, and list[…]")
        if name in properties:
            raise UsageError(f"the schema's {name} stands there twice")
        properties[name] = {**found, **({"description": about} if about else {})}
    if not properties:
        raise UsageError("the schema is empty; write 'name: str, age: int', or name a file that ends with .json")
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def _type_of(word: str) -> dict[str, Any] | None:
    match = _TYPE.fullmatch(word)
    if match is None or (match[1] or match[2]) not in _NAMES:
        return None
    inner = {"type": _NAMES[match[1] or match[2]]}
    return {"type": "array", "items": inner} if match[1] else inner


def _keep(value: Any, _: str) -> Any:
    return value


@cache
def _converter() -> Any:
    from cattrs import Converter  # noqa: PLC0415  # takes longer than all else here
    from cattrs.strategies import configure_union_passthrough  # noqa: PLC0415

    converter = Converter(detailed_validation=False)  # so that a validator's ValueError comes out as it is
    configure_union_passthrough(str | int | float | bool | None, converter)
    return converter


def _make_loader(kind: type) -> Load:
    converter = _converter()
    try:
        converter.get_structure_hook(kind)
    except Exception as error:  # noqa: BLE001  # cattrs has many words for a type that it cannot make
        raise UsageError(f"{kind.__name__}: cattrs cannot make one of JSON: {cut_line(str(error), 120)}") from None
    return lambda value, _: converter.structure(value, kind)
