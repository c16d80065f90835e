"""The errors, and among them each reason for which a lane can fail.

FanoutError
  UsageError            the caller's mistake: an unknown provider, a bad option
    ConfigurationError    what the environment or a file says of a lane cannot be
  ProviderError         ended one lane; `kind` names it
    AuthError             401, 403, no key
      LoginRequired         no login, or one that the service does not accept any more
    QuotaError            402, nothing left to spend
    RateLimited           429
    Overloaded            503, 529, 498
    CircuitOpen           not asked: its service has failed again and again just now
    InvalidRequest        400, 413, 422, other 4xx
    NotFound              404
    ServerError           5xx, an error inside the stream
      LocalModelError       the embedded model's process did not start, or died
    TimedOut              one of our clocks, 408, 504
    ConnectError          name, route, refusal or TLS, before the request was sent
    ResetError            the connection was lost
    Truncated             the stream ended without its end mark, or with nothing in it
    ProtocolError         the bytes made no sense
    TooLarge              one of our caps was hit
    NotAStream            a web page or something else instead of an answer
    RedirectRefused       3xx: credentials and prompts follow no redirect
    Refused               the caller's `accept` or schema did not take the answer
    Misconfigured         what the environment or a file says of the lane cannot be
    InternalError         the code that talks to the service failed: a mistake of ours, or of a plug-in
  AllLanesFailed        an exception group of ProviderErrors, one a failed lane
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

MOST_SAID = 8
"""Errors of lanes that the words of AllLanesFailed repeat."""


class FanoutError(Exception):
    """Everything that fanout raises on purpose."""


class UsageError(FanoutError):
    """The caller asked for something that cannot be; the message says what to do instead."""


class ConfigurationError(UsageError):
    """The environment or a file says of a lane what cannot be. In a plan of several, that ends this lane alone."""


class ProviderError(FanoutError):
    """The error that ended one lane.

    `status` is the HTTP status or None, `retry_after` seconds or None, `retryable` says that the same request may
    succeed later, `retry_safe` that no byte of it was processed, so repeating cannot bill twice. `partial` is the text
    received before, `lane` the lane's name once it has one.
    """

    kind: ClassVar[str] = "error"
    retryable: bool = False
    retry_safe: bool = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
        retry_safe: bool | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.request_id = request_id
        self.lane: str | None = None
        self.partial: str = ""
        if retryable is not None:
            self.retryable = retryable
        if retry_safe is not None:
            self.retry_safe = retry_safe

    def __str__(self) -> str:
        status = f" ({self.status})" if self.status else ""
        return f"{self.lane + ': ' if self.lane else ''}{self.kind}{status}: {self.message}"


class AuthError(ProviderError):
    """The service does not accept the key, or there is none."""

    kind = "auth"
    retry_safe = True


class LoginRequired(AuthError):
    """The service wants a person to log in, or to do it again; `command` is what they type."""

    def __init__(self, message: str, *, command: str = "", **fields: Any) -> None:
        super().__init__(message, **fields)
        self.command = command


class QuotaError(ProviderError):
    """Nothing is left to spend."""

    kind = "quota"
    retry_safe = True


class RateLimited(ProviderError):
    """Too many requests; `retry_after` says when to come back, if the service did."""

    kind = "rate_limit"
    retryable = True
    retry_safe = True


class Overloaded(ProviderError):
    """The service has no room now."""

    kind = "overloaded"
    retryable = True
    retry_safe = True


class CircuitOpen(ProviderError):
    """The service was not asked, because it has failed again and again; `retry_after` says when it is asked again."""

    kind = "circuit_open"
    retryable = True
    retry_safe = True


class InvalidRequest(ProviderError):
    """The service rejects the request as it is."""

    kind = "invalid_request"
    retry_safe = True


class NotFound(ProviderError):
    """No such model or address. `url` is the address that was asked, without its query."""

    kind = "not_found"
    retry_safe = True
    url: str = ""


class ServerError(ProviderError):
    """The service failed."""

    kind = "server"
    retryable = True


class LocalModelError(ServerError):
    """The embedded model's process did not start, or died."""

    kind = "local_model"
    retryable = False


class TimedOut(ProviderError):
    """A clock fired: `clock` is connect, first, idle, total, min_tps, deadline, or None for the service's own.

    `seconds` is what the clock was set to (tokens per second for min_tps).
    """

    kind = "timeout"
    retryable = True

    def __init__(self, message: str, *, clock: str | None = None, seconds: float | None = None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.clock = clock
        self.seconds = seconds


class ConnectError(ProviderError):
    """No connection: name, route, refusal or TLS."""

    kind = "connect"
    retryable = True
    retry_safe = True


class ResetError(ProviderError):
    """The connection was lost."""

    kind = "reset"
    retryable = True


class Truncated(ProviderError):
    """The stream ended without its end mark, or with nothing in it."""

    kind = "truncated"
    retryable = True


class ProtocolError(ProviderError):
    """The bytes made no sense."""

    kind = "protocol"


class TooLarge(ProviderError):
    """One of our caps was hit."""

    kind = "too_large"


class NotAStream(ProviderError):
    """A web page or something else instead of an answer."""

    kind = "not_a_stream"


class RedirectRefused(ProviderError):
    """3xx: credentials and prompts follow no redirect."""

    kind = "redirect_refused"
    retry_safe = True


class Refused(ProviderError):
    """The caller's `accept` or schema did not take the answer; `partial` holds its text.

    `why` lists the mistakes that a schema found: the place of each as a JSON pointer, and the words, in one line.
    """

    kind = "refused"
    why: Sequence[tuple[str, str]] = ()


class Misconfigured(ProviderError):
    """The environment, or a file, says something of the lane that cannot be; nothing was sent."""

    kind = "configuration"
    retry_safe = True


class InternalError(ProviderError):
    """The code that talks to the service failed: a mistake of ours, or of a plug-in. `__cause__` is what it raised."""

    kind = "internal"


class AllLanesFailed(FanoutError, ExceptionGroup[ProviderError]):
    """No lane gave an answer; `exceptions` holds every failed lane's typed error."""

    def __str__(self) -> str:
        said = [str(error) for error in self.exceptions[:MOST_SAID]]
        more = len(self.exceptions) - len(said)
        return "; ".join([f"{self.message}: {said[0]}", *said[1:], *([f"and {more} more"] if more else [])])

    def derive(self, excs: Sequence[ProviderError], /) -> Self:  # type: ignore[override]  # narrower on purpose
        """Keeps the class when `except*` or `split` makes a part of this group."""
        return type(self)(self.message, excs)
