"""Responses that are kept, so that a request which is sent twice is answered once: by its idempotency key."""

import logging
from collections.abc import Awaitable, Callable, Sequence

import trio

from fanout.gateway.affinity import DAY, MOST_KEYS, Bounded
from fanout.gateway.streams import Headers, Reply

_log = logging.getLogger("fanout")

MOST_BYTES = 64 << 20
"""Bytes of all finished responses together that are kept."""


class Tape:
    """One response, as it is made; several clients may follow it. `digest` is that of the request's body."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.status: int | None = None
        self.done = False
        self.broken = False
        self.whole = False
        self.followers = 0
        self.scope = trio.CancelScope()
        self.parts: list[bytes] = []
        self._headers: Sequence[tuple[str, str]] = ()
        self._more = trio.Event()

    @property
    def begun(self) -> bool:
        """True once there is a head."""
        return self.status is not None

    async def begin(self, status: int, headers: Headers) -> None:
        """Takes the head."""
        self.status, self._headers = status, list(headers)
        await self._tell()

    async def write(self, body: bytes, *, last: bool = False) -> None:
        """Takes a part of the body, or the `last`."""
        self.parts.append(body)
        self.whole = last
        await self._tell()

    def finish(self) -> None:
        """Says that nothing more comes."""
        self.done = True
        self._more.set()

    async def _tell(self) -> None:
        self._more.set()
        self._more = trio.Event()
        await trio.lowlevel.checkpoint()

    async def play(self, reply: Reply, own: Headers) -> None:
        """Sends the response to a client, with headers of its `own`, as far as it goes, and goes on with it."""
        self.followers += 1
        try:
            place = 0
            while True:
                more = self._more
                if self.status is not None and not reply.begun:
                    await reply.begin(self.status, [*self._headers, *own])
                parts, place = self.parts[place:], len(self.parts)
                await reply.write(b"".join(parts), last=self.whole)
                if place < len(self.parts):
                    continue
                if self.broken:
                    raise RuntimeError("the request that this one waited for has failed")
                if self.done:
                    return
                await more.wait()
        finally:
            self.followers -= 1
            if not self.followers and not self.done:
                self.scope.cancel()  # nobody is there any more who wants it


class Tapes:
    """The responses by their keys. A failed one is not kept: who sends its request again means it."""

    def __init__(self) -> None:
        self._tapes: Bounded[Tape] = Bounded(MOST_KEYS, DAY, MOST_BYTES)

    def find(self, key: str) -> Tape | None:
        """Returns the response that a key has; None for a new one, and for one that has been given up."""
        tape = self._tapes.get(key, trio.current_time())
        if tape is not None and tape.scope.cancel_called and not tape.done:
            return None
        return tape

    def add(self, key: str, tape: Tape) -> Tape:
        """Adds the tape of a response that is to be made, for others to find, and returns it."""
        self._tapes.put(key, tape, trio.current_time())
        return tape

    async def record(self, key: str, tape: Tape, work: Callable[[Tape], Awaitable[bool]]) -> None:
        """Records the response that `work` makes on a tape that was added; it returns True for one worth keeping."""
        good = False
        try:
            with tape.scope:
                good = await work(tape)
        except Exception:  # noqa: BLE001  # of one request, logged
            _log.exception("a request failed")  # and not the gateway, in whose task it ran
            tape.broken = True
        finally:
            tape.finish()
            if self._tapes.get(key, trio.current_time()) is tape:
                if good:
                    self._tapes.put(key, tape, trio.current_time(), sum(map(len, tape.parts)) + 1)
                else:
                    self._tapes.drop(key)
