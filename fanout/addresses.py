"""Where a lane's key may go: to its provider's own address, and elsewhere only on the user's word."""

import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from fanout.config import FILE
from fanout.entries import Entry
from fanout.errors import UsageError
from fanout.spec import Given

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The hosts that are this machine."""

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_USER = re.compile(r"[^/?#]*//[^/?#]*@")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}


def checked(url: str) -> str:
    """The base URL, which is http or https, without credentials in it; plain http goes only to this machine.

    Raises UsageError.
    """
    password = UsageError("a base URL carries no user or password; put the key into a variable and name it by key_env")
    if _USER.match(url):  # first, because all other errors repeat the address
        raise password
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that is none
    except ValueError as error:
        raise UsageError(f"base_url {url!r}: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise password
    if parts.scheme not in ("http", "https", "local") or not parts.netloc:
        raise UsageError(f"base_url must be an http or https address, not {url!r}")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise UsageError(f"base_url {url!r} would send the key and the prompt in clear; use https")
    return url


def is_public(host: str) -> bool:
    """Whether it is a name, or an address that means the same everywhere: not this machine, nor a network around it.

    Names are not looked up. What ends in a number is an address, which systems also take in forms such as 127.1.
    """
    host = host.lower().removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return False
    if _NAME.fullmatch(host) and not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    meant = getattr(address, "ipv4_mapped", None) or address
    return meant.is_global and not meant.is_multicast


def is_own(entry: Entry, url: str) -> bool:
    """Whether this is the provider's own address: its host and port, or the whole address that the environment gives.

    What the environment gives must be the same to the end, because such a host may serve others besides the user.
    """
    if entry.url_in_environment and _alike(url, entry.url_in_environment, _whole):
        return True
    if entry.unset:
        return False
    own = entry.filled()
    return _alike(url, own, _origin if own == entry.base_url else _whole)


def key_variables(entry: Entry, url: str, given: Given) -> tuple[str, ...]:
    """The variables of which the first that is set holds the key for this address; none: no key goes there.

    Raises UsageError where a project's file would give away a key that it was not trusted with.
    """
    own, key_env = is_own(entry, url), given.own.get("key_env")
    if key_env is None:
        return entry.keys if own else ()
    named = given.files.get("key_env")
    if named and key_env and key_env not in entry.keys:
        what = f"{named} sends {key_env}, which is not one of {entry.name}'s variables, to {_host(url)}"
        raise UsageError(_untrusted(what))
    file = named or given.files.get("base_url")
    if file and key_env and not own and urlsplit(url).hostname not in LOOPBACK:
        what = f"{file} sends {key_env} to {_host(url)}, which is not {entry.name}'s own address"
        raise UsageError(_untrusted(what))
    return (key_env,) if key_env else ()


def _untrusted(what: str) -> str:
    return (
        f"{what}. A file in the current directory may be somebody else's: put the lane into the {FILE} of your "
        f"configuration directory, or set FANOUT_TRUST_PROJECT=1 where you trust this file"
    )


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _alike(url: str, other: str, part: Callable[[SplitResult], object]) -> bool:
    try:
        return part(urlsplit(url)) == part(urlsplit(other))
    except ValueError:  # what is no address is nobody's
        return False


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _whole(parts: SplitResult) -> tuple[object, ...]:
    return *_origin(parts), parts.path.rstrip("/"), parts.query
