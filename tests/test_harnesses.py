"""Other programs that measure services: `benchmarks/harnesses.py`. The files in `data` are of real runs, shortened."""

import argparse
import json
import os
import re
import sys
import time
from math import inf
from pathlib import Path
from shutil import copy, which
from typing import Any

import orjson
import pytest

from benchmarks import fidelity, harnesses, load
from benchmarks.harnesses import HARNESSES, Answer, Load, Moment, Runner, Spent
from benchmarks.load import CannotMeasure, Failed

DATA = Path(__file__).parent / "data"
SMALL = Load("http://127.0.0.1:1/tokens=5", 1, 4, 5)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the tree of processes is read from /proc")


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harnesses, "EVERY", 0.02)


def program(directory: Path, *lines: str) -> Path:
    """A program of these lines of Python."""
    path = directory / "program"
    path.write_text("\n".join([f"#!{sys.executable}", "import os, shutil, subprocess, sys, time", *lines]), "utf-8")
    path.chmod(0o755)
    return path


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""  # of one that has ended, and nobody has waited for
    except OSError:
        return False


def work_of(directory: Path) -> Path:
    (work := directory / "work").mkdir()
    return work


def test_aiperfs_records_are_read_and_those_that_failed_have_no_times(tmp_path: Path) -> None:
    copy(DATA / "aiperf.jsonl", tmp_path / "profile_export.jsonl")
    failed, broken, *whole = harnesses.aiperf_answers(tmp_path)
    assert failed == Answer(1795290004.2535104, None, None, 0)
    assert [answer.tokens for answer in whole] == [5, 5]
    first, _ = whole
    assert first.started == pytest.approx(1795290004.25809198)
    assert first.ttft == pytest.approx(0.043915269)
    assert first.gaps == pytest.approx((0.012427101, 0.010972105, 0.006287158, 0.008108979))
    # To AIPerf an answer that an error cut short is a success; it has no usage, so its pieces are its tokens.
    assert broken.tokens == 2
    assert broken.ttft == pytest.approx(0.036571338)


def test_guidellms_requests_are_read_without_gaps_which_it_does_not_keep(tmp_path: Path) -> None:
    copy(DATA / "guidellm.json", tmp_path / "guidellm.json")
    *whole, failed = harnesses.guidellm_answers(tmp_path)
    assert len(whole) == 3
    assert whole[0] == Answer(1795289976.6630306, 0.03096294403076172, None, 5)
    assert failed == Answer(1795289976.816164, None, None, 0)


def test_a_request_of_guidellm_that_never_started_is_one_that_failed(tmp_path: Path) -> None:
    document = orjson.loads((DATA / "guidellm.json").read_bytes())
    requests = document["benchmarks"][0]["requests"]
    requests["incomplete"] = [{"info": {"timings": {"request_start": None}}}]
    (tmp_path / "guidellm.json").write_bytes(orjson.dumps(document))
    assert harnesses.guidellm_answers(tmp_path)[-1] == Answer(inf, None, None, 0)


def test_each_streams_first_request_does_not_count() -> None:
    late = [Answer(at, 0.2, (0.02, 0.04), 3) for at in (3.0, 2.0)]
    found = harnesses.figures([*late, Answer(1.0, 9.0, (9.0,), 2), Answer(4.0, None, None, 0)], 1)
    assert found["ttft_p50"] == found["ttft_p99"] == 0.2
    assert (found["gap_p50"], found["failed"]) == (0.03, 1)


def test_what_a_program_does_not_keep_is_none_and_not_nothing() -> None:
    found = harnesses.figures([Answer(at, 0.2, None, 5) for at in (1.0, 2.0)], 1)
    assert (found["gap_p50"], found["gap_p99"], found["ttft_p50"]) == (None, None, 0.2)


def test_cpu_between_two_looks_is_in_proportion_and_before_the_first_from_nothing() -> None:
    spent = Spent(10.0, [Moment(at, us, 1, 1) for at, us in ((11.0, 100.0), (12.0, 300.0))], 400.0, raised=True)
    assert [spent.cpu_us_at(at) for at in (9.0, 10.5, 11.0, 11.5, 13.0)] == [0, 50, 100, 200, 300]


def test_a_program_that_is_not_there_is_said_not_to_be_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = program(tmp_path)
    parser = argparse.ArgumentParser()
    found = harnesses.installed(parser, ["--guidellm", str(there), "--aiperf", str(tmp_path / "none"), "--more", "1"])
    assert found == {"guidellm": there}
    assert capsys.readouterr().err == f"AIPerf is not installed: there is no program {tmp_path / 'none'}\n"
    assert harnesses.not_measured(found, ["reader"]) == ["aiperf (not installed)", "guidellm (left out)"]
    assert harnesses.not_measured(found, ["guidellm"]) == ["aiperf (not installed)"]


def test_where_a_program_lies_is_not_a_change_of_the_measurement(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    given = ["--guidellm", str(program(tmp_path))]
    harnesses.installed(parser, given)
    assert vars(parser.parse_args(given)) == {name: parser.get_default(name) for name in HARNESSES}


def test_each_program_is_told_the_load_and_given_rows_enough(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    work = work_of(tmp_path)
    wish = Load("http://127.0.0.1:9/tokens=7", 3, 12, 7)
    aiperf = harnesses.aiperf_command(Path("aiperf"), wish, work)
    assert aiperf[aiperf.index("--url") + 1] == wish.url
    assert aiperf[aiperf.index("--concurrency") + 1] == "3"
    assert "max_tokens:7" in aiperf
    assert len((work / "prompts.jsonl").read_text().splitlines()) == 12
    guidellm = harnesses.guidellm_command(Path("guidellm"), wish, work)
    assert {"kind=concurrent,streams=3", "kind=max_requests,count=12"} < set(guidellm)
    rows = [json.loads(row) for row in (work / "prompts.jsonl").read_text().splitlines()]
    assert len(rows) == 15
    assert all(row["output_tokens_count"] == 7 for row in rows)


def test_without_the_means_to_make_a_tokenizer_it_is_said_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    weights.touch()
    monkeypatch.setenv("FANOUT_MODEL", str(weights))
    (tmp_path / "python").write_text("#!/bin/sh\necho \"No module named 'gguf'\" >&2\nexit 1\n", "ascii")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(CannotMeasure, match=r"needs gguf.*No module named 'gguf'"):
        harnesses.make_tokenizer(tmp_path / "aiperf", tmp_path / "tokenizer")


@on_linux
def test_the_cost_is_that_of_the_whole_tree_and_what_is_left_running_ends(tmp_path: Path, often: None) -> None:
    burn = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    lasting = program(
        tmp_path,
        "left = subprocess.Popen(['sleep', '60'])",
        "open('left', 'w').write(str(left.pid))",
        f"subprocess.run([sys.executable, '-c', {burn!r}], check=True)",
    )
    spent = harnesses.watched([str(lasting)], work := work_of(tmp_path))
    assert 0.3e6 < spent.cpu_us < 5e6
    assert max(moment.processes for moment in spent.moments) == 3
    assert max(moment.pss_kb for moment in spent.moments) > 3000
    end = time.monotonic() + 5
    while runs(int((work / "left").read_text())):
        assert time.monotonic() < end
        time.sleep(0.01)


@on_linux
def test_a_program_sees_neither_keys_nor_proxies_nor_the_users_home(
    tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "planted")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    teller = program(tmp_path, "open('seen', 'w').write(repr(dict(os.environ)))")
    harnesses.watched([str(teller)], work := work_of(tmp_path))
    seen = (work / "seen").read_text()
    assert "planted" not in seen
    assert "PROXY" not in seen
    assert f"'HOME': '{work}'" in seen


@on_linux
@pytest.mark.parametrize(
    ("line", "why"), [("sys.exit('no such option')", "exit 1: no such option"), ("time.sleep(60)", "not ready after")]
)
def test_a_program_that_fails_or_takes_too_long_is_said_to(tmp_path: Path, often: None, line: str, why: str) -> None:
    with pytest.raises(CannotMeasure, match=why):
        harnesses.watched([str(program(tmp_path, line))], work_of(tmp_path), patience=0.5)


@on_linux
@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("print('all is well')", "left no results.*all is well"),
        ("open('guidellm.json', 'w').write('{')", "left no results"),
        ("open('guidellm.json', 'w').write('{}')", "left no results.*benchmarks"),
    ],
)
def test_a_program_without_results_has_failed(tmp_path: Path, often: None, line: str, why: str) -> None:
    found = Runner({"guidellm": program(tmp_path, line)}, tmp_path).run("guidellm", SMALL)
    assert isinstance(found, Failed)
    assert re.search(why, found.why)


@on_linux
@pytest.mark.parametrize("name", HARNESSES)
def test_a_program_that_cannot_be_started_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (weights := tmp_path / "weights").touch()
    monkeypatch.setenv("FANOUT_MODEL", str(weights))
    found = Runner({name: tmp_path / "gone"}, tmp_path).run(name, SMALL)
    assert isinstance(found, Failed)
    assert "No such file" in found.why


@on_linux
def test_a_run_has_the_figures_that_a_line_of_the_table_is_made_of(tmp_path: Path, often: None) -> None:
    recorded = program(tmp_path, f"shutil.copy({str(DATA / 'guidellm.json')!r}, 'guidellm.json')")
    found = Runner({"guidellm": recorded}, tmp_path).run("guidellm", SMALL)
    assert isinstance(found, dict)
    assert (found["tokens"], found["failed"], found["gap_p50"]) == (15, 1, None)
    assert found["ttft_p50"] == pytest.approx(0.031268, rel=1e-3)
    assert found["cpu_us"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["program"]


@on_linux
def test_a_program_all_of_whose_requests_failed_has_no_figures(tmp_path: Path, often: None) -> None:
    document: Any = orjson.loads((DATA / "guidellm.json").read_bytes())
    document["benchmarks"][0]["requests"]["successful"] = []
    (tmp_path / "none.json").write_bytes(orjson.dumps(document))
    path = program(tmp_path, f"shutil.copy({str(tmp_path / 'none.json')!r}, 'guidellm.json')")
    found = Runner({"guidellm": path}, tmp_path).run("guidellm", SMALL)
    assert found == Failed("none of its 1 requests succeeded")


def test_the_table_says_how_many_streams_there_really_were_if_not_as_many_as_asked_for() -> None:
    cell = {"client": "guidellm", "errors": dict.fromkeys(fidelity.NAMES), "coalesced": None, "streams": 512}
    assert fidelity.errors({**cell, "live": 308.0})[:2] == ["GuideLLM", "512 (308 in flight)"]
    assert fidelity.errors({**cell, "live": 512.0})[1] == "512"


@pytest.mark.slow
@on_linux
@pytest.mark.parametrize("name", HARNESSES)
def test_the_real_program_measures_the_service(name: str) -> None:
    path = which(os.environ.get(f"FANOUT_TEST_{name.upper()}", name))
    if path is None:
        pytest.skip(f"{name} is not installed")
    try:
        load.compiler()
    except CannotMeasure as error:
        pytest.skip(str(error))
    with fidelity.open_server(120) as server, harnesses.open_runner({name: Path(path)}) as runner:
        found = runner.run(name, Load(server.url(2, 8), 2, 8, 8))
        sent = server.truth.take()
    assert isinstance(found, dict), found
    assert len(sent) == 8
    assert found["tokens"] == 64
    assert found["ttft_p50"] == pytest.approx(0.2, rel=0.5)
