"""A service in a process of its own, for tests that stop or block theirs: a token every 20 ms, 40 of them."""

import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.transports.tls import Certificate

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
TOKENS, GAP = 40, 0.02


def answer(connection: socket.socket, context: ssl.SSLContext | None) -> None:
    """Answers one request on a connection."""
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = connection if context is None else context.wrap_socket(connection, server_side=True)
        got = b""
        with stream:
            while b'"model"' not in got and (data := stream.recv(65536)):
                got += data
            stream.sendall(HEAD)
            for _ in range(TOKENS):
                stream.sendall(TOKEN)
                time.sleep(GAP)
            stream.sendall(DONE)
    except OSError:
        pass


@contextmanager
def open_apart(certificate: Certificate | None = None) -> Iterator[str]:
    """Runs the service, over TLS if there is a certificate, and gives its base URL."""
    files = [] if certificate is None else [str(certificate.path), str(certificate.key)]
    command = [sys.executable, "-m", "tests.servers.apart", *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            port = process.stdout.readline().strip()
            yield f"https://localhost:{port}/v1" if files else f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def main(files: list[str]) -> None:
    """Listens until it is killed, and says where."""
    context = None
    if files:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*files)
    with socket.create_server(("127.0.0.1", 0), backlog=500) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0], context), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1:])
