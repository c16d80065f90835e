"""JSON as it comes in streams: decoded strictly, and its surrogate pairs made whole.

orjson decodes nearly everything, and refuses lone surrogates and integers it cannot hold. The careful decoder behind it
takes those, and refuses what the standard library would take but RFC 8259 does not know (NaN, Infinity, 1e400). A
service may cut a surrogate pair over two deltas, so a lone half is left in the decoded value; `halves` tells that this
has happened, and from then on text goes through a Joiner before anybody sees it.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from math import isfinite
from reprlib import Repr
from typing import Any

import orjson

from fanout.errors import ProtocolError

EXCERPT = 80
"""Characters of a text that others wrote that a message repeats."""

MOST_VALUES = 1_000
"""Values that may follow one another in one text."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"[ \t\r\n]*")


class JsonText:
    """Decodes JSON texts. `halves` tells whether any of them held half a surrogate pair."""

    def __init__(self) -> None:
        self.halves = False

    def decode(self, text: str) -> Any:
        """The value of one JSON text. Raises ProtocolError."""
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            values = list(islice(self._carefully(text), 2))
        if len(values) != 1:
            raise ProtocolError(f"not JSON: {excerpt(text)}")
        return values[0]

    def decode_all(self, text: str) -> Iterator[Any]:
        """The values of JSON texts that follow one another with or without white space. Raises ProtocolError."""
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            yield from self._carefully(text)
        else:
            yield value

    def _carefully(self, text: str) -> Iterator[Any]:
        position = _after_space(text, 0)
        number = 0
        while position < len(text):
            try:
                value, end = _DECODER.raw_decode(text, position)
            except (ValueError, RecursionError) as error:
                raise ProtocolError(f"not JSON: {excerpt(text[position : position + EXCERPT + 1])}") from error
            number += 1
            # In two looks, each quick: for one with the backslash, a text full of backslashes takes long.
            self.halves = self.halves or ("\\" in text and ("ud" in text or "uD" in text))
            if number > MOST_VALUES:
                raise ProtocolError(f"more than {MOST_VALUES} JSON values without a line between them")
            yield value
            position = _after_space(text, end)


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _finite(literal: str) -> float:
    value = float(literal)
    if not isfinite(value):
        raise ValueError(literal)
    return value


def _refuse(literal: str) -> None:
    raise ValueError(literal)


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse)


def encode(value: Any) -> str:
    """A value as compact JSON text, in which lone surrogates are escaped. Raises ProtocolError if it is too deep."""
    try:
        return orjson.dumps(value, default=dict).decode()
    except orjson.JSONEncodeError:
        # Lone surrogates, integers of more than 64 bits, more than 254 levels.
        try:
            return json.dumps(value, separators=(",", ":"), default=dict)
        except RecursionError as error:
            raise ProtocolError("a value too deep for JSON") from error


def excerpt(text: str, length: int = EXCERPT) -> str:
    """The beginning of a text that others wrote, safe to print: unprintable characters are escaped."""
    head = text[:length]
    if not head.isprintable():
        head = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in head)
    return head if max(len(head), len(text)) <= length else head[: length - 1] + "…"


_BRIEF = Repr()
_BRIEF.fillvalue = "…"
_BRIEF.maxlevel, _BRIEF.maxdict, _BRIEF.maxlist, _BRIEF.maxstring = 3, 3, 4, 100


def show(value: object, length: int = EXCERPT) -> str:
    """Returns the beginning of a JSON value as Python writes it, safe to print.

    `repr` would write all of it first, and what a page's values share as often as it is referred to: without end.
    """
    return excerpt(_BRIEF.repr(value), length)


def repair(text: str) -> str:
    """`text` with the halves of a surrogate pair joined where they meet, and U+FFFD for each lone one."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Joiner:
    """Joins the surrogate pairs that the deltas of one field cut in two: a high half waits for the next delta."""

    def __init__(self) -> None:
        self._half = ""

    def join(self, text: str) -> str:
        """As much of the text as is whole; may be empty."""
        text = self._half + text
        self._half = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return repair(text.removesuffix(self._half))

    def close(self) -> str:
        """Returns what is still held: nothing, or U+FFFD for a half that stayed alone."""
        held, self._half = self._half, ""
        return repair(held)
