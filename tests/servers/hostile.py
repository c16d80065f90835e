"""Services that mean harm, each a path of one server in a process of its own: `python -m tests.servers.hostile`.

It prints its port; `base_url=http://127.0.0.1:PORT/CASE` is a service that answers every request with the body CASE.
Those that never end are cut off after LONGEST seconds or MOST bytes. `/make/CASE` makes the body, which takes its time,
and answers nothing. `good` takes half a second, `brief` none; the last piece of `good` is the number of seconds that
the service took for it.
"""

import gzip
import json
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

MOST = 96 << 20
LONGEST = 5.0
GAP = 0.025
"""Seconds between the 20 pieces of the good service, `good`."""
EVENT = (8 << 20) - 4096
"""Bytes of an event that are below its cap."""


def sse(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


DONE = sse({"choices": [{"delta": {"content": "ok"}, "finish_reason": "stop"}]}) + b"data: [DONE]\n\n"
GOOD_PIECE = sse({"choices": [{"delta": {"content": "word"}}]})


def head(kind: str = "text/event-stream", more: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n{more}\r\n".encode()


Send = Callable[[bytes], None]


def flood(block: bytes, before: bytes | None = None, first: bytes = b"") -> Callable[[Send], None]:
    """Sends a block over and over."""

    def case(send: Send) -> None:
        send((head() if before is None else before) + first)
        until, sent = time.monotonic() + LONGEST, 0
        while sent < MOST and time.monotonic() < until:
            send(block)
            sent += len(block)

    return case


def once(*parts: bytes) -> Callable[[Send], None]:
    def case(send: Send) -> None:
        for part in parts:
            send(part)

    return case


def pack(data: bytes) -> bytes:
    return head(more="content-encoding: gzip\r\n") + gzip.compress(data, 9)


def bomb(unit: bytes, size: int) -> bytes:
    """Returns a gzip member of so many MiB of units. Each MiB is packed alike, hence once."""
    block = unit * ((1 << 20) // len(unit))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    check = 0
    for _ in range(size >> 20):
        check = zlib.crc32(block, check)
    end = check.to_bytes(4, "little") + (len(block) * (size >> 20) & 0xFFFFFFFF).to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\2\xff" + packed * (size >> 20) + b"\3\0" + end


def many(item: bytes, around: tuple[bytes, bytes], size: int = EVENT) -> bytes:
    """Returns one event that is as many items as there is room for."""
    return sse(around[0] + b",".join([item] * ((size - 100) // (len(item) + 1))) + around[1])


CHOICES = (b'{"choices":[', b"]}")
EMPTY_MEMBER = gzip.compress(b"", 9)
SYNC_FLUSH = b"\0\0\0\xff\xff"
DOCUMENT = head("application/json")

CASES: dict[str, Callable[[], Callable[[Send], None]]] = {
    "empty-members": lambda: flood(EMPTY_MEMBER * 3000, head(more="content-encoding: gzip\r\n")),
    "small-members": lambda: flood(gzip.compress(b":") * 3000, head(more="content-encoding: gzip\r\n")),
    "empty-blocks": lambda: flood(
        SYNC_FLUSH * 13000, head(more="content-encoding: gzip\r\n"), b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    ),
    "bomb": lambda: once(head(more="content-encoding: gzip\r\n") + bomb(b": " + b"x" * 1000 + b"\n", 256 << 20)),
    "bomb-line": lambda: once(head(more="content-encoding: gzip\r\n") + bomb(b"x", 256 << 20)),
    "bomb-twice": lambda: once(
        head(more="content-encoding: gzip, gzip\r\n") + gzip.compress(bomb(b": " + b"x" * 1000 + b"\n", 256 << 20))
    ),
    "objects": lambda: once(head() + sse(b"{}" * (EVENT // 2)) + DONE),
    "ones": lambda: once(head() + sse(b"1 " * (EVENT // 2)) + DONE),
    "bare-objects": lambda: once(head("application/x-ndjson") + b"{}" * (EVENT // 2) + b"\n"),
    "object-lines": lambda: flood(b"{}\n" * 20000, head("application/x-ndjson")),
    "blank-json-lines": lambda: flood(b"\n" * 65536, head("application/x-ndjson"), b'{"a":1}\n'),
    "choices": lambda: once(head() + many(b'{"delta":{"content":"a"}}', CHOICES) * 3 + DONE),
    "choices-small": lambda: flood(many(b'{"delta":{"content":"a"}}', CHOICES, 60_000)),
    "dicts": lambda: once(head() + many(b"{}", (b'{"choices":[{"delta":{"content":[', b"]}}]}")) + DONE),
    "numbers": lambda: once(head() + many(b"1.5", (b'{"x":[', b"]}")) + DONE),
    "strings": lambda: once(head() + many(b'"ab"', (b'{"x":[', b"]}")) + DONE),
    "keys": lambda: once(head() + sse(b'{"x":{' + b",".join(b'"%x":1' % i for i in range(EVENT // 12)) + b"}}") + DONE),
    "nested": lambda: once(head() + sse(b"[" * EVENT) + DONE),
    "braces": lambda: once(head() + sse(b"{" * EVENT) + DONE),
    "deep": lambda: once(head() + sse(b'{"a":' * 1000 + b"1" + b"}" * 1000) + DONE),
    "digits": lambda: once(head() + sse(b'{"choices":' + b"9" * 1_000_000 + b"}") + DONE),
    "escapes": lambda: once(head() + sse(b'{"x":"' + b"\\ud800" * (EVENT // 6 - 10) + b'"}') + DONE),
    "bad-escapes": lambda: once(head() + sse(b'{"x":"' + b"\\" * (EVENT - 10)) + DONE),
    "array-pairs": lambda: flood(b"{}," * 20000, head("application/json"), b"["),
    "array-commas": lambda: flood(b"," * 65536, head("application/json"), b"["),
    "array-brackets": lambda: flood(b"[[]]," * 12000, head("application/json"), b"["),
    "array-quotes": lambda: flood(b'""' * 30000, head("application/json"), b"[{"),
    "array-escapes": lambda: flood(b"\\a" * 30000, head("application/json"), b'[{"'),
    "array-choices": lambda: once(head("application/json") + b"[" + many(b'{"a":1}', (b'{"candidates":[', b"]}"))[6:]),
    "document": lambda: once(DOCUMENT + many(b'{"message":{"content":"a"}}', CHOICES)[6:]),
    "document-open": lambda: once(DOCUMENT + many(b'{"message":{"content":"a"}}', (b'{"choices":[', b""))[6:]),
    "document-quotes": lambda: once(DOCUMENT + b'{"a":' + b'"' * EVENT),
    "document-deep": lambda: once(DOCUMENT + b'{"error":' * 2000),
    "comments": lambda: flood(b": x\n" * 16384),
    "blank-lines": lambda: flood(b"\n" * 65536, first=b": a\n"),
    "returns": lambda: flood(b"\r" * 65536, first=b": a\n"),
    "short-lines": lambda: flood(b"a\n" * 32768, first=b": x\n"),
    "ids": lambda: flood(b"id:1\n\n" * 10000),
    "events": lambda: flood(b"event:a\ndata:\n\n" * 4000),
    "pings": lambda: flood(b"event: ping\ndata: {}\n\n" * 3000),
    "empty-data": lambda: flood(b"data\n" * 13000),
    "data-lines": lambda: flood(b"data: {\n" * 8000),
    "unspaced": lambda: flood(b"data: {}\n" * 7000),
    "tiny-events": lambda: flood(b"data:{}\n\n" * 7000),
    "odd-events": lambda: flood(b"data: {}\n\ndata: 1\n\n" * 3000),
    "roles": lambda: flood(sse({"choices": [{"delta": {"role": "assistant"}}]}) * 1000),
    "tokens": lambda: flood(GOOD_PIECE * 1000),
    "other-tokens": lambda: flood(
        b"".join(sse({"id": i, "choices": [{"delta": {"content": str(i)}}]}) for i in range(1000))
    ),
    "tiny-chunks": lambda: flood(b"1\r\n:\r\n" * 10900, head(more="transfer-encoding: chunked\r\n")),
    "empty-chunks": lambda: flood(
        b"".join(b"1\r\n%c\r\n" % byte for byte in EMPTY_MEMBER) * 300,
        head(more="transfer-encoding: chunked\r\ncontent-encoding: gzip\r\n"),
    ),
    "interims": lambda: flood(b"HTTP/1.1 103 Early\r\nlink: a\r\n\r\n" * 2000, b""),
    "long-line": lambda: once(head() + sse({"choices": [{"delta": {"content": "a" * (4 << 20)}}]}) + DONE),
    "bidi": lambda: once(head() + sse({"choices": [{"delta": {"content": "\u202e" * (1 << 20)}}]}) + DONE),
    "cites": lambda: once(
        head()
        + sse(
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {
                    "type": "text",
                    "text": "a",
                    "citations": [{"url": f"http://{i:05x}"} for i in range(20000)],
                },
            }
        )
        + sse({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
        + sse({"type": "message_stop"})
    ),
    "cites-one-by-one": lambda: flood(
        b"".join(
            sse(
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "citations_delta", "citation": {"url": f"http://{i:05x}"}},
                }
            )
            for i in range(2000)
        )
    ),
    "cites-gemini": lambda: once(
        head()
        + sse(
            {
                "candidates": [
                    {
                        "content": {"parts": [{"text": "a"}]},
                        "finishReason": "STOP",
                        "groundingMetadata": {
                            "groundingChunks": [{"web": {"uri": f"http://{i:05x}"}} for i in range(20000)]
                        },
                    }
                ]
            }
        )
    ),
    "page": lambda: flood(b"<p>" * 20000, head("text/html"), b"<html>"),
    "blanks": lambda: flood(b" " * 65536),
    "byte-order-marks": lambda: flood(b"\xef\xbb\xbf" * 20000),
    "error": lambda: flood(b'{"error":' * 7000, b"HTTP/1.1 500 Oh\r\nconnection: close\r\n\r\n"),
}
"""Each makes, when it is asked for, what sends it."""


_making = threading.Lock()


def make(name: str, made: dict[str, Callable[[Send], None]]) -> Callable[[Send], None]:
    """Makes what sends a body, once, or finds what was made."""
    with _making:
        if name not in made:
            made[name] = CASES[name]()
        return made[name]


def serve(connection: socket.socket, made: dict[str, Callable[[Send], None]]) -> None:
    rest = b""
    with connection, suppress(OSError, KeyError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while b"\r\n\r\n" not in rest:
            if not (piece := connection.recv(65536)):
                return
            rest += piece
        name, *more = rest.split(b" ")[1].decode().strip("/").split("/")
        if name == "make":
            make(more[0], made)
        elif name == "brief":
            connection.sendall(head() + DONE)
        elif name == "good":
            began = time.monotonic()
            connection.sendall(head())
            for _ in range(20):
                connection.sendall(GOOD_PIECE)
                time.sleep(GAP)
            took = f" {time.monotonic() - began}"
            connection.sendall(sse({"choices": [{"delta": {"content": took}, "finish_reason": "stop"}]}))
            connection.sendall(b"data: [DONE]\n\n")
        else:
            make(name, made)(connection.sendall)


@contextmanager
def open_hostile() -> Iterator[str]:
    """Runs the server, and gives its URL."""
    process = subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=500)
    print(listener.getsockname()[1], flush=True)  # noqa: T201
    made: dict[str, Callable[[Send], None]] = {}
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0], made), daemon=True).start()


if __name__ == "__main__":
    main()
