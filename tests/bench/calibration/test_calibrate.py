"""The calibration: how far a machine's measurements can be trusted."""

import json
from math import inf
from typing import Any

import pytest
from attrs import evolve

from fanout.bench.calibration import calibrate
from fanout.bench.calibration.calibrate import (
    ERROR_NAMES,
    Calibration,
    CalibrationRow,
    line,
    most_at_once,
    percentile_errors,
)
from fanout.bench.calibration.truth import Sent
from fanout.bench.records.record import Record
from fanout.cli import main
from fanout.events import Status
from tests.again import again

ROW = CalibrationRow(8, 8, 24, dict.fromkeys(ERROR_NAMES, 0.001), "kernel", 0.002, 0.0, 0.0003, 0.0, 0.1)
MS = 1_000_000


def row(streams: int, error: float | None = 0.001, **more: Any) -> CalibrationRow:
    return evolve(ROW, streams=streams, live=streams, errors={**ROW.errors, "gap_p99": error}, **more)


def test_the_range_ends_before_the_first_load_that_is_not_exact() -> None:
    assert Calibration((row(1), row(8, -0.01), row(64, 0.011), row(128))).up_to == 8
    assert Calibration((row(1), row(8, lost=0.1))).verdict == "exact to 1 % up to 1 stream"
    assert Calibration((row(1), row(8))).verdict == "exact to 1 % up to 8 streams"
    assert Calibration((row(4, None),)).verdict == "not exact to 1 % even with 4 streams"
    assert Calibration(()).verdict == "nothing was tried"
    assert row(4, None).worst == inf


def sent(number: int, asked: int, *pieces: int, how: str = "done") -> Sent:
    numbered = tuple((i, asked + at * MS) for i, at in enumerate(pieces))
    return Sent(number, asked, numbered, asked + (pieces[-1] + 1) * MS, how, len(pieces))


def record(*times: float, status: Status = Status.FINISHED) -> Record:
    return Record("a", 0, status, 0.0, 1.0, times=times, kinds="d" * len(times), sizes=(1,) * len(times))


def test_an_error_is_a_percentile_over_the_true_one_less_one() -> None:
    records = [record(0.11, 0.13), record(0.3, status=Status.FAILED)]
    found = percentile_errors(records, [sent(0, 0, 100, 125), sent(1, 0, 300, how="cut")])
    assert found == pytest.approx({"ttft_p50": 0.1, "ttft_p99": 0.1, "gap_p50": -0.2, "gap_p99": -0.2})
    assert percentile_errors([], []) == dict.fromkeys(ERROR_NAMES)


def test_how_many_were_really_under_way_comes_from_the_log() -> None:
    assert most_at_once([sent(0, 0, 10), sent(1, 5 * MS, 10), sent(2, 40 * MS, 10)]) == 2
    assert most_at_once([]) == 0


def test_a_line_says_what_is_wrong() -> None:
    assert line(row(8)).split() == ["8", "+0.10%", "+0.10%", "+0.10%", "+0.10%", "kernel", "0.20%", "10%"]
    shown = line(evolve(row(8, None), live=5, lost=0.5, cpu=None))
    assert shown.endswith("50 % lost  5 at once")
    assert shown.count("?") == 2


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that take a moment."""
    for name, value in (("TTFT", 20), ("GAP", 5), ("TOKENS", 8)):
        monkeypatch.setattr(calibrate, name, value)


@pytest.mark.slow
@again
def test_the_bench_is_measured_against_the_service_s_log(short: None) -> None:
    heard: list[CalibrationRow] = []
    found = calibrate.calibrate([4, 2], seconds=0.1, heard=heard.append)
    assert [row.streams for row in found.rows] == [2, 4]
    assert list(found.rows) == heard
    for row in found.rows:
        assert (row.live, row.requests, row.lost) == (row.streams, row.streams * 2, 0)
        assert row.worst < 0.5
        assert -1e-4 < (row.lateness or 0) < 0.1
    result = json.loads(json.dumps(found.to_json()))
    assert (result["version"], len(result["rows"])) == (1, 2)


@pytest.mark.slow
def test_the_command_shows_the_table_and_the_verdict(short: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "calibrate", "-c", "2", "-t", "0.1"]) == 0
    head, one, verdict = capsys.readouterr().out.splitlines()
    assert head == calibrate.HEAD
    assert one.split()[0] == "2"
    assert "exact to 1 %" in verdict
    assert main(["bench", "calibrate", "-c", "1", "-t", "0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["within"] == 0.01
