"""The default transport: libcurl's multi interface, driven by Trio.

All sockets lie in one epoll or kqueue, which one task waits for; a second task keeps libcurl's time. Whatever libcurl
has collected is decoded, judged and on the channel before the first task waits again, so no task is woken for a chunk
but the consumer. A lane that is cancelled meanwhile, perhaps by what has just been decoded, is out of libcurl at once.

A service that floods delays nobody: a transfer is paused while SHARE of its bytes wait, they are delivered a piece at
a time, by turns with those of others, and a turn ends after TURN seconds. Between two turns all other tasks run.
"""

import logging
from collections import deque
from contextlib import suppress
from math import inf
from time import perf_counter
from typing import Self

import trio

from fanout.abc import Receiver, Request
from fanout.errors import ProviderError, ResetError, UsageError
from fanout.transports.curl.connecting import Connecting
from fanout.transports.curl.errors import CONNECT_TIMEOUT, Route, translate
from fanout.transports.curl.handles import Handles
from fanout.transports.curl.libcurl import TIMER
from fanout.transports.curl.pollers import open_poller
from fanout.transports.curl.pool import Pool
from fanout.transports.curl.sockets import TICK, Load, Sockets
from fanout.transports.curl.transfer import Transfer
from fanout.transports.outgoing import name_server, read_host

DRAIN = 0.05
"""Seconds that the end of the body may take after the answer is complete, for the connection to be used again."""

TURN = 0.004
"""Seconds after which a turn of delivering ends; what is left goes on in the next, behind other tasks and sockets."""

_log = logging.getLogger("fanout")


class CurlTransport:
    """Carries bytes over HTTP/1.1 or HTTP/2; use it with `async with`.

    `http2=True` speaks HTTP/2 where TLS negotiates it, and False HTTP/1.1 only, but for a browser's habits. Without
    either it is HTTP/2 where the nghttp2 in libcurl is 1.68.1 or newer: older ones have CVE-2026-27135.

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
        http2: bool | None = None,
        prior_knowledge: bool = False,
        stamps: bool = False,
        reuse: bool = True,
    ) -> None:
        self._handles = Handles(
            ca_file=ca_file, proxies=proxies, prior_knowledge=prior_knowledge, reuse=reuse, http2=http2
        )
        self._stamps = stamps
        self._entered = False
        self._sockets: Sockets | None = None
        self._pools: dict[str | None, Pool] = {}
        self._news: list[Transfer] = []
        self._drains: deque[tuple[float, Transfer]] = deque()
        self._connecting = Connecting()

    async def __aenter__(self) -> Self:
        if self._entered:
            raise UsageError("a transport is entered once; open another")
        self._sockets = sockets = self._open_sockets()
        self._entered = True
        # System tasks, because they must outlast the cancellation of any scope around this: in a shielded scope a lane
        # still says goodbye to its service then.
        trio.lowlevel.spawn_system_task(self._watch_sockets, sockets)
        trio.lowlevel.spawn_system_task(self._watch_clock, sockets)
        return self

    def _open_sockets(self) -> Sockets:
        if not self._stamps:
            return Sockets(open_poller())
        from fanout.transports.curl.stamping import StampingSockets  # noqa: PLC0415  # 7 ms, for measurements only

        return StampingSockets(open_poller(), self._news)

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, *exc: object) -> None:
        assert self._sockets is not None
        sockets, self._sockets = self._sockets, None
        for pool in self._pools.values():
            for transfer in list(pool.transfers.values()):
                self._cut_off(transfer, "the transport was closed", ResetError("the transport was closed"))
            pool.close()
        self._drains.clear()
        sockets.close()  # ends the two tasks
        await trio.lowlevel.cancel_shielded_checkpoint()

    @trio.lowlevel.enable_ki_protection  # an interrupt waits for a checkpoint: libcurl's state must be whole
    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        """Sends `request` and tells `receiver` of the response, as Transport says."""
        await trio.lowlevel.checkpoint_if_cancelled()
        transfer = self._begin(request, receiver, connect)
        if transfer.wanted:
            transfer.task = trio.lowlevel.current_task()
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
        sockets = self._sockets
        if sockets is None:
            raise UsageError("this transport is closed; use it inside its `async with`")
        host = read_host(request.url)
        pool = self._pools.get(request.impersonate) or self._open_pool(sockets, request.impersonate)
        self._connecting.look()
        easy = self._handles.make(pool.template, request, host, connect)
        try:
            transfer = Transfer(easy, request, receiver, self._news, host=name_server(request.url), connect=connect)
            sockets.tie(transfer, receiver)
            pool.add(transfer)
            sockets.clock.wake_by(self._connecting.add(transfer))
        except BaseException:  # Ctrl-C too: nobody else knows the handle yet
            easy.close()
            raise
        sockets.catch_up()
        pool.multi.act(TIMER)
        self._flush()
        return transfer

    def _open_pool(self, sockets: Sockets, browser: str | None) -> Pool:
        template = self._handles.make_template(browser)
        pool = self._pools[browser] = Pool(sockets, template, share=not self._stamps)
        return pool

    async def _watch_sockets(self, sockets: Sockets) -> None:
        load = Load()
        with suppress(trio.ClosedResourceError):
            while not sockets.closed:
                await sockets.wait()
                while not sockets.closed:
                    self._connecting.look()
                    reads = sockets.act()
                    streams = len(self._news)  # over HTTP/2 one read brings news of many
                    self._flush()
                    if not reads or not load.is_heavy(max(reads, streams), trio.current_time()):
                        break
                    await trio.sleep(TICK)

    async def _watch_clock(self, sockets: Sockets) -> None:
        while await sockets.clock.wait():
            self._connecting.look()
            now = trio.current_time()
            for pool in self._pools.values():
                if pool.due <= now:
                    pool.due = inf
                    pool.multi.act(TIMER)
            while self._drains and self._drains[0][0] <= now:
                self._cut_off(self._drains.popleft()[1], f"its end has not come within {DRAIN} s")
            self._flush()
            for transfer in await self._connecting.find_late():
                self._complete(transfer, CONNECT_TIMEOUT)
            dues = [self._connecting.due(), *(pool.due for pool in self._pools.values())]
            if self._drains:
                dues.append(self._drains[0][0])
            if self._news:
                dues.append(now)
            sockets.clock.set(min(dues, default=inf))

    def _flush(self) -> None:
        """Tells receivers of what has come, and ends the transfers that are over, for a turn; then asks for the next.

        Each in its turn gets a piece, so that a flood of one is no delay of another.
        """
        until = perf_counter() + TURN
        self._queue_ended()
        while self._news:
            news = self._news[:]
            self._news.clear()
            for number, transfer in enumerate(news, 1):
                self._go_on(transfer)
                if perf_counter() > until:
                    self._news[:0] = news[number:]
                    self._queue_ended()
                    if self._news and self._sockets is not None:
                        self._sockets.clock.wake_by(trio.current_time())
                    return
            self._queue_ended()

    def _queue_ended(self) -> None:
        """Has the transfers with which libcurl is done end when all that came of them is delivered."""
        for pool in self._pools.values():
            if pool.some_ended:
                for transfer, code in pool.take_ended():
                    transfer.end(code)

    def _go_on(self, transfer: Transfer) -> None:
        """Delivers a piece of what has come, and ends the transfer behind the last one."""
        transfer.queued = False
        if transfer.wanted:
            self._deliver(transfer)
        else:
            transfer.discard()
        if transfer.has_more:
            transfer.queue()
        elif transfer.code is not None:
            self._complete(transfer, transfer.code)
        else:
            transfer.resume()

    def _deliver(self, transfer: Transfer) -> None:
        enough = False
        try:
            enough = transfer.deliver()
        except BaseException as error:  # noqa: ASYNC103, BLE001  # the receiver's, raised again in the task that waits
            self._cut_off(transfer, type(error).__name__, error)
        if enough and transfer.wanted:
            self._wake(transfer)
            transfer.discard()
            due = trio.current_time() + DRAIN
            self._drains.append((due, transfer))
            if self._sockets is not None:
                self._sockets.clock.wake_by(due)

    def _complete(self, transfer: Transfer, code: int) -> None:
        """Ends a transfer that libcurl is done with."""
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
                self._cut_off(transfer, type(broken).__name__, broken)
        if error is None:
            self._end(transfer)
        else:
            self._cut_off(transfer, error.kind, error)

    def _cut_off(self, transfer: Transfer, reason: str, error: BaseException | None = None) -> None:
        """Ends a transfer before its end, and logs that; the reason holds nothing of a message."""
        if _log.isEnabledFor(logging.DEBUG) and transfer.easy.handle is not None:
            _log.debug("%s is cut off: %s", repr(transfer), reason)  # a record may be shown when it has changed
        self._end(transfer, error)

    def _end(self, transfer: Transfer, error: BaseException | None = None) -> None:
        """Takes a transfer out of libcurl, which closes its connection if the body is unread; wakes its task."""
        transfer.pool.remove(transfer)
        self._connecting.forget(transfer)
        transfer.drop()
        if transfer.wanted:
            transfer.error = error
            self._wake(transfer)

    def _wake(self, transfer: Transfer) -> None:
        transfer.wanted = False
        if transfer.task is not None:
            task, transfer.task = transfer.task, None
            trio.lowlevel.reschedule(task)

    @trio.lowlevel.enable_ki_protection
    def _abandon(self, transfer: Transfer) -> trio.lowlevel.Abort:
        """Ends the transfer of a task that is cancelled."""
        transfer.task = None
        self._cut_off(transfer, "cancelled")
        return trio.lowlevel.Abort.SUCCEEDED
