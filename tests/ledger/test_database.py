"""A database is its owner's alone, keeps what was committed, and says in one line what is wrong with it."""

import sqlite3
import threading
from pathlib import Path

import pytest

from fanout.errors import UsageError
from fanout.ledger import database
from fanout.ledger.database import Schema, open_database
from tests.ledger.lines import NAME, SCHEMA, open_lines


def test_what_was_committed_is_there_when_it_is_opened_again(place: Path) -> None:
    with open_lines(place, create=True) as kept:
        kept.write(0, [b"one", b"two"])
    with open_lines(place) as kept:
        assert kept.read() == [(0, b"one"), (1, b"two")]


def test_nobody_else_can_read_it_while_it_is_open_or_later(place: Path) -> None:
    with open_lines(place, create=True) as kept:
        kept.write(0, [b"one"])
        modes = {path.name: path.stat().st_mode & 0o777 for path in place.iterdir()}
    assert modes == {NAME: 0o600, f"{NAME}-wal": 0o600, f"{NAME}-shm": 0o600}
    assert place.stat().st_mode & 0o777 == 0o700
    (place / NAME).chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"), open_lines(place):
        pass


def test_what_is_not_there_is_empty_and_is_not_made(place: Path) -> None:
    with open_lines(place) as kept:
        assert kept.read() == []
    assert not place.exists()


def test_a_transaction_that_fails_changes_nothing_and_keeps_nobody_out(place: Path) -> None:
    with open_lines(place, create=True) as kept, open_lines(place) as other:
        kept.write(0, [b"one"])
        with pytest.raises(UsageError, match=r"lines\.db: UNIQUE .*; call the night watch"):
            kept.write(0, [b"again"])
        with pytest.raises(KeyboardInterrupt), kept.database.transaction() as connection:
            connection.execute("DELETE FROM lines")
            raise KeyboardInterrupt
        other.write(1, [b"two"])
        assert kept.read() == [(0, b"one"), (1, b"two")]


def test_an_error_of_the_caller_stays_what_it_is(place: Path) -> None:
    with open_lines(place, create=True) as kept, pytest.raises(ZeroDivisionError), kept.database.transaction():
        raise ZeroDivisionError


def test_a_file_of_a_newer_version_is_left_as_it_is(place: Path) -> None:
    with open_lines(place, create=True) as kept:
        kept.write(0, [b"one"])
    older = Schema(SCHEMA.version - 1, SCHEMA.tables, SCHEMA.remedy)
    before = (place / NAME).read_bytes()
    with pytest.raises(UsageError, match="newer version of fanout; update it"), open_database(place, NAME, older):
        pass
    assert (place / NAME).read_bytes() == before


def test_a_file_of_an_older_version_gets_the_tables_that_it_lacks(place: Path) -> None:
    with open_lines(place, create=True) as kept:
        kept.write(0, [b"one"])
    newer = Schema(SCHEMA.version + 1, f"{SCHEMA.tables}; CREATE TABLE IF NOT EXISTS more (x)", SCHEMA.remedy)
    with open_database(place, NAME, newer) as opened:
        assert list(opened.select("SELECT count(*) FROM lines")) == [(1,)]
        assert list(opened.select("SELECT count(*) FROM more")) == [(0,)]
        assert list(opened.select("PRAGMA user_version")) == [(newer.version,)]


def test_a_file_that_is_no_database_says_what_to_do(place: Path) -> None:
    with open_lines(place, create=True):
        pass
    (place / NAME).write_bytes(b"no database" * 100)
    with pytest.raises(UsageError, match=r"lines\.db: .*; call the night watch"), open_lines(place):
        pass


def test_every_commit_is_on_the_disk_when_it_returns(place: Path) -> None:
    with open_lines(place, create=True) as kept:
        assert list(kept.database.select("PRAGMA journal_mode")) == [("wal",)]
        assert list(kept.database.select("PRAGMA synchronous")) == [(2,)]  # FULL


def test_a_change_waits_for_that_of_another_process_and_then_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.01)
    with open_lines(place, create=True) as kept:
        other = sqlite3.connect(place / NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UsageError, match="locked"):
            kept.write(0, [b"one"])
        other.execute("ROLLBACK")
        other.close()
        kept.write(0, [b"one"])


def test_another_thread_may_use_it_next(place: Path) -> None:
    with open_lines(place, create=True) as kept:
        thread = threading.Thread(target=kept.write, args=(0, [b"one"]))
        thread.start()
        thread.join()
        assert kept.read() == [(0, b"one")]
