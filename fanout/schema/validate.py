"""The one door to jsonschema-rs: compiles a schema once, fetches nothing, and says where a value does not fit.

Without `offline` jsonschema-rs would fetch the addresses and read the files that a `$ref` names, on behalf of whoever
sent the schema.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from itertools import islice
from types import ModuleType
from typing import Any

import orjson
from attrs import frozen

from fanout.errors import UsageError
from fanout.schema.caps import NAMED
from fanout.schema.cost import MOST_DEPTH, Weigher, depth_of
from fanout.schema.prefixes import Outlook
from fanout.schema.text import cut_line

Mistake = tuple[str, str]
"""A place in a value as a JSON pointer (RFC 6901), empty for the whole, and what is wrong there, in one line."""

KEPT = 256
"""Compiled schemas that are kept; the one that was not used for longest goes first."""

MOST_MISTAKES = 20
"""Mistakes of one value that are told."""

SEARCHED = 20_000
"""Checks after which only the first mistake is told: to make a million of them takes twenty seconds."""

BUDGET = 50_000_000
"""Checks that one value may cost, some seconds; they are about 20 ns each."""

LARGEST = 2**53 - 1
"""The largest integer that every program reads as it was written (RFC 8259, section 6)."""

_MASK = "\x1a"
_VALUES = ("enum", "const", "default", "examples", "not", "if")
"""The keywords below which no integer is bounded: values, and schemas that must not fit."""


@cache
def load_library() -> ModuleType:
    """Imports jsonschema-rs. Raises UsageError where it is not installed."""
    try:
        import jsonschema_rs  # noqa: PLC0415  # of an extra, and needed where there is a schema
    except ImportError:
        raise UsageError("a schema needs jsonschema-rs and jiter: pip install 'fanout-llm[schema]'") from None
    return jsonschema_rs


def is_installed() -> bool:
    """True if schemas can be used."""
    try:
        load_library()
    except UsageError:
        return False
    return True


@frozen(eq=False)
class Validator:
    """A compiled schema. `document` is the schema as it judges: integers have bounds; `outlook` looks ahead."""

    document: Any
    outlook: Outlook
    _compiled: Any
    _weigher: Weigher

    def fits(self, value: Any) -> bool:
        """True if the value, which is small, fits."""
        fits: bool = self._compiled.is_valid(value)
        return fits

    def find_mistakes(self, value: Any, size: int) -> list[Mistake]:
        """Returns what is wrong with a value, at most MOST_MISTAKES of it; `size` is the length of its text."""
        try:
            return list(islice(self._find(value, size), MOST_MISTAKES))
        except UnicodeEncodeError:
            return [("", "it has half a surrogate pair")]
        except RecursionError:
            return [("", "it is nested too deeply")]

    def _find(self, value: Any, size: int) -> Iterator[Mistake]:
        checks = self._weigher.weigh(MOST_DEPTH) * size
        if size > 2 * MOST_DEPTH:  # each level has two brackets
            depth = depth_of(value)
            if depth > MOST_DEPTH:
                yield "", f"it is nested deeper than {MOST_DEPTH} levels"
                return
            checks = self._weigher.weigh(depth) * size
        if checks > BUDGET:
            yield "", "it is too large and deep to be checked against a schema that refers to itself in so many ways"
        elif checks < SEARCHED:
            yield from map(_tell, self._compiled.iter_errors(value))
        elif not self._compiled.is_valid(value):
            try:
                self._compiled.validate(value)
            except load_library().ValidationError as first:
                yield _tell(first)


def _tell(error: Any) -> Mistake:
    path = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in error.instance_path)
    words = error.message[: 40 * MOST_MISTAKES]
    if _MASK in words:
        words = words.replace(_MASK, _show(error.instance))
    return cut_line(path), cut_line(words)


def _show(value: Any) -> str:
    """The value in a few words; of an object or array only that it is one."""
    if isinstance(value, dict | list):
        return "this object" if isinstance(value, dict) else "this array"
    return cut_line(orjson.dumps(value[:60] if isinstance(value, str) else value, default=str).decode(), 60)


_kept: OrderedDict[bytes, Validator] = OrderedDict()


def compile_schema(document: Any) -> Validator:
    """Returns the validator of a schema, compiled once. Raises UsageError for what is no schema."""
    try:
        name = sha256(orjson.dumps(document, default=dict)).digest()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"a schema is plain JSON data: {cut_line(str(error))}") from None
    if (found := _kept.get(name)) is None:
        found = _compile(document)
        if len(_kept) >= KEPT:
            _kept.popitem(last=False)
        _kept[name] = found
    _kept.move_to_end(name)
    return found


def _compile(document: Any) -> Validator:
    library = load_library()
    weigher = Weigher(document)
    if weigher.weigh(0) * MOST_DEPTH > BUDGET:
        raise UsageError("the schema refers to itself in so many ways that no value could be checked against it")
    judging = _bound_integers(document)
    try:
        compiled = library.validator_for(judging, validate_formats=True, offline=True, mask=_MASK)
    except (library.ValidationError, library.ReferencingError, ValueError, TypeError) as error:
        words = cut_line(str(getattr(error, "message", error)).replace(_MASK, "a part"))
        raise UsageError(f"this is no JSON schema that can be used, and nothing is fetched for one: {words}") from None
    return Validator(judging, Outlook(judging, lambda own: compile_schema(own).fits), compiled, weigher)


def _bound_integers(schema: Any) -> Any:
    """Returns the schema with bounds wherever it asks for an integer."""
    if isinstance(schema, Mapping):
        made = {
            key: dict(value)
            if key in _VALUES and isinstance(value, Mapping)
            else value
            if key in _VALUES
            else {name: _bound_integers(inner) for name, inner in value.items()}
            if key in NAMED and isinstance(value, Mapping)
            else _bound_integers(value)
            for key, value in schema.items()
        }
        kinds = schema.get("type")
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if isinstance(kinds, list) and "integer" in kinds and "number" not in kinds:
            bounds = {"minimum": -LARGEST, "maximum": LARGEST}
            for name, bound in bounds.items():
                given = made.get(name)
                if not isinstance(given, int | float) or abs(given) > LARGEST:
                    made[name] = bound
        return made
    if isinstance(schema, list | tuple):
        return [_bound_integers(inner) for inner in schema]
    return schema
