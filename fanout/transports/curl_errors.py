"""The one place where libcurl's error codes become typed errors."""

import os
import re

from fanout.errors import ConnectError, ProtocolError, ProviderError, ResetError, TimedOut, TooLarge

# The numbers are those of <curl/curl.h>; what is in no list here is a protocol error with libcurl's own words.
_NO_CONNECTION = {1, 3, 4, 5, 6, 7, 9, 10, 45, 48, 89, 96, 97}
"""Name, route, refusal, proxy, or an address that libcurl cannot make anything of."""

_NO_TRUST = {35, 53, 54, 58, 59, 60, 64, 66, 77, 80, 82, 83, 90, 91, 98, 101}
"""TLS and certificates."""

_PROXY = {5, 97}
_BY_PROXY = (" over proxy ", "CONNECT tunnel", "Proxy CONNECT")
"""What libcurl says, with other codes too, when it was the proxy that failed."""

_LOST = {16, 52, 55, 56, 65, 84, 92, 95, 99}
"""The connection, or its stream, was lost after it was there."""

_CUT = {18, 52}
"""It was closed before the body was over, or before there was any answer."""

_ODD_ANSWERS = ("Received HTTP/0.9", "Unsupported HTTP", "Unsupported response", "Lying server")
"""What libcurl says with code 1, as for an address of a kind it does not know, when an answer did come."""

_TIMEOUT = 28
_TOO_LARGE = {63, 100}

_CREDENTIALS = re.compile("'[^']*@")
"""In the address of a proxy, which libcurl repeats if it cannot make anything of it."""

# Code 56 is also libcurl's for a chunk without a valid size and for heads beyond its limit.
_BAD_BYTES = ("chunk", "hex", "nghttp2")


def typed(code: int, text: str, os_errno: int, host: str, connect: float) -> ProviderError:
    """The error for libcurl's `code`, which says `text`; `connect` is what the connect clock was set to (seconds)."""
    said = text[:200] or f"libcurl's error {code}"
    if code == _TIMEOUT:
        said = f"no connection to {host} within {connect:g} s"
        return TimedOut(said, clock="connect", seconds=connect, retry_safe=True)
    by_proxy = code in _PROXY or any(words in said for words in _BY_PROXY)
    if (by_proxy or code in _NO_CONNECTION | _NO_TRUST) and not said.startswith(_ODD_ANSWERS):
        reason = os.strerror(os_errno) if code == 7 and os_errno else _CREDENTIALS.sub("'", said)
        return ConnectError(f"cannot reach {host}{' by way of the proxy' if by_proxy else ''}: {reason}")
    if code in _TOO_LARGE or "Too large response headers" in said:
        return TooLarge(f"{host} sends more than is allowed: {said}")
    if code in _LOST | _CUT and not any(word in said.lower() for word in _BAD_BYTES):
        if code in _CUT:
            return ResetError(f"{host} closed the connection before the answer was over")
        return ResetError(f"the connection to {host} was lost", retry_safe="REFUSED_STREAM" in said or None)
    return ProtocolError(f"{host} does not speak HTTP as it should: {said}")
