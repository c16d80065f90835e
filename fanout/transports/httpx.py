"""The portable transport: httpx2 where it is installed, else httpx. The one module that knows them.

The two have one API; httpx2 is the maintained one and sets up a stream at a fifth of the cost. What neither does right
is not left to them: content codings are undone here with a bound, redirects are never followed, and no environment
proxy stands before this machine's own addresses.
"""

import os
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Self
from urllib.parse import urlsplit

import trio

try:
    import httpx2 as httpx
except ImportError:  # pragma: no cover  # either is there
    import httpx  # type: ignore[no-redef]  # one name for either

from fanout.abc import Head, Receiver, Request
from fanout.addresses import is_this_machine
from fanout.errors import ConnectError, ProtocolError, ProviderError, ResetError, TimedOut, UsageError
from fanout.transports.outgoing import headers_of, host_of
from fanout.wire.coding import Decoder

DRAIN = 0.05
"""Seconds that the end of the body may take after the answer is complete, for the connection to be used again."""


class HttpxTransport:
    """Carries bytes over HTTP/1.1; use it with `async with`.

    `ca_file` replaces the system's certificate authorities; `proxies=False` ignores the environment's proxies.
    `reuse=False` opens a new connection for every request.
    """

    def __init__(self, *, ca_file: str | None = None, proxies: bool = True, reuse: bool = True) -> None:
        self._kept = 100 if reuse else 0
        self._ca_file = ca_file
        self._proxies = proxies
        self._clients = AsyncExitStack()
        self._by_kind: dict[tuple[bool, bool], httpx.AsyncClient] = {}
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._open = False
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await self._clients.aclose()

    def _client(self, url: str) -> httpx.AsyncClient:
        """The client for an address, made at its first use: loading the certificate authorities takes 30 ms."""
        if not self._open:
            raise UsageError("this transport is closed; use it inside its `async with`")
        parts = urlsplit(url)
        secure, proxies = parts.scheme == "https", self._proxies and not is_this_machine(parts.hostname)
        if (secure, proxies) not in self._by_kind:
            nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, for where there is no TLS
            context = ssl.create_default_context(cafile=self._ca_file) if secure else nobody
            try:
                client = httpx.AsyncClient(
                    follow_redirects=False,
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=self._kept),
                    trust_env=proxies,
                    verify=context,
                )
            except (ImportError, ValueError) as error:
                raise ConnectError(f"the proxy that the environment names cannot be used: {error}") from None
            self._by_kind[secure, proxies] = client
            self._clients.push_async_callback(client.aclose)
        return self._by_kind[secure, proxies]

    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        """Sends `request` and tells `receiver` of the response, as Transport says."""
        once = _Once(receiver)
        while True:
            once.fresh = False
            try:
                await self._exchange(request, once, connect)
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
                if once.may_repeat(error):
                    continue
                failed = _typed(error, request, connect)
            else:
                return
            raise failed  # out here it has no context: the library's frames hold the key in clear

    async def _exchange(self, request: Request, once: "_Once", connect: float) -> None:
        host_of(request.url)
        client = self._client(request.url)
        async with client.stream(
            request.method,
            request.url,
            headers=headers_of(request),
            content=request.body,
            timeout=httpx.Timeout(None, connect=connect),
            extensions={"trace": once.trace},
        ) as response:
            await _receive(response, once)


class _Once:
    """A receiver, and whether its request may be sent again.

    A service may close an idle connection at any time, also just when it is used again. A request that met with such
    an end, before any byte of a response, was not processed (RFC 9112, 9.3.1): it goes out again, until it has had a
    fresh connection.
    """

    def __init__(self, receiver: Receiver) -> None:
        self.data = receiver.data
        self.fresh = False
        self._receiver = receiver
        self._answered = False

    def head(self, head: Head) -> None:
        self._answered = True
        self._receiver.head(head)

    async def trace(self, event: str, _info: object) -> None:
        if event == "connection.connect_tcp.started":
            self.fresh = True

    def may_repeat(self, error: Exception) -> bool:
        lost = isinstance(error, httpx.ReadError | httpx.WriteError | httpx.RemoteProtocolError)
        return lost and not self.fresh and not self._answered


async def _receive(response: Any, receiver: _Once) -> None:
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


async def _pass_on(body: AsyncGenerator[bytes, None], decoder: Decoder | None, receiver: "_Once") -> bool:
    """Tells the receiver of every read; True when it has enough before the body is over."""
    async for chunk in body:
        for data in (chunk,) if decoder is None else decoder.feed(chunk):
            if receiver.data(data):
                return True
        if decoder is not None and decoder.error:
            raise decoder.error
    if decoder is not None:
        for data in decoder.close():
            receiver.data(data)
        if decoder.error:
            raise decoder.error
    return False


async def _read_on(body: AsyncGenerator[bytes, None], seconds: float) -> None:
    """Reads on to the end of the body, or for so many seconds, and throws away what comes.

    The library's generators are nested and not closed by each other: only an exception from the socket, here our
    cancellation, unwinds them all in this task. Left suspended they would be closed by the garbage collector.
    """
    with trio.move_on_after(seconds), suppress(httpx.HTTPError):
        async for _ in body:
            pass


_BROKEN_OFF = re.compile("disconnect|incomplete|closed|without sending", re.IGNORECASE)


def _typed(error: Exception, request: Request, connect: float) -> ProviderError:
    """The one place where this library's exceptions become ours."""
    host = httpx.URL(request.url).host if not isinstance(error, httpx.InvalidURL) else request.url
    match error:
        case httpx.ConnectTimeout():
            return TimedOut(
                f"no connection to {host} within {connect:g} s", clock="connect", seconds=connect, retry_safe=True
            )
        case httpx.ConnectError() | httpx.ProxyError() | httpx.UnsupportedProtocol() | httpx.InvalidURL():
            return ConnectError(f"cannot reach {host}: {_reason(error)}")
        case httpx.RemoteProtocolError() if _BROKEN_OFF.search(str(error)):
            return ResetError(f"{host} closed the connection before the answer was over")
        case httpx.ReadError() | httpx.WriteError() | httpx.CloseError():
            return ResetError(f"the connection to {host} was lost")
    return ProtocolError(f"{host} does not speak HTTP as it should: {_reason(error)}")


def _reason(error: BaseException) -> str:
    """The operating system's word, which the library's exceptions carry somewhere below."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, OSError) and below.strerror:
            # Names and certificates have numbers of their own; the others' texts are the system's.
            own = isinstance(below, socket.gaierror | ssl.SSLError)
            return below.strerror if own or not below.errno else os.strerror(below.errno)
        inner = below.exceptions[0] if isinstance(below, BaseExceptionGroup) else None
        below = inner or below.__cause__ or below.__context__
    return str(error)[:200] or type(error).__name__
