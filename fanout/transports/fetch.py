"""A reply that is read whole: on the way to an answer, or for a list of models, or a file."""

import trio

from fanout.abc import Head, Provider, Reply, Request, Transport
from fanout.credentials.scrub import Scrubber
from fanout.errors import NotFound, ProviderError, TimedOut, TooLarge, Truncated
from fanout.errors.parsing import PARSE_ERRORS, translate

REPLY_BYTES = 8 << 20
"""Bytes of a reply, unless its reader allows more."""

CONNECT = 5.0
"""Seconds to a connection, for what is not part of an answer."""

PATIENCE = 15.0
"""Seconds that a service has for a short reply that is not part of an answer: who is logged in, which models."""


class _Whole:
    """Receives a reply that is read whole."""

    def __init__(self, most: int) -> None:
        self.head_of_reply: Head | None = None
        self.body = bytearray()
        self.most = most

    def head(self, head: Head, /) -> None:
        self.head_of_reply = head

    def data(self, data: bytes, /) -> bool:
        self.body += data
        if len(self.body) > self.most:
            raise TooLarge(f"a reply exceeds {self.most} bytes")
        return False


async def fetch(transport: Transport, request: Request, connect: float, most: int = REPLY_BYTES) -> Reply:
    """Returns the whole reply to `request`. Raises ProviderError if it does not arrive or exceeds `most` bytes."""
    whole = _Whole(most)
    await transport.exchange(request, whole, connect)
    if whole.head_of_reply is None:
        raise Truncated("the service closed the connection without a word")
    return Reply(whole.head_of_reply, bytes(whole.body))


async def fetch_soon(transport: Transport, request: Request, seconds: float | None = None) -> Reply:
    """Returns the whole reply to a request that no lane's clocks watch. Raises ProviderError.

    TimedOut, if it has not come within `seconds` (PATIENCE): a service may be silent, or send a byte now and then.
    """
    total = PATIENCE if seconds is None else seconds
    with trio.move_on_after(total):
        return await fetch(transport, request, min(CONNECT, total))
    raise TimedOut(f"the reply did not come within {total:g} s", clock="total", seconds=total)


async def fetch_models(transport: Transport, provider: Provider) -> list[str]:
    """Returns the names of the provider's models, asked now. Raises ProviderError, also for a reply of another shape.

    Neither names nor errors repeat a secret of the request.
    """
    request = provider.models_request()
    if request is None:
        raise NotFound(f"{provider.name} does not list its models")
    scrubber = Scrubber(request.headers.values())
    try:
        reply = await fetch_soon(transport, request)
        try:
            return list(map(scrubber.scrub_text, provider.models(reply)))
        except (*PARSE_ERRORS, AttributeError, RecursionError) as error:
            raise translate(error, "the list of models does not make sense") from None
    except ProviderError as error:
        scrubber.scrub_error(error)
        raise
