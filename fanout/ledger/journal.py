"""Lines that are written in a thread as they come, so that the event loop never waits for the disk."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import trio
from attrs import define, field

from fanout.errors.unwrapped import unwrapping

INTERVAL = 0.1
"""Seconds between two writes, at least: the lines that come meanwhile share one commit."""

QUEUED_LINES = 2000
"""Lines that may wait to be written; from then on `put` waits for room."""

Write = Callable[[int, Sequence[bytes]], object]
"""Writes lines of which the first has this number, counted from 0, and returns when they are on the disk."""


@define(eq=False)
class Journal:
    """Lines on their way to the disk: `taken` were put, and the first `kept` of them are on the disk."""

    write: Write
    taken: int = 0
    kept: int = 0
    _lines: list[bytes] = field(factory=list)
    _came: trio.Event = field(factory=trio.Event)
    _went: trio.Event = field(factory=trio.Event)
    _closed: trio.Event = field(factory=trio.Event)

    async def put(self, line: bytes) -> None:
        """Takes a line. Waits only while QUEUED_LINES others have not been written yet."""
        self._lines.append(line)
        self.taken += 1
        self._came.set()
        await trio.lowlevel.checkpoint()
        while len(self._lines) >= QUEUED_LINES:
            await self._went.wait()

    async def flush(self) -> None:
        """Waits until everything that was put is on the disk."""
        taken = self.taken
        await trio.lowlevel.checkpoint()
        while self.kept < taken:
            await self._went.wait()

    async def run(self) -> None:
        """Writes what is put until the journal is closed. Raises what `write` raises."""
        # Shielded, because what was put is written also where the caller is cancelled; `close` always comes.
        with trio.CancelScope(shield=True):
            while self._lines or not self._closed.is_set():
                await self._came.wait()
                self._came = trio.Event()
                await self._write()
                with trio.move_on_after(INTERVAL):
                    await self._closed.wait()

    async def _write(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            await trio.to_thread.run_sync(self.write, self.kept, lines)
            self.kept += len(lines)
        self._went.set()
        self._went = trio.Event()

    def close(self) -> None:
        """Lets `run` return when everything is written."""
        self._closed.set()
        self._came.set()


@asynccontextmanager
async def open_journal(write: Write) -> AsyncGenerator[Journal]:
    """Opens a journal. When the block is left, however it is left, all of its lines are on the disk.

    What `write` raises cancels the block, and comes out of it.
    """
    journal = Journal(write)
    with unwrapping():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)
            try:
                yield journal
            finally:
                journal.close()
