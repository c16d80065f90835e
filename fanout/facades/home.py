"""The Trio run behind all facades: one for each process, in a thread of its own, from the first call to the exit.

anyio's blocking portal starts the thread, ends it and answers short questions. It does not carry the calls: to start
one it makes the asking thread wait, which would stop an event loop; a cancelled future of it is over before its task
is; and an exception such as SystemExit in one task would end all others.
"""

import atexit
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent import futures
from contextlib import suppress
from typing import TypeVar

import trio
from anyio.from_thread import start_blocking_portal

from fanout.errors import UsageError
from fanout.facades.kept import Kept

LEAVE = 10.0
"""Seconds that the calls which still run at the exit have to end; each lane's clean-up has a limit of its own."""

T = TypeVar("T")


class Home:
    """The thread, and the nurseries in it: one for the calls, and around it one for the connections they share."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._running: set[trio.CancelScope] = set()
        self._opened = start_blocking_portal("trio", name="fanout")
        self._portal = self._opened.__enter__()
        started = self._portal.start_task(self._live)
        self._life: futures.Future[None] = started[0]
        self.token: trio.lowlevel.TrioToken = started[1]
        atexit.register(self.close)

    async def _live(self, *, task_status: trio.TaskStatus[trio.lowlevel.TrioToken]) -> None:
        self._leaving = trio.Event()
        async with trio.open_nursery() as connections:
            Kept(connections).serve()
            async with trio.open_nursery() as self._calls:
                task_status.started(trio.lowlevel.current_trio_token())
                await self._leaving.wait()
                for scope in self._running:
                    scope.cancel()  # one by one: each caller gets to know
            connections.cancel_scope.cancel()

    def start(self, run: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        """Starts `run`, which `scope` cancels, as a task of the thread, where this is called."""

        async def run_call() -> None:
            self._running.add(scope)
            try:
                await run()
            finally:
                self._running.discard(scope)

        self._calls.start_soon(run_call)

    @property
    def running(self) -> int:
        """The number of calls that run."""
        return len(self._running)

    @property
    def leaving(self) -> bool:
        """True once the process is about to end: nothing new starts. Asked in the thread itself."""
        return self._leaving.is_set()

    @property
    def here(self) -> bool:
        """False in a process that was forked from the thread's: a fork takes no thread along."""
        return self._pid == os.getpid()

    def is_current(self) -> bool:
        """True in the thread itself."""
        return trio.lowlevel.in_trio_run() and trio.lowlevel.current_trio_token() is self.token

    def check(self) -> None:
        """Raises UsageError in a process that was forked from the thread's."""
        if not self.here:
            raise UsageError("this was opened before the process was forked: open it again in the new process")

    def soon(self, function: Callable[[], object]) -> None:
        """Has the thread call `function`, without waiting for it; if the thread has ended, nothing is left to do."""
        self.check()
        with suppress(trio.RunFinishedError):
            self.token.run_sync_soon(function)

    def ask(self, question: Callable[[], T]) -> T:
        """Returns what `question` gives in the thread, between two steps of its tasks: it must not take long."""
        self.check()
        if self.is_current():
            return question()
        return self._portal.call(question)

    def close(self) -> None:
        """Ends all that runs, closes all connections, and waits for the end of the thread, LEAVE seconds at most."""
        if not self.here:
            return
        self.soon(self._leaving.set)
        with suppress(futures.TimeoutError):
            self._life.result(LEAVE)
            self._opened.__exit__(None, None, None)


_homes: dict[int, Home] = {}
"""By process, so that a fork begins anew. What it inherits is kept and never used: to tidy it away would touch sockets
that belong to the parent."""
_locks: dict[int, threading.Lock] = {}


def find_home() -> Home:
    """Returns the thread of this process, which starts now if this is the first call."""
    pid = os.getpid()
    home = _homes.get(pid)
    if home is None:
        with _locks.setdefault(pid, threading.Lock()):
            home = _homes.get(pid) or _homes.setdefault(pid, Home())
    return home
