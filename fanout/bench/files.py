"""The files of a run, in a directory: how it was asked for, every request, every gap, the summary and the report.

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
from pathlib import Path
from typing import Any, overload

import orjson

from fanout.bench.record import Record, from_line, to_line
from fanout.errors import UsageError

RUN, REQUESTS, GAPS, SUMMARY, REPORT = "run.json", "requests.jsonl", "gaps.bin", "summary.json", "report.html"

LONGEST = 1 << 30
"""Microseconds of the longest gap that gaps.bin can hold, some eighteen minutes; longer ones are cut to it."""

_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


class Lines(Sequence[Record]):
    """The records in a file of them, each read when it is asked for. Raises UsageError for a file that holds others."""

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

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        with _system(self._path), self._path.open("rb") as file:
            file.seek(self._offsets[index])
            return from_line(file.readline())

    def __iter__(self) -> Iterator[Record]:
        with _system(self._path), self._path.open("rb") as file:
            yield from map(from_line, file)


def prepare(directory: Path) -> None:
    """Makes the directory. Raises UsageError if it cannot be, or holds a run already."""
    if (directory / RUN).exists():
        raise UsageError(f"--out {directory}: there is a run in it already; choose another directory")
    try:
        directory.mkdir(parents=True, exist_ok=True)
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
    """Writes all the files; `table` is the summary in Markdown. Raises UsageError."""
    prepare(directory)
    with _system(directory):
        with (directory / REQUESTS).open("wb") as lines, (directory / GAPS).open("wb") as column:
            last = 0
            for record in records:
                lines.write(to_line(record))
                data, last = pack(gaps(record), last)
                column.write(data)
        (directory / SUMMARY).write_bytes(orjson.dumps({**summary, "about": about}, option=_PRETTY))
        (directory / "summary.csv").write_text(comma_separated(summary), "utf-8", newline="")
        (directory / "summary.md").write_text(table, "utf-8")
        (directory / REPORT).write_text(page(), "utf-8")
        (directory / RUN).write_bytes(orjson.dumps(about, option=_PRETTY))


def read(directory: Path) -> tuple[Mapping[str, Any], Lines]:
    """What a run in a directory was asked for, and its records. Raises UsageError."""
    return read_json(directory / RUN), Lines(directory / REQUESTS)


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


def gaps(record: Record) -> list[int]:
    """The gaps between a request's pieces of content, in microseconds; none if it was not streamed."""
    if not record.streamed:
        return []
    times = [round(at * 1e6) for at in record.times]
    return [min(later - earlier, LONGEST) for earlier, later in pairwise(times)]


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


def unpack(data: bytes) -> "array[int]":
    """The gaps in microseconds that `pack` packed."""
    column = array("i", data)
    if sys.byteorder == "big":
        column.byteswap()
    for index in range(1, len(column)):
        column[index] += column[index - 1]
    return column


def comma_separated(summary: Mapping[str, Any]) -> str:
    """Every figure of every lane in a row of its own, as CSV; empty where the sample is too small."""
    statistics = ("mean", "p50", "p90", "p95", "p99")
    rows = ["level,lane,metric,n,mean,p50,p90,p95,p99"]
    for level in summary.get("levels") or [summary]:
        for lane, figures in level["lanes"].items():
            for metric, figure in figures.items():
                if isinstance(figure, Mapping) and "p50" in figure:
                    load = level.get("level")
                    cells = ["" if load is None else load, _quoted(lane), metric, figure.get("n", "")]
                    cells += ["" if figure.get(name) is None else figure[name] for name in statistics]
                    rows.append(",".join(map(str, cells)))
    return "\r\n".join([*rows, ""])


def _quoted(text: str) -> str:
    quoted = text.replace('"', '""')
    return f'"{quoted}"' if any(mark in text for mark in ',"\r\n') else text


@contextmanager
def _system(path: Path) -> Iterator[None]:
    """What the system refuses in the block is a UsageError."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{error.filename or path}: {error.strerror or error}") from None
