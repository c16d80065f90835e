"""The files of a run."""

import csv
import io
import json
import struct
from itertools import accumulate
from pathlib import Path

import pytest

from fanout.bench.analysis.summary import to_json
from fanout.bench.records import files
from fanout.bench.records.record import Record
from fanout.errors import UsageError
from fanout.events import Status
from tests.bench.summaries import failed, records, summary


@pytest.fixture
def made() -> list[Record]:
    return [*records("a", 0.2, 50), *failed("a", 3, first=50), *records('b,"x"', 0.3, 53)]


def written(directory: Path, made: list[Record]) -> None:
    result = to_json(summary(made))
    files.write(directory, {"command": "fanout bench"}, made, result, table="# t\n", page=lambda: "<!doctype html>")


def test_all_files_are_there_and_the_records_come_back(tmp_path: Path, made: list[Record]) -> None:
    written(tmp_path / "new" / "run", made)
    directory = tmp_path / "new" / "run"
    assert sorted(path.name for path in directory.iterdir()) == [
        *("gaps.bin", "report.html", "requests.jsonl", "run.json", "summary.csv", "summary.json", "summary.md"),
    ]
    about, again = files.read(directory)
    assert about == {"command": "fanout bench"}
    assert [record.lane for record in again] == [record.lane for record in made]
    assert (len(again), again[0].block, again[-1].lane, len(again[3:5])) == (106, 0, 'b,"x"', 2)
    with pytest.raises(IndexError):
        again[106]
    result = json.loads((directory / "summary.json").read_bytes())
    assert result["about"] == {"command": "fanout bench"}
    assert result["lanes"]["a"]["ttft"]["n"] == 53


def gaps_in(data: bytes) -> list[int]:
    """Returns what `pack` packed."""
    return list(accumulate(longer for (longer,) in struct.iter_unpack("<i", data)))


def test_gaps_are_a_column_that_the_requests_divide(tmp_path: Path, made: list[Record]) -> None:
    written(tmp_path, made)
    column = gaps_in((tmp_path / "gaps.bin").read_bytes())
    assert column == [gap for record in made for gap in files.gaps_us(record)]
    assert len(column) == sum(max(0, len(record.times) - 1) for record in made)
    assert column[0] == 20_000


@pytest.mark.parametrize("values", [[], [0], [5, 5, 3, 9_999_999, 0], [files.LONGEST_GAP_US, 0, files.LONGEST_GAP_US]])
def test_packed_gaps_come_back_also_in_pieces(values: list[int]) -> None:
    whole, _ = files.pack(values, 0)
    assert gaps_in(whole) == values
    data, last = b"", 0
    for value in values:
        piece, last = files.pack([value], last)
        data += piece
    assert data == whole
    assert len(data) == 4 * len(values)


def test_answers_that_came_at_once_and_gaps_beyond_reason_do_not_spoil_the_column() -> None:
    at_once = Record("a", 0, Status.FINISHED, sent=0, ended=9, times=(1, 2), kinds="dd", sizes=(1, 1), streamed=False)
    assert files.gaps_us(at_once) == []
    endless = Record("a", 0, Status.FINISHED, sent=0, ended=9, times=(0, 9e5), kinds="dd", sizes=(1, 1))
    assert files.gaps_us(endless) == [files.LONGEST_GAP_US]


def test_the_table_has_a_row_a_figure_and_leaves_empty_what_is_not_known(made: list[Record]) -> None:
    rows = list(csv.DictReader(io.StringIO(files.to_csv(to_json(summary(made))), newline="")))
    assert {row["lane"] for row in rows} == {"a", 'b,"x"'}
    (ttft,) = [row for row in rows if row["lane"] == 'b,"x"' and row["metric"] == "ttft"]
    assert 0.3 <= float(ttft["p50"]) <= 0.36
    assert (ttft["p99"], ttft["level"], ttft["n"]) == ("", "", "53")
    sweep = to_json(summary(records("a", 0.2, level=1.0), records("a", 0.2, level=8.0)))
    levels = [row["level"] for row in csv.DictReader(io.StringIO(files.to_csv(sweep)))]
    assert set(levels) == {"1.0", "8.0"}


def test_a_run_is_not_written_over_another(tmp_path: Path, made: list[Record]) -> None:
    files.prepare(tmp_path)
    written(tmp_path, made)
    with pytest.raises(UsageError, match="another directory"):
        files.prepare(tmp_path)


@pytest.mark.parametrize("name", files.FILE_NAMES)
def test_nothing_that_is_there_already_is_written_over(tmp_path: Path, made: list[Record], name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=f"{name}.*another directory"):
        files.prepare(tmp_path)
    with pytest.raises(UsageError):
        written(tmp_path, made)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_link_to_nowhere_is_not_followed(tmp_path: Path, made: list[Record]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"summary.csv.*another directory"):
        written(tmp_path / "out", made)
    assert not (tmp_path / "elsewhere").exists()


def test_what_appears_while_the_page_is_made_is_not_written_over(tmp_path: Path, made: list[Record]) -> None:
    def page() -> str:
        (tmp_path / "report.html").symlink_to(tmp_path / "mine")
        return "<!doctype html>"

    with pytest.raises(UsageError, match=r"report.html: File exists"):
        files.write(tmp_path, {}, made, to_json(summary(made)), table="", page=page)
    assert not (tmp_path / "mine").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a directory that takes no file, not even the root's")
def test_a_directory_that_takes_no_file_is_noticed_before_anything_is_measured() -> None:
    with pytest.raises(UsageError, match="--out /proc: "):
        files.prepare(Path("/proc"))


def test_preparing_leaves_nothing_behind(tmp_path: Path) -> None:
    files.prepare(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_what_cannot_be_written_or_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{")
    for attempt in (
        lambda: files.prepare(tmp_path / "file" / "in"),
        lambda: files.read(tmp_path / "nowhere"),
        lambda: files.read_json(tmp_path / "file"),
        lambda: files.FileRecords(tmp_path / "nowhere"),
    ):
        with pytest.raises(UsageError) as raised:
            attempt()
        assert "\n" not in str(raised.value)
        assert str(tmp_path) in str(raised.value)


def test_lines_that_are_no_records_are_refused(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(UsageError, match="version"):
        list(files.FileRecords(tmp_path / "requests.jsonl"))
