"""The one place where HTTP statuses, headers and error objects become typed errors."""

import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from fanout.abc import Head
from fanout.errors import (
    AuthError,
    InvalidRequest,
    NotAStream,
    NotFound,
    Overloaded,
    ProtocolError,
    ProviderError,
    QuotaError,
    RateLimited,
    RedirectRefused,
    ServerError,
    TimedOut,
    Truncated,
)
from fanout.wire.json_text import JsonText, encode, excerpt

MESSAGE_LENGTH = 500
"""Characters that are kept of a service's own words."""

DAY = 86400.0
"""A Retry-After beyond a day says nothing useful, and is taken for none."""

Kind = type[ProviderError]

_STATUSES: dict[int, Kind] = {
    401: AuthError,
    402: QuotaError,
    403: AuthError,
    404: NotFound,
    408: TimedOut,
    409: ServerError,
    425: ServerError,
    429: RateLimited,
    498: Overloaded,  # Groq: the flex tier is full
    503: Overloaded,
    504: TimedOut,
    529: Overloaded,  # Anthropic
}

# What these say is more exact than the status they come with: a 429 with insufficient_quota is a matter of money.
_SPECIFIC: dict[str, Kind] = {
    "insufficient_quota": QuotaError,
    "billing_error": QuotaError,
    "billing_not_active": QuotaError,
    "rate_limit_exceeded": RateLimited,
    "rate_limit_error": RateLimited,
    "RESOURCE_EXHAUSTED": RateLimited,
    "overloaded_error": Overloaded,
    "UNAVAILABLE": Overloaded,
    "capacity_exceeded": Overloaded,
    "invalid_api_key": AuthError,
    "API_KEY_INVALID": AuthError,
    "authentication_error": AuthError,
    "permission_error": AuthError,
    "UNAUTHENTICATED": AuthError,
    "PERMISSION_DENIED": AuthError,
    "invalid_prompt": InvalidRequest,
    "context_length_exceeded": InvalidRequest,
    "not_found_error": NotFound,
    "model_not_found": NotFound,
    "NOT_FOUND": NotFound,
    "timeout_error": TimedOut,
    "DEADLINE_EXCEEDED": TimedOut,
}

# And these less: a 401 may come with invalid_request_error. Every other name means ServerError.
_GENERIC: dict[str, Kind] = {
    "invalid_request_error": InvalidRequest,
    "INVALID_ARGUMENT": InvalidRequest,
    "FAILED_PRECONDITION": InvalidRequest,
}

_SECONDS = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_ERROR_FIELD = re.compile(r"^error:(.*)", re.MULTILINE)
_BARE_OBJECT = re.compile(r"^[ \t]*\{", re.MULTILINE)


_KEPT = re.compile(r"ratelimit|rate-limit|retry-after|request-id|generation-id|processing-ms")


def kind_of_status(status: int) -> Kind:
    """The error that an HTTP status from 400 up stands for."""
    return _STATUSES.get(status) or (InvalidRequest if 400 <= status < 500 else ServerError)


def response_error(head: Head, body: bytes = b"") -> ProviderError:
    """The error that a response with a status other than 200 stands for; `body` may be cut off."""
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
    try:
        value = JsonText().decode(text)
    except ProtocolError:
        value = {"error": text}
    return fault(value, head) or fault({"error": value}, head) or _of(kind_of_status(head.status), "", head)


def fault(value: Any, head: Head | None = None, *, named: bool = False) -> ProviderError | None:
    """The error that a decoded object says it is, or None. `named`: the event it came in was called `error`."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        value = {"error": value} if named else {}
    inner = value.get("error")
    if not inner:
        if not (named or value.get("object") == "error" or value.get("type") == "error"):
            return None
        inner = value
    elif not isinstance(inner, dict):
        # A name or a number may stand beside a text.
        inner = {**value, "message": inner}
    return _of(_kind(inner, head), _words(inner), head, _number(inner), _retry_delay(inner))


def _kind(inner: Mapping[str, Any], head: Head | None) -> Kind:
    """A specific name, then a number, then the HTTP status, then a generic name."""
    names = [name for key in ("code", "type", "status") if isinstance(name := inner.get(key), str)]
    names += [name for detail in _details(inner) if isinstance(name := detail.get("reason"), str)]
    for name in names:
        if name in _SPECIFIC:
            return _SPECIFIC[name]
    number = _number(inner) or (head.status if head and head.status >= 400 else None)
    if number:
        return kind_of_status(number)
    return next((_GENERIC[name] for name in names if name in _GENERIC), ServerError)


def _details(inner: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Google's details of an error."""
    details = inner.get("details")
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def _number(inner: Mapping[str, Any]) -> int | None:
    """The HTTP status that an error object itself names."""
    for key in ("code", "type", "status", "http_status", "status_code"):
        value = inner.get(key)
        if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
            value = int(value)
        if type(value) is int and 400 <= value <= 599:
            return value
    return None


def _words(inner: Mapping[str, Any]) -> str:
    for key in ("message", "detail", "code", "type"):
        if words := inner.get(key):
            try:
                return words if isinstance(words, str) else encode(words)
            except ProtocolError:
                continue
    return ""


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
    if fields.get("retry_after") is None:
        fields["retry_after"] = delay
    return kind(excerpt(words, MESSAGE_LENGTH) or "the service gave no reason", **fields)


def _fields(head: Head) -> dict[str, Any]:
    """What every error takes from the head of its response."""
    should_retry = head.headers.get("x-should-retry", "").strip().lower()
    return {
        "status": None if head.status == 200 else head.status,
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
            return seconds if seconds <= DAY else None
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
        if isinstance(delay, str) and (seconds := _decimal(delay.removesuffix("s"))) is not None and seconds <= DAY:
            return seconds
    return None


def stray_fault(lines: list[bytes], head: Head | None = None) -> ProviderError | None:
    """The error that a server wrote beside its events: in a field `error`, as a bare JSON object, or as a web page."""
    text = b"\n".join(lines).decode("utf-8", "replace").lstrip()
    if text.startswith("<"):
        return NotAStream("a web page in the place of events")
    if field := _ERROR_FIELD.search(text):
        words = field[1].strip()
        return fault(_first(words) or words, head, named=True)
    bare = _BARE_OBJECT.search(text)
    return fault(_first(text[bare.start() :]), head) if bare else None


def _first(text: str) -> Any:
    try:
        return next(JsonText().decode_all(text), None)
    except ProtocolError:
        return None
