"""A journal writes soon, everything, in order, and never in the event loop."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from fanout.errors import UsageError
from fanout.ledger import journal as module
from fanout.ledger.journal import open_journal
from tests.ledger.lines import open_lines


def line(number: int) -> bytes:
    return b"line %d" % number


async def test_a_journal_has_written_everything_when_it_is_left(place: Path) -> None:
    with open_lines(place, create=True) as kept:
        async with open_journal(kept.write) as journal:
            for number in range(250):
                await journal.put(line(number))
        assert journal.kept == 250
        assert kept.read() == [(number, line(number)) for number in range(250)]


async def test_what_was_put_is_on_the_disk_within_the_interval(place: Path) -> None:
    with open_lines(place, create=True) as kept, open_lines(place) as reads:
        async with open_journal(kept.write) as journal:
            for number in range(3):
                await journal.put(line(number))
                with trio.fail_after(module.INTERVAL + 1):
                    await journal.flush()
                assert len(reads.read()) == number + 1


async def test_what_was_put_is_kept_when_the_block_is_cancelled(place: Path) -> None:
    with open_lines(place, create=True) as kept:
        with trio.CancelScope() as scope:
            async with open_journal(kept.write) as journal:
                await journal.put(line(0))
                await journal.put(line(1))
                scope.cancel()
                await trio.sleep_forever()
        assert len(kept.read()) == 2


async def test_a_full_queue_makes_whoever_brings_more_wait(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUED_LINES", 10)
    with open_lines(place, create=True) as kept:
        async with open_journal(kept.write) as journal:
            for number in range(55):
                await journal.put(line(number))
                assert journal.taken - journal.kept <= 20  # ten that wait, ten that are being written
        assert len(kept.read()) == 55


async def test_a_disk_that_takes_nothing_ends_the_block_with_one_error(place: Path) -> None:
    with open_lines(place, create=True) as kept, pytest.raises(UsageError, match="night watch"):
        async with open_journal(kept.write) as journal:
            kept.database.execute("DROP TABLE lines")
            await journal.put(line(0))
            await trio.sleep_forever()


async def test_an_error_of_the_block_comes_out_as_itself_after_everything_is_written(place: Path) -> None:
    with open_lines(place, create=True) as kept:
        with pytest.raises(ZeroDivisionError):
            async with open_journal(kept.write) as journal:
                await journal.put(line(0))
                raise ZeroDivisionError
        assert len(kept.read()) == 1


async def test_the_event_loop_goes_on_while_the_disk_is_slow() -> None:
    loop, released = threading.get_ident(), threading.Event()
    threads: set[int] = set()

    def write(first: int, lines: Sequence[bytes]) -> None:
        threads.add(threading.get_ident())
        assert released.wait(10)

    async with open_journal(write) as journal:
        await journal.put(line(0))
        await trio.sleep(0.05)
        assert threads  # the disk is at it, and this task runs
        released.set()
    assert loop not in threads
