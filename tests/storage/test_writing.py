import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanout.bench.records import files as bench_files
from fanout.cli.screen import files as saved_files
from fanout.errors import UsageError
from fanout.storage.writing import open_new, refuse_link, replace_file


@pytest.fixture(autouse=True)
def _mask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_file_is_replaced_whole_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    for text in (b"one", b"two"):
        replace_file(path, text)
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (text, 0o600)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("target", ["there", "absent"])
def test_no_symbolic_link_is_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "there").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / target)
    with pytest.raises(UsageError, match="symbolic link, which is not followed"):
        replace_file(link, b"theirs")
    with pytest.raises(FileExistsError):
        open_new(link)
    assert (tmp_path / "there").read_text() == "mine"
    assert not (tmp_path / "absent").exists()
    assert link.is_symlink()


def test_what_is_no_file_is_not_replaced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    for name in ("fifo", "directory"):
        with pytest.raises(UsageError, match="is not a file"):
            replace_file(tmp_path / name, b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "fifo"]


def test_a_directory_that_is_a_link_is_written_into_by_nobody(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target", target_is_directory=True)
    for write in (bench_files.prepare, saved_files.check, refuse_link):
        with pytest.raises(UsageError, match="symbolic link"):
            write(link)
    with pytest.raises(UsageError, match="symbolic link"):
        saved_files.write(link, "a.png", b"x")
    assert not list((tmp_path / "target").iterdir())


def test_saved_files_are_their_owner_s(tmp_path: Path) -> None:
    assert saved_files.write(tmp_path, "a.png", b"x").stat().st_mode & 0o777 == 0o600
