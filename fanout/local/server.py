"""The parent's side of the embedded model: a transport whose `local://` requests go to a process of its own.

The process starts when a lane first asks it, once for all lanes, and ends with the block that opened the transport.
Other requests pass through untouched.
"""

import os
import signal
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import trio
from attrs import define, evolve, field

from fanout.abc import Receiver, Request, Transport
from fanout.credentials.secret import Secret
from fanout.errors import ConnectError, FanoutError, LocalModelError, ProtocolError, ResetError, Truncated
from fanout.errors.unwrapped import unwrapping
from fanout.wire.json_text import JsonText, encode

SCHEME = "local://"
PROGRAM = Path(__file__).with_name("child.py")
RUNTIME = "xllamacpp"
"""The package that runs the model."""

START = 60.0
"""Seconds until the process must have said its address."""
GRACE = 0.3
"""Seconds a process has to leave by itself, then after SIGTERM; and to be seen dead after its connection broke."""

_CUT = (ConnectError, ResetError, Truncated, ProtocolError)
"""The errors of an exchange whose process may have died under it."""


@define(eq=False)
class LocalModel:
    """A transport that answers `local://` requests with the embedded model and hands all others to `inner`.

    A request's time to connect begins when the model runs; the start has a limit of its own. If the model does not
    start, each lane that waits for it gets a LocalModelError, and the next request tries again.
    """

    _inner: Transport
    _nursery: trio.Nursery
    _slots: int
    _context: int
    _threads: int
    _child: "_Child | None" = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, inner: Transport, *, slots: int = 4, context: int = 8192, threads: int | None = None
    ) -> AsyncGenerator[Self, None]:
        """Starts nothing yet. `slots` answers run at once and share `context` tokens, each with an equal part.

        `threads` compute; without a number, all processors but one do, at most four.
        """
        with unwrapping():
            async with trio.open_nursery() as nursery:
                yield cls(inner, nursery, slots, context, threads or _spare_processors())
                nursery.cancel_scope.cancel()

    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        """Carries the request to the embedded model if its URL says `local://`, else to the inner transport.

        Raises LocalModelError if the model does not start, or dies before its answer is over.
        """
        if not request.url.startswith(SCHEME):
            await self._inner.exchange(request, receiver, connect)
            return
        child = await self._running()
        try:
            await self._inner.exchange(child.address_request(request), receiver, connect)
        except _CUT as error:
            cut = error
        else:
            return
        with trio.move_on_after(GRACE):
            await child.over.wait()
        if child.over.is_set():
            raise child.error() from cut
        raise cut

    async def _running(self) -> "_Child":
        """The model's process; the first caller starts it, all wait for the same start, any may stop waiting."""
        child = self._child
        if child is None or child.over.is_set():
            child = self._child = _Child(self._slots, self._context, self._threads)
            self._nursery.start_soon(child.live)
        await child.settled.wait()
        if not child.address:
            raise child.error()
        return child


@define(eq=False)
class _Child:
    """One run of the model's process, from before its start to after its end."""

    slots: int
    context: int
    threads: int
    # Without it any process of this machine, and any web page in its browsers, could use the model.
    key: Secret = field(factory=lambda: Secret(urlsafe_b64encode(os.urandom(32)).decode()))
    address: str = ""
    problem: str = ""
    last_words: deque[str] = field(factory=lambda: deque(maxlen=8))
    pid: int | None = None
    settled: trio.Event = field(factory=trio.Event)
    """The address is known, or there will be none."""
    over: trio.Event = field(factory=trio.Event)
    """The process is gone, and everything it said has been read."""

    def address_request(self, request: Request) -> Request:
        """The request as it goes over the wire."""
        path = urlsplit(request.url)._replace(scheme="", netloc="").geturl()
        key = Secret(f"Bearer {self.key.reveal()}")
        return evolve(request, url=self.address + path, headers={**request.headers, "authorization": key})

    def error(self) -> LocalModelError:
        """Makes the error that tells why the process did not start, or how it ended; a new one for each lane."""
        return LocalModelError("\n".join([f"the embedded model {self.problem}", *self.last_words]))

    async def live(self) -> None:
        """Runs the process until it ends or the block is left. Never raises: what went wrong is in `problem`."""
        try:
            settings = self._settings()
            pipe, environment = subprocess.PIPE, self._environment()
            command = [sys.executable, "-P", os.fspath(PROGRAM)]
            process = await trio.lowlevel.open_process(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
            try:
                await self._attend(process, settings)
            finally:
                with trio.move_on_after(2, shield=True):
                    await _end(process)
        except (FanoutError, OSError) as error:
            self.problem = f"cannot start: {error.message if isinstance(error, LocalModelError) else error}"
        finally:
            self.settled.set()
            self.over.set()

    def _settings(self) -> bytes:
        # Every call opens this transport, and few start the model.
        from importlib.util import find_spec  # noqa: PLC0415

        from fanout.local import weights  # noqa: PLC0415

        if not find_spec(RUNTIME):
            # One after the other, each step would be found missing at a run of its own.
            then = "" if weights.find() else f", and {weights.FETCHED}"
            raise LocalModelError(f"its runtime is missing: `pip install 'fanout-llm[local]'` installs it{then}")
        model = os.fspath(weights.locate())
        size = {"slots": self.slots, "context": self.context, "threads": self.threads}
        return encode({"model": model, "key": self.key.reveal(), **size}).encode() + b"\n"

    def _environment(self) -> dict[str, str]:
        from fanout.storage.environment import child_environment  # noqa: PLC0415  # as above

        return child_environment()

    async def _attend(self, process: trio.Process, settings: bytes) -> None:
        self.pid = process.pid
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, process)
            with trio.move_on_after(START) as clock:
                self.address = await _greet(process, settings)
                if not self.address:
                    await process.wait()
            if clock.cancelled_caught:
                self.problem = f"gave no address within {START:g} s"
                process.kill()
            elif self.address:
                self.settled.set()
            await process.wait()
            self.problem = self.problem or _describe_end(process)
            # Its last words are in the pipe; something that inherited the pipe may hold it open.
            nursery.cancel_scope.deadline = trio.current_time() + GRACE

    async def _listen(self, process: trio.Process) -> None:
        """Drains stderr, lest the process stops at a full pipe, and keeps the last lines."""
        assert process.stderr is not None
        tail = b""
        async for chunk in process.stderr:
            *lines, tail = (tail + chunk).split(b"\n")
            tail = tail[-1000:]
            self.last_words.extend(line.decode(errors="replace") for line in lines)
        if tail:
            self.last_words.append(tail.decode(errors="replace"))


def _spare_processors() -> int:
    """The number of threads that compute unless the caller says: so small a model gains nothing beyond four.

    They wait for one another, spinning, several hundred times a token, so that one without a processor stalls all: with
    two threads on two processors another busy program costs two thirds of the speed, with one thread none.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, usable - 1))


async def _greet(process: trio.Process, settings: bytes) -> str:
    """Sends the settings and returns the address; an empty one if the output ends without it."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdin.send_all(settings)
    except trio.BrokenResourceError:
        return ""
    rest = b""
    async for chunk in process.stdout:
        *lines, rest = (rest + chunk).split(b"\n")
        # A site's start-up file may have printed something before.
        if mine := [line for line in lines if line.startswith(b'{"address":')]:
            return str(JsonText().decode(mine[0].decode())["address"])
    return ""


async def _end(process: trio.Process) -> None:
    """Ends the process within a second and reaps it: the end of stdin first, then SIGTERM, then SIGKILL."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    await process.stdin.aclose()
    for stop in (None, process.terminate, process.kill):
        if stop:
            stop()
        with trio.move_on_after(GRACE):
            await process.wait()
        if process.returncode is not None:
            break
    await process.stdout.aclose()
    await process.stderr.aclose()


def _describe_end(process: trio.Process) -> str:
    """For people: the exit status, or the signal's name."""
    status = process.returncode
    assert status is not None
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-status}"
