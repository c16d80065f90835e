"""The JSON value in an answer's text, read strictly: no duplicate keys, no NaN, nothing beside the one value."""

import json
import re
from collections.abc import Container
from math import isfinite
from typing import Any

import orjson

SPACE = " \t\r\n\ufeff\u00a0\u200b"
"""Characters around a value that are no part of it: white space, and the byte-order mark."""

FENCE = re.compile(r"(`{3,})[ \t]*[\w+-]*[ \t]*\r?\n")
"""The first line of a Markdown fence. Both repetitions of spaces end at a letter or the line's end: it is linear."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
"""A half of a surrogate pair, escaped or not, which may stand beside the other."""

MOST_STARTS = 32
"""Places in a text at which a value is looked for: each may cost the whole rest of the text."""

LONGEST = 200
"""Characters of one line about a mistake."""


class NotJson(ValueError):
    """The text is no JSON value."""


def cut_line(text: str, length: int = LONGEST) -> str:
    """Returns the beginning of a text as one line that is safe to print: what is unprintable is escaped."""
    head = text[:length]
    if not head.isprintable():
        head = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in head)
    return head if max(len(head), len(text)) <= length else head[: length - 1] + "…"


def strip(text: str) -> str:
    """Returns a text without byte-order mark, the white space around it, and one Markdown fence around the whole."""
    text = text.strip(SPACE)
    opening = FENCE.match(text)
    if opening and text.endswith(opening[1]) and len(text) >= opening.end() + len(opening[1]):
        text = text[opening.end() : -len(opening[1])].strip(SPACE)
    return text


def read(text: str) -> Any:
    """Returns the one JSON value that a text is. Raises NotJson, whose words say where and why."""
    try:
        value = _DECODER.decode(text)
        if _HALF.search(text):
            orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise NotJson("it has half a surrogate pair, which is no character") from None
    except json.JSONDecodeError as error:
        raise NotJson(_explain(text, error)) from None
    except RecursionError:
        raise NotJson("it is nested too deeply") from None
    except ValueError as error:
        words = str(error)
        raise NotJson(words if isinstance(error, NotJson) else f"it is not JSON: {cut_line(words, 80)}") from None
    return value


def find(text: str, starts: Container[str]) -> tuple[str, Any]:
    """Returns the first whole JSON value in a text that begins with one of `starts`, and its own text.

    Raises NotJson if there is none, or none at the first MOST_STARTS places.
    """
    tried = position = 0
    while position < len(text) and tried < MOST_STARTS:
        if text[position] in starts:
            tried += 1
            try:
                value, end = _DECODER.raw_decode(text, position)
                return text[position:end], value
            except (ValueError, RecursionError):
                pass
        position += 1
    raise NotJson("there is no JSON value of the right kind in it")


def _explain(text: str, error: json.JSONDecodeError) -> str:
    if not text:
        return "it is empty"
    if error.pos == 0:
        return f"it is not JSON: it begins with {cut_line(text, 40)!r}"
    if error.msg == "Extra data":
        return f"there is text after the JSON value: {cut_line(text[error.pos :], 40)!r}"
    words = error.msg[:1].lower() + error.msg[1:]
    return f"it is not JSON: {words} at line {error.lineno}, column {error.colno}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotJson(f"the key {cut_line(twice, 40)!r} stands twice in one object")
    return made


def _finite(literal: str) -> float:
    if not isfinite(value := float(literal)):
        raise NotJson(f"the number {cut_line(literal, 40)} is too large")
    return value


def _refuse(literal: str) -> None:
    raise NotJson(f"{literal} is no JSON value")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)
