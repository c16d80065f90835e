"""Failures as clients of the gateway hear of them: an HTTP status, a kind, a sentence."""

from collections.abc import Sequence

from attrs import frozen

from fanout.errors import (
    AllLanesFailed,
    CircuitOpen,
    InvalidRequest,
    NotFound,
    Overloaded,
    ProviderError,
    QuotaError,
    RateLimited,
    TimedOut,
    TooLarge,
    UsageError,
)
from fanout.wire.json_text import excerpt

LONGEST = 2000
"""Characters of a message."""

_STATUSES: Sequence[tuple[type[ProviderError], int]] = (
    (InvalidRequest, 400),
    (NotFound, 404),
    (QuotaError, 402),
    (RateLimited, 429),
    (Overloaded, 503),
    (CircuitOpen, 503),
    (TimedOut, 504),
)


@frozen
class Fault:
    """One failure. `retry_after` is in seconds; `retryable` says that the same request may succeed later."""

    status: int
    kind: str
    message: str
    retry_after: float | None = None
    retryable: bool = False


def fault_of(error: Exception) -> Fault:
    """Returns what a client is told of an error.

    The credentials of a lane are not the client's: an AuthError is the gateway's own trouble, not a 401.
    """
    if isinstance(error, AllLanesFailed):
        return _of_all(list(error.exceptions))  # type: ignore[arg-type]  # a group of nothing else
    if isinstance(error, ProviderError):
        return _of_all([error])
    if isinstance(error, UsageError):
        return Fault(400, "invalid_request", excerpt(str(error), LONGEST))
    return Fault(500, "internal", "the gateway failed; its log says more")


def _of_all(errors: Sequence[ProviderError]) -> Fault:
    """One lane's failure says which it was; of several, the one that a later request may get past decides."""
    decisive = _decisive(errors)
    status = next((status for kind, status in _STATUSES if isinstance(decisive, kind)), 502)
    waits = [error.retry_after for error in errors if error.retry_after is not None]
    every = all(isinstance(error, RateLimited | Overloaded | CircuitOpen) for error in errors)
    message = "; ".join(str(error) for error in errors)
    return Fault(
        status,
        decisive.kind,
        excerpt(message, LONGEST),
        min(waits) if waits and every else None,
        any(error.retryable for error in errors),
    )


def _decisive(errors: Sequence[ProviderError]) -> ProviderError:
    later = [error for error in errors if error.retryable]
    asked = [error for error in errors if isinstance(error, InvalidRequest | TooLarge)]
    return (later or asked or list(errors))[0]
