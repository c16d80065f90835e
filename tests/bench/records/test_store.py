"""Runs are kept: soon, whole, and for their owner alone."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from fanout.bench.records import store
from fanout.bench.records.record import Record, to_line
from fanout.errors import UsageError
from fanout.events import Status
from fanout.ledger import holds


def record(block: int, lane: str = "a") -> Record:
    return Record(lane, block, Status.FINISHED, sent=float(block), ended=1.0, times=(0.5,), kinds="d", sizes=(1,))


def lines(*blocks: int) -> list[bytes]:
    return [to_line(record(block)) for block in blocks]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "bench"


def test_a_run_comes_back_as_it_was_kept(place: Path) -> None:
    with store.open_store(place, create=True) as kept:
        run = kept.begin({"lanes": ["a"]})
        kept.add(run.id, 0, lines(0, 1))
        kept.add(run.id, 2, lines(2))
        kept.finish(run.id, "complete", {"version": 1}, {"lanes": ["a"], "looks": 1})
    with store.open_store(place) as kept:
        again = kept.find(run.name)
        assert (again.state, again.requests, again.about, again.summary) == (
            "complete",
            3,
            {"lanes": ["a"], "looks": 1},
            {"version": 1},
        )
        assert again.ended is not None
        assert again.ended >= again.started
        records = kept.records(again.id)
        assert list(records) == [record(0), record(1), record(2)]
        assert (len(records), records[1], records[-1], records[1:]) == (3, record(1), record(2), list(records)[1:])
        with pytest.raises(IndexError):
            records[3]


def test_nobody_else_can_read_it_while_it_is_open_or_later(place: Path) -> None:
    os.umask(before := os.umask(0))
    with store.open_store(place, create=True) as kept:
        run = kept.begin({})
        kept.add(run.id, 0, lines(0))
        assert {path.name: path.stat().st_mode & 0o777 for path in place.iterdir()} == {
            f"{run.name}.lock": 0o600,
            "runs.db": 0o600,
            "runs.db-wal": 0o600,
            "runs.db-shm": 0o600,
        }
    assert place.stat().st_mode & 0o777 == 0o700
    assert before == os.umask(before)


def test_a_database_that_others_could_have_written_is_refused(place: Path) -> None:
    with store.open_store(place, create=True):
        pass
    (place / "runs.db").chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"), store.open_store(place):
        pass


def test_what_is_not_there_is_empty_and_is_not_made(place: Path) -> None:
    with store.open_store(place) as kept:
        assert kept.runs() == []
        with pytest.raises(UsageError, match=r"no run 'last'.*fanout log list"):
            kept.find("last")
    assert not place.exists()


def test_a_file_that_is_no_database_or_of_a_later_version_says_what_to_do(place: Path) -> None:
    with store.open_store(place, create=True):
        pass
    file = place / "runs.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UsageError, match="newer version"), store.open_store(place):
        pass
    file.write_bytes(b"no database" * 100)
    with pytest.raises(UsageError, match="move the file away"), store.open_store(place):
        pass


def test_runs_are_found_by_name_beginning_or_as_the_last(place: Path) -> None:
    with store.open_store(place, create=True) as kept:
        first, second = kept.begin({}), kept.begin({})
        assert [run.name for run in kept.runs()] == [second.name, first.name]
        assert kept.find("last").name == second.name
        assert kept.find(first.name) == first
        with pytest.raises(UsageError, match="2 runs begin with '20'"):
            kept.find("20")
        with pytest.raises(UsageError, match=r"no run 'x%'"):
            kept.find("x%")
        kept.finish(second.id, "complete", None, {})
        kept.delete([kept.find(second.name)])
        assert kept.find("20").name == first.name
        with pytest.raises(UsageError, match=r"a run has a name.*fanout log list"):
            kept.find("")


def test_deleted_runs_leave_nothing_in_the_file(place: Path) -> None:
    with store.open_store(place, create=True) as kept:
        run = kept.begin({"lanes": ["a-name-to-look-for"]})
        kept.add(run.id, 0, lines(*range(1000)))
        kept.finish(run.id, "complete", None, {})
        kept.delete(kept.runs())
        assert kept.runs() == []
        assert kept.count(run.id) == 0
    data = (place / "runs.db").read_bytes()
    assert b"a-name-to-look-for" not in data
    assert len(data) < 50_000


def test_a_change_that_fails_changes_nothing(place: Path) -> None:
    with store.open_store(place, create=True) as kept:
        run = kept.begin({})
        kept.add(run.id, 0, lines(0))
        with pytest.raises(UsageError):
            kept.add(run.id, 1, [to_line(record(1)), None])  # type: ignore[list-item]
        with pytest.raises(UsageError):
            kept.add(run.id, 0, lines(7))
        assert list(kept.records(run.id)) == [record(0)]


def test_a_reader_sees_a_run_that_goes_on(place: Path) -> None:
    with store.open_store(place, create=True) as writes:
        run = writes.begin({})
        writes.add(run.id, 0, lines(0))
        with store.open_store(place) as reads:
            assert reads.find("last").state == "running"
            assert list(reads.records(run.id)) == [record(0)]


def test_a_run_whose_process_ended_before_it_is_cut_off_and_its_end_leaves_no_lock(place: Path) -> None:
    with store.open_store(place, create=True) as kept:
        first, second = kept.begin({}), kept.begin({})
        kept.finish(second.id, "complete", None, {})
        kept.finish(second.id, "complete", {"version": 1}, {})
        assert [run.state for run in kept.runs()] == ["complete", "running"]
        with store.open_store(place) as reads:
            assert [run.state for run in reads.runs()] == ["complete", "running"]
    with store.open_store(place) as reads:
        assert [run.state for run in reads.runs()] == ["complete", store.CUT_OFF]
        assert reads.find(first.name).state == store.CUT_OFF
        assert [path.name for path in place.glob("*.lock")] == [f"{first.name}.lock"]
        reads.delete(reads.runs())
    assert list(place.glob("*.lock")) == []


def test_a_run_that_ends_while_somebody_looks_at_it_was_not_cut_off(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = holds.is_held
    with store.open_store(place, create=True) as writes, store.open_store(place) as reads:
        run = writes.begin({})

        def ends_first(place: Path, name: str) -> bool:
            writes.finish(run.id, "complete", None, {})
            return look(place, name)

        monkeypatch.setattr(holds, "is_held", ends_first)
        assert reads.find(run.name).state == "complete"


def test_a_run_that_goes_on_is_not_deleted(place: Path) -> None:
    with store.open_store(place, create=True) as writes, store.open_store(place) as reads:
        over, run = writes.begin({}), writes.begin({})
        writes.finish(over.id, "failed", None, {})
        with pytest.raises(UsageError, match=rf"{run.name} is running"):
            reads.delete(reads.runs())
        assert len(reads.runs()) == 2


def test_a_run_that_cannot_be_begun_holds_nothing(place: Path) -> None:
    with store.open_store(place, create=True) as kept:
        kept._database.execute("DROP TABLE runs")
        with pytest.raises(UsageError):
            kept.begin({})
    assert list(place.glob("*.lock")) == []


WRITER = """
import sys, trio
from functools import partial
from pathlib import Path
from fanout.bench.records import store
from fanout.ledger import journal as ledger
from tests.bench.records.test_store import lines

async def main():
    with store.open_store(Path(sys.argv[1]), create=True) as kept:
        async with ledger.open_journal(partial(kept.add, kept.begin({}).id)) as journal:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(acknowledge, journal)
                for block in range(10**9):
                    await journal.put(*lines(block))
                    await trio.sleep(0.0005)

async def acknowledge(journal):
    while True:
        await journal.flush()
        print(journal.kept, flush=True)
        await trio.sleep(0.001)

ledger.INTERVAL = 0.005
trio.run(main)
"""


@pytest.mark.slow
def test_killed_at_any_point_the_database_opens_and_holds_all_that_was_acknowledged(place: Path) -> None:
    random = Random(5)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(place)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        acknowledged = [process.stdout.readline()]
        killed_at = random.randrange(2, 80)
        while len(acknowledged) < killed_at:
            acknowledged.append(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        with store.open_store(place) as kept:
            run = kept.find("last")
            assert run.state == store.CUT_OFF
            blocks = [found.block for found in kept.records(run.id)]
            assert blocks == list(range(len(blocks)))
            assert len(blocks) >= int(acknowledged[-1] if acknowledged[-1].endswith(b"\n") else acknowledged[-2])
            assert list(kept._database.select("PRAGMA integrity_check")) == [("ok",)]
