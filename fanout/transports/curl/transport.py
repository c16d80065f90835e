"""The default transport: libcurl's multi interface, driven by Trio.

All sockets lie in one epoll or kqueue, which one task waits for; a second task keeps libcurl's time. Whatever libcurl
has collected is decoded, judged and on the channel before the first task waits again, so no task is woken for a chunk
but the consumer. A lane that is cancelled meanwhile, perhaps by what has just been decoded, is out of libcurl at once.
"""

import os
import ssl
from collections import deque
from contextlib import suppress
from math import inf
from typing import Any, Self

import trio
from curl_cffi import CurlHttpVersion, CurlOpt

from fanout.abc import Receiver, Request
from fanout.addresses import is_this_machine
from fanout.errors import ProviderError, ResetError, UsageError
from fanout.proxy import Proxy
from fanout.transports.curl.errors import Route, translate
from fanout.transports.curl.libcurl import IN, TIMER, Easy, Multi, is_browser
from fanout.transports.curl.pollers import Poller, open_poller
from fanout.transports.curl.stamping import Stamped, StampingPoller
from fanout.transports.curl.transfer import Transfer
from fanout.transports.outgoing import headers_of, host_of
from fanout.transports.stamps import wants_stamps

DRAIN = 0.05
"""Seconds that the end of the body may take after the answer is complete, for the connection to be used again."""

IDLE_CONNECTIONS = 1000
"""Connections that are kept open for later."""

LONGEST_CONNECT = 3600.0
"""Seconds for a connection where the lane sets no limit; libcurl's own default is five minutes."""

USER_AGENT = "fanout"

BROWSER_CODINGS = b"gzip, deflate, br, zstd"
"""What an impersonated browser takes, where its own headers do not say so already."""

_NOT_OURS = ("expect", "content-type")
"""Headers that libcurl would add to a body of its own accord: after the first it would wait for a "100 Continue"."""

BUSY = 0.0005
"""Seconds between two reads, on average, below which they are left to gather. A race of eight does not get there."""

PAUSE = 0.05
"""Seconds that the time between two reads counts at most, so that after a pause it is soon known how busy it is."""

TICK = 0.002
"""Seconds for which they gather: what comes meanwhile is read in one go, with one wake of the task."""

LONGEST_WAIT = 0.005
"""Seconds for which bytes wait while many requests begin at once, where stamps are wanted: the kernel merges them."""


class CurlTransport:
    """Carries bytes over HTTP/1.1, and HTTP/2 where TLS negotiates it; use it with `async with`.

    `ca_file` replaces the system's certificate authorities; `proxies=False` ignores the environment's proxies.
    `prior_knowledge=True` speaks HTTP/2 without TLS, to servers that are known to. `stamps=True` is for measurements:
    receivers that want it are told when their bytes arrived (see stamps.py), and each has a connection of its own.
    `reuse=False` opens a new connection for every request, with nothing known of names and TLS sessions.
    """

    def __init__(
        self,
        *,
        ca_file: str | None = None,
        proxies: bool = True,
        prior_knowledge: bool = False,
        stamps: bool = False,
        reuse: bool = True,
    ) -> None:
        self._reuse = reuse
        self._ca_file = ca_file
        self._proxies = proxies
        self._prior_knowledge = prior_knowledge
        self._poller: Poller | None = None
        self._owners: dict[int, _Pool] = {}
        self._pools: dict[str | None, _Pool] = {}
        self._news: list[Transfer] = []
        self._drains: deque[tuple[float, Transfer]] = deque()
        self._stamping: StampingPoller | None = None
        self._stamps = stamps
        self._looked = 0.0
        self._entered = False
        self._load = _Load()
        self._alarm: trio.CancelScope | None = None
        self._due = inf

    async def __aenter__(self) -> Self:
        if self._entered:
            raise UsageError("a transport is entered once; open another")
        self._poller = open_poller()
        if self._stamps:
            self._poller = self._stamping = StampingPoller(self._poller)
        self._entered = True
        # System tasks, because they must outlast the cancellation of whatever scope this is in: what a lane still says
        # to its service then, in a shielded scope, goes through them too.
        trio.lowlevel.spawn_system_task(self._watch_sockets, self._poller)
        trio.lowlevel.spawn_system_task(self._watch_clock)
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, *exc: object) -> None:
        assert self._poller is not None
        poller, self._poller = self._poller, None
        for pool in self._pools.values():
            for transfer in list(pool.transfers.values()):
                self._end(transfer, ResetError("the transport was closed"))
            pool.close()
        self._drains.clear()
        trio.lowlevel.notify_closing(poller.fileno())  # ends the first task
        poller.close()
        self._wake_by(-inf)  # ends the second
        await trio.lowlevel.cancel_shielded_checkpoint()

    @trio.lowlevel.enable_ki_protection  # an interrupt waits for a checkpoint: libcurl's state must be whole
    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        """Sends `request` and tells `receiver` of the response, as Transport says."""
        await trio.lowlevel.checkpoint_if_cancelled()
        transfer = self._begin(request, receiver, connect)
        if transfer.wanted:
            transfer.parked = True
            await trio.lowlevel.wait_task_rescheduled(lambda _: self._abandon(transfer))
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
        if transfer.error is not None:
            error, transfer.error = transfer.error, None
            try:
                raise error
            finally:
                del error  # its traceback knows this frame: a cycle would keep all of it alive

    def _begin(self, request: Request, receiver: Receiver, connect: float) -> Transfer:
        """Starts a transfer, and goes on with it as far as that needs no waiting."""
        if self._poller is None:
            raise UsageError("this transport is closed; use it inside its `async with`")
        host = host_of(request.url)
        pool = self._pools.get(request.impersonate) or self._open_pool(request.impersonate)
        easy = Easy(pool.template)
        try:
            self._prepare(easy, request, host, connect)
            transfer = Transfer(easy, receiver, self._news, decode=request.impersonate is None)
            transfer.request, transfer.host, transfer.connect, transfer.pool = request, host, connect, pool
            transfer.task = trio.lowlevel.current_task()
            if self._stamps and wants_stamps(receiver):
                transfer.stamped = Stamped(easy, receiver, request.url.startswith("https:"), not request.impersonate)
            pool.add(transfer)
        except BaseException:  # Ctrl-C too: nobody else knows the handle yet
            easy.close()
            raise
        if self._stamping is not None and trio.current_time() - self._looked > LONGEST_WAIT:
            self._look_stamped(self._stamping)
        pool.multi.act(TIMER)
        self._flush()
        return transfer

    def _open_pool(self, browser: str | None) -> "_Pool":
        """Connections of their own for each browser's habits: libcurl would use one that was opened with another's."""
        assert self._poller is not None
        template = Easy()
        try:
            self._set_up(template, browser)
        except BaseException:  # Ctrl-C too: nobody else knows the handle yet
            template.close()
            raise
        pool = self._pools[browser] = _Pool(self, template, self._poller)
        return pool

    def _set_up(self, template: Easy, browser: str | None) -> None:
        """Sets what all the requests of a pool have in common."""
        if browser is not None and not is_browser(browser):
            raise UsageError(f"libcurl cannot impersonate {browser!r}; try chrome, firefox or safari")
        for option, value in (
            (CurlOpt.NOSIGNAL, 1),
            (CurlOpt.QUICK_EXIT, 1),  # a name that is being looked up does not hold up the end
            (CurlOpt.PATH_AS_IS, 1),
            (CurlOpt.SUPPRESS_CONNECT_HEADERS, 1),
            (CurlOpt.BUFFERSIZE, 1 << 16),
            (CurlOpt.UPLOAD_BUFFERSIZE, 1 << 14),  # the default of 64 KiB is 32 to 59 KB more for every stream
            (CurlOpt.PROTOCOLS_STR, b"http,https"),
            (CurlOpt.CAINFO, _authorities(self._ca_file)),
            (CurlOpt.PROXY_CAINFO, _authorities(self._ca_file)),
        ):
            template.set(option, value)
        if self._ca_file is not None:
            # Else a directory of the system's is trusted beside the file; libcurl cannot be told to have none.
            template.set(CurlOpt.CAPATH, os.devnull.encode())
            template.set(CurlOpt.PROXY_CAPATH, os.devnull.encode())
        if not self._reuse:
            for option in (CurlOpt.FRESH_CONNECT, CurlOpt.FORBID_REUSE):
                template.set(option, 1)
            for option in (CurlOpt.DNS_CACHE_TIMEOUT, CurlOpt.SSL_SESSIONID_CACHE):
                template.set(option, 0)
        if browser is None:
            # Codings are undone here, in one go for a read and with a bound.
            template.set(CurlOpt.HTTP_TRANSFER_DECODING, 0)
            template.set(CurlOpt.HTTP_CONTENT_DECODING, 0)
        else:
            template.set(CurlOpt.ACCEPT_ENCODING, BROWSER_CODINGS)  # which libcurl then undoes

    def _prepare(self, easy: Easy, request: Request, host: str, connect: float) -> None:
        """Sets what is this request's own."""
        headers = headers_of(request)
        secure = request.url.startswith("https:")
        if request.impersonate is not None:
            # A browser's headers belong together: either the request brings its own set, or it gets this one.
            easy.impersonate(request.impersonate, "user-agent" not in headers)
        else:
            headers.setdefault("user-agent", USER_AGENT)
        if self._prior_knowledge and not secure:
            easy.set(CurlOpt.HTTP_VERSION, CurlHttpVersion.V2_PRIOR_KNOWLEDGE)
        else:
            easy.set(CurlOpt.HTTP_VERSION, CurlHttpVersion.V2TLS if secure else CurlHttpVersion.V1_1)
        easy.set(CurlOpt.URL, request.url.encode())
        if request.method == "GET" and not request.body:
            easy.set(CurlOpt.HTTPGET, 1)
        elif request.method == "HEAD":
            easy.set(CurlOpt.NOBODY, 1)  # else it would wait for the body that the head tells of
        else:
            easy.set(CurlOpt.POST, 1)
            easy.set(CurlOpt.POSTFIELDSIZE, len(request.body))
            easy.set(CurlOpt.COPYPOSTFIELDS, request.body)
            easy.set(CurlOpt.CUSTOMREQUEST, request.method.encode())
        lines = [f"{name}: {value}" if value.strip() else f"{name};" for name, value in headers.items()]
        lines += [f"{name}:" for name in _NOT_OURS if name not in headers]
        easy.set_list(CurlOpt.HTTPHEADER, map(str.encode, lines))
        easy.set(CurlOpt.CONNECTTIMEOUT_MS, max(1, int(min(connect, LONGEST_CONNECT) * 1000)))
        if request.proxy is not None:
            _set_proxy(easy, request.proxy)
        elif not self._proxies or is_this_machine(host):
            easy.set(CurlOpt.PROXY, b"")

    async def _watch_sockets(self, poller: Poller) -> None:
        with suppress(trio.ClosedResourceError):
            while self._poller is not None:
                await trio.lowlevel.wait_readable(poller.fileno())
                while self._poller is not None:
                    reads = self._look(poller)
                    if not reads or not self._load.is_heavy(reads, trio.current_time()):
                        break
                    await trio.sleep(TICK)

    def _look(self, poller: Poller) -> int:
        """Goes on with every socket to which something has happened; how many that were."""
        if self._stamping is not None:
            return self._look_stamped(self._stamping)
        ready = poller.ready()
        owners = self._owners
        for fd, happened in ready:
            if (pool := owners.get(fd)) is not None:  # else it was closed by one before it
                pool.multi.act(fd, happened)
        self._flush()
        return len(ready)

    def _look_stamped(self, poller: StampingPoller) -> int:
        """The same, with stamps. Nothing is decoded before all is read: meanwhile the kernel would merge what waits."""
        ready, news = poller.ready(), self._news
        for fd, happened in ready:
            if (pool := self._owners.get(fd)) is None:
                continue
            # A socket that can be written too may be broken, and a look would take away what libcurl has to say of it.
            look = poller.look(fd) if happened == IN else None
            before = len(news)
            pool.multi.act(fd, happened)
            if look is not None and len(news) > before:
                look.tell(news[before:])
        self._flush()
        self._looked = trio.current_time()
        return len(ready)

    async def _watch_clock(self) -> None:
        while self._poller is not None:
            with trio.CancelScope(deadline=self._due) as self._alarm:
                await trio.sleep_forever()
            if self._due == -inf:  # closed meanwhile, and libcurl with it
                break
            now = trio.current_time()
            for pool in self._pools.values():
                if pool.due <= now:
                    pool.due = inf
                    pool.multi.act(TIMER)
            while self._drains and self._drains[0][0] <= now:
                self._end(self._drains.popleft()[1])
            self._flush()
            dues = [pool.due for pool in self._pools.values()]
            if self._drains:
                dues.append(self._drains[0][0])
            self._due = min(dues, default=inf)

    def _wake_by(self, due: float) -> None:
        """Has the clock's task wake then, or before; to wake it later than is set costs more than that it wakes."""
        if due < self._due:
            self._due = due
            if self._alarm is not None:
                self._alarm.deadline = due

    def _flush(self) -> None:
        """Tells receivers what has come, and ends what is over."""
        while self._news:
            news = self._news[:]
            self._news.clear()
            for transfer in news:
                if transfer.wanted:
                    self._deliver(transfer)
                else:
                    transfer.discard()
        for pool in self._pools.values():
            if pool.unsure or pool.multi.running < len(pool.transfers):
                pool.unsure = False
                for handle, code in list(pool.multi.ended()):
                    if (ended := pool.transfers.get(handle)) is not None:
                        self._complete(ended, code)

    def _deliver(self, transfer: Transfer) -> None:
        enough = False
        try:
            enough = transfer.deliver()
        except BaseException as error:  # noqa: ASYNC103, BLE001  # the receiver's, raised again in the task that waits
            self._end(transfer, error)
        if enough and transfer.wanted:
            self._wake(transfer)
            due = trio.current_time() + DRAIN
            self._drains.append((due, transfer))
            self._wake_by(due)

    def _complete(self, transfer: Transfer, code: int) -> None:
        """Ends it, now that libcurl is done with it."""
        error: ProviderError | None = None
        if transfer.wanted:
            try:
                if not code:
                    transfer.complete()
                elif not transfer.deliver() and transfer.wanted:
                    easy = transfer.easy
                    route = Route.of(easy, transfer.secure, transfer.proxy)
                    error = translate(code, easy.error, easy.os_errno, transfer.host, transfer.connect, route)
            except BaseException as broken:  # noqa: ASYNC103, BLE001  # as in `_deliver`
                self._end(transfer, broken)
        self._end(transfer, error)

    def _end(self, transfer: Transfer, error: BaseException | None = None) -> None:
        """Takes it out of libcurl, which closes what it has not read to its end, and wakes who waits for it."""
        transfer.pool.remove(transfer)
        if transfer.wanted:
            transfer.error = error
            self._wake(transfer)

    def _wake(self, transfer: Transfer) -> None:
        transfer.wanted = False
        if transfer.parked:
            transfer.parked = False
            trio.lowlevel.reschedule(transfer.task)

    @trio.lowlevel.enable_ki_protection
    def _abandon(self, transfer: Transfer) -> trio.lowlevel.Abort:
        """The task that waited was cancelled."""
        transfer.parked = transfer.wanted = False
        self._end(transfer)
        return trio.lowlevel.Abort.SUCCEEDED


class _Load:
    """The mean time between reads, smoothed over the last 32."""

    def __init__(self) -> None:
        self._gap = PAUSE
        self._last = 0.0

    def is_heavy(self, reads: int, now: float) -> bool:
        """Whether so many reads come in so short a time that it pays to let them gather."""
        since = min(now - self._last, PAUSE)
        self._gap += (since / reads - self._gap) * min(1.0, reads / 32)
        self._last = now
        return self._gap < BUSY


class _Pool:
    """The connections with one browser's habits, or with none's; what libcurl's multi says comes here."""

    def __init__(self, transport: CurlTransport, template: Easy, poller: Poller) -> None:
        self.template = template
        self.transfers: dict[Any, Transfer] = {}
        self.unsure = False
        self.due = inf
        self._transport = transport
        self._poller = poller
        self.multi = Multi(self, IDLE_CONNECTIONS, share=not transport._stamps)  # noqa: SLF001

    def add(self, transfer: Transfer) -> None:
        """Begins it."""
        self.multi.add(transfer.easy)
        self.transfers[transfer.easy.handle] = transfer

    def remove(self, transfer: Transfer) -> None:
        """Ends it, unless it has ended."""
        if self.transfers.pop(transfer.easy.handle, None) is not None:
            self.multi.remove(transfer.easy)
            self.unsure = True  # whether this one still ran is not known: the next flush asks who has ended
            transfer.easy.close()

    def watch(self, fd: int, wanted: int) -> None:
        """See libcurl.Sockets."""
        self._transport._owners[fd] = self  # noqa: SLF001  # the pool is a part of the transport
        self._poller.watch(fd, wanted)

    def forget(self, fd: int) -> None:
        """See libcurl.Sockets."""
        self._transport._owners.pop(fd, None)  # noqa: SLF001
        self._poller.forget(fd)

    def wake(self, delay: float | None) -> None:
        """See libcurl.Sockets."""
        self.due = inf if delay is None else trio.current_time() + delay
        self._transport._wake_by(self.due)  # noqa: SLF001

    def close(self) -> None:
        """Closes the connections."""
        self.multi.close()
        self.template.close()


def _set_proxy(easy: Easy, proxy: Proxy) -> None:
    """Sets the request's own proxy, or none; libcurl uses no connection for it that another proxy was used for."""
    easy.set(CurlOpt.PROXY, b"" if proxy.direct else proxy.url.encode())
    easy.set(CurlOpt.NOPROXY, b"")  # else `no_proxy` of the environment counts here too
    if proxy.credentials is not None:
        user, password = proxy.credentials
        easy.set(CurlOpt.PROXYUSERNAME, user.reveal().encode())
        easy.set(CurlOpt.PROXYPASSWORD, password.reveal().encode())


def _authorities(ca_file: str | None) -> bytes:
    """The file of certificate authorities to trust: the caller's, the system's, or certifi's."""
    found = ca_file or ssl.get_default_verify_paths().cafile  # the second is SSL_CERT_FILE if set
    if not found:
        import certifi  # noqa: PLC0415  # most systems have their own

        found = certifi.where()
    return found.encode()
