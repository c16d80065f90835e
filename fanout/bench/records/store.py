"""Where runs of benchmarks are kept: a SQLite database in the user's data directory, that only its owner can read.

    bench/               0700
        runs.db          0600; beside it, while it is open, its write-ahead log
        NAME.lock        0600, while a run goes on: see alive.py

Every commit is on the disk when it returns (WAL, synchronous=FULL), so a process that is killed, or a machine that
loses its power, loses what was not committed and nothing else: what ended in the last INTERVAL seconds, at most. It
holds what was measured and how it was asked for, and neither prompts nor answers nor keys.
"""

import os
import sqlite3
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from secrets import token_hex
from time import strftime, time
from typing import Any

import orjson
import trio
from attrs import define, evolve, field, frozen
from platformdirs import user_data_path

from fanout.bench.records.record import Record, Records, from_line, to_line
from fanout.errors import UsageError
from fanout.ledger import holds as alive
from fanout.storage import folder
from fanout.storage.places import app_directory
from fanout.unwrapped import unwrapped

NAME = "runs.db"

VERSION = 1
"""Of the tables."""

INTERVAL = 0.1
"""Seconds between two commits, at least: what ends meanwhile goes into one."""

RUNNING, CUT_OFF = "running", "cut off"

MOST = 2000
"""Records that may wait for their commit; then whoever brings more waits for it."""

_TABLES = f"""
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, started REAL NOT NULL, ended REAL, state TEXT NOT NULL,
    about BLOB NOT NULL, summary BLOB
);
CREATE TABLE IF NOT EXISTS requests (run INTEGER NOT NULL, number INTEGER NOT NULL, line BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS requests_of_a_run ON requests (run, number);
PRAGMA user_version = {VERSION};
"""


@frozen
class Run:
    """A run that is kept. Times are seconds of the Unix epoch.

    `state` is running, complete, interrupted, failed, or CUT_OFF: its process ended before the run did. `about`
    says how it was asked for, `summary` is the JSON of its summary, if it came to one.
    """

    id: int
    name: str
    started: float
    ended: float | None
    state: str
    requests: int
    about: Mapping[str, Any] = field(kw_only=True)
    summary: Mapping[str, Any] | None = field(default=None, kw_only=True)


class Rows(Records):
    """The records of a run in the database. Raises UsageError if that does not work."""

    def __init__(self, store: "Store", run: int) -> None:
        self._store = store
        self._run = run
        self._length = store.count(run)

    def __len__(self) -> int:
        return self._length

    def read(self, number: int) -> Record:
        """Reads it from the database."""
        return from_line(next(self._store.lines(self._run, number)))

    def __iter__(self) -> Iterator[Record]:
        return map(from_line, self._store.lines(self._run))


@define(eq=False)
class Store:
    """The open database. Its methods wait for the disk; raise UsageError if the database does not work."""

    path: Path
    _connection: sqlite3.Connection
    _holds: dict[int, alive.Hold] = field(factory=dict)

    def begin(self, about: Mapping[str, Any]) -> Run:
        """Begins a run, under a name that tells when. It goes on until `finish`, at most until the store is closed."""
        started = time()
        name = f"{strftime('%Y%m%d-%H%M%S')}-{token_hex(2)}"
        hold = alive.hold(self.path.parent, name)  # first, so that nobody finds the run without it
        try:
            with self._change():
                row = self._connection.execute(
                    "INSERT INTO runs (name, started, state, about) VALUES (?, ?, ?, ?)",
                    (name, started, RUNNING, orjson.dumps(about)),
                )
        except BaseException:  # Ctrl-C too: nobody else knows the hold yet
            hold.end()
            raise
        assert row.lastrowid is not None
        self._holds[row.lastrowid] = hold
        return Run(row.lastrowid, name, started, None, RUNNING, 0, about=about)

    def add(self, run: int, first: int, lines: Sequence[bytes]) -> None:
        """Keeps records, the first under this number; they are on the disk when this returns."""
        with self._change():
            self._connection.executemany(
                "INSERT INTO requests VALUES (?, ?, ?)",
                ((run, number, line) for number, line in enumerate(lines, first)),
            )

    def finish(self, run: int, state: str, summary: Mapping[str, Any] | None, about: Mapping[str, Any]) -> None:
        """Says what became of a run, and what is known of it now."""
        told = None if summary is None else orjson.dumps(summary)
        with self._change():
            self._connection.execute(
                "UPDATE runs SET ended = ?, state = ?, summary = ?, about = ? WHERE id = ?",
                (time(), state, told, orjson.dumps(about), run),
            )
        if hold := self._holds.pop(run, None):  # last, so that whoever misses it finds the state
            hold.end()

    def delete(self, runs: Sequence[Run]) -> None:
        """Deletes runs, and gives their space back. Raises UsageError if one of them goes on."""
        for run in runs:
            if run.state == RUNNING:
                raise UsageError(f"{run.name} is running; it can be deleted when it is over (Ctrl-C ends it)")
        with self._change():
            for run in runs:
                self._connection.execute("DELETE FROM requests WHERE run = ?", (run.id,))
                self._connection.execute("DELETE FROM runs WHERE id = ?", (run.id,))
        for run in runs:
            alive.forget(self.path.parent, run.name)
        with _translated(self.path):
            self._connection.execute("VACUUM")

    def runs(self) -> list[Run]:
        """All runs, the latest first."""
        return self._runs("ORDER BY started DESC, id DESC", ())

    def find(self, name: str) -> Run:
        """The run of this name or the only one whose name begins so; `last` is the latest. Raises UsageError."""
        if not name:
            raise UsageError("a run has a name; `fanout log list` lists them, and last is the latest")
        if not name.isascii():  # as no name is; and not all that a shell hands over is text for SQLite
            found = []
        elif name == "last":
            found = self._runs("ORDER BY started DESC, id DESC LIMIT 1", ())
        else:
            found = self._runs("WHERE name = ?", (name,)) or self._runs(
                "WHERE substr(name, 1, ?) = ?", (len(name), name)
            )
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{len(found)} runs begin with {name!r}: {', '.join(run.name for run in found[:5])}")
        raise UsageError(f"there is no run {name!r}; `fanout log list` lists them")

    def count(self, run: int) -> int:
        """How many requests of a run are kept."""
        with _translated(self.path):
            return int(self._connection.execute("SELECT count(*) FROM requests WHERE run = ?", (run,)).fetchone()[0])

    def lines(self, run: int, first: int = 0) -> Iterator[bytes]:
        """The records of a run as lines of JSON, from this number on, in the order in which they ended."""
        with _translated(self.path):
            query = "SELECT line FROM requests WHERE run = ? AND number >= ? ORDER BY number"
            for (line,) in self._connection.execute(query, (run, first)):
                yield line

    def records(self, run: int) -> Rows:
        """The records of a run, in the order in which they ended."""
        return Rows(self, run)

    def close(self) -> None:
        """Closes the database; the runs that go on are cut off."""
        for hold in self._holds.values():
            hold.close()
        self._connection.close()

    def _runs(self, which: str, values: tuple[Any, ...]) -> list[Run]:
        found = self._read(which, values)
        gone = {run.id for run in found if run.state == RUNNING and not alive.is_held(self.path.parent, run.name)}
        if not gone:
            return found
        # One of them may have come to its end in between: that is written before its hold is given up.
        again = self._read(which, values)
        return [evolve(run, state=CUT_OFF) if run.state == RUNNING and run.id in gone else run for run in again]

    def _read(self, which: str, values: tuple[Any, ...]) -> list[Run]:
        counted = "(SELECT count(*) FROM requests WHERE run = runs.id)"
        query = f"SELECT id, name, started, ended, state, {counted}, about, summary FROM runs {which}"  # noqa: S608  # ours
        with _translated(self.path):
            return [
                Run(*plain, about=orjson.loads(about), summary=None if summary is None else orjson.loads(summary))
                for *plain, about, summary in self._connection.execute(query, values)
            ]

    @contextmanager
    def _change(self) -> Iterator[None]:
        with _translated(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:  # Ctrl-C too: a transaction left open keeps every other process out
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def directory() -> Path:
    """Where the runs are kept. Raises UsageError."""
    return app_directory(user_data_path) / "bench"


@contextmanager
def opened(place: Path | None = None, *, create: bool = False) -> Iterator[Store]:
    """Opens the database in a directory; without `create`, one that does not exist is empty. Raises UsageError."""
    place = place or directory()
    with folder.open_folder(place, create=create) as files:
        try:
            os.close(files.open(NAME, os.O_RDWR | (os.O_CREAT if create else 0)))
            path: Path | str = place / NAME
        except FileNotFoundError:
            path = ":memory:"
    with _translated(place / NAME):
        # One thread at a time uses it, but not always the same one. The log beside it takes on the file's mode.
        connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    store = Store(place / NAME, connection)
    try:
        with _translated(place / NAME):
            _prepare(connection, place / NAME)
        yield store
    finally:
        store.close()


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise UsageError(f"{path} was written by a newer version of fanout; update it, or move the file away")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if version < VERSION:
        connection.executescript(_TABLES)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise UsageError(f"{path}: {error}; move the file away, or run with --no-save") from error


@define(eq=False)
class Journal:
    """Keeps the records of a run as they come, without ever making the event loop wait for the disk."""

    store: Store
    run: Run
    taken: int = 0
    """How many records were put."""
    kept: int = 0
    """How many of them are on the disk."""
    _lines: list[bytes] = field(factory=list)
    _came: trio.Event = field(factory=trio.Event)
    _went: trio.Event = field(factory=trio.Event)
    _closed: trio.Event = field(factory=trio.Event)

    async def put(self, record: Record) -> None:
        """Takes a record. Waits only while MOST others have not been written yet."""
        self._lines.append(to_line(record))  # here, for a thread that computes would keep the loop from its stamps
        self.taken += 1
        self._came.set()
        await trio.lowlevel.checkpoint()
        while len(self._lines) >= MOST:
            await self._went.wait()

    async def flush(self) -> None:
        """Waits until everything that was put is on the disk."""
        taken = self.taken
        await trio.lowlevel.checkpoint()
        while self.kept < taken:
            await self._went.wait()

    async def write(self) -> None:
        """Writes what is put until the journal is closed. Raises UsageError if the disk does not take it."""
        with trio.CancelScope(shield=True):  # what has ended is kept, and `close` always comes
            while self._lines or not self._closed.is_set():
                await self._came.wait()
                self._came = trio.Event()
                await self._write()
                with trio.move_on_after(INTERVAL):
                    await self._closed.wait()

    async def _write(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            await trio.to_thread.run_sync(self.store.add, self.run.id, self.kept, lines)
            self.kept += len(lines)
        self._went.set()
        self._went = trio.Event()

    def close(self) -> None:
        """Nothing more will be put: `write` returns when all is written."""
        self._closed.set()
        self._came.set()


@asynccontextmanager
async def journal(store: Store, about: Mapping[str, Any]) -> AsyncGenerator[Journal]:
    """Begins a run whose records are kept as they come; when the block is left, all of them are on the disk."""
    kept = Journal(store, await trio.to_thread.run_sync(store.begin, about))
    with unwrapped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept.write)
            try:
                yield kept
            finally:
                kept.close()
