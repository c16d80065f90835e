"""The files of a run, in a directory.

run.json         the command, the configuration, versions, machine and clocks
requests.jsonl   a record a line (record.py), in the order in which they ended, warm-up included
gaps.bin         all gaps between pieces of content, as a column of numbers (see `pack`)
summary.json     the figures (docs/metrics.md), with what run.json holds under "about"; also as .csv and .md
report.html      a page for a browser
"""

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from os.path import lexists
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import orjson

from fanout.bench.records.record import Record, Records, from_line, to_line
from fanout.errors import UsageError
from fanout.storage.writing import open_new, refuse_link

RUN, REQUESTS, GAPS, SUMMARY, REPORT = "run.json", "requests.jsonl", "gaps.bin", "summary.json", "report.html"
TABLE, DOCUMENT = "summary.csv", "summary.md"
FILE_NAMES = (RUN, REQUESTS, GAPS, SUMMARY, TABLE, DOCUMENT, REPORT)

LONGEST_GAP_US = 1 << 30
"""The longest gap that gaps.bin can hold, some eighteen minutes; longer ones are cut to it."""

_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


class FileRecords(Records):
    """The records in a requests.jsonl, each read when it is asked for. Raises UsageError for other lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets = array("Q")
        offset = 0
        with _system(path), path.open("rb") as file:
            for line in file:
                self._offsets.append(offset)
                offset += len(line)

    def __len__(self) -> int:
        return len(self._offsets)

    def read(self, number: int) -> Record:
        """Reads it from the file."""
        with _system(self._path), self._path.open("rb") as file:
            file.seek(self._offsets[number])
            return from_line(file.readline())

    def __iter__(self) -> Iterator[Record]:
        with _system(self._path), self._path.open("rb") as file:
            yield from map(from_line, file)


def prepare(directory: Path) -> None:
    """Makes the directory. Raises UsageError if it cannot be, takes no file, or has one of the names of a run's."""
    refuse_link(directory)
    try:
        if there := [name for name in FILE_NAMES if lexists(directory / name)]:  # lexists: a dangling link counts, too
            raise UsageError(f"--out {directory}: it holds {', '.join(there)} already; choose another directory")
        directory.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=directory).close()
    except OSError as error:
        raise UsageError(f"--out {directory}: {error.strerror}") from None


def write(
    directory: Path,
    about: Mapping[str, Any],
    records: Sequence[Record],
    summary: Mapping[str, Any],
    *,
    table: str,
    page: Callable[[], str],
) -> None:
    """Writes all the files, over none; `table` is the summary in Markdown. Raises UsageError."""
    prepare(directory)
    with _system(directory):
        with open_new(directory / REQUESTS) as lines, open_new(directory / GAPS) as column:
            last = 0
            for record in records:
                lines.write(to_line(record))
                data, last = pack(gaps_us(record), last)
                column.write(data)
        _new(directory / SUMMARY, orjson.dumps({**summary, "about": about}, option=_PRETTY))
        _new(directory / TABLE, to_csv(summary).encode())
        _new(directory / DOCUMENT, table.encode())
        _new(directory / REPORT, page().encode())
        _new(directory / RUN, orjson.dumps(about, option=_PRETTY))


def _new(path: Path, data: bytes) -> None:
    with open_new(path) as file:  # a file that appeared since `prepare` is somebody else's
        file.write(data)


def read(directory: Path) -> tuple[Mapping[str, Any], FileRecords]:
    """Reads how a run in a directory was asked for, and its records. Raises UsageError."""
    return read_json(directory / RUN), FileRecords(directory / REQUESTS)


def read_json(path: Path) -> Mapping[str, Any]:
    """An object in a file of JSON. Raises UsageError."""
    with _system(path):
        data = path.read_bytes()
    try:
        value = orjson.loads(data)
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds no object")
    return value


def gaps_us(record: Record) -> list[int]:
    """The gaps between a request's pieces of content, in microseconds; none if it was not streamed."""
    if not record.streamed:
        return []
    times = [round(at * 1e6) for at in record.times]
    return [min(later - earlier, LONGEST_GAP_US) for earlier, later in pairwise(times)]


def pack(values: Iterable[int], last: int) -> tuple[bytes, int]:
    """Gaps as gaps.bin holds them, after one of `last`; and the last of these.

    Each is a little-endian signed 32-bit integer: by how many microseconds it is longer than the one before, the first
    than 0. A request has one gap less than pieces of content, and requests come in the order of requests.jsonl.
    """
    column = array("i")
    for value in values:
        column.append(value - last)
        last = value
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes(), last


def to_csv(summary: Mapping[str, Any]) -> str:
    """Writes every figure of every lane as a row of CSV, with empty cells where the sample is too small."""
    statistics = ("mean", "p50", "p90", "p95", "p99")
    rows = ["level,lane,metric,n,mean,p50,p90,p95,p99"]
    for level in summary.get("levels") or [summary]:
        for lane, figures in level["lanes"].items():
            for metric, figure in figures.items():
                if isinstance(figure, Mapping) and "p50" in figure:
                    load = level.get("level")
                    cells = ["" if load is None else load, _quote(lane), metric, figure.get("n", "")]
                    cells += ["" if figure.get(name) is None else figure[name] for name in statistics]
                    rows.append(",".join(map(str, cells)))
    return "\r\n".join([*rows, ""])


def _quote(text: str) -> str:
    quoted = text.replace('"', '""')
    return f'"{quoted}"' if any(mark in text for mark in ',"\r\n') else text


@contextmanager
def _system(path: Path) -> Iterator[None]:
    """Makes a UsageError of an OSError within the block."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{error.filename or path}: {error.strerror or error}") from None
