"""Early refusal: finds in the beginning of an answer what no further text can mend.

Only that is judged which is certain: kinds of values, values that are finished, and what there is too much of. What is
unfinished, or still missing, may come; where a schema is not understood it passes. So nothing is refused here that the
whole validator would take.
"""

from collections.abc import Callable, Mapping
from json import JSONDecoder
from typing import Any

from attrs import define

from fanout.schema.cost import follow_pointer
from fanout.schema.partial import parse
from fanout.schema.text import FENCE, SPACE, cut_line

EVERY = 32
"""Pieces of text after which the beginning is looked at again; later half of all, and then all: the cost is linear."""

LONG = 4096
"""Pieces of a long text."""

LONGEST_FENCE = 80
"""Characters within which the first line of a fence ends."""

DEEPEST = 64
"""Levels, and references one after the other, that are followed."""

MOST_VISITS = 50_000
"""Values that are judged in one look."""

_NUMBERS: Mapping[str, Any] = dict.fromkeys("-0123456789", 0)
STARTS: Mapping[str, Any] = {"{": {}, "[": [], '"': "", "t": True, "f": False, "n": None, **_NUMBERS}
"""The characters with which a JSON value begins, and a value of that kind."""

OF_SCALARS = (
    *("type", "enum", "const", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "multipleOf"),
    *("maxLength", "minLength", "pattern", "format"),
)
Mistake = tuple[str, str]

_DRAFTS_BEFORE_2019 = ("draft-03", "draft-04", "draft-06", "draft-07")
_KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null", int: "number"}
_PLAIN = {str: "string", float: "number", bool: "boolean"}
_WHOLE = JSONDecoder()

Fits = Callable[[Any], bool]
"""Tells whether a finished scalar fits."""


@define
class Prefix:
    """The beginning of one answer."""

    outlook: "Outlook"
    left: int = 1
    """Pieces of text until the next look; whoever brings them counts down."""
    _due: int = 1
    _pieces: int = 0
    _begun: bool = False

    def look(self, text: str) -> Mistake | None:
        """Returns what no further text can mend of the text so far, and says in `left` when to look again."""
        self._pieces += self._due - self.left
        mistake = self._look(text)
        self._due = self.left
        return mistake

    def _look(self, text: str) -> Mistake | None:
        self.left = 1
        text = text.lstrip(SPACE)
        fence = FENCE.match(text)
        body = text[fence.end() :].lstrip(SPACE) if fence else text
        if not body or (fence is None and "```".startswith(body[:3]) and len(body) < LONGEST_FENCE):
            return None  # nothing has begun, or perhaps a fence
        if not self._begun:
            self._begun = True
            if mistake := self.outlook.judge_start(body):
                return mistake
        self.left = max(EVERY, self._pieces // (2 if self._pieces < LONG else 1))
        if self._pieces < EVERY:
            self.left = EVERY - self._pieces
            return None
        return self.outlook.judge_text(body, fenced=fence is not None)


class Outlook:
    """The judge of beginnings under one schema, `document`.

    `make_fits` makes of a schema that has OF_SCALARS alone the validator's word on a finished scalar.
    """

    def __init__(self, document: Any, make_fits: Callable[[dict[str, Any]], Fits]) -> None:
        self._document = document
        self._make_fits = make_fits
        self._fits: dict[int, Fits | None] = {}  # by the identity of a part of the document
        self._visits = 0
        dialect = document.get("$schema") if isinstance(document, Mapping) else None
        self._dialect = {"$schema": dialect} if isinstance(dialect, str) else {}
        self._old = any(name in str(dialect) for name in _DRAFTS_BEFORE_2019)
        self._sure = not _has_own_names(document)

    def starts(self) -> str:
        """Returns the characters with which a value that fits may begin."""
        return "".join(start for start in STARTS if self.judge_start(start) is None)

    def judge_start(self, body: str) -> Mistake | None:
        """Judges the first character of a value, which tells its kind."""
        start = body[0]
        if start not in STARTS:
            return "", f"it is not JSON: it begins with {cut_line(body, 40)!r}"
        return self._judge(STARTS[start], is_open=start not in "tfn")  # of true, false and null the first says all

    def judge_text(self, body: str, *, fenced: bool) -> Mistake | None:
        """Judges the beginning of a value; if it is `fenced`, more backticks may follow it."""
        try:
            value = parse(body)
        except ValueError as error:
            return "", f"it is not JSON: {cut_line(str(error), 80)}"
        if not isinstance(value, dict | list):
            return None  # a scalar may go on as long as there is text
        try:
            end = _WHOLE.raw_decode(body)[1]
        except (ValueError, RecursionError):
            end = len(body)
        rest = body[end:].strip(SPACE)
        if rest and not (fenced and not rest.strip("`")):
            return "", f"there is text after the JSON value: {cut_line(rest, 40)!r}"
        return self._judge(value, is_open=True)

    def _judge(self, value: Any, *, is_open: bool) -> Mistake | None:
        self._visits = 0
        return self._find(self._document, value, is_open, "", 0) if self._sure else None

    def _find(self, schema: Any, value: Any, is_open: bool, path: str, depth: int) -> Mistake | None:
        """Returns what is wrong for good with a value, of which more may come if it `is_open`."""
        self._visits += 1
        if not isinstance(schema, Mapping) or depth > DEEPEST or self._visits > MOST_VISITS:
            return None
        if isinstance(ref := schema.get("$ref"), str):
            target = follow_pointer(self._document, ref[1:]) if ref == "#" or ref.startswith("#/") else None
            if mistake := self._find(target, value, is_open, path, depth + 1):
                return mistake
            if self._old:  # what stands beside a reference counts for nothing
                return None
        kind = type(value)
        if kind is dict or kind is list:
            mistake = _judge_kind(schema, kind, path) or (
                self._find_in_object(schema, value, is_open, path, depth)
                if kind is dict
                else self._find_in_array(schema, value, is_open, path, depth)
            )
        else:
            mistake = _judge_kind(schema, kind, path) if is_open else self._judge_scalar(schema, value, path)
        return mistake or self._find_in_branches(schema, value, is_open, path, depth)

    def _judge_scalar(self, schema: Mapping[str, Any], value: Any, path: str) -> Mistake | None:
        if len(schema) == 1 and schema.get("type") == _PLAIN.get(type(value), _PLAIN):
            return None  # the commonest, and no work for the validator
        try:
            fits = self._fits[id(schema)]
        except KeyError:
            own = {name: schema[name] for name in OF_SCALARS if name in schema}
            fits = self._fits[id(schema)] = self._make_fits({**self._dialect, **own}) if own else None
        if fits is None or fits(value):
            return None
        return (
            path,
            f"{cut_line(repr(value), 60)} does not fit its {' and '.join(n for n in OF_SCALARS if n in schema)}",
        )

    def _find_in_object(
        self, schema: Mapping[str, Any], value: dict[str, Any], is_open: bool, path: str, depth: int
    ) -> Mistake | None:
        most = schema.get("maxProperties")
        if type(most) is int and len(value) > most:
            return path, f"it has more than {most} properties"
        named = schema.get("properties")
        named = named if isinstance(named, Mapping) else {}
        others = None if schema.get("patternProperties") else schema.get("additionalProperties")
        last = next(reversed(value)) if is_open and value else None
        for name, inner in value.items():
            if name in named:
                found = named[name]
            elif others is False:
                return path, f"additional properties are not allowed ({cut_line(name, 40)!r} was unexpected)"
            else:
                found = others
            if isinstance(found, Mapping) and (
                mistake := self._find(found, inner, name == last, f"{path}/{_escape(name)}", depth + 1)
            ):
                return mistake
        return None

    def _find_in_array(
        self, schema: Mapping[str, Any], value: list[Any], is_open: bool, path: str, depth: int
    ) -> Mistake | None:
        most = schema.get("maxItems")
        if type(most) is int and len(value) > most:
            return path, f"it has more than {most} items"
        first, others = schema.get("prefixItems", ()), schema.get("items")
        if self._old or not isinstance(first, list | tuple) or isinstance(others, list):
            first, others = (), None if isinstance(others, list) else others
        for number, inner in enumerate(value):
            found = first[number] if number < len(first) else others
            last = is_open and number == len(value) - 1
            if isinstance(found, Mapping) and (
                mistake := self._find(found, inner, last, f"{path}/{number}", depth + 1)
            ):
                return mistake
        return None

    def _find_in_branches(
        self, schema: Mapping[str, Any], value: Any, is_open: bool, path: str, depth: int
    ) -> Mistake | None:
        """Every part of allOf must fit, and one of anyOf and of oneOf."""
        every = schema.get("allOf")
        for inner in every if isinstance(every, list) else ():
            if mistake := self._find(inner, value, is_open, path, depth + 1):
                return mistake
        for name in ("anyOf", "oneOf"):
            some = schema.get(name)
            if isinstance(some, list) and some:
                mistakes = []
                for inner in some:
                    if (mistake := self._find(inner, value, is_open, path, depth + 1)) is None:
                        break
                    mistakes.append(mistake)
                else:
                    return mistakes[0]
        return None


def _judge_kind(schema: Mapping[str, Any], kind: type, path: str) -> Mistake | None:
    """Judges the kind of a value that has begun: of what was begun as an object nothing else comes."""
    kinds = schema.get("type")
    if isinstance(kinds, str):
        kinds = (kinds,)
    name = _KINDS.get(kind, "number")
    if not isinstance(kinds, list | tuple) or name in kinds or (name == "number" and "integer" in kinds):
        return None
    return path, f"it is of type {name}, and should be {cut_line(' or '.join(map(str, kinds)), 60)}"


def _escape(name: str) -> str:
    return cut_line(name, 40).replace("~", "~0").replace("/", "~1")


def _has_own_names(document: Any) -> bool:
    """True if a part of a schema may have an address or dialect of its own, from which its references count."""
    todo = list(document.values()) if isinstance(document, Mapping) else []
    while todo:
        one = todo.pop()
        if isinstance(one, Mapping):
            if not one.keys().isdisjoint(("$id", "id", "$schema")) and _is_schema_name(one):
                return True
            todo += one.values()
        elif isinstance(one, list):
            todo += one
    return False


def _is_schema_name(one: Mapping[str, Any]) -> bool:
    """True if one of these is a name, and not a property's schema."""
    return any(isinstance(one.get(key), str) for key in ("$id", "id", "$schema"))
