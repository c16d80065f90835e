"""The translation of libcurl's error codes into typed errors, all in one place."""

import os
import re
from typing import NamedTuple

from fanout.errors import ProtocolError, ProviderError, ResetError, TooLarge
from fanout.transports.curl.libcurl import Easy
from fanout.transports.outgoing import describe_refusal, make_connect_error, make_connect_timeout, name_proxy

# The numbers are those of <curl/curl.h>; what is in no list here is a protocol error with libcurl's own words.
_NO_CONNECTION = {1, 3, 4, 5, 6, 7, 9, 10, 45, 48, 89, 96, 97}
"""Name, route, refusal, proxy, or an address that libcurl cannot make anything of."""

_NO_TRUST = {35, 53, 54, 58, 59, 60, 64, 66, 77, 80, 82, 83, 90, 91, 98, 101}
"""TLS and certificates."""

_PROXY = {5, 97}
_BY_PROXY = (" over proxy ", "CONNECT tunnel", "Proxy CONNECT", "Unsupported proxy")
"""libcurl's words, with other codes too, for a proxy that failed."""

_LOST = {16, 52, 55, 56, 65, 84, 92, 95, 99}
"""The connection, or its stream, was lost after it was there."""

_CUT = {18, 52}
"""It was closed before the body was over, or before there was any answer."""

_ODD_ANSWERS = ("Received HTTP/0.9", "Unsupported HTTP", "Unsupported response", "Lying server")
"""libcurl's words, with the code 1 of an address of a kind that it does not know, for an answer that did come."""

_NO_SOCKET = 7
CONNECT_TIMEOUT = 28
"""libcurl's code for a connection that took too long."""

_TOO_LARGE = {63, 100}

_QUOTED = r" (?:in|for) '.*'"
"""The address of a proxy, which libcurl repeats with its credentials if it cannot make anything of it."""

# Code 56 is also libcurl's for a chunk without a valid size and for heads beyond its limit.
_BAD_BYTES = ("chunk", "hex", "nghttp2")


class Route(NamedTuple):
    """The way to the service, as far as libcurl got. `proxy` is the address of the proxy that it used, or None.

    `tunnel` is the status with which the proxy answered CONNECT, 0 if it did not. `proxy_tls` says that the proxy's own
    TLS failed, `service_tls` that TLS with the service failed or was under way. `opening` says that the connection is a
    new one on which TLS is not done yet: nothing of the request has been sent.
    """

    proxy: str | None = None
    tunnel: int = 0
    proxy_tls: bool = False
    service_tls: bool = False
    opening: bool = False

    @classmethod
    def of(cls, easy: Easy, secure: bool, proxy: str) -> "Route":
        """Reads the way of a transfer that has failed; `proxy` is the proxy's address if there is one."""
        if not easy.used_proxy:
            return cls()
        tunnel, proxy_tls, service_tls, connected, secured = easy.proxy_facts
        return cls(proxy, tunnel, bool(proxy_tls), bool(service_tls), secure and bool(connected) and not secured)


_DIRECT = Route()


def translate(code: int, text: str, os_errno: int, host: str, connect: float, route: Route = _DIRECT) -> ProviderError:
    """Makes the error for libcurl's `code`, which says `text`; `connect` is the connect clock's limit in seconds.

    Whatever fails before the tunnel stands is the proxy's failure; without a tunnel, TCP and TLS are.
    """
    said = re.sub(_QUOTED, "", text[:200]) if "proxy" in text else text[:200]
    said = said or f"libcurl's error {code}"
    by_proxy = code in _PROXY or any(words in said for words in _BY_PROXY) or _is_fault_of_proxy(code, route)
    proxy = route.proxy
    if code == CONNECT_TIMEOUT:
        return make_connect_timeout(host, connect, proxy, by_proxy=by_proxy)
    if by_proxy or (code in _NO_CONNECTION | _NO_TRUST and not said.startswith(_ODD_ANSWERS)):
        reason = os.strerror(os_errno) if code == _NO_SOCKET and os_errno else said
        if by_proxy and route.tunnel not in (0, 200):
            reason = describe_refusal(route.tunnel)
        elif by_proxy and code not in _NO_CONNECTION | _NO_TRUST:
            reason = f"it does not answer CONNECT as it should: {said}"
        return make_connect_error(host, reason, proxy, by_proxy=by_proxy)
    if code in _TOO_LARGE or "Too large response headers" in said:
        return TooLarge(f"{host} sends more than is allowed: {said}")
    if code in _LOST | _CUT and not any(word in said.lower() for word in _BAD_BYTES):
        if code in _CUT:
            return ResetError(f"{host} closed the connection before the answer was over{name_proxy(proxy)}")
        lost = f"the connection to {host} was lost{name_proxy(proxy)}"
        return ResetError(lost, retry_safe="REFUSED_STREAM" in said or None)
    return ProtocolError(f"{host} does not speak HTTP as it should: {said}{name_proxy(proxy)}")


def _is_fault_of_proxy(code: int, route: Route) -> bool:
    """Tells whether the proxy failed, from how far libcurl got."""
    if route.proxy is None:
        return False
    if code == _NO_SOCKET:  # the connection goes to the proxy
        return True
    if code in _NO_TRUST:
        return route.proxy_tls and not route.service_tls
    before = route.tunnel != 200 and not route.service_tls
    return before and (route.opening or code == CONNECT_TIMEOUT)
