"""HTTP/1.1 without TLS, for an ASGI application: h11 reads and frames, and a body goes straight to the socket.

hypercorn passes every piece of a body through five objects, a lock, a shield and two checkpoints, which costs more than
all that fanout does with it (docs/gateway.md). Here a piece is one system call, and a task waits only where the client
does not keep up. A connection is one task: what the client sends is read when the application, or the next request,
asks for it, so nothing of a body is read ahead.

h11 decides on what a request is, where it ends, and whether a connection may be used again; it is strict where two
servers might disagree (RFC 9112, section 11.2). Chunks of a body are framed here: its writer keeps no count of them.
"""

import errno
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

import h11
import trio
from attrs import define, field

from fanout.gateway.streams import Message, Receive, Send

App = Callable[[Any, Receive, Send], Awaitable[None]]

READ = 1 << 16
"""Bytes of one read, and of requests that a client sends ahead."""

MOST_HEAD = 1 << 14
"""Bytes of the head of a request."""

LINGER = 1.0
"""Seconds for which the rest of a body that nobody wants is read: a reset would take the answer from its client."""

FULL = 0.1
"""Seconds until the next attempt to take a client in when there are no descriptors or buffers left."""

_SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_BODILESS = (204, 304)

_log = logging.getLogger("fanout")


@define(eq=False)
class Server:
    """The state that connections share. `idle` and `unread` are seconds: see `serve`."""

    app: App
    idle: float
    unread: float
    stopping: bool = False
    waiting: set[trio.CancelScope] = field(factory=set)
    _second: int = 0
    _date: bytes = b""

    async def accept(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        """Takes clients in, until it is cancelled."""
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                client, _ = sock.accept()
            except BlockingIOError:
                continue  # another worker was faster
            except OSError as error:
                if error.errno in _SHORT:
                    _log.warning("no client can be taken in: %s", error.strerror)
                    await trio.sleep(FULL)
                continue  # else the client has gone already
            nursery.start_soon(self._attend, client)

    async def _attend(self, client: socket.socket) -> None:
        try:
            await Connection(self, client).serve()
        except OSError:
            pass  # the client has gone
        except Exception:  # noqa: BLE001  # of one connection, logged
            _log.exception("a connection failed")

    def stop(self) -> None:
        """Ends the connections that wait for a request; the others end after their response."""
        self.stopping = True
        for scope in self.waiting:
            scope.cancel()

    def date(self) -> bytes:
        """The time as a header has it."""
        now = int(time.time())
        if now != self._second:
            self._second, self._date = now, formatdate(now, usegmt=True).encode()
        return self._date


async def serve(
    app: App,
    sock: socket.socket,
    shutdown_trigger: Callable[[], Awaitable[None]],
    *,
    idle: float,
    unread: float,
    grace: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves `app` on a socket that listens, until `shutdown_trigger` returns, and closes it.

    In seconds: a connection without a request lasts `idle`; a client that takes nothing of what was sent for `unread`
    is cut off; responses that run at the end have `grace`.
    """
    server = Server(app, idle, unread)
    sock.setblocking(False)
    async with trio.open_nursery() as connections:
        with sock:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.accept, sock, connections)
                task_status.started()
                await shutdown_trigger()
                nursery.cancel_scope.cancel()
        server.stop()
        connections.cancel_scope.deadline = trio.current_time() + grace


class Connection:
    """One client, whose requests are answered one after the other."""

    def __init__(self, server: Server, client: socket.socket) -> None:
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = server
        self._client = client
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD)
        self._request: h11.Request | None = None
        self._held = b""
        self._unsent = bytearray()
        self._drain_lock = trio.Lock()
        self._chunked = False
        self._gone = False
        self._fault: h11.RemoteProtocolError | None = None

    async def serve(self) -> None:
        """Answers requests, until the connection cannot be used any more."""
        try:
            while await self._serve_next():
                pass
        finally:
            self._close()

    def _close(self) -> None:
        self._gone = True
        if self._client.fileno() >= 0:
            trio.lowlevel.notify_closing(self._client)
            self._client.close()

    async def _serve_next(self) -> bool:
        """Answers the next request. Returns whether another may follow."""
        self._request = await self._next_request()
        if self._request is None:
            await self._refuse()
            return False
        try:
            await self._server.app(self._scope(self._request), self.receive, self.send)
        except Exception:  # noqa: BLE001  # of one request, logged
            _log.exception("a request failed")
        except BaseExceptionGroup as group:
            if failures := group.subgroup(Exception):
                _log.error("a request failed", exc_info=failures)
            raise
        if self._gone:
            return False
        if self._parser.our_state is h11.SEND_RESPONSE:  # there is no answer
            self._fault = self._fault or h11.RemoteProtocolError("", 500)
            await self._refuse()
            return False
        return await self._end_cycle()

    async def _end_cycle(self) -> bool:
        """Makes the connection ready for the next request. Returns whether it can be."""
        parser = self._parser
        try:
            while parser.their_state is h11.SEND_BODY and parser.next_event() is not h11.NEED_DATA:
                pass  # an end of the body that nobody asked for
        except h11.RemoteProtocolError:
            return False
        if parser.our_state in (h11.DONE, h11.MUST_CLOSE) and parser.their_state is h11.SEND_BODY:
            await self._linger()
        if self._server.stopping or (parser.our_state, parser.their_state) != (h11.DONE, h11.DONE):
            return False
        parser.start_next_cycle()
        return True

    async def _next_request(self) -> h11.Request | None:
        """Waits for the head of the next request; None if none comes, or a broken one."""
        waiting = self._server.waiting
        with trio.CancelScope(deadline=trio.current_time() + self._server.idle) as scope:
            waiting.add(scope)
            try:
                while (event := self._parser.next_event()) is h11.NEED_DATA:
                    self._parser.receive_data(await self._read())
                if not isinstance(event, h11.Request):
                    return None
                self._fault = _find_fault(event)
                if self._fault is None:
                    return event
            except h11.RemoteProtocolError as error:
                self._fault = error
            finally:
                waiting.discard(scope)
        return None

    async def _read(self) -> bytes:
        """Waits for bytes; none are the end."""
        while True:
            try:
                data = self._client.recv(READ)
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_readable(self._client)
                except trio.ClosedResourceError:  # by us: it took nothing of what was sent
                    return b""
            except OSError:
                return b""
            else:
                return data

    async def _refuse(self) -> None:
        """Answers a request that is none, or that has failed, if its client can still hear it."""
        if self._fault is None or self._parser.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [(b"date", self._server.date()), (b"content-length", b"0"), (b"connection", b"close")]
        response = h11.Response(status_code=self._fault.error_status_hint, headers=headers)
        await self._write(self._parser.send(response) + self._parser.send(h11.EndOfMessage()))
        await self._linger()

    async def _linger(self) -> None:
        """Says that nothing more comes, and reads on a little before the connection closes."""
        try:
            self._client.shutdown(socket.SHUT_WR)
        except OSError:
            return
        with trio.move_on_after(LINGER):
            while True:
                if not await self._read():
                    return
                await trio.lowlevel.checkpoint()

    def _scope(self, request: h11.Request) -> dict[str, Any]:
        path, _, query = request.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode("ascii"),
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "extensions": {},
        }

    # What the application calls.

    async def receive(self) -> Message:
        """Returns the next part of the body, and after the last one waits until the client has gone."""
        try:
            if self._parser.their_state is h11.SEND_BODY and (message := await self._next_part()) is not None:
                return message
        except h11.RemoteProtocolError as error:
            self._fault = error
            return {"type": "http.disconnect"}
        while not self._gone and len(self._parser.trailing_data[0]) <= READ:
            data = await self._read()
            self._parser.receive_data(data)
            self._gone = not data
        if not self._gone:
            await trio.sleep_forever()  # it sends requests ahead, and does not wait for the answer of this one
        return {"type": "http.disconnect"}

    async def _next_part(self) -> Message | None:
        """Waits for a part of the body; None where the client leaves before its end."""
        if self._parser.they_are_waiting_for_100_continue:
            await self._write(self._parser.send(h11.InformationalResponse(status_code=100, headers=[])))
        while True:
            event = self._parser.next_event()
            if event is h11.NEED_DATA:
                data = await self._read()
                if not data:
                    self._gone = True
                    return None
                self._parser.receive_data(data)
                await trio.lowlevel.checkpoint()  # a large body is no delay of others
            elif isinstance(event, h11.Data):
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            else:
                return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        """Sends the head with the first piece of the body, then each piece as it comes."""
        if self._gone:
            return
        if message["type"] == "http.response.start":
            self._held = self._begin(message["status"], message["headers"])
            return
        body = message.get("body", b"")
        if self._request is not None and self._request.method == b"HEAD":
            body = b""
        data, self._held = self._held, b""
        if body:
            data += b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else self._framed(body)
        if not message.get("more_body"):
            data += self._parser.send(h11.EndOfMessage()) or b""
        if data:
            await self._write(data)

    def _begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        assert self._request is not None
        sized = any(name == b"content-length" for name, _ in headers)
        plain = self._request.http_version == b"1.1" and self._request.method != b"HEAD" and status not in _BODILESS
        self._chunked = plain and not sized
        response = h11.Response(status_code=status, headers=[*headers, (b"date", self._server.date())])
        return self._parser.send(response) or b""

    def _framed(self, body: bytes) -> bytes:
        return self._parser.send(h11.Data(data=body)) or b""

    async def _write(self, data: bytes) -> None:
        """Hands bytes to the kernel. What it does not take at once stays first in line, also if this is cancelled."""
        if not self._unsent:
            try:
                sent = self._client.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._gone = True
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._unsent += data
        async with self._drain_lock:
            await self._drain()

    async def _drain(self) -> None:
        with trio.CancelScope(deadline=trio.current_time() + self._server.unread) as scope:
            while self._unsent and not self._gone:
                await trio.lowlevel.wait_writable(self._client)
                try:
                    del self._unsent[: self._client.send(self._unsent)]
                except BlockingIOError:
                    continue
                except OSError:
                    self._gone = True
                scope.deadline = trio.current_time() + self._server.unread
        if scope.cancelled_caught:
            self._close()  # which whoever awaits `receive` hears too


def _find_fault(request: h11.Request) -> h11.RemoteProtocolError | None:
    """Returns why a head that h11 takes is refused all the same; the connection ends with that."""
    if request.http_version not in (b"1.0", b"1.1"):
        return h11.RemoteProtocolError("HTTP/2 needs TLS here", 505)
    names = [name for name, _ in request.headers]
    if b"transfer-encoding" in names and b"content-length" in names:
        # h11 goes by the chunks; a server before this one may go by the length, and see another end (RFC 9112, 6.1).
        return h11.RemoteProtocolError("two ways to tell the end of a body", 400)
    if sum(len(name) + len(value) for name, value in request.headers) + len(request.target) > MOST_HEAD:
        return h11.RemoteProtocolError("the head is too large", 431)  # h11 bounds only what has not come whole
    return None
