"""The server: sockets, workers and signals; the only module that knows hypercorn.

Without TLS it is that of `http1.py`; TLS, and HTTP/2 within it, are hypercorn's.
"""

import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from threading import Thread
from typing import Any

import trio
from attrs import evolve, frozen
from hypercorn.config import Config as ServerConfig
from hypercorn.trio import serve as serve_app

from fanout.api import open_transport
from fanout.catalog.config import Config
from fanout.credentials.secret import Secret
from fanout.errors import UsageError
from fanout.gateway import http1
from fanout.gateway.app import Gateway, Log
from fanout.gateway.guard import MOST_BYTES, NAMES, Guard, is_loopback
from fanout.gateway.queueing import Queue
from fanout.learning.kept import may_remember

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end the gateway."""

GRACE = 5.0
"""Seconds that open responses have to end themselves once the gateway stops."""

IDLE = 75.0
"""Seconds that an idle connection is kept: longer than clients and proxies keep theirs, so that they close first."""

UNREAD = 60.0
"""Seconds after which a client that reads nothing of what was sent is cut off: it would hold its turn for ever."""

RESTART = 1.0
"""Seconds before a worker that died is started again."""

Serve = Callable[..., Awaitable[None]]


@frozen
class Wish:
    """The server that is wanted: where it listens, whom it lets in, how much it takes on at once.

    `names` are further names by which clients call it. `most` requests run at once in each worker, as many as `waiting`
    wait. `certificate` and `key` are files for TLS, with which clients may speak HTTP/2.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    tokens: tuple[Secret, ...] = ()
    names: tuple[str, ...] = ()
    workers: int = 1
    most: int = 256
    waiting: int = 256
    most_bytes: int = MOST_BYTES
    transport: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def url(self) -> str:
        """The address for clients on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104  # where it listens
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}"

    @property
    def everywhere(self) -> bool:
        """True if it listens at all addresses of this machine."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104  # where it listens

    @property
    def public(self) -> bool:
        """True if others than this machine's users can reach it."""
        return not is_loopback(self.host)

    def guard(self) -> Guard:
        """Returns the guard of this server."""
        own = self.host if ":" not in self.host else f"[{self.host.strip('[]')}]"
        hosts = frozenset({*NAMES, own.lower(), *(name.lower() for name in self.names)})
        return Guard(hosts, self.tokens, self.most_bytes, addressed=self.public)


def listen(wish: Wish) -> socket.socket:
    """Returns a socket that listens where it is wished. Raises UsageError if that cannot be."""
    try:
        found = socket.getaddrinfo(wish.host.strip("[]"), wish.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # of Linux; hypercorn shields its sends from every other clock
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * UNREAD))
            sock.bind(address)
            sock.listen(1024)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise UsageError(f"cannot listen at {wish.host} port {wish.port}: {error.strerror or error}") from None
    sock.setblocking(False)
    return sock


def heeded() -> tuple[signal.Signals, ...]:
    """Those of STOPS that were not ignored when we were started, as nohup and shells without job control do."""
    return tuple(number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN)


def check_certificate(wish: Wish) -> None:
    """Raises UsageError, which names the files, if the certificate and its key cannot be used."""
    if wish.certificate is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(wish.certificate, wish.key)
    except OSError as error:  # which those of ssl are too
        why = error.strerror if not isinstance(error, ssl.SSLError) else "it is no such pair in PEM, or not of one key"
        raise UsageError(f"cannot use the certificate {wish.certificate} with the key {wish.key}: {why}") from None


async def run(wish: Wish, config: Config, sock: socket.socket, ready: Callable[[], None], log: Log) -> None:
    """Serves on a socket until a signal comes; `ready` is called when clients may come."""
    gateway = Gateway(
        wish.guard(),
        config,
        Queue(wish.most, wish.waiting),
        partial(open_transport, wish.transport, remember=may_remember()),
        log,
    )
    numbers = heeded()
    with ExitStack() as stack:
        signals = stack.enter_context(trio.open_signal_receiver(*numbers)) if numbers else None

        async def wait_for_signal() -> None:
            if signals is None:
                await trio.sleep_forever()
            await anext(signals)
            gateway.stop()

        if wish.certificate:
            await serve_until(gateway, settings(wish, sock.detach()), wait_for_signal, ready)
        else:
            await serve_plain(gateway, sock, wait_for_signal, ready)


async def serve_plain(
    gateway: Gateway, sock: socket.socket, trigger: Callable[[], Awaitable[None]], ready: Callable[[], None]
) -> None:
    """Serves HTTP/1.1 on a socket that listens until `trigger` returns."""
    serve = partial(http1.serve, gateway.app(), sock, trigger, idle=IDLE, unread=UNREAD, grace=GRACE)
    async with gateway.lifespan(None), trio.open_nursery() as nursery:
        await nursery.start(serve)
        ready()


async def serve_until(
    gateway: Gateway,
    settings: Any,
    trigger: Callable[[], Awaitable[None]],
    ready: Callable[[], None],
    serve: Serve = serve_app,
) -> None:
    """Serves by hypercorn until `trigger` returns; without a trigger it would not heed signals at all.

    anycorn's `serve` may take the place of hypercorn's, with its own configuration of the same names.
    """
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, gateway.app(), settings, shutdown_trigger=trigger))
        ready()


def settings(wish: Wish, listening: int, make: Callable[[], Any] = ServerConfig) -> Any:
    """Returns hypercorn's configuration, or with another `make` that of its fork.

    `listening` is the descriptor of a socket that listens, which the server closes.
    """
    made = make()
    made.bind = [f"fd://{listening}"]
    made.graceful_timeout = GRACE
    made.keep_alive_timeout = IDLE
    made.include_server_header = False
    made.accesslog = None
    made.loglevel = "WARNING"
    made.max_app_queue_size = 10
    if wish.certificate:
        made.certfile, made.keyfile = wish.certificate, wish.key
    return made


def run_workers(wish: Wish, work: Callable[[Wish], int]) -> int:
    """Runs `work` in as many processes as are wished, which share the listening socket, until a signal ends them all.

    A worker that dies is started again; all end when this process does, however it ends. Returns the exit code: 0 if
    all ended as they should.
    """
    numbers = heeded()
    children: set[int] = set()
    stopped: list[int] = []

    def stop(number: int, _: object) -> None:
        stopped.append(number)
        for child in children:
            os.kill(child, signal.SIGTERM)

    alive, held = os.pipe()  # whose end, when nobody holds the other side, says that the parent has gone

    def begin() -> None:
        child = os.fork()
        if child:
            children.add(child)
            return
        os.close(held)
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
        Thread(target=_end_with, args=(alive,), daemon=True).start()
        os._exit(work(evolve(wish, workers=1)))

    for number in numbers:
        signal.signal(number, stop)
    for _ in range(wish.workers):
        begin()
    return _attend(children, stopped, begin)


def _end_with(alive: int) -> None:
    """Waits until the parent has gone, also by a signal that it cannot heed, and then stops this worker."""
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _attend(children: set[int], stopped: Sequence[int], begin: Callable[[], None]) -> int:
    """Waits for the workers; those that die before a signal are started again."""
    import time  # noqa: PLC0415  # of the parent alone

    worst = 0
    while children:
        child, status = os.wait()
        children.discard(child)
        if stopped:
            worst = max(worst, abs(os.waitstatus_to_exitcode(status)))
            continue
        time.sleep(RESTART)
        if not stopped:
            begin()
    return worst
