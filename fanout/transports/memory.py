r"""A transport without a network: scripted bytes and pauses, for tests, yours too.

    word = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'
    transport = MemoryTransport({"fast.test": [0.1, word, 0.05, b"data: [DONE]\n\n"]})
    answer = await fanout.race("Hello", "fast=openai/m?base_url=https://fast.test/v1", transport=transport)

The hosts need not exist. A script is a list of steps: a number is a pause in seconds, bytes are one read, a Head (200
unless it comes first) begins the response, a ProviderError is raised, `HANG` waits for ever. Under Trio's mock clock a
minute of script takes milliseconds.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from urllib.parse import urlsplit

import trio
from attrs import define, field

from fanout.abc import Head, Receiver, Request
from fanout.errors import ConnectError, ProviderError, TimedOut

HANG = float("inf")
"""A step: nothing more happens, and the connection stays open."""

Step = float | bytes | Head | ProviderError
Script = Sequence[Step]

EVENT_STREAM = Head(200, {"content-type": "text/event-stream"})


@define(eq=False)
class Exchange:
    """The record of one request: the steps that were played, its begin and end (Trio times), and if it came whole."""

    request: Request
    began: float
    steps: int = 0
    ended: float | None = None
    whole: bool = False


@define(eq=False)
class MemoryTransport:
    """Plays a script for each request, chosen by the host of its URL or by a function of the request.

    `connecting` is how long a connection takes, in seconds. `exchanges` is the record of all requests, in order.
    """

    scripts: Mapping[str, Script] | Callable[[Request], Script]
    connecting: float = 0.0
    exchanges: list[Exchange] = field(factory=list)

    @property
    def open(self) -> int:
        """The number of exchanges that are under way."""
        return sum(exchange.ended is None for exchange in self.exchanges)

    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        """Plays the request's script to `receiver`."""
        record = Exchange(request, trio.current_time())
        self.exchanges.append(record)
        try:
            await self._connect(connect)
            await _play(self._find_script(request), receiver, record)
        finally:
            record.ended = trio.current_time()

    async def _connect(self, connect: float) -> None:
        if self.connecting > connect:
            await trio.sleep(connect)
            raise TimedOut(f"no connection within {connect:g} s", clock="connect", seconds=connect, retry_safe=True)
        await trio.sleep(self.connecting)

    def _find_script(self, request: Request) -> Script:
        if not isinstance(self.scripts, Mapping):
            return self.scripts(request)
        host = urlsplit(request.url).hostname or ""
        if host not in self.scripts:
            raise ConnectError(f"no script for host {host!r}")
        return self.scripts[host]


async def _play(script: Script, receiver: Receiver, record: Exchange) -> None:
    begun = False
    for step in script:
        record.steps += 1
        if isinstance(step, ProviderError):
            raise copy(step)  # each lane marks its error as its own
        if isinstance(step, int | float):
            await trio.sleep(step)
            continue
        if not begun:
            receiver.head(step if isinstance(step, Head) else EVENT_STREAM)
            begun = True
        if isinstance(step, bytes):
            # Buffered bytes still make a checkpoint: one fast stream must not starve the others.
            await trio.lowlevel.checkpoint()
            if receiver.data(step):
                record.whole = True
                return
    record.whole = True
