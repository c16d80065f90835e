"""A service in a process of its own that keeps a lane for PHASE seconds in the phase that the model's name says.

`words` takes them for its answer, `late` before the first token, `again` with a refusal before, `silent` for ever. At
the second address connections take so long: the handshake with TLS, else the kernel's, whose queue is full.
"""

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from re import search

from attrs import frozen

from tests.servers.apart import DONE, HEAD, TOKEN
from tests.transports.tls import Certificate

PHASE = 8.0 if "FANOUT_STOPS" in os.environ else 2.0
"""Seconds; more where many processes start beside each other, before they are stopped for long."""

TOKENS = 100
UNAVAILABLE = b"HTTP/1.1 503 Busy\r\nretry-after: %d\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % PHASE


@frozen
class Service:
    """The service's process, and its base URLs: one connects at once, the other slowly."""

    pid: int
    quick: str
    slow: str


def answer(stream: socket.socket, refused: set[str]) -> None:
    """Answers one request; what it has `refused` it takes the next time."""
    got = b""
    while not (name := search(rb'"model": ?"(\w+)-?(\w*)"', got)) and (data := stream.recv(65536)):
        got += data
    kind, lane = (part.decode() for part in name.groups()) if name else ("", "")
    if kind == "again" and lane not in refused:
        refused.add(lane)
        return stream.sendall(UNAVAILABLE)
    stream.sendall(HEAD)
    if kind == "silent":
        time.sleep(3600)
    if kind == "late":
        time.sleep(PHASE)
    for _ in range(TOKENS):
        stream.sendall(TOKEN)
        time.sleep(PHASE / TOKENS if kind == "words" else 0.0)
    return stream.sendall(DONE)


def attend(connection: socket.socket, context: ssl.SSLContext | None, pause: float, refused: set[str]) -> None:
    """Takes a connection after a pause, and answers."""
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        time.sleep(pause)
        with connection if context is None else context.wrap_socket(connection, server_side=True) as stream:
            answer(stream, refused)
    except OSError:
        pass


def listen(listener: socket.socket, context: ssl.SSLContext | None, slow: bool, refused: set[str]) -> None:
    """Takes connections for ever; the slow ones, without TLS, not before there were some for a while."""
    pause = PHASE if slow and context is not None else 0.0
    if slow and context is None:
        first = listener.accept()[0]
        threading.Thread(target=attend, args=(first, context, PHASE, refused), daemon=True).start()
        time.sleep(PHASE)
    while True:
        connection = listener.accept()[0]
        threading.Thread(target=attend, args=(connection, context, pause, refused), daemon=True).start()


@contextmanager
def open_service(certificate: Certificate | None) -> Iterator[Service]:
    """Runs the service, over TLS if there is a certificate."""
    files = [] if certificate is None else [str(certificate.path), str(certificate.key)]
    command = [sys.executable, "-m", "tests.servers.phases", *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            ports = process.stdout.readline().split()
            address = "https://localhost" if files else "http://127.0.0.1"
            yield Service(process.pid, *(f"{address}:{port}/v1" for port in ports))
        finally:
            process.kill()


def main(files: list[str]) -> None:
    """Listens until it is killed, and says where."""
    context = Certificate(*map(Path, files)).context() if files else None
    with (
        socket.create_server(("127.0.0.1", 0), backlog=500) as quick,
        socket.create_server(("127.0.0.1", 0), backlog=500 if files else 0) as slow,
    ):
        sys.stdout.write(f"{quick.getsockname()[1]} {slow.getsockname()[1]}\n")
        sys.stdout.flush()
        refused: set[str] = set()
        threading.Thread(target=listen, args=(slow, context, True, refused), daemon=True).start()
        listen(quick, context, False, refused)


if __name__ == "__main__":
    main(sys.argv[1:])
