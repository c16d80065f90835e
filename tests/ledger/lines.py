"""The smallest database that a journal can write to: numbered lines."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from fanout.ledger.database import Database, Schema, open_database

NAME = "lines.db"

SCHEMA = Schema(
    version=3,
    tables="CREATE TABLE IF NOT EXISTS lines (number INTEGER PRIMARY KEY, line BLOB NOT NULL)",
    remedy="call the night watch",
)


@frozen
class LineStore:
    """Lines in a database, written as a journal writes them."""

    database: Database

    def write(self, first: int, lines: Sequence[bytes]) -> None:
        with self.database.transaction() as connection:
            connection.executemany("INSERT INTO lines VALUES (?, ?)", enumerate(lines, first))

    def read(self) -> list[tuple[int, bytes]]:
        return list(self.database.select("SELECT number, line FROM lines ORDER BY number"))


@contextmanager
def open_lines(place: Path, *, create: bool = False) -> Iterator[LineStore]:
    with open_database(place, NAME, SCHEMA, create=create) as database:
        yield LineStore(database)
