"""Decides which key goes with a lane: its provider's to the provider's own address, others on the user's word."""

from collections.abc import Callable
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from fanout.addresses import is_public, origin_of
from fanout.catalog.config import distrust
from fanout.catalog.entries import Entry, entries
from fanout.catalog.spec import Given


def is_own(entry: Entry, url: str) -> bool:
    """Tells whether this is the provider's own address: its host and port, or the whole that the environment gives.

    What the environment gives must be the same to the end, because such a host may serve others besides the user.
    """
    if entry.url_in_environment and _alike(url, entry.url_in_environment, _whole):
        return True
    if entry.unset:
        return False
    own = entry.fill_in()
    return _alike(url, own, origin_of if own == entry.base_url else _whole)


def is_elsewhere(name: str, url: str) -> bool:
    """Tells whether this is another address than the provider's own, as the table of services has it.

    Neither its list prices nor its list of models say anything there. What the environment gives is another address
    too, except in the place of a variable in the table's.
    """
    entry = entries().get(name)
    if entry is None or not url:
        return False
    if "{" in entry.base_url:
        return not is_public(urlsplit(url).hostname)
    return not _alike(url, entry.base_url, origin_of)


def key_variables(entry: Entry, url: str, given: Given) -> tuple[str, ...]:
    """Returns the variables of which the first that is set holds the key for this address; none: no key goes there.

    Raises UsageError where a project's file would give away a key that it was not trusted with.
    """
    own, key_env = is_own(entry, url), given.get("key_env")
    if key_env is None:
        return entry.keys if own else ()
    named = given.files.get("key_env")
    if named and key_env and key_env not in entry.keys:
        what = f"{named} sends {key_env}, which is not one of {entry.name}'s variables, to {_host(url)}"
        raise distrust(what)
    file = named or given.files.get("base_url")
    # Also on this machine, where any user may listen on a port.
    if file and key_env and not own:
        what = f"{file} sends {key_env} to {_host(url)}, which is not {entry.name}'s own address"
        raise distrust(what)
    return (key_env,) if key_env else ()


def _host(url: str) -> str:
    return urlsplit(url).netloc


@lru_cache(1024)  # the lanes of a call are often many of one service
def _alike(url: str, other: str, part: Callable[[SplitResult], object]) -> bool:
    try:
        return part(urlsplit(url)) == part(urlsplit(other))
    except ValueError:  # what is no address is nobody's
        return False


def _whole(parts: SplitResult) -> tuple[object, ...]:
    return *origin_of(parts), parts.path.rstrip("/"), parts.query
