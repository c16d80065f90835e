import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from fanout.cli import last
from fanout.cli.options import Choices
from fanout.cli.screen.show import _save
from fanout.errors import UsageError
from fanout.prompt.history import History
from fanout.storage import folder as folder_module
from fanout.storage.folder import Busy, open_folder


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(path: Path, name: str = "a", data: bytes = b"1") -> None:
    with open_folder(path, create=True) as folder, folder.lock():
        folder.replace(name, data)


def read(path: Path, name: str = "a") -> bytes | None:
    with open_folder(path) as folder:
        return folder.read(name)


def test_whatever_the_umask_nobody_else_can_read(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "private"
    write(path)
    assert mode(path) == 0o700
    assert {entry.name: mode(entry) for entry in path.iterdir()} == {"a": 0o600, ".lock": 0o600}
    assert read(path) == b"1"
    write(path, data=b"2")
    assert read(path) == b"2"


def test_a_directory_that_does_not_exist_is_empty_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "private"
    with open_folder(path) as folder, folder.lock():
        assert (folder.names(), folder.read("a")) == ([], None)
    assert not path.exists()


def test_where_no_directory_can_be_there_is_none_until_one_is_to_be_made() -> None:
    path = Path("/dev/null/state/private")
    assert read(path) is None
    with pytest.raises(UsageError, match="Not a directory"):
        write(path)


@pytest.mark.parametrize("bits", [0o040, 0o020, 0o004, 0o001])
def test_a_directory_open_to_others_is_refused_with_the_command_that_closes_it(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "private"
    write(path)
    path.chmod(0o700 | bits)
    with pytest.raises(UsageError, match=f"chmod 700 {path}$"):
        read(path)
    with pytest.raises(UsageError, match=f"chmod 700 {path}$"):
        write(path)
    path.chmod(0o700)
    assert read(path) == b"1"


@pytest.mark.parametrize("bits", [0o040, 0o020, 0o004, 0o002])
def test_a_file_open_to_others_is_refused_with_the_command_that_closes_it(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "private"
    write(path)
    (path / "a").chmod(0o600 | bits)
    with pytest.raises(UsageError, match=f"chmod 600 {path / 'a'}$"):
        read(path)


def test_what_belongs_to_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "private"
    write(path)
    user = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(UsageError, match="belongs to another user"):
        read(path)


def test_a_symbolic_link_to_a_file_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "private"
    write(path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"theirs")
    elsewhere.chmod(0o600)
    (path / "b").symlink_to(elsewhere)
    with pytest.raises(UsageError, match=r"b is a symbolic link, .*rm "):
        read(path, "b")
    write(path, "b", b"ours")
    assert (elsewhere.read_bytes(), read(path, "b")) == (b"theirs", b"ours")


@pytest.mark.parametrize("target", ["there", "missing"])
def test_a_symbolic_link_to_a_directory_is_not_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "there").mkdir(mode=0o700)
    path = tmp_path / "private"
    path.symlink_to(tmp_path / target)
    for use in (read, write):
        with pytest.raises(UsageError, match="is a symbolic link"):
            use(path)
    assert list((tmp_path / "there").iterdir()) == []


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "private"
    write(path)
    os.mkfifo(path / "fifo", 0o600)
    (path / "folder").mkdir(0o700)
    for name in ("fifo", "folder"):
        with pytest.raises(UsageError, match="is not a file"):
            read(path, name)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "private"
    write(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UsageError, match="No space left"):
            write(path, data=b"2")
    assert (read(path), sorted(os.listdir(path))) == (b"1", [".lock", "a"])  # noqa: PTH208  # names


def test_after_a_crash_between_write_and_replace_the_old_file_is_there_and_the_rest_goes_with_the_next_write(
    tmp_path: Path,
) -> None:
    path = tmp_path / "private"
    write(path)
    if (child := os.fork()) == 0:  # a process that dies there, without any clean-up
        os.replace = lambda *_, **__: os._exit(0)
        write(path, data=b"2")
    os.waitpid(child, 0)
    left = {entry.name for entry in path.iterdir()} - {".lock", "a"}
    assert len(left) == 1 and left.pop().startswith(".a.")
    assert read(path) == b"1"
    write(path, data=b"3")
    assert (read(path), {entry.name for entry in path.iterdir()}) == (b"3", {".lock", "a"})


def test_two_processes_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "private"
    write(path, data=b"0")

    def count() -> None:
        for _ in range(50):
            with open_folder(path) as folder, folder.lock():
                folder.replace("a", str(int(folder.read("a") or b"0") + 1).encode())

    if (child := os.fork()) == 0:
        count()
        os._exit(0)
    count()
    assert os.waitpid(child, 0)[1] == 0
    assert read(path) == b"100"


def test_who_is_not_to_wait_is_told_that_another_has_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "private"
    write(path)
    with open_folder(path) as mine, open_folder(path) as theirs:
        with mine.lock(), pytest.raises(Busy), theirs.lock(wait=False):
            pass
        with theirs.lock(wait=False):
            theirs.replace("a", b"2")
    assert read(path) == b"2"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208  # by count
    path = tmp_path / "private"
    write(path)
    read(path)
    (path / "a").chmod(0o644)
    with pytest.raises(UsageError):
        read(path)
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208  # by count


def test_a_lock_that_is_never_given_back_is_waited_for_within_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "LOCK_SECONDS", 0.1)
    with open_folder(tmp_path / "store", create=True) as one, one.lock(), open_folder(tmp_path / "store") as other:
        with pytest.raises(UsageError, match=r"store has been locked by another process for 0.1 s"), other.lock():
            pass
        with pytest.raises(Busy), other.lock(wait=False):
            pass


async def test_a_run_that_waits_for_the_lock_of_the_last_one_holds_up_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folder_module, "LOCK_SECONDS", 0.5)
    monkeypatch.setattr(last, "directory", lambda: tmp_path / "runs")
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.sleep(0.01)

    with open_folder(tmp_path / "runs", create=True) as folder, folder.lock():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            await _save(["local"], History({}), Choices(quiet=False))
            nursery.cancel_scope.cancel()
    assert turns > 20
    assert "has been locked by another process" in capsys.readouterr().err
