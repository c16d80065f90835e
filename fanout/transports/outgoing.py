"""What every real transport checks of a request before it goes out."""

import re
from urllib.parse import urlsplit

from fanout.abc import Request
from fanout.errors import AuthError, ConnectError, InvalidRequest

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What may be the name of a header (RFC 9110, 5.1 and 5.6.2)."""


def host_of(url: str) -> str:
    """The host that a URL names. Raises ConnectError if it names none."""
    if not url.isprintable():
        raise ConnectError(f"cannot reach {url[:100]!r}: it has a character that no URL can have")
    try:
        host = urlsplit(url).hostname
        (host or "").encode("idna")
    except (UnicodeError, ValueError):
        host = None
    if not host:
        raise ConnectError(f"cannot reach {url[:100]}: that is no host name")
    return host


def headers_of(request: Request) -> dict[str, str]:
    """The headers in clear.

    Raises InvalidRequest for a name, and AuthError for a value that HTTP cannot carry; no message repeats a credential.
    """
    headers = request.plain_headers()
    misnamed = next((name for name in headers if not _NAME.fullmatch(name)), None)
    broken = next((name for name, value in headers.items() if not (value.isascii() and value.isprintable())), None)
    if misnamed is not None:
        del headers  # a traceback may show a frame's variables
        raise InvalidRequest(f"no header can be named {misnamed[:100]!r}; a name has letters, digits and hyphens")
    if broken is not None:
        del headers
        raise AuthError(f"the credential for {broken} has a character that no HTTP header can carry")
    return headers
