"""A service that knows when it sent what: a measurement of it is judged by its log.

It speaks Chat Completions on 127.0.0.1, as a process of its own, and ends with its parent or after its time. It keeps
to a schedule: what it sends late does not delay the rest. Of every piece it logs the time just before the send, on the
clock that all processes of the machine share; so to be late falsifies nothing. What an answer is like stands in the
first segment of the path, so that it can be part of a base URL: `/ttft=200&gap=20&tokens=64/v1/chat/completions`.
"""

import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from http.client import HTTPConnection
from itertools import count
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from attrs import define, field, fields, frozen

from fanout.errors import UsageError
from fanout.storage.environment import child_environment

LIFETIME_SECONDS = 3600.0
"""The service ends after that, unless it is told otherwise."""

_MS = 1_000_000
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python has no name for it
_ROOM = socket.CMSG_SPACE(16) if sys.platform == "linux" else 0
_SMILE = "\U0001f600"
_WORDS = (" the", " of", " and", " to", " in", " that", " was", " his", " it", " with")
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


@frozen
class AnswerSpec:
    """The shape of an answer. Times are milliseconds; shares are of requests, that of stalls of gaps.

    `tokens` 0: as many as the request's bound, or 64. `jit` varies each gap by so large a share to both sides. `role`,
    `empty`: so many chunks without content come at once; `ping`: so many comments before the first token. `reason` of
    the tokens are reasoning; `tpc` come in one chunk. A `stall` of `stall_ms` may follow a chunk. With `utf8` each
    chunk ends within a character, whose rest comes so much later. The end comes `fin` after the last content, with the
    token counts if there is `usage`. `err`: an error in place of an answer; `errs`: one half-way; `cut`: the connection
    ends half-way.
    """

    ttft: float = 200.0
    gap: float = 20.0
    tokens: int = 0
    jit: float = 0.0
    seed: int = 1
    role: int = 0
    empty: int = 0
    ping: int = 0
    reason: int = 0
    tpc: int = 1
    stall: float = 0.0
    stall_ms: float = 200.0
    utf8: float = 0.0
    fin: float = 0.0
    usage: int = 1
    err: float = 0.0
    errs: float = 0.0
    cut: float = 0.0

    @classmethod
    def of(cls, text: str) -> "AnswerSpec":
        """Reads the first segment of a path. Raises ValueError for anything else."""
        kinds: dict[str, Any] = {attribute.name: attribute.type for attribute in fields(cls)}
        given = dict(parse_qsl(text, strict_parsing=True)) if text else {}
        if unknown := given.keys() - kinds.keys():
            raise ValueError(f"there is no {', '.join(sorted(unknown))}")
        return cls(**{name: kinds[name](value) for name, value in given.items()})


@frozen
class Sent:
    """The log of one answer. Times are nanoseconds of the monotonic clock.

    `asked` is when the request had arrived whole; `pieces` has the number of the first token of each chunk of content,
    and when the chunk was sent; `over` is the end. `how`: done, error (in place of an answer), broken (by an error
    within), cut, gone (the client left), or blocked (it did not read).
    """

    number: int
    asked: int
    pieces: tuple[tuple[int, int], ...]
    over: int
    how: str
    tokens: int

    @property
    def times(self) -> list[float]:
        """Seconds from the request to each chunk."""
        return [(at - self.asked) / 1e9 for _, at in self.pieces]


@frozen
class Truth:
    """A service that runs, as the process `pid`."""

    url: str
    pid: int

    def base_url(self, **spec: float) -> str:
        """The base URL of a service with such answers. Raises UsageError for what is no field of AnswerSpec."""
        try:
            AnswerSpec.of(query := urlencode(spec))
        except ValueError as error:
            raise UsageError(f"the service cannot do that: {error}") from None
        return f"{self.url}/{query}/v1"

    def take(self) -> list[Sent]:
        """The answers that are over, in the order of the requests; the service then forgets them."""
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request("GET", "/take")
            lines = connection.getresponse().read().splitlines()
        finally:
            connection.close()
        found = [json.loads(line) for line in lines]
        return [Sent(**{**value, "pieces": tuple(map(tuple, value["pieces"]))}) for value in found]


@contextmanager
def open_truth(seconds: float = LIFETIME_SECONDS) -> Iterator[Truth]:
    """Runs the service until the block is left, for so many seconds at most. Raises UsageError if it does not start."""
    command = [sys.executable, "-P", "-m", __name__, str(seconds)]
    pipe, environment = subprocess.PIPE, child_environment()
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:  # noqa: S603
        assert process.stdout
        try:
            port = process.stdout.readline().strip()
            if not port:
                raise UsageError("the service to measure against does not start")
            yield Truth(f"http://127.0.0.1:{port}", process.pid)
        finally:
            process.terminate()


SendStep = tuple[int, int | None, bytes]
"""Nanoseconds after the request, the number of the first token if that is content, and the bytes; none: hang up."""


class _Script:
    """The steps of one answer."""

    def __init__(self, spec: AnswerSpec, number: int, request: Mapping[str, Any]) -> None:
        self.spec = spec
        self.number = number
        self.streamed = bool(request.get("stream"))
        self.random = Random(f"{spec.seed} {number}")  # noqa: S311  # an experiment's plan, not a secret
        bound = request.get("max_completion_tokens") or request.get("max_tokens")
        self.tokens = spec.tokens or bound or 64
        self.prompt = sum(len(str(message.get("content"))) for message in request.get("messages", ())) // 4
        self.error = self.random.random() < spec.err
        self.broken = self.random.random() < spec.errs
        self.cut = self.random.random() < spec.cut
        choice = '[{"index":0,"delta":%s,"finish_reason":%s}]'
        self._event_form = _data({**self._form(), "choices": 0}).decode().replace('"choices":0', f'"choices":{choice}')

    @property
    def fate(self) -> str:
        """The end that it comes to if the client stays."""
        return "error" if self.error else "broken" if self.broken else "cut" if self.cut else "done"

    def steps(self) -> Iterator[SendStep]:
        """Everything, in order."""
        first = round(self.spec.ttft * _MS)
        if self.error:
            yield 0, None, _document("500 Internal Server Error", {"error": {"message": "as asked for"}})
        elif not self.streamed:
            yield first + round(self.spec.gap * _MS) * (self.tokens - 1), 0, self._whole()
        else:
            yield 0, None, _HEAD
            yield from self._before(first)
            yield from self._chunks(first)

    def _before(self, first: int) -> Iterator[SendStep]:
        if self.spec.role:
            yield 0, None, self._event({"role": "assistant", "content": ""})
        for _ in range(self.spec.empty):
            yield 0, None, self._event({"content": ""})
        for ping in range(self.spec.ping):
            yield first * (ping + 1) // (self.spec.ping + 1), None, _chunk(b": ping\n\n")

    def _chunks(self, due: int) -> Iterator[SendStep]:
        spec = self.spec
        for token in range(0, self.tokens, spec.tpc):
            if (self.broken or self.cut) and token >= self.tokens // 2:
                error = b'data: {"error":{"message":"as asked for","type":"server_error"}}\n\n'
                yield due, None, _chunk(error) + b"0\r\n\r\n" if self.broken else b""
                return
            yield from self._content(due, token)
            last = due + round(spec.utf8 * _MS)
            gap = spec.gap * spec.tpc * (1 + spec.jit * (2 * self.random.random() - 1))
            due += round((gap + (spec.stall_ms if self.random.random() < spec.stall else 0)) * _MS)
        yield last + round(spec.fin * _MS), None, self._end()

    def _content(self, due: int, token: int) -> Iterator[SendStep]:
        """The steps of one chunk; a piece of content counts as sent with its last byte."""
        numbers = range(token, min(token + self.spec.tpc, self.tokens))
        text = "".join(_WORDS[number % len(_WORDS)] for number in numbers) + (_SMILE if self.spec.utf8 else "")
        data = self._event({"reasoning_content" if token < self.spec.reason else "content": text})
        if self.spec.utf8:
            cut = data.index(_SMILE.encode()) + 2
            yield due, None, data[:cut]
            yield due + round(self.spec.utf8 * _MS), token, data[cut:]
        else:
            yield due, token, data

    def _end(self) -> bytes:
        usage = _chunk(_data({**self._form(), "choices": [], **self._usage()})) if self.spec.usage else b""
        return self._event({}, "length") + usage + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def _whole(self) -> bytes:
        message = {"role": "assistant", "content": "".join(_WORDS[n % len(_WORDS)] for n in range(self.tokens))}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        usage = self._usage() if self.spec.usage else {}
        return _document("200 OK", {**self._form(), "object": "chat.completion", "choices": [choice], **usage})

    def _event(self, delta: Mapping[str, str], finish: str | None = None) -> bytes:
        inside = json.dumps(delta, ensure_ascii=False)  # of an event that is otherwise always the same
        return _chunk((self._event_form % (inside, json.dumps(finish))).encode())

    def _form(self) -> dict[str, Any]:
        return {"id": f"chatcmpl-{self.number}", "object": "chat.completion.chunk", "created": 1, "model": "truth"}

    def _usage(self) -> dict[str, Any]:
        thought = {"reasoning_tokens": min(self.spec.reason, self.tokens)}
        counts = {"prompt_tokens": self.prompt, "completion_tokens": self.tokens}
        return {"usage": {**counts, "total_tokens": self.prompt + self.tokens, "completion_tokens_details": thought}}


def _data(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _document(status: str, value: Any) -> bytes:
    body = json.dumps(value).encode()
    return _reply(status, "application/json", body)


def _reply(status: str, kind: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@define(eq=False)
class _Connection:
    """A client, and the answer that it is being sent."""

    socket: socket.socket
    received: bytes = b""
    steps: Iterator[SendStep] = field(factory=lambda: iter(()))
    script: _Script | None = None
    asked: int = 0
    pieces: list[tuple[int, int]] = field(factory=list)


class _Server:
    """The service in one thread: sockets, and a heap of due steps."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._due: list[tuple[int, int, _Connection, int | None, bytes]] = []
        self._order = count()
        self._numbers = count()
        self._over: list[str] = []
        self._open = True

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self._listener.getsockname()[1])

    def end_with(self, parent: int) -> None:
        """Ends when the other end of this pipe is closed."""
        self._selector.register(parent, selectors.EVENT_READ, self._close)

    def run(self, seconds: float) -> None:
        """Serves for so long."""
        end = time.monotonic_ns() + round(seconds * 1e9)
        while self._open and (now := time.monotonic_ns()) < end:
            while self._due and self._due[0][0] <= now:
                self._step(heappop(self._due))
                now = time.monotonic_ns()
            next_due = self._due[0][0] if self._due else end
            for key, _ in self._selector.select(max(0, min(next_due, end) - now) / 1e9):
                key.data()

    def _close(self) -> None:
        self._open = False

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _ROOM:
            client.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        connection = _Connection(client)
        self._selector.register(client, selectors.EVENT_READ, lambda: self._receive(connection))

    def _receive(self, connection: _Connection) -> None:
        try:
            data, stamps, _, _ = connection.socket.recvmsg(1 << 16, _ROOM)
        except OSError:
            data = b""
        if not data:
            self._leave(connection, "gone")
            return
        connection.received += data
        connection.asked = time.monotonic_ns()
        for *_, stamp in stamps:  # the kernel's: how long it took us to get here is not the client's concern
            seconds, nanoseconds = struct.unpack_from("=qq", stamp)
            connection.asked -= time.time_ns() - seconds * 1_000_000_000 - nanoseconds
        self._take(connection)

    def _take(self, connection: _Connection) -> None:
        """Begins to answer the next request, if it is there whole and the one before is over."""
        head, mark, body = connection.received.partition(b"\r\n\r\n")
        if not mark or connection.script is not None:
            return
        line, *fields_ = head.decode("latin-1").split("\r\n")
        size = next((int(f.partition(":")[2]) for f in fields_ if f.lower().startswith("content-length:")), 0)
        if len(body) < size:
            return
        connection.received = body[size:]
        path = line.split(" ")[1]
        if path == "/take":
            lines, self._over = self._over, []
            self._send(connection, _reply("200 OK", "application/jsonl", "\n".join(lines).encode()))
            self._take(connection)
            return
        try:
            spec = AnswerSpec.of(path.split("/")[1] if "=" in path else "")
            request = json.loads(body[:size])
        except ValueError as error:
            self._send(connection, _document("400 Bad Request", {"error": {"message": str(error)}}))
            return
        connection.script = _Script(spec, next(self._numbers), request)
        connection.pieces = []
        connection.steps = connection.script.steps()
        self._plan(connection)

    def _plan(self, connection: _Connection) -> None:
        """Puts the next step on the heap; sends those that are due at once."""
        for after, token, data in connection.steps:
            if after:
                heappush(self._due, (connection.asked + after, next(self._order), connection, token, data))
                return
            if not self._send(connection, data):
                return
        if connection.script is not None:
            self._note(connection, connection.script.fate)
            self._take(connection)

    def _step(self, due: tuple[int, int, _Connection, int | None, bytes]) -> None:
        _, _, connection, token, data = due
        if connection.script is None:
            return  # the client has left
        if not data:
            self._leave(connection, "cut")
            return
        if token is not None:
            connection.pieces.append((token, time.monotonic_ns()))
        if self._send(connection, data):
            self._plan(connection)

    def _send(self, connection: _Connection, data: bytes) -> bool:
        """Returns True if the client took it all; else it has left, or is made to."""
        try:
            taken = connection.socket.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            self._leave(connection, "gone")
            return False
        if taken < len(data):
            self._leave(connection, "blocked")
            return False
        return True

    def _leave(self, connection: _Connection, how: str) -> None:
        self._note(connection, how)
        self._selector.unregister(connection.socket)
        connection.socket.close()

    def _note(self, connection: _Connection, how: str) -> None:
        script, connection.script = connection.script, None
        if script is not None:
            over = time.monotonic_ns()
            sent = {"number": script.number, "asked": connection.asked, "pieces": connection.pieces}
            self._over.append(json.dumps({**sent, "over": over, "how": how, "tokens": script.tokens}))


def main(given: Sequence[str]) -> None:
    """Says the port on stdout, and serves for so many seconds or until stdin is closed."""
    service = _Server()
    service.end_with(sys.stdin.fileno())
    sys.stdout.write(f"{service.port}\n")
    sys.stdout.flush()
    service.run(float(given[0]))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
