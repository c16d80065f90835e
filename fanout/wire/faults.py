"""The one place where HTTP statuses, headers and error objects become typed errors."""

import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any

from fanout.abc import Head
from fanout.errors import NotAStream, ProtocolError, ProviderError, QuotaError, RedirectRefused, Truncated
from fanout.wire.fault_kinds import Kind, kind_of, kind_of_base_resp, kind_of_status
from fanout.wire.fault_words import error_object, number_of, page_words, words_of
from fanout.wire.json_text import JsonText, excerpt
from fanout.wire.sse import ServerSentEvents

MESSAGE_LENGTH = 500
"""Characters that are kept of a service's own words."""

YEAR = 366 * 86400.0
"""Seconds. A Retry-After beyond a year says nothing useful, and is taken for none."""

_CODE = re.compile(r"[0-9]{1,9}")
_SECONDS = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_ERROR_FIELD = re.compile(r"^error:(.*)", re.MULTILINE)
_EVENT = re.compile(r"(?:data|event|id|retry):|:")
_BARE_OBJECT = re.compile(r"^[ \t]*\{", re.MULTILINE)


_KEPT = re.compile(r"ratelimit|rate-limit|retry-after|request-id|generation-id|processing-ms")


def is_answer(status: int) -> bool:
    """True for a status whose body may be an answer: 2xx, but for those that promise one later, or none.

    Gateways made with NestJS answer a POST with 201 unless they are told otherwise.
    """
    return 200 <= status < 300 and status not in (202, 204, 205)


def response_error(head: Head, body: bytes = b"") -> ProviderError:
    """The error that a response stands for whose status is that of no answer; `body` may be cut off."""
    status = head.status
    if status >= 400:
        return _status_error(head, body)
    if 300 <= status < 400:
        return RedirectRefused("the service redirects, which is not followed", **_fields(head))
    if status in (204, 205):
        return Truncated("the service sent no content", **_fields(head))
    return NotAStream(f"no answer, but status {status}", **_fields(head))


def _status_error(head: Head, body: bytes) -> ProviderError:
    text = body.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    return fault(_parse_error(text), head, named=True) or _of(kind_of_status(head.status), "", head)


def _parse_error(text: str) -> Any:
    """The value that the body of an error holds: JSON, also as an event, the heading of a page, or its words."""
    if text.startswith("<"):
        return page_words(text) or text
    try:
        return JsonText().decode(text)
    except ProtocolError:
        pass
    if not _EVENT.match(text):
        return text
    events = ServerSentEvents()
    messages = events.feed(text.encode()) + events.close()
    for message in [*messages, events.pending]:
        if message is not None and message.data.strip() not in ("", "[DONE]"):
            return _first(message.data) or message.data
    return text


def fault(value: Any, head: Head | None = None, *, named: bool = False) -> ProviderError | None:
    """The error that a decoded object says it is, or None. `named`: it came as an error, or in an event called so."""
    if isinstance(value, dict) and (error := _base_resp(value, head)):
        return error
    inner = error_object(value, named=named)
    if inner is None:
        return None
    words, number = words_of(inner), number_of(inner)
    status = head.status if head else None
    return _of(kind_of(_names(inner), number, status, words), words, head, number, _retry_delay(inner))


def _base_resp(value: Mapping[str, Any], head: Head | None) -> ProviderError | None:
    """MiniMax's way to say what is wrong, with the status 200; its code 0 says that nothing is."""
    base = value.get("base_resp")
    said = base.get("status_code") if isinstance(base, dict) else None
    code = int(said) if isinstance(said, str) and _CODE.fullmatch(said) else said
    if not isinstance(base, dict) or type(code) is not int or code == 0:
        return None
    return _of(kind_of_base_resp(code), words_of(base) or f"code {code}", head)


def _names(inner: Mapping[str, Any]) -> list[str]:
    """The names that an error object gives its kind, Google's details included."""
    names = [name for key in ("code", "type", "status") if isinstance(name := inner.get(key), str)]
    details = inner.get("details")
    reasons = (
        [detail.get("reason") for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    )
    return [*names, *(reason for reason in reasons if isinstance(reason, str))]


def _of(
    kind: Kind,
    words: str,
    head: Head | None,
    number: int | None = None,
    delay: float | None = None,
) -> ProviderError:
    fields = _fields(head) if head else {}
    if fields.get("status") is None:
        fields["status"] = number
    if kind is QuotaError or fields["status"] == 413:
        fields["retryable"] = False  # whatever the service says: neither money nor room for it comes by waiting
    if fields.get("retry_after") is None:
        fields["retry_after"] = delay
    return kind(excerpt(words, MESSAGE_LENGTH) or "the service gave no reason", **fields)


def _fields(head: Head) -> dict[str, Any]:
    """The fields that every error takes from the head of its response."""
    should_retry = head.headers.get("x-should-retry", "").strip().lower()
    return {
        "status": None if is_answer(head.status) else head.status,
        "retry_after": retry_after(head.headers),
        "retryable": {"true": True, "false": False}.get(should_retry),
        "request_id": request_id(head.headers),
    }


def request_id(headers: Mapping[str, str]) -> str | None:
    """The name by which the service knows this exchange."""
    for name in ("x-request-id", "request-id", "x-generation-id"):
        if value := headers.get(name):
            return excerpt(value, 200)
    return None


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers worth keeping on an answer: rate limits, waits and request ids."""
    return {name: value for name, value in headers.items() if _KEPT.search(name)}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until the service wants to be asked again, or None if it does not say so (RFC 9110, 10.2.3)."""
    for seconds in _waits(headers):
        if seconds is not None:
            return seconds if seconds <= YEAR else None
    return None


def _waits(headers: Mapping[str, str]) -> Iterator[float | None]:
    milliseconds = _decimal(headers.get("retry-after-ms", ""))
    yield None if milliseconds is None else milliseconds / 1000
    value = headers.get("retry-after", "")
    yield _decimal(value)
    until = _timestamp(value)
    if until is not None:
        # Against the service's own clock, if it shows one: ours may be wrong.
        now = _timestamp(headers.get("date", ""))
        yield max(0.0, until - (time.time() if now is None else now))


def _decimal(text: str) -> float | None:
    return float(text) if _SECONDS.fullmatch(text := text.strip()) else None


def _timestamp(date: str) -> float | None:
    if not date:
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  # much to import for what few services send

    try:
        when = parsedate_to_datetime(date)
        return when.replace(tzinfo=when.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _retry_delay(inner: Mapping[str, Any]) -> float | None:
    """Google's RetryInfo, which says `"retryDelay": "7s"` in the body instead of a header."""
    details = inner.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and (seconds := _decimal(delay.removesuffix("s"))) is not None and seconds <= YEAR:
            return seconds
    return None


def stray_fault(lines: list[bytes], head: Head | None = None) -> ProviderError | None:
    """The error that a server wrote beside its events: in a field `error`, as a bare JSON object, or as a web page."""
    text = b"\n".join(lines).decode("utf-8", "replace").lstrip()
    if text.startswith("<"):
        return NotAStream(page_error("events", text))
    if field := _ERROR_FIELD.search(text):
        words = field[1].strip()
        return fault(_first(words) or words, head, named=True)
    bare = _BARE_OBJECT.search(text)
    return fault(_first(text[bare.start() :]), head) if bare else None


def page_error(place: str, text: str) -> str:
    """The message that a web page came in the place of something, with the page's title."""
    words = page_words(text)
    return f"a web page in the place of {place}" + (f": {excerpt(words, MESSAGE_LENGTH)}" if words else "")


def _first(text: str) -> Any:
    try:
        return next(JsonText().decode_all(text), None)
    except ProtocolError:
        return None
