"""The choice of a transport: libcurl where it runs, httpx elsewhere and for who asks for it."""

import warnings
from contextlib import AbstractAsyncContextManager

from fanout.abc import Transport
from fanout.errors import UsageError

NAMES = ("curl", "httpx")
"""The names that `transport=` and `transport` in fanout.toml take."""


def choose_transport(name: str | None = None) -> AbstractAsyncContextManager[Transport]:
    """Returns the transport of this name, to be entered; without a name the best one that runs here.

    Raises UsageError for an unknown name, and for curl where it cannot run.
    """
    if name not in (*NAMES, None):
        raise UsageError(f"there is no transport {name!r}; there are {' and '.join(NAMES)}")
    if name != "httpx":
        try:
            from fanout.transports.curl import CurlTransport  # noqa: PLC0415  # 40 ms, and not always needed

            return CurlTransport()
        except (ImportError, OSError) as error:
            reason = f"libcurl does not run here ({error})"
            if name == "curl":
                raise UsageError(f"{reason}; use the transport httpx") from None
            warnings.warn(f"{reason}: httpx carries the requests, at a higher cost", RuntimeWarning, stacklevel=3)
    from fanout.transports.httpx import HttpxTransport  # noqa: PLC0415  # seldom needed

    return HttpxTransport()
