"""fanout bench, as its users run it."""

import io
import json
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest
import trio
from click.testing import CliRunner

from fanout.bench import run as door
from fanout.bench.load.planning import MOST_REQUESTS
from fanout.bench.records import store
from fanout.bench.records.record import to_line
from fanout.cli.bench import bench as command
from fanout.cli.bench import compare, report
from fanout.cli.bench.command import describe_command
from fanout.cli.bench.run import _announce, plan, run_benchmark
from fanout.errors import UsageError
from fanout.events import Status
from tests.again import again
from tests.bench.summaries import records
from tests.cli.command import COMMAND, ENVIRONMENT, Done, fanout, on_terminal
from tests.servers.openai import open_server

ODD = ("nan", "inf", "-1", "0", "1e-320", "1e300")
"""Texts that are no decent numbers."""

Call = Callable[..., Done]
Bench = Callable[..., Awaitable[Done]]


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment in which runs are kept apart from the user's own, here too."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return {"XDG_DATA_HOME": str(tmp_path / "data")}


async def until(true: Callable[[], bool]) -> None:
    """Waits for something that another process brings about."""
    with trio.fail_after(20):
        while not true():  # noqa: ASYNC110  # the server tells nobody
            await trio.sleep(0.01)


def kept(run: str = "last") -> store.KeptRun:
    with store.open_store() as opened:
        return opened.find(run)


@pytest.fixture
def bench(env: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Runs a benchmark in this process, beside the server that it measures."""

    async def run(*arguments: str, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        planned, output = plan(command.make_context("bench", list(arguments)).params, "fanout bench")
        code = await run_benchmark(planned, output)
        return Done(code, *capsys.readouterr())

    return run


@pytest.mark.slow
async def test_lanes_are_measured_in_pairs_and_the_run_is_kept(env: dict[str, str]) -> None:
    async with open_server() as server:
        lanes = ["-m", server.lane("fast", ttft=0.005, gap=0.01), "-m", server.lane("slow", ttft=0.02, gap=0.01)]
        done = await fanout("bench", *lanes, "-n", "10", "--warmup", "1", env=env)
        prompts = [json.loads(served.request.body)["messages"][0]["content"] for served in server.served]
    assert done.code == 0
    assert done.out.startswith("lane  done  failed  TTFT p50")
    assert "\nfast    10       0 " in done.out
    assert "closed loop: service time, not response time" in done.out
    assert "measuring fast, slow at c=1, up to 10 prompts" in done.err
    assert len(server.served) == 2 * (10 + 1)
    assert len(set(prompts)) == 22  # each is unique
    assert len({prompt.partition("] ")[2] for prompt in prompts}) == 10
    run = kept()
    assert f"kept as {run.name}" in done.err
    assert (run.state, run.requests, run.about["load"]) == ("complete", 22, ["c=1"])
    assert run.summary is not None
    assert run.summary["lanes"]["fast"]["ttft"]["n"] == 10


@pytest.mark.slow
async def test_json_and_files_say_the_same(bench: Bench, tmp_path: Path) -> None:
    async with open_server() as server:
        out = tmp_path / "out"
        arguments = ["-n", "8", "-c", "1,2", "--warmup", "0", "--slo", "ttft:1000", "--out", str(out), "--json", "-q"]
        done = await bench("-m", server.lane("a"), *arguments)
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert told == json.loads((out / "summary.json").read_bytes())
    assert [level["level"] for level in told["levels"]] == [1, 2]
    assert told["lanes"]["a"]["goodput"] > 0
    assert told["about"]["client"]["cpu_share"] > 0
    assert len((out / "requests.jsonl").read_bytes().splitlines()) == 16
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    with pytest.raises(UsageError, match="another directory"):
        await bench("-m", "local", "--out", str(out))


@pytest.mark.slow
async def test_full_answers_on_connections_of_their_own_are_compared_with_one_lane(
    bench: Bench, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    async with open_server() as server:
        lanes = [server.lane("a", ttft=0.03), server.lane("b", ttft=0.01), server.lane("c", ttft=0.06)]
        done = await bench(
            *(word for lane in lanes for word in ("-m", lane)), "-n", "8", "--warmup", "0",
            "--fresh-connections", "--ignore-eos", "--baseline", "a", "--out", str(out),
        )  # fmt: skip
        assert server.connections == len(server.served) == 24
        bodies = [json.loads(served.request.body) for served in server.served]
    assert all(body["ignore_eos"] is True and body["max_tokens"] == 128 for body in bodies)
    assert "every request opens a connection of its own" in done.err
    head, a, b, c = done.out.splitlines()[:4]
    assert re.search("difference +connect p50 +TTFT p50", head)
    assert (a.split()[3], b.split()[3][0], c.split()[3][0]) == ("baseline", "-", "+")
    assert "all lanes: 8 of 8 answers ended before their bound" in done.out
    told = json.loads((out / "summary.json").read_bytes())
    assert (told["baseline"], told["fresh_connections"]) == ("a", True)
    assert {(pair["first"], pair["second"]) for pair in told["comparisons"]} == {("b", "a"), ("c", "a")}
    about = json.loads((out / "run.json").read_bytes())
    assert (about["baseline"], about["fresh_connections"], about["ignore_eos"]) == ("a", True, True)
    assert told["lanes"]["a"]["connect"] > 0
    shown = (out / "report.html").read_text()
    assert "a new connection for each request" in shown
    assert "All against a." in shown


@pytest.mark.slow
async def test_a_condition_that_does_not_hold_is_exit_code_3(bench: Bench) -> None:
    async with open_server() as server:
        lane = ["-m", server.lane("a", ttft=0.03), "-n", "6", "--warmup", "0", "--no-save"]
        held = ["--assert", "p50(ttft) > 29ms", "--assert", "failures < 1%"]
        assert (await bench(*lane, *held)).code == 0
        done = await bench(*lane, *held, "--assert", "p50(ttft, a) < 20ms")
    assert done.code == 3
    assert "fanout: --assert p50(ttft, a) < 20ms: it is 3" in done.err
    assert not store.default_directory().exists()


@pytest.mark.slow
async def test_a_rate_counts_from_the_planned_times(bench: Bench) -> None:
    async with open_server() as server:
        done = await bench(
            "-m", server.lane("a", ttft=0.1), "-t", "1s", "--rate", "20", "--arrival", "constant",
            "--warmup", "0", "-c", "1", "--json",
        )  # fmt: skip
    lane = json.loads(done.out)["lanes"]["a"]
    assert json.loads(done.out)["open_loop"] is True
    assert lane["requests"] == 20
    assert lane["response"]["p50"] > 0.4 > lane["e2e"]["p50"]


@pytest.mark.slow
@again
async def test_prompts_come_through_a_pipe_and_times_from_a_trace(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("at\n0\n0.1\n0.3\n")
    async with open_server() as server:
        done = await bench(
            "-m", server.lane("a"), "--prompts", "-", "--trace", str(tmp_path / "t.csv"), "--warmup", "0",
            "--cache", "warm", "--max-tokens", "9", "-s", "Be brief.", "--no-save", stdin=b"one\ntwo\n",
        )  # fmt: skip
        bodies = [json.loads(served.request.body) for served in server.served]
        at = [served.at for served in server.served]
    assert done.code == 0
    assert [body["messages"][1]["content"] for body in bodies] == ["one", "two", "one"]
    assert {body["messages"][0]["content"] for body in bodies} == {"Be brief."}
    assert at[2] - at[0] >= 0.29


@pytest.mark.slow
async def test_files_that_cannot_be_written_in_the_end_do_not_cost_the_results(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_server() as server:
        arguments = [
            "-m",
            server.lane("a"),
            "-n",
            "3",
            "--warmup",
            "0",
            "--out",
            str(tmp_path),
            "--assert",
            "failures > 1%",
        ]
        planned, output = plan(command.make_context("bench", arguments).params, "fanout bench")
        (tmp_path / "summary.csv").write_text("mine")
        with pytest.RaisesGroup(UsageError, flatten_subgroups=True, allow_unwrapped=True) as raised:
            await run_benchmark(planned, output)
    out, err = capsys.readouterr()
    assert out.startswith("lane  done  failed")
    assert "--assert failures > 1%: it is 0 %" in err
    assert f"kept as {kept().name}" in err
    assert "written:" not in err
    assert f"fanout log export {kept().name} --out DIR" in str(raised.value)


@pytest.mark.slow
async def test_where_everything_fails_it_says_why_and_does_not_go_on(bench: Bench) -> None:
    done = await bench("-m", "openai/x?base_url=http://127.0.0.1:1/v1&key_env=")
    assert (done.code, done.out) == (1, "")
    assert "nothing was measured: openai/x: connect: " in done.err
    assert kept().state == "failed"
    assert kept().requests == 2


@pytest.mark.slow
async def test_a_run_is_kept_whole_even_if_it_cannot_be_summed_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(door, "summarize", broken)
    async with open_server() as server:
        with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True, allow_unwrapped=True):
            await bench("-m", server.lane("a"), "-n", "3", "--warmup", "0")
    assert (kept().state, kept().requests, kept().summary) == ("complete", 3, None)


@pytest.mark.slow
async def test_some_failures_are_figures(bench: Bench) -> None:
    async with open_server() as server:
        lanes = ["-m", server.lane("good", gap=0.01), "-m", server.lane("limited", status=429, retry=60)]
        done = await bench(*lanes, "-n", "5")
    assert done.code == 0
    assert "  limited: 5 x rate_limit: " in done.out
    assert len(server.served) == 2 * (5 + 2)  # nothing was tried again


@pytest.mark.slow
async def test_interrupted_it_sums_up_what_there_is(env: dict[str, str]) -> None:
    async with open_server() as server:
        process = await trio.lowlevel.open_process(
            [*COMMAND, "bench", "-m", server.lane("a", ttft=0.05), "-t", "60s", "--warmup", "0"],
            stdout=-1, stderr=-1, env={**ENVIRONMENT, **env},
        )  # fmt: skip
        await until(lambda: len(server.served) >= 10)
        process.send_signal(signal.SIGINT)
        out = await _all(process.stdout)
        err = await _all(process.stderr)
        assert await process.wait() == 130
    assert out.startswith("lane  done  failed")
    assert "interrupted" in err
    assert "Traceback" not in err
    run = kept()
    assert run.state == "interrupted"
    with store.open_store() as opened:
        records = list(opened.records(run.id))
    assert sum(record.finished for record in records) >= 9
    assert [record.status for record in records if not record.finished] in ([Status.CANCELLED], [])


async def _all(stream: trio.abc.ReceiveStream | None) -> str:
    assert stream is not None
    return b"".join([chunk async for chunk in stream]).decode()


@pytest.mark.slow
async def test_killed_at_any_point_it_has_kept_every_request_that_ended_a_second_before(
    env: dict[str, str],
) -> None:
    random = Random(3)
    for _ in range(2):
        async with open_server() as server:
            process = await trio.lowlevel.open_process(
                [*COMMAND, "bench", "-m", server.lane("a"), "-c", "8", "-t", "60s", "--warmup", "0", "-q"],
                env={**ENVIRONMENT, **env},
            )
            await until(lambda: bool(server.served))
            await trio.sleep(random.uniform(1.0, 1.5))
            assert kept().state == "running"
            killed_at = trio.current_time()
            process.kill()
            await process.wait()
            await server.all_closed()
            ended = sum((served.ended_at or killed_at) < killed_at - 1 for served in server.served)
        run = kept()
        assert run.state == store.CUT_OFF
        assert ended <= run.requests <= len(server.served)


@pytest.mark.slow
async def test_a_terminal_shows_how_it_stands(env: dict[str, str]) -> None:
    async with open_server() as server:
        lane = server.lane("a", ttft=0.2)
        async with on_terminal("bench", "-m", lane, "-n", "8", "--no-save", "--warmup", "0") as terminal:
            await terminal.until(r"in flight")
            await terminal.until(r"left")
            assert await terminal.end() == 0
            assert "TTFT p50" in terminal.written


@pytest.mark.slow
async def test_two_runs_are_compared_and_pages_are_made_of_them(bench: Bench, tmp_path: Path) -> None:
    async with open_server() as server:
        for ttft, name in ((0.005, "old"), (0.05, "new")):
            lane = server.lane("a", ttft=ttft, gap=0.01)
            arguments = ["-n", "8", "--warmup", "0", "-q", "--out", str(tmp_path / name)]
            assert (await bench("-m", lane, *arguments)).code == 0
    old, new = tmp_path / "old", tmp_path / "new"
    by_file, by_name = (_compared(str(old / "summary.json"), second) for second in (str(new), "last"))
    assert by_file == by_name
    assert [line.split()[1] for line in by_file.splitlines()[1:-1]] == ["TTFT", "e2e", "ITL", "tok/s/user"]
    (new / "report.html").unlink()
    report.callback(str(new), None)  # type: ignore[misc]  # click keeps it
    assert (new / "report.html").read_text().startswith("<!doctype html>")
    report.callback("last", tmp_path / "page.html")  # type: ignore[misc]
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def _compared(old: str, new: str) -> str:
    done = CliRunner().invoke(compare, [old, new])
    assert done.exit_code == 0
    return done.output


@pytest.mark.slow
async def test_the_embedded_model_is_measured_when_no_lane_is_named(env: dict[str, str]) -> None:
    done = await fanout("bench", "-n", "2", "--max-tokens", "8", "--warmup", "0", "--aa", "--json", "-q", env=env)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert list(told["lanes"]) == ["local", "local-again"]
    assert all(lane["finished"] == 2 and lane["tokens"] == 16 for lane in told["lanes"].values())
    assert all(lane["ttft"]["mean"] > 0 for lane in told["lanes"].values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", ","], ["-m names no lane"]),
        (["-m", "groqq/x"], ["groqq", "groq?"]),
        (["-n", "0"], ["-n", "0"]),
        (["-t", "soon"], ["-t", "'soon'", "800ms"]),
        (["-t", "0"], ["0 leaves no time"]),
        (["-c", "1,x"], ["-c", "'1,x'", "1,8,64"]),
        (["-c", "0"], ["'0' is not a list"]),
        (["-c", "1,100000000"], ["100000000 streams", "ulimit -Hn"]),
        (["--rate", "-1"], ["'-1' is not a list of rates"]),
        (["--rate", "nan"], ["'nan' is not a list of rates"]),
        (["--until-ci", "5x"], ["'5x' is not a share", "5%"]),
        (["--arrival", "steady"], ["--arrival", "poisson"]),
        (["--burstiness", "0.5"], ["--arrival gamma"]),
        *((["--arrival", "gamma", "--rate", "9", "--burstiness", x], ["--burstiness", "0.01 to 1000"]) for x in ODD),
        *((["--speedup", x], ["--speedup", "0.001 to 1e+06"]) for x in ODD),
        *((["--max-cost", x], ["--max-cost", "1e-09 to 1e+09"]) for x in ODD),
        *((["--rate", x], ["--rate", "0.0001 to 1e+06"]) for x in ODD),
        *((["--until-ci", x], ["--until-ci", "is not a share"]) for x in ("nan", "inf", "-1", "1e-320")),
        *((["--slo", f"ttft:{x}"], ["--slo", "positive number"]) for x in ("nan", "inf", "-1")),
        *(([name, "9" * 400], [name, "30 days"]) for name in ("-t", "--ramp", "--timeout")),
        *(([name, str(10**30)], [name, "range"]) for name in ("-n", "--max-tokens", "--warmup", "--seed")),
        (["--seed", str(-(10**30))], ["--seed", "range"]),
        (["-s", "caf\udce9"], ["-s", "'caf\\udce9'", "UTF-8"]),
        (["--out", "d\udce9"], ["--out", "'d\\udce9'", "UTF-8"]),
        (["-m", "\udce9=local"], ["-m", "UTF-8"]),
        (["--prompts", "\udce9"], ["--prompts", "UTF-8"]),
        (["--prompts", "synthetic:5," + "9" * 30], ["--prompts synthetic:5,9", "at most 2000000"]),
        (["--prompts", "synthetic:5," + "9" * 5000], ["--prompts synthetic:5,9", "at most 2000000"]),
        (["--assert", "p50(ttft, lcal) < 9s"], ["--assert", "'lcal'", "local"]),
        (["--rate", "1", "-c", "1,2"], ["one number"]),
        (["--trace", "/nowhere/t"], ["/nowhere/t", "No such file"]),
        (["--prompts", "/nowhere/p"], ["/nowhere/p", "builtin:NAME"]),
        (["--prompts", "builtin:x"], ["short, code, reasoning"]),
        (["--prompts", "-"], ["there is no prompt in it"]),
        (["--slo", "fast"], ["--slo"]),
        (["--slo", "ttft:soon"], ["--slo", "ttft:500"]),
        (["--assert", "p95(ttft) < 800"], ["--assert", "ms or s"]),
        (["--max-cost", "1", "-m", "mine=openai/x?base_url=http://127.0.0.1:1/v1&key_env="], ["--max-cost", "mine"]),
        (["--order", "random"], ["--order", "interleave"]),
        (["--out", "/dev/null/x"], ["--out /dev/null/x", "Not a directory"]),
        (["compare", "/nowhere/a", "/nowhere/b"], ["'/nowhere/a'", "fanout log list"]),
        (["report", "never"], ["'never'", "fanout log list"]),
        (["compar"], ["compar"]),
        (["-m", "local,b=local", "--baseline", "c"], ["--baseline c", "local, b"]),
        (["-m", "local", "--baseline", "local"], ["--baseline local", "no other lane", "-m"]),
        (["--aa", "--baseline", "\udce9"], ["--baseline", "UTF-8"]),
        (["-m", "local,ollama/x", "--ignore-eos"], ["--ignore-eos: ollama/x", "--max-tokens"]),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    call: Call, env: dict[str, str], arguments: list[str], words: list[str]
) -> None:
    done = call("bench", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("fanout: ")
    assert done.err.count("\n") == 1
    assert all(word in done.err for word in words), done.err


@pytest.mark.parametrize(
    "wrong",
    [
        {"lanes": 5},
        {"lanes": "ab"},
        {"objectives": 5},
        {"looks": "x"},
        {"seed": [1]},
        {"seed": 1.5},
        {"baseline": 5},
        {"baseline": "x"},
    ],
)
def test_a_run_that_tells_nonsense_of_itself_is_a_mistake(
    call: Call, env: dict[str, str], tmp_path: Path, wrong: dict[str, object]
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(wrong))
    (tmp_path / "requests.jsonl").write_bytes(b"".join(map(to_line, records("a", 0.2))))
    done = call("bench", "report", str(tmp_path))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert next(iter(wrong)) in done.err
    (tmp_path / "run.json").write_text("{}")
    assert call("bench", "report", str(tmp_path)).code == 0


def test_a_page_is_made_whatever_else_a_run_tells_of_itself(call: Call, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_bytes(b"".join(map(to_line, records("a", 0.2))))
    names = ("command", "start", "load", "client", "machine", "versions", "clock", "ended", "cache", "arrival")
    odds: list[object] = [5, "x", [5], {"x": 5}, [None], [{"name": {}}]]
    for odd in odds:
        (tmp_path / "run.json").write_text(json.dumps(dict.fromkeys(names, odd)))
        done = call("bench", "report", str(tmp_path))
        assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "requests"),
    [
        ([], 40),
        (["--assert", "p50(ttft) < 1s"], 40),
        (["--assert", "p95(ttft) < 800ms"], 72),
        (["--assert", "failures < 1%", "--assert", "p99(e2e) < 9s"], 368),
        (["--assert", "p95(ttft) < 800ms", "-n", "9"], 9),
        (["--assert", "p95(ttft) < 800ms", "-t", "9"], None),
        (["--assert", "p95(ttft) < 800ms", "--until-ci", "5%"], MOST_REQUESTS),
    ],
)
def test_a_condition_has_the_requests_that_it_needs(
    env: dict[str, str], capsys: pytest.CaptureFixture[str], arguments: list[str], requests: int | None
) -> None:
    planned, _ = plan(command.make_context("bench", arguments).params, "")
    assert planned.setup.limits.requests == requests
    _announce(planned)
    told = [line for line in capsys.readouterr().err.splitlines() if "in place of 40" in line]
    assert len(told) == (requests in (72, 368))
    assert all(f"{requests} prompts" in line and "--assert" in line for line in told)


EVIL = "evil\x1b]0;owned\x07\x1b[31m\nfanout: all is well"


def test_a_file_that_somebody_else_wrote_cannot_command_the_terminal(
    call: Call, env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "prompts.csv").write_text(f'id,"{EVIL}"\n1,2\n')
    for name, lane in (("old", EVIL), ("new", f"{EVIL} too")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"lanes": {lane: {}, "b" + lane: {}}}))
    for done in (
        call("bench", "compare", str(tmp_path / "old.json"), str(tmp_path / "new.json")),
        call("bench", "--prompts", str(tmp_path / "prompts.csv")),
        call("bench", "report", EVIL),
        call(EVIL),
        call("bench", f"--{EVIL}"),
    ):
        assert done.code == 2
        assert "evil" in done.err
        assert done.err.count("\n") == 1
        assert not set(done.err) & set("\x1b\x07")


def test_nothing_secret_is_kept_of_a_lane_s_address(env: dict[str, str]) -> None:
    lane = "openai/x?base_url=http://127.0.0.1:1/v1?key=s3cret&key_env="
    context = command.make_context("bench", ["-m", lane, "-s", "s3cret"])
    planned, _ = plan(context.params, describe_command(context))
    assert planned.about["lanes"][0]["base_url"] == "http://127.0.0.1:1/v1?…"
    assert "s3cret" not in repr(planned.about)


def test_a_group_is_refused_with_the_names_of_its_lanes(
    call: Call, env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fanout.toml").write_text('[groups.quick]\npolicy = "race"\nlanes = ["local", "b=local"]\n')
    monkeypatch.chdir(tmp_path)
    done = call("bench", "-m", "quick")
    assert done.code == 2
    assert "local,b=local" in done.err


def test_help_names_every_option_and_verb(call: Call) -> None:
    told = call("bench", "--help").out
    for option in (
        "until-ci",
        "concurrency",
        "rate",
        "trace",
        "slo",
        "aa",
        "max-cost",
        "assert",
        "out",
        "ignore-eos",
        "baseline",
    ):
        assert re.search(rf"--{option}\b", told)
    assert "compare" in told
    assert "report" in told
