"""The bytes of a file in an answer, wherever the service keeps them."""

from urllib.parse import urljoin, urlsplit

import trio
from attrs import evolve

from fanout.abc import Request, Transport
from fanout.addresses import is_public
from fanout.credentials.scrub import scrub
from fanout.errors import ProviderError, TimedOut, UsageError
from fanout.events import File
from fanout.transports.fetch import CONNECT, fetch
from fanout.wire.faults import response_error

FILE_BYTES = 64 << 20
"""Bytes of a file that are fetched."""

HOPS = 5
"""Redirections of a file's address that are followed, where no credentials go with the request."""


async def download(transport: Transport, file: File, total: float) -> bytes:
    """Returns what the file's request or its https address gives within `total` seconds.

    Only requests without credentials are redirected, and never away from https. Raises ProviderError when the bytes did
    not arrive or are too many, and UsageError for a file without an address or with one of another kind.
    """
    request = file.fetch if isinstance(file.fetch, Request) else Request("GET", _address(file.url))
    try:
        with trio.move_on_after(total):
            return await _follow(transport, request)
    except ProviderError as error:
        scrub(error, request.headers.values())
        raise
    raise TimedOut(f"the file did not come within {total:g} s", clock="total", seconds=total)


async def _follow(transport: Transport, request: Request) -> bytes:
    may_follow = not request.headers
    for hop in range(HOPS + 1):
        reply = await fetch(transport, request, CONNECT, FILE_BYTES)
        if reply.head.status == 200:
            return reply.body
        location = reply.head.headers.get("location")
        if not (may_follow and location and 300 <= reply.head.status < 400 and hop < HOPS):
            break
        request = evolve(request, url=_address(urljoin(request.url, location)))
    raise response_error(reply.head, reply.body)


def _address(url: str | None) -> str:
    """Returns an address that an answer may have us fetch. Raises UsageError: it might name a place of our own."""
    if url is None:
        raise UsageError("the file has neither bytes nor an address")
    try:
        parts = urlsplit(url)
        fine = parts.scheme == "https" and is_public(parts.hostname or "") and parts.username is parts.password is None
    except ValueError:
        fine = False
    if not fine:
        raise UsageError(f"a file is fetched from a public https address without credentials, not from {url!r:.200}")
    return url
