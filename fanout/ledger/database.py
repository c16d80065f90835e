"""One SQLite database in a directory that only its owner can read.

    DIRECTORY/           0700
        NAME             0600; beside it, while it is open, its write-ahead log

Every commit is on the disk when it returns (WAL, synchronous=FULL): a process that is killed, or a machine that loses
its power, loses what was not committed and nothing else.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, frozen

from fanout.errors import UsageError
from fanout.storage.folder import open_folder

LOCK_SECONDS = 30.0
"""The time that a change waits for that of another process."""


@frozen
class Schema:
    """The tables of a database.

    `tables` is the SQL that makes those that are missing. `version` stands in the file; a file with a higher one is
    refused. `remedy` ends the sentence of every error: it says how to go on without this file.
    """

    version: int
    tables: str
    remedy: str


@define(eq=False)
class Database:
    """An open database. Its methods wait for the disk, and raise UsageError where SQLite fails.

    One thread at a time may use it, and not always the same one.
    """

    path: Path
    remedy: str
    _connection: sqlite3.Connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commits what the block does with the connection, or none of it where the block raises."""
        with _translate_errors(self.path, self.remedy):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:  # also Ctrl-C: an open transaction keeps every other process out
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def select(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, each read when it is asked for."""
        with _translate_errors(self.path, self.remedy):
            yield from self._connection.execute(query, values)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Runs one statement outside a transaction, as VACUUM wants it."""
        with _translate_errors(self.path, self.remedy):
            self._connection.execute(statement, values)

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()


@contextmanager
def open_database(directory: Path, name: str, schema: Schema, *, create: bool = False) -> Iterator[Database]:
    """Opens the database `name` in a directory; without `create`, one that does not exist is empty.

    Raises UsageError if the file or its directory can be read by others, is damaged, or is of a newer version.
    """
    with open_folder(directory, create=create) as folder:
        try:
            os.close(folder.open(name, os.O_RDWR | (os.O_CREAT if create else 0)))
            file: Path | str = directory / name
        except FileNotFoundError:
            file = ":memory:"
    path = directory / name
    with _translate_errors(path, schema.remedy):
        # SQLite gives the log beside the file the file's own mode.
        connection = sqlite3.connect(file, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
    database = Database(path, schema.remedy, connection)
    try:
        with _translate_errors(path, schema.remedy):
            _make_tables(connection, path, schema)
        yield database
    finally:
        database.close()


def _make_tables(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > schema.version:
        raise UsageError(f"{path} was written by a newer version of fanout; update it, or move the file away")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if version < schema.version:
        connection.executescript(f"{schema.tables}; PRAGMA user_version = {schema.version};")


@contextmanager
def _translate_errors(path: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise UsageError(f"{path}: {error}; {remedy}") from error
