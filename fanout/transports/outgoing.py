"""What every real transport checks of a request before it goes out."""

from urllib.parse import urlsplit

from fanout.abc import Request
from fanout.errors import AuthError, ConnectError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""This machine, before which no proxy stands."""


def host_of(url: str) -> str:
    """The host that a URL names. Raises ConnectError if it names none."""
    try:
        host = urlsplit(url).hostname
        (host or "").encode("idna")
    except (UnicodeError, ValueError):
        host = None
    if not host:
        raise ConnectError(f"cannot reach {url[:100]}: that is no host name")
    return host


def headers_of(request: Request) -> dict[str, str]:
    """The headers in clear. Raises AuthError for one that HTTP cannot carry; no message repeats a credential."""
    headers = request.plain_headers()
    broken = next((name for name, value in headers.items() if not (value.isascii() and value.isprintable())), None)
    if broken is not None:
        del headers  # a traceback may show a frame's variables
        raise AuthError(f"the credential for {broken} has a character that no HTTP header can carry")
    return headers
