"""The error object among a service's JSON, and the words in it that say what is wrong."""

import re
from collections.abc import Mapping
from typing import Any

from fanout.errors import ProtocolError
from fanout.wire.json_text import JsonText, encode

_KEYS = ("message", "Message", "detail", "msg", "error_msg", "error_message", "error_description", "status_msg")
_LAST_KEYS = ("title", "code", "type")
_NUMBERS = ("code", "type", "status", "http_status", "status_code", "statusCode", "http_code", "error_code")

_DEPTH = 3
"""Errors within the words of an error: gateways pass on what they were told as a text."""

# Web pages, and XML as Amazon's and Alibaba's storages write it.
_HEADINGS = (
    re.compile(r"<title[^>]*+>([^<]{1,500})", re.IGNORECASE),
    re.compile(r"<h1[^>]*+>([^<]{1,500})", re.IGNORECASE),
    re.compile(r"<message>([^<]{1,500})", re.IGNORECASE),
)


def error_object(value: Any, *, named: bool = False) -> Mapping[str, Any] | None:
    """The object that tells of an error in a decoded value, or None if it is no error.

    `named`: the value came as an error, so it is one whatever it holds. MiniMax's `base_resp` is not looked at here.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        return {"message": value} if named and value else {} if named else None
    if inner := value.get("error"):
        return _inner(inner, value)
    errors = value.get("errors")
    if errors and isinstance(errors, list):
        return _inner(errors[0], value)
    if named or "error" in (value.get("object"), value.get("type")) or value.get("success") is False:
        return value
    return value if number_of(value) and any(isinstance(value.get(key), str) for key in _KEYS) else None


def _inner(inner: Any, value: dict[str, Any], depth: int = _DEPTH) -> Mapping[str, Any]:
    """The error within `value`: an object, or words with names, numbers and the reason beside them."""
    if isinstance(inner, dict):
        within = inner.get("error")
        bare = within and not any(inner.get(key) for key in _KEYS)
        return _inner(within, inner, depth - 1) if bare and depth else inner
    # NestJS and Spring say the status in words for `error`, and the reason beside it.
    reason = next((words for key in _KEYS if (words := _text(value.get(key)))), "")
    words = _text(inner)
    both = f"{words}: {reason}" if words and reason and words not in reason else reason or words
    return {**value, "message": both}


def number_of(inner: Mapping[str, Any]) -> int | None:
    """The HTTP status that an error object itself names."""
    for key in _NUMBERS:
        value = inner.get(key)
        if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
            value = int(value)
        if type(value) is int and 400 <= value <= 599:
            return value
    return None


def words_of(inner: Mapping[str, Any], depth: int = _DEPTH) -> str:
    """The words of an error object, with those that a gateway was told by the service behind it; may be empty."""
    words = next((text for key in (*_KEYS, *_LAST_KEYS) if (text := _text(inner.get(key)))), "")
    metadata = inner.get("metadata")
    raw = _text(metadata.get("raw")) if isinstance(metadata, dict) else ""  # OpenRouter
    if not depth:
        return words
    words = _unwrap(words, depth)
    if raw and (told := _unwrap(raw, depth)) not in words:
        name = _text(metadata.get("provider_name")) if isinstance(metadata, dict) else ""
        return f"{words} ({name}): {told}" if name else f"{words}: {told}"
    return words


def _unwrap(words: str, depth: int) -> str:
    """The words themselves, or those of the error that they are the JSON or the page of."""
    start = words.lstrip()[:1]
    if start == "<":
        return page_words(words) or words
    if start not in ("{", "["):
        return words
    try:
        value = JsonText().decode(words)
    except ProtocolError:
        return words
    # FastAPI's list of what is wrong, each with its place, is no error within an error.
    tells = {"error", "errors", *_KEYS} if isinstance(value, dict) else {"error"}
    found = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(found, dict) or not found.keys() & tells:
        return words
    inner = error_object(found, named=True)
    return (words_of(inner, depth - 1) if inner else "") or words


def _text(value: Any) -> str:
    """A JSON value as words: a text as it is, texts in a row, anything else as JSON."""
    if not value or value is True:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "; ".join(value)
    try:
        return encode(value)
    except ProtocolError:
        return ""


def page_words(text: str) -> str:
    """The title, the first heading or the message of a web page or an XML document; empty if it has none."""
    from html import unescape  # noqa: PLC0415  # few errors are pages

    found = (match for heading in _HEADINGS if (match := heading.search(text)))
    return next((" ".join(unescape(match[1]).split()) for match in found if match[1].strip()), "")
