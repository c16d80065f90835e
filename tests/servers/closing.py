"""A server that answers one request a connection, whose end is the end of the answer."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Self

import trio
from attrs import define, field

from tests.servers.http import Received, read_request, running

Reply = tuple[int, str, Iterable[bytes]]
"""The status, the media type and the pieces of the body, each sent on its own."""


@define(eq=False)
class ClosingServer(ABC):
    """The running server: its address, and what it was asked."""

    url: str = ""
    requests: list[Received] = field(factory=list)

    @classmethod
    def open(cls) -> AbstractAsyncContextManager[Self]:
        """Serves on a free port of 127.0.0.1 until the block ends."""
        return running(cls())

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serves one connection."""
        request = await read_request(stream)
        if request is None:
            return
        self.requests.append(request)
        status, media_type, pieces = self.answer(request)
        head = f"HTTP/1.1 {status} .\r\ncontent-type: {media_type}\r\nconnection: close\r\n\r\n"
        await stream.send_all(head.encode())
        for piece in pieces:
            await stream.send_all(piece)

    @abstractmethod
    def answer(self, request: Received) -> Reply:
        """Returns the answer to a request."""
