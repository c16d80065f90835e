"""Something is under way as long as its process has its lock, and not a moment longer."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fanout.errors import UsageError
from fanout.ledger import holds

HOLDER = """
import sys
from pathlib import Path
from fanout.ledger import holds

hold = holds.take_hold(Path(sys.argv[1]), "a")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(place: Path) -> Path:
    place.mkdir(0o700)
    return place


def test_a_run_is_under_way_until_its_hold_is_closed_whoever_looks_and_how_often(place: Path) -> None:
    hold = holds.take_hold(place, "a")
    assert [holds.is_held(place, "a") for _ in range(3)] == [True] * 3
    hold.release()
    assert [holds.is_held(place, "a") for _ in range(3)] == [False] * 3
    holds.remove_hold(place, "a")
    holds.remove_hold(place, "a")
    assert list(place.iterdir()) == []
    assert not holds.is_held(place, "a")


def test_two_who_look_at_once_do_not_take_one_another_for_the_run(place: Path) -> None:
    import fcntl  # noqa: PLC0415

    holds.take_hold(place, "a").release()
    with (place / "a.lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not holds.is_held(place, "a")


def test_a_name_is_held_once(place: Path) -> None:
    hold = holds.take_hold(place, "a")
    try:
        with pytest.raises(UsageError, match=r"a\.lock"):
            holds.take_hold(place, "a")
    finally:
        hold.release()


@pytest.mark.slow
def test_a_process_that_is_killed_holds_nothing_and_one_that_it_has_started_holds_nothing_for_it(place: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    with process.stdout, process.stdin:
        assert process.stdout.readline() == b"held\n"
        assert holds.is_held(place, "a")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not holds.is_held(place, "a")
    hold = holds.take_hold(place, "b")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    with child.stdin:
        hold.release()
        assert not holds.is_held(place, "b")
    child.wait()


def test_the_file_is_its_owner_s_alone(place: Path) -> None:
    before = os.umask(0)
    try:
        hold = holds.take_hold(place, "a")
    finally:
        os.umask(before)
    hold.release()
    assert (place / "a.lock").stat().st_mode & 0o777 == 0o600
