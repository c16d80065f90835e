"""fanout log: what is kept of runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fanout.bench.records import store
from fanout.bench.records.record import from_line, to_line
from tests.bench.summaries import records
from tests.cli.command import Done

Call = Callable[..., Done]


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are kept apart from the user's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def keep(lane: str, *, state: str | None = "complete", n: int = 8) -> str:
    about = {"lanes": [{"name": lane}], "load": ["c=1"], "command": f"fanout bench -m {lane}"}
    with store.open_store(create=True) as kept:
        run = kept.begin(about)
        kept.add(run.id, 0, [to_line(record) for record in records(lane, 0.2, n)])
        if state:
            kept.finish(run.id, state, None, about)
    return run.name


def test_without_runs_the_list_is_empty_and_says_where_runs_come_from(call: Call) -> None:
    done = call("log", "list")
    assert (done.code, done.out) == (0, "")
    assert "fanout bench" in done.err
    assert json.loads(call("log", "list", "--json").out) == []
    assert not store.default_directory().exists()


def test_runs_are_listed_the_latest_first(call: Call) -> None:
    first, second = keep("a"), keep("b", state=None)
    head, *rows = call("log", "list").out.splitlines()
    assert head.split() == ["run", "start", "state", "requests", "load", "lanes"]
    assert [row.split()[0] for row in rows] == [second, first]
    assert rows[0].split()[-5:] == ["cut", "off", "8", "c=1", "b"]
    told = json.loads(call("log", "list", "--json").out)
    assert [run["name"] for run in told] == [second, first]
    assert told[1]["about"]["command"] == "fanout bench -m a"


def test_a_run_is_shown_also_one_that_was_killed(call: Call) -> None:
    name = keep("a", state=None)
    done = call("log", "show")
    assert done.code == 0
    assert done.out.startswith(f"{name}, ")
    assert "cut off: fanout bench -m a\nlane  done" in done.out
    assert json.loads(call("log", "show", name, "--json").out)["lanes"]["a"]["finished"] == 8


def test_a_run_s_requests_go_to_a_pipe_or_all_its_files_to_a_directory(call: Call, tmp_path: Path) -> None:
    name = keep("a")
    lines = call("log", "export", name).out.splitlines()
    assert [from_line(line) for line in lines] == records("a", 0.2, 8)
    done = call("log", "export", "last", "--out", str(tmp_path / "out"))
    assert done.code == 0
    assert (tmp_path / "out" / "requests.jsonl").read_text().splitlines() == lines
    assert (tmp_path / "out" / "report.html").exists()
    again = call("log", "export", "last", "--out", str(tmp_path / "out"))
    assert (again.code, again.err.count("\n")) == (2, 1)


def test_runs_are_deleted_by_name_or_all(call: Call) -> None:
    first, second, third = keep("a"), keep("b"), keep("c")
    assert call("log", "delete", second).out == f"deleted {second}\n"
    assert [run["name"] for run in json.loads(call("log", "list", "--json").out)] == [third, first]
    assert call("log", "delete", "--all").out.splitlines() == [f"deleted {third}", f"deleted {first}"]
    assert json.loads(call("log", "list", "--json").out) == []


def test_a_run_that_goes_on_is_listed_as_running_and_stays(call: Call) -> None:
    over = keep("a")
    with store.open_store(create=True) as writes:
        run = writes.begin({"lanes": [{"name": "b"}], "load": ["c=1"]})
        assert " running " in call("log", "list").out.splitlines()[1]
        refused = call("log", "delete", run.name)
        assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
        assert f"{run.name} is running" in refused.err
        done = call("log", "delete", "--all")
        assert (done.code, done.out) == (0, f"deleted {over}\n")
        assert f"{run.name} is running" in done.err
    assert " cut off " in call("log", "list").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["delete"], "--all"),
        (["delete", "x", "--all"], "--all"),
        (["delete", "x"], "no run 'x'"),
        (["delete", ""], "a run has a name"),
        (["show", "caf\udce9"], "no run 'caf\\udce9'"),
        (["show", "x"], "no run 'x'"),
        (["export", "x"], "no run 'x'"),
        (["shw"], "shw"),
    ],
)
def test_a_mistake_is_one_line(call: Call, arguments: list[str], words: str) -> None:
    keep("a")
    done = call("log", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert words in done.err


def test_a_run_without_a_single_counted_request_says_so(call: Call) -> None:
    keep("a", n=0)
    done = call("log", "show")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
