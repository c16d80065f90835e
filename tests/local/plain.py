"""The least transport that can carry an answer of the embedded model: HTTP/1.1, one connection a request."""

from urllib.parse import urlsplit

import trio

from fanout.abc import Head, Receiver, Request
from fanout.errors import ConnectError, ResetError


class Plain:
    """Hands on the body as it comes, its chunk marks included."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        self.requests.append(request)
        url = urlsplit(request.url)
        headers = {**request.plain_headers(), "host": url.netloc, "connection": "close"}
        headers["content-length"] = str(len(request.body))
        lines = [f"{request.method} {url.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        try:
            stream = await trio.open_tcp_stream(url.hostname or "", url.port or 80)
        except OSError as error:
            raise ConnectError(str(error)) from error
        async with stream:
            try:
                await stream.send_all("\r\n".join([*lines, "", ""]).encode() + request.body)
                await self._read(stream, receiver)
            except trio.BrokenResourceError as error:
                raise ResetError(str(error)) from error

    async def _read(self, stream: trio.SocketStream, receiver: Receiver) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (chunk := await stream.receive_some()):
                raise ResetError("no head")
            data += chunk
        head, _, body = data.partition(b"\r\n\r\n")
        receiver.head(Head(int(head.split()[1])))
        receiver.data(body)
        tail = body[-7:]
        async for more in stream:
            receiver.data(bytes(more))
            tail = (tail + more)[-7:]
        if b"chunked" in head.lower() and tail != b"\r\n0\r\n\r\n":
            raise ResetError("the body was cut")


class Kept:
    """A receiver that keeps what it is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.began = trio.Event()

    def head(self, head: Head) -> None:
        self.status = head.status

    def data(self, data: bytes) -> bool:
        self.body += data
        if data:
            self.began.set()
        return False
