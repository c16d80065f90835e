"""The response: an ASGI callable whose work is cancelled when the client leaves, and which closes its connection.

Starlette's StreamingResponse cancels its own last send when hypercorn tells it of the end before that (its h11
protocol queues `http.disconnect` before it closes the connection), and then a client that asked for `Connection: close`
waits for ever. Here somebody always awaits `receive`, which is how hypercorn's Trio worker tells that a client has
gone, and nothing can cancel the last send: it comes after the nursery.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import trio

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[str, str]]


class Reply:
    """One response as it is sent: its head once, then bodies, each in one write; `gone` once the client has left.

    `whole` says that its last byte was handed on: many clients leave as soon as they have that, and miss nothing.

    Its bodies go by `send_body`, which may lead past whoever only wants to see the head.
    """

    def __init__(self, send: Send, send_body: Send | None = None) -> None:
        self._send = send
        self._send_body = send_body or send
        self.status: int | None = None
        self.gone = False
        self.whole = False

    @property
    def begun(self) -> bool:
        """True once the head is sent: from then on a failure can only be told in the body."""
        return self.status is not None

    async def begin(self, status: int, headers: Headers) -> None:
        """Sends the head. Text that no header can carry is replaced."""
        self.status = status
        pairs = [(name.encode("latin-1"), _plain(value)) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def write(self, body: bytes, *, last: bool = False) -> None:
        """Sends a part of the body, or the `last`."""
        self.whole = last
        if body:
            await self._send_body({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> None:
        """Ends the body."""
        if self.begun and not self.gone:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _plain(value: str) -> bytes:
    return "".join(mark if " " <= mark <= "~" else "?" for mark in value).encode()


async def respond(
    receive: Receive, send: Send, work: Callable[[Reply], Awaitable[None]], send_body: Send | None = None
) -> Reply:
    """Runs `work`, which sends a response, while the client is there, and ends the response.

    The request's body must have been read: what `receive` gives from then on is that the client has gone.
    """
    reply = Reply(send, send_body)
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            reply.gone = True
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        await work(reply)
        nursery.cancel_scope.cancel()
    await reply.end()
    return reply
