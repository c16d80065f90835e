"""A reply that is read whole: on the way to an answer, or for a list of models, or a file."""

from fanout.abc import Head, Reply, Request, Transport
from fanout.errors import TooLarge, Truncated

REPLY_BYTES = 8 << 20
"""Bytes of a reply, unless its reader allows more."""


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
