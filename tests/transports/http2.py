"""A loopback server of HTTP/2 (RFC 9113) that plays scripts: as much of the protocol as a client notices."""

import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, field

from fanout.abc import Head
from fanout.errors import ResetError
from fanout.transports.memory import Step
from tests.servers.http import serve

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 1
END_HEADERS = 4


@define
class Frame:
    """A step of a script: any frame, on the request's own stream or about the whole connection."""

    kind: int
    payload: bytes = b""
    flags: int = 0

    def on(self, stream: int) -> bytes:
        """The frame as an answer on this stream."""
        return frame(self.kind, self.flags, 0 if self.kind in (PING, GOAWAY) else stream, self.payload)


Steps = Sequence[Step | Frame]


@define(eq=False)
class Http2Server:
    """The server's record: connections, the bodies of requests in order, streams that were reset, with their codes."""

    url: str = ""
    connections: int = 0
    open: int = 0
    bodies: list[bytes] = field(factory=list)
    resets: list[int] = field(factory=list)
    reset_at: trio.Event = field(factory=trio.Event)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _literal(name: str, value: str) -> bytes:
    """RFC 7541, 6.2.2: a field without indexing, of less than 127 bytes, without Huffman coding."""
    return b"\x00" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


@asynccontextmanager
async def open_http2_server(
    script: Callable[[bytes], Steps], context: ssl.SSLContext | None = None
) -> AsyncGenerator[Http2Server]:
    """Plays to every request what `script` says of its body, over TLS if there is a `context`."""
    server = Http2Server()

    async def handle(stream: trio.SocketStream) -> None:
        secure: Any = trio.SSLStream(stream, context, server_side=True) if context else stream
        server.connections += 1
        server.open += 1
        try:
            async with trio.open_nursery() as nursery:
                await _Connection(secure, server, script, nursery).run()
                nursery.cancel_scope.cancel()
        finally:
            server.open -= 1

    async with serve(handle) as server.url:
        yield server


class _Connection:
    def __init__(
        self, stream: Any, server: Http2Server, script: Callable[[bytes], Steps], nursery: trio.Nursery
    ) -> None:
        self._stream = stream
        self._server = server
        self._script = script
        self._nursery = nursery
        self._sending = trio.Lock()
        self._got = b""
        self._bodies: dict[int, bytes] = {}
        self._playing: dict[int, trio.CancelScope] = {}

    async def run(self) -> None:
        if await self._read(len(PREFACE)) != PREFACE:
            return
        await self._send(frame(SETTINGS, 0, 0))
        while head := await self._read(9):
            payload = await self._read(int.from_bytes(head[:3]))
            if head[3] == GOAWAY:
                return  # libcurl waits for this close before it tells of frames that make no sense
            await self._take(head[3], head[4], int.from_bytes(head[5:]), payload)

    async def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (SETTINGS, PING) and not flags & ACK:
            await self._send(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind == RST_STREAM:
            self._server.resets.append(int.from_bytes(payload))
            self._server.reset_at.set()
            if stream in self._playing:
                self._playing[stream].cancel()
        elif kind in (HEADERS, DATA):
            if kind == DATA and payload:
                await self._send(frame(WINDOW_UPDATE, 0, 0, len(payload).to_bytes(4)))
            self._bodies[stream] = self._bodies.get(stream, b"") + (payload if kind == DATA else b"")
            if flags & END_STREAM:
                self._server.bodies.append(self._bodies[stream])
                self._nursery.start_soon(self._play, stream, self._script(self._bodies.pop(stream)))

    async def _play(self, stream: int, script: Steps) -> None:
        with trio.CancelScope() as self._playing[stream]:
            begun = False
            for step in script:
                if isinstance(step, Frame):
                    await self._send(step.on(stream))
                    if step.kind in (HEADERS, RST_STREAM):
                        return  # there is nothing more to be said on this stream
                    continue
                if not begun and not isinstance(step, float):
                    await self._begin(stream, step if isinstance(step, Head) else Head(200))
                    begun = True
                if isinstance(step, bytes):
                    await self._send(frame(DATA, 0, stream, step))
                elif isinstance(step, int | float):
                    await trio.sleep(step)
                elif isinstance(step, ResetError):
                    raise trio.BrokenResourceError  # ends the connection, with all its streams
            await self._send(frame(DATA, END_STREAM, stream))

    async def _begin(self, stream: int, head: Head) -> None:
        fields = _literal(":status", str(head.status)) + b"".join(_literal(*pair) for pair in head.headers.items())
        await self._send(frame(HEADERS, END_HEADERS, stream, fields))

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            await self._stream.send_all(data)

    async def _read(self, size: int) -> bytes:
        """So many bytes, or none when the client has gone."""
        while len(self._got) < size:
            more = await self._stream.receive_some()
            if not more:
                return b""
            self._got += more
        taken, self._got = self._got[:size], self._got[size:]
        return taken
