"""The database of runs, in the user's data directory, that only its owner can read.

    bench/               0700
        runs.db          0600
        NAME.lock        0600, while a run goes on: see fanout.ledger.holds

It holds what was measured and how it was asked for, and neither prompts nor answers nor keys. A process that is killed
loses the requests that ended in the last tenth of a second (fanout.ledger.journal), and nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from time import strftime, time
from typing import Any

import orjson
from attrs import define, evolve, field, frozen

from fanout.bench.records.record import Record, Records, from_line
from fanout.errors import UsageError
from fanout.ledger import holds
from fanout.ledger.database import Database, Schema, open_database
from fanout.storage.places import app_directory

NAME = "runs.db"

RUNNING, CUT_OFF = "running", "cut off"

SCHEMA = Schema(
    version=1,
    tables="""
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, started REAL NOT NULL, ended REAL, state TEXT NOT NULL,
    about BLOB NOT NULL, summary BLOB
);
CREATE TABLE IF NOT EXISTS requests (run INTEGER NOT NULL, number INTEGER NOT NULL, line BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS requests_of_a_run ON requests (run, number)
""",
    remedy="move the file away, or run with --no-save",
)


@frozen
class KeptRun:
    """A run in the database. Times are seconds of the Unix epoch.

    `state` is running, complete, interrupted, failed, or CUT_OFF: its process ended before the run did. `about` tells
    how it was asked for, `summary` is the JSON of its summary, if it came to one.
    """

    id: int
    name: str
    started: float
    ended: float | None
    state: str
    requests: int
    about: Mapping[str, Any] = field(kw_only=True)
    summary: Mapping[str, Any] | None = field(default=None, kw_only=True)


class StoredRecords(Records):
    """The records of a run in the database, each read when it is asked for. Raises UsageError."""

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
    """The open database of runs. Its methods wait for the disk, and raise UsageError where it does not work."""

    directory: Path
    _database: Database
    _holds: dict[int, holds.Hold] = field(factory=dict)

    def begin(self, about: Mapping[str, Any]) -> KeptRun:
        """Begins a run under a name that tells when. It goes on until `finish`, at most until the store is closed."""
        started = time()
        name = f"{strftime('%Y%m%d-%H%M%S')}-{token_hex(2)}"
        hold = holds.take_hold(self.directory, name)  # first, so that nobody finds the run without it
        try:
            with self._database.transaction() as connection:
                row = connection.execute(
                    "INSERT INTO runs (name, started, state, about) VALUES (?, ?, ?, ?)",
                    (name, started, RUNNING, orjson.dumps(about)),
                )
        except BaseException:  # also Ctrl-C: the store does not have the hold yet
            hold.end()
            raise
        assert row.lastrowid is not None
        self._holds[row.lastrowid] = hold
        return KeptRun(row.lastrowid, name, started, None, RUNNING, 0, about=about)

    def add(self, run: int, first: int, lines: Sequence[bytes]) -> None:
        """Writes records as lines, the first under this number; they are on the disk when this returns."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO requests VALUES (?, ?, ?)",
                ((run, number, line) for number, line in enumerate(lines, first)),
            )

    def finish(self, run: int, state: str, summary: Mapping[str, Any] | None, about: Mapping[str, Any]) -> None:
        """Writes how a run ended, and everything known about it."""
        data = None if summary is None else orjson.dumps(summary)
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE runs SET ended = ?, state = ?, summary = ?, about = ? WHERE id = ?",
                (time(), state, data, orjson.dumps(about), run),
            )
        if hold := self._holds.pop(run, None):  # last, so that whoever finds it gone finds the state
            hold.end()

    def delete(self, runs: Sequence[KeptRun]) -> None:
        """Deletes runs, and gives their space back. Raises UsageError if one of them goes on."""
        for run in runs:
            if run.state == RUNNING:
                raise UsageError(f"{run.name} is running; it can be deleted when it is over (Ctrl-C ends it)")
        with self._database.transaction() as connection:
            for run in runs:
                connection.execute("DELETE FROM requests WHERE run = ?", (run.id,))
                connection.execute("DELETE FROM runs WHERE id = ?", (run.id,))
        for run in runs:
            holds.remove_hold(self.directory, run.name)
        self._database.execute("VACUUM")

    def runs(self) -> list[KeptRun]:
        """All runs, the latest first."""
        return self._runs("ORDER BY started DESC, id DESC", ())

    def find(self, name: str) -> KeptRun:
        """The run of this name or the only one whose name begins so; `last` is the latest. Raises UsageError."""
        if not name:
            raise UsageError("a run has a name; `fanout log list` lists them, and last is the latest")
        if not name.isascii():  # names are ASCII, and SQLite refuses the lone surrogates that a shell may hand over
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
        """The number of requests of a run."""
        ((number,),) = self._database.select("SELECT count(*) FROM requests WHERE run = ?", (run,))
        return int(number)

    def lines(self, run: int, first: int = 0) -> Iterator[bytes]:
        """The records of a run as lines of JSON, from this number on, in the order in which they ended."""
        query = "SELECT line FROM requests WHERE run = ? AND number >= ? ORDER BY number"
        return (line for (line,) in self._database.select(query, (run, first)))

    def records(self, run: int) -> StoredRecords:
        """The records of a run, in the order in which they ended."""
        return StoredRecords(self, run)

    def close(self) -> None:
        """Gives up the holds of the runs that go on: they are cut off."""
        for hold in self._holds.values():
            hold.release()

    def _runs(self, which: str, values: tuple[Any, ...]) -> list[KeptRun]:
        found = self._read(which, values)
        gone = {run.id for run in found if run.state == RUNNING and not holds.is_held(self.directory, run.name)}
        if not gone:
            return found
        # One of them may have come to its end in between: `finish` writes that before it gives the hold up.
        again = self._read(which, values)
        return [evolve(run, state=CUT_OFF) if run.state == RUNNING and run.id in gone else run for run in again]

    def _read(self, which: str, values: tuple[Any, ...]) -> list[KeptRun]:
        counted = "(SELECT count(*) FROM requests WHERE run = runs.id)"
        query = f"SELECT id, name, started, ended, state, {counted}, about, summary FROM runs {which}"  # noqa: S608  # ours
        return [
            KeptRun(*plain, about=orjson.loads(about), summary=None if summary is None else orjson.loads(summary))
            for *plain, about, summary in self._database.select(query, values)
        ]


def default_directory() -> Path:
    """The directory of the runs. Raises UsageError."""
    return app_directory("data") / "bench"


@contextmanager
def open_store(directory: Path | None = None, *, create: bool = False) -> Iterator[Store]:
    """Opens the database in a directory; without `create`, one that does not exist is empty. Raises UsageError."""
    directory = directory or default_directory()
    with open_database(directory, NAME, SCHEMA, create=create) as database:
        store = Store(directory, database)
        try:
            yield store
        finally:
            store.close()
