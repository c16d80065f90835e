"""Checks of a request before it goes out, and words for a connection that is not made; for all transports."""

import os
import re
import ssl
from urllib.parse import urlsplit

from fanout.abc import Request
from fanout.addresses.proxy import Proxy
from fanout.errors import AuthError, ConnectError, InvalidRequest, TimedOut, UsageError

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A name of a header (RFC 9110, 5.1 and 5.6.2)."""


def read_host(url: str) -> str:
    """Returns the host that a URL names. Raises ConnectError if it names none."""
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


def name_server(url: str) -> str:
    """Returns the host that a URL names, with the port if it says one: for messages. Raises ConnectError if it cannot.

    Several servers on one machine differ in nothing else.
    """
    host = read_host(url)
    try:
        port = urlsplit(url).port
    except ValueError:
        raise ConnectError(f"cannot reach {host}: its port is no number from 0 to 65535") from None
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def reveal_headers(request: Request) -> dict[str, str]:
    """Returns the headers in clear.

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


BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables of other programs that name a file or directory of authorities; they count after OpenSSL's own."""

AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR", *BUNDLES)
"""The variables that name certificate authorities to trust in place of the system's."""


def find_bundle(ca_file: str | None = None) -> tuple[str | None, str | None]:
    """Returns `ca_file`, or else the file or the directory of authorities that BUNDLES name.

    Neither where OpenSSL's own variables are set, which the libraries read themselves.
    """
    if ca_file or any(map(os.environ.get, AUTHORITIES[:2])):
        return ca_file, None
    found = next(filter(None, map(os.environ.get, BUNDLES)), None)
    return (None, found) if found and os.path.isdir(found) else (found, None)  # noqa: PTH112  # a name, not a Path


def load_authorities(ca_file: str | None) -> ssl.SSLContext:
    """Makes a context that trusts the caller's authorities, or the environment's. Raises ConnectError if it cannot."""
    file, directory = find_bundle(ca_file)
    try:
        return ssl.create_default_context(cafile=file, capath=directory)
    except OSError as error:
        raise ConnectError(f"certificate authorities: {error}; {name_authorities()}") from None


def name_authorities() -> str:
    """Returns the end of a message about a certificate: the variables that are set, or the one to set."""
    named = [f"{name}={os.environ[name]}" for name in AUTHORITIES if os.environ.get(name)]
    return f"the authorities are those of {', '.join(named)}" if named else "SSL_CERT_FILE names other authorities"


_HOST_AND_PORT = r"(?:\w+://)?(?:[^/@]*@)?((?:\[[^]/@]+\]|[^]/@:\[]+)(?::\d+)?)/?"


def find_environment_proxy(url: str) -> str:
    """Returns the address of the proxy that the environment names for `url`, as libcurl reads it; for messages.

    `http_proxy` counts in lower case only: a web server sets HTTP_PROXY from a header that anybody may send.
    """
    match = re.fullmatch(_HOST_AND_PORT, _read_environment(url))
    return match[1] if match else "of the environment"


def find_socks(url: str) -> Proxy | None:
    """Returns the proxy that the environment names for `url` as socks://, as desktops write it; None for any other.

    People mean SOCKS 5 with the proxy's look-up of names; libcurl takes it for SOCKS 4. Raises ConnectError if it
    cannot be read.
    """
    text = _read_environment(url)
    if not text.lower().startswith("socks://"):
        return None
    try:
        return Proxy.parse(text)
    except UsageError as error:
        raise make_connect_error(read_host(url), str(error), "of the environment", by_proxy=True) from None


def _read_environment(url: str) -> str:
    names = ("https_proxy", "HTTPS_PROXY") if url.startswith("https:") else ("http_proxy",)
    return next(filter(None, map(os.environ.get, (*names, "all_proxy", "ALL_PROXY"))), "")


def make_connect_error(host: str, reason: str, proxy: str | None = None, *, by_proxy: bool = False) -> ConnectError:
    """Makes the error for a connection that is not made.

    `proxy` is the address of the proxy, if there is one; `by_proxy` says that it failed, and not the service behind it.
    """
    if "certificate" in reason.lower() or reason.startswith("error setting certificate"):
        reason = f"{reason}; {name_authorities()}"
    if by_proxy:
        return ConnectError(f"cannot reach {host} by way of the proxy: {reason}{_name_failed(proxy)}")
    return ConnectError(f"cannot reach {host}: {reason}{name_proxy(proxy)}")


def make_connect_timeout(host: str, seconds: float, proxy: str | None = None, *, by_proxy: bool = False) -> TimedOut:
    """Makes the error for a connection that took longer than the connect clock allows."""
    way = " by way of the proxy" if by_proxy else ""
    named = _name_failed(proxy) if by_proxy else name_proxy(proxy)
    said = f"no connection to {host}{way} within {seconds:g} s{named}"
    return TimedOut(said, clock="connect", seconds=seconds, retry_safe=True)


def name_proxy(proxy: str | None) -> str:
    """Returns the end of a message that names the proxy: it may be the reason."""
    return f" (behind the proxy {proxy})" if proxy else ""


def _name_failed(proxy: str | None) -> str:
    """Returns the end of a message about a proxy that failed; libcurl may not know whose it was."""
    return f" (proxy {proxy})" if proxy else ""


def describe_refusal(status: int) -> str:
    """Describes a proxy that answers a request for a tunnel with this status, or one to forward with 407."""
    if status == 407:
        return "it asks for credentials, or for others (407)"
    return f"it answers {status} to CONNECT"


class Hidden(str):
    """A credential of a proxy, which the library's log would show in clear; it encodes it first."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """As str's, and as hidden."""
        return _HiddenBytes(super().encode(encoding, errors))

    def __repr__(self) -> str:
        return "***"


class _HiddenBytes(bytes):
    __slots__ = ()

    def __repr__(self) -> str:
        return "***"
