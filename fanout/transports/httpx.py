"""The portable transport: httpx2 where it is installed, else httpx. The one module that knows them.

The two have one API; httpx2 is the maintained one and sets up a stream at a fifth of the cost. What neither does right
is not left to them: content codings are undone here with a bound, redirects are never followed, and no environment
proxy stands before this machine's own addresses.
"""

import logging
import os
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from enum import Enum, auto
from http.cookiejar import CookieJar, DefaultCookiePolicy
from math import inf
from time import perf_counter
from typing import Any, Self
from urllib.request import getproxies, proxy_bypass

import trio
from attrs import define

try:
    import httpx2 as httpx
except ImportError:  # pragma: no cover  # either is there
    import httpx  # type: ignore[no-redef]  # one name for either

from fanout.abc import Head, Receiver, Request
from fanout.addresses import is_this_machine
from fanout.addresses.proxy import Proxy
from fanout.errors import ProtocolError, ProviderError, ResetError, TooLarge, UsageError
from fanout.transports.outgoing import (
    Hidden,
    describe_refusal,
    load_authorities,
    make_connect_error,
    make_connect_timeout,
    name_proxy,
    name_server,
    read_host,
    reveal_headers,
)
from fanout.transports.stalls import Deadlines
from fanout.wire.coding import CAP, PIECE, Decoder

_log = logging.getLogger("fanout")

DRAIN = 0.05
"""Seconds that the end of the body may take after the answer is complete, for the connection to be used again."""

LONGEST_CLOSE = 1.0
"""Seconds that the closing of connections may take, which nothing cancels."""

CLIENTS = 32
"""Clients that are kept. Every proxy takes one: a client lends its connections to all the requests that it is given."""


SMALL = 32
"""Reads after which other tasks run: the library makes one of every chunk, thousands of what it received at once."""

READ = 16 << 10
"""Bytes that are read at once: as many may be hundreds of heads of 1xx, or thousands of chunks."""

HEAVY = 0.001
"""Seconds for a piece beyond which a lane takes turns with all the others that need so long."""


class HttpxTransport:
    """Carries bytes over HTTP/1.1; use it with `async with`.

    `ca_file` replaces the system's certificate authorities; `proxies=False` ignores the environment's proxies.
    `reuse=False` opens a new connection for every request. A `socks5://` proxy looks up names itself, as `socks5h://`.
    """

    def __init__(self, *, ca_file: str | None = None, proxies: bool = True, reuse: bool = True) -> None:
        self._kept = 100 if reuse else 0
        self._ca_file = ca_file
        self._proxies = proxies
        self._clients: dict[_Kind, _Client] = {}
        self._trust: ssl.SSLContext | None = None
        self._open = False
        self._turn = trio.Lock()
        self._deadlines = Deadlines()

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._open = False
        with trio.CancelScope(shield=True, deadline=trio.current_time() + LONGEST_CLOSE):
            for client in self._clients.values():
                await client.library.aclose()

    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        """Sends `request` and tells `receiver` of the response, as Transport says."""
        client = self._find_client(request, read_host(request.url))
        host = name_server(request.url)
        progress = _Progress(host, client, receiver, connect, self._turn, self._deadlines)
        _asking.set(progress)
        client.exchanges += 1
        try:
            await self._close_spare()
            error = await _send(client.library, request, progress)
            while error is not None and progress.may_repeat(error):
                error = await _send(client.library, request, progress)
        except BaseException as broken:
            _log.debug("an exchange with %s is cut off: %s", host, type(broken).__name__)
            raise
        finally:
            client.exchanges -= 1
        if error is not None:
            failed = progress.translate(error)
            _log.debug("an exchange with %s is cut off: %s", host, failed.kind)
            del error
            raise failed  # made here, it has no context: the library's frames hold the key in clear

    def _find_client(self, request: Request, host: str) -> "_Client":
        """Returns the client for a request, made at its first use: to load the certificate authorities takes 30 ms."""
        if not self._open:
            raise UsageError("this transport is closed; use it inside its `async with`")
        proxy = request.proxy
        if proxy is None and self._proxies and not is_this_machine(host):
            proxy = _find_environment_proxy(request.url, host)
        kind = request.url.startswith("https:"), None if proxy is None or proxy.direct else proxy
        client = self._clients.pop(kind, None) or _Client(self._make_client(*kind), *kind)
        self._clients[kind] = client  # the one that was used last is the last of them
        return client

    def _make_client(self, secure: bool, proxy: Proxy | None) -> httpx.AsyncClient:
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, for where there is no TLS
        return httpx.AsyncClient(
            follow_redirects=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=self._kept),
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # none: a jar would be all keys' and lanes'
            proxy=None if proxy is None else self._make_proxy(proxy),
            verify=self._load_authorities() if secure else nobody,
        )

    def _make_proxy(self, proxy: Proxy) -> httpx.Proxy:
        auth = None
        if proxy.credentials is not None:
            user, password = proxy.credentials
            auth = Hidden(user.reveal()), Hidden(password.reveal())
        return httpx.Proxy(
            proxy.url, ssl_context=self._load_authorities() if proxy.scheme == "https" else None, auth=auth
        )

    def _load_authorities(self) -> ssl.SSLContext:
        """Returns a context that trusts the caller's certificate authorities, or else the system's."""
        if self._trust is None:
            self._trust = load_authorities(self._ca_file)
        return self._trust

    async def _close_spare(self) -> None:
        """Closes clients that are not in use, those used longest ago first, until there are CLIENTS."""
        idle = [kind for kind, client in self._clients.items() if not client.exchanges]
        with trio.CancelScope(shield=True, deadline=trio.current_time() + LONGEST_CLOSE):
            for kind in idle[: max(0, len(self._clients) - CLIENTS)]:
                await self._clients.pop(kind).library.aclose()


_Kind = tuple[bool, Proxy | None]
"""With TLS or without, and the proxy."""


def _find_environment_proxy(url: str, host: str) -> Proxy | None:
    """Returns the proxy that the environment's variables, or the system's settings, name for `url`.

    Raises ConnectError if that is no address of a proxy.
    """
    proxies = getproxies()
    text = proxies.get(url.partition(":")[0]) or proxies.get("all")
    if not text or proxy_bypass(host):
        return None
    try:
        return Proxy.parse(text if "://" in text else f"http://{text}")
    except UsageError as error:
        reason = str(error)
    del text, proxies
    raise make_connect_error(host, reason, "of the environment", by_proxy=True)


@define(eq=False)
class _Client:
    """One of the library's clients, and the number of exchanges that it has under way."""

    library: httpx.AsyncClient
    secure: bool
    proxy: Proxy | None
    exchanges: int = 0

    @property
    def forwards(self) -> bool:
        """True for a proxy that is sent the request itself, to forward it; others relay bytes."""
        return self.proxy is not None and not self.secure and self.proxy.scheme in ("http", "https")


class _Stage(Enum):
    """The peer that the library deals with. Before there is any, it may find a connection that was kept."""

    NONE = auto()
    PROXY = auto()
    SERVICE = auto()
    SENT = auto()  # the service is there, and the request goes out


class _Progress:
    """The progress of one request, from the library's trace: it shows who failed, and if it may be sent again."""

    def __init__(
        self, host: str, client: _Client, receiver: Receiver, connect: float, turn: trio.Lock, deadlines: Deadlines
    ) -> None:
        self.head, self.data = receiver.head, receiver.data
        self.turn = turn
        self.came = False  # any byte
        self.forwards = client.forwards
        self._host = host
        self._proxy = client.proxy.address if client.proxy else None
        self._connect = connect
        self.deadlines = deadlines

    def begin(self) -> None:
        """Begins a try, and its wait for a connection."""
        self.stage = _Stage.NONE
        self.scope = trio.CancelScope()
        self.deadlines.set(self.scope, self._connect)
        self.stream: Any = None
        self._fresh = False

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Hears of each step of the library, named by its part (connection, http11, proxy, socks) and what it does."""
        part, _, step = event.partition(".")
        match step:
            case "connect_tcp.started":
                self._fresh = True
                self.stage = _Stage.PROXY if self._proxy else _Stage.SERVICE
            case "connect_tcp.complete":
                self.stream = info["return_value"]
                _note_reads(self.stream)
            case "start_tls.complete":
                _note_reads(info["return_value"])
            case "start_tls.started" if part != "connection":  # that is TLS with the proxy, if there is one
                self.stage = _Stage.SERVICE
            case "send_request_headers.started" if info["request"].method != b"CONNECT":
                self.stage = _Stage.SENT
                self.stream = None
                self.deadlines.unset(self.scope)
                self.came = False  # what came before was the proxy's

    def may_repeat(self, error: Exception) -> bool:
        """Tells whether the request may be sent again.

        A service may close an idle connection at any time, also just when it is used again. A request that met with
        such an end, before any byte of a response, was not processed (RFC 9112, 9.3.1): it goes out again, until it
        has had a fresh connection.
        """
        lost = isinstance(error, httpx.ReadError | httpx.WriteError | httpx.RemoteProtocolError)
        return lost and not self._fresh and not self.came

    def translate(self, error: Exception) -> ProviderError:
        """Makes our error of the library's: the one place that does."""
        host, proxy = self._host, self._proxy
        by_proxy = self.stage is _Stage.PROXY or isinstance(error, httpx.ProxyError)
        match error:
            case trio.TooSlowError():
                return make_connect_timeout(host, self._connect, proxy, by_proxy=by_proxy)
            case _ if by_proxy:
                return make_connect_error(host, _describe_proxy_failure(error), proxy, by_proxy=True)
            case httpx.ConnectError() | httpx.UnsupportedProtocol() | httpx.InvalidURL():
                return make_connect_error(host, _find_reason(error), proxy)
            case httpx.RemoteProtocolError() if _BROKEN_OFF.search(str(error)):
                return ResetError(f"{host} closed the connection before the answer was over{name_proxy(proxy)}")
            case httpx.ReadError() | httpx.WriteError() | httpx.CloseError():
                return ResetError(f"the connection to {host} was lost{name_proxy(proxy)}")
        return ProtocolError(f"{host} does not speak HTTP as it should: {_find_reason(error)}{name_proxy(proxy)}")


_asking: ContextVar[_Progress] = ContextVar("_asking")
"""The exchange that the task is in."""


def _note_reads(stream: Any) -> None:
    """Has a new connection tell the exchange whose task reads from it when a byte comes: the library does not.

    And has it read no more than READ at once, since the library goes through all of it without a pause.
    """
    read = stream.read

    async def noting(max_bytes: int, *args: Any, **kwargs: Any) -> bytes:
        data: bytes = await read(min(max_bytes, READ), *args, **kwargs)
        if data and (progress := _asking.get(None)) is not None:
            progress.came = True
        return data

    stream.read = noting


def _find_surplus(response: Any) -> bool:
    """Tells whether the library has received more than the response, whose body is over.

    It would take that for the response to the next request. Also True where it does not show what it has received.
    """
    inner = response.stream
    for _ in range(6):  # its streams lie within one another, and the innermost knows the connection
        if (connection := getattr(inner, "_connection", None)) is not None:
            state = getattr(connection, "_h11_state", None)
            return state is None or bool(state.trailing_data[0])
        inner = getattr(inner, "_stream", None) or getattr(inner, "_httpcore_stream", None)
    return True


def _retire(stream: Any) -> None:
    """Has the library close a connection in place of using it again: to it, an idle one that can be read is over."""
    get = stream.get_extra_info
    stream.get_extra_info = lambda info: info == "is_readable" or get(info)


async def _send(client: httpx.AsyncClient, request: Request, progress: _Progress) -> Exception | None:
    """Tries once; returns the library's error, if it fails. What the receiver raises passes through."""
    progress.begin()
    try:
        with progress.scope:
            async with client.stream(
                request.method,
                request.url,
                headers=reveal_headers(request),
                content=request.body,
                timeout=None,  # our scope bounds all that comes before the request, also what is said to a proxy
                extensions={"trace": progress.trace},
            ) as response:
                if response.status_code == 407 and progress.forwards:
                    return httpx.ProxyError("407")
                await _receive(response, progress)
                if _find_surplus(response):
                    _retire(response.extensions["network_stream"])
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        return error
    except Exception as error:
        if progress.stage is not _Stage.PROXY:  # the library's SOCKS asserts, and raises what its parser raises
            raise
        return error
    finally:
        progress.deadlines.unset(progress.scope)
        if progress.stream is not None:  # the library leaves it open where TLS or SOCKS are cut off
            with trio.CancelScope(shield=True, deadline=trio.current_time() + LONGEST_CLOSE):
                await progress.stream.aclose()
    return trio.TooSlowError() if progress.scope.cancelled_caught else None


async def _receive(response: Any, receiver: _Progress) -> None:
    headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
    cookies = tuple(response.headers.get_list("set-cookie"))
    receiver.head(Head(response.status_code, headers, cookies, response.reason_phrase))
    coding = headers.get("content-encoding")
    decoder = Decoder(coding) if coding else None
    body: AsyncGenerator[bytes, None] = response.aiter_raw()
    try:
        enough = await _pass_on(body, decoder, receiver)
    except Exception as error:  # noqa: BLE001  # raised again, when the body is closed
        broken: Exception | None = error
    else:
        broken = None
    if broken is not None or enough:
        await _read_on(body, 0 if broken else DRAIN)
    if broken is not None:
        raise broken


async def _pass_on(body: AsyncGenerator[bytes, None], decoder: Decoder | None, receiver: _Progress) -> bool:
    """Tells the receiver of every read, a piece at a time; True when it has enough before the body is over.

    Whoever takes long for a piece waits for its turn among those like it, so that their pieces do not add up.
    """
    received = small = 0
    heavy = False
    async for chunk in body:
        received += len(chunk)
        if received > CAP:
            raise TooLarge(f"the body exceeds {CAP} bytes")
        small += 1
        for data in _pieces(chunk, decoder):
            if heavy or small >= SMALL:
                if await _let_others_run(receiver.turn if heavy else None):
                    return True
                small = 0
            if not data:
                continue
            began = perf_counter()
            if receiver.data(data):
                return True
            heavy = perf_counter() - began > HEAVY
            small += SMALL * len(data) // PIECE
        if decoder is not None and decoder.error:
            raise decoder.error
    if decoder is not None:
        for data in decoder.close():
            receiver.data(data)
        if decoder.error:
            raise decoder.error
    return False


async def _let_others_run(turn: trio.Lock | None) -> bool:
    """Makes a checkpoint, one task at a time where there is a `turn`; returns True if this task is cancelled.

    It is not raised here: it must meet the library's generators from within, as `_read_on` says.
    """
    if turn is None:
        await trio.lowlevel.cancel_shielded_checkpoint()
    else:
        with trio.CancelScope(shield=True):
            async with turn:
                await trio.lowlevel.checkpoint()
    return trio.current_effective_deadline() == -inf


def _pieces(chunk: bytes, decoder: Decoder | None) -> Iterator[bytes]:
    """Yields what a read decodes to, in bounded pieces; an empty one first for a coding, which may have no other."""
    if decoder is None and len(chunk) <= PIECE:
        yield chunk
        return
    if decoder is not None:
        yield b""
    for at in range(0, len(chunk), PIECE):
        piece = chunk[at : at + PIECE]
        yield from (piece,) if decoder is None else decoder.undo(piece)


async def _read_on(body: AsyncGenerator[bytes, None], seconds: float) -> None:
    """Reads on to the end of the body, or for so many seconds, and throws away what comes.

    The library's generators are nested and not closed by each other: only an exception from the socket, here our
    cancellation, unwinds them all in this task. Left suspended they would be closed by the garbage collector. What the
    library has at hand, it yields without looking at the socket: thousands of chunks, between which others run.
    """
    with trio.move_on_after(seconds), suppress(httpx.HTTPError):
        small = 0
        async for _ in body:
            small += 1
            if small % SMALL == 0:
                await trio.lowlevel.cancel_shielded_checkpoint()


_BROKEN_OFF = re.compile("disconnect|incomplete|closed|without sending", re.IGNORECASE)
_STATUS = re.compile(r"(\d{3})(?!\d)")


def _describe_proxy_failure(error: Exception) -> str:
    """Describes the failure of a proxy, whose own words are not repeated."""
    match error:
        case httpx.ProxyError() if status := _STATUS.match(str(error)):
            return describe_refusal(int(status[1]))
        case httpx.ConnectError() | httpx.ProxyError():
            return _find_reason(error)
        case httpx.ReadError() | httpx.WriteError() | httpx.RemoteProtocolError():
            return "it does not answer CONNECT as it should"
    return "it does not speak SOCKS 5 as it should"


def _find_reason(error: BaseException) -> str:
    """Finds the operating system's word, which the library's exceptions carry somewhere below."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, OSError) and below.strerror:
            # Names and certificates have numbers of their own; the others' texts are the system's.
            own = isinstance(below, socket.gaierror | ssl.SSLError)
            return below.strerror if own or not below.errno else os.strerror(below.errno)
        inner = below.exceptions[0] if isinstance(below, BaseExceptionGroup) else None
        below = inner or below.__cause__ or below.__context__
    return str(error)[:200] or type(error).__name__
