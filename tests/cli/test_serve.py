import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner

from fanout.catalog.config import Config, GroupTable
from fanout.cli import main
from fanout.cli.serve import _say_ready, serve
from fanout.gateway.serve import Wish

COMMAND = [sys.executable, "-m", "fanout", "serve", "--port", "0"]


@contextmanager
def served(*words: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """The running command, its URL, and the seconds until it said it."""
    began = time.monotonic()
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.monotonic() - began
        assert "serves at" in line, process.stderr.read() if process.stderr else ""
        yield process, line.split()[-1], seconds
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def get(url: str) -> tuple[int, bytes]:
    with urlopen(url, timeout=5) as answered:
        return answered.status, answered.read()


def memory(pid: int) -> float:
    """Resident megabytes of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_ends_with_0(number: int, tmp_path: Path) -> None:
    (tmp_path / "fanout.toml").write_text('[groups.quick]\npolicy = "race"\nlanes = ["local"]\n')
    with served(cwd=tmp_path) as (process, url, seconds):
        assert seconds < 5  # of which a busy machine takes most; the bar of one second is the benchmark's
        assert get(f"{url}/healthz")[0] == 200
        names = [row["id"] for row in json.loads(get(f"{url}/v1/models")[1])["data"]]
        assert names == ["local", "quick"]
        assert memory(process.pid) < 80
        process.send_signal(number)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "Traceback" not in said
        assert "GET /v1/models 200" in said
        assert f"base URL {url}/v1" in said


@pytest.mark.slow
def test_several_workers_share_the_port_and_end_together(tmp_path: Path) -> None:
    with served("--workers", "2", "--quiet", cwd=tmp_path) as (process, url, _):
        for _ in range(20):
            for attempt in range(50):
                try:
                    assert get(f"{url}/healthz")[0] == 200
                except OSError:
                    if attempt == 49:
                        raise
                    time.sleep(0.05)
                else:
                    break
        process.terminate()
        process.communicate(timeout=10)
        assert process.returncode == 0


def find_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """True if there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are listed by Linux")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    with served("--workers", "2", "--quiet", cwd=tmp_path) as (process, _, _):
        until = time.monotonic() + 10
        while len(workers := find_children(process.pid)) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        assert len(workers) == 2
        process.kill()
        while any(map(is_running, workers)) and time.monotonic() < until:
            time.sleep(0.02)
        assert not any(map(is_running, workers))


@pytest.mark.slow
def test_a_named_configuration_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "fanout.toml").write_text('[lanes.here]\nspec = "local"\n')
    (tmp_path / "other.toml").write_text('[lanes.there]\nspec = "local"\n')
    with served("--config", "other.toml", cwd=tmp_path) as (_, url, _):
        names = [row["id"] for row in json.loads(get(f"{url}/v1/models")[1])["data"]]
        assert names == ["local", "there"]


@pytest.mark.slow
def test_a_token_of_the_environment_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANOUT_TOKEN", "a-token-of-enough-characters")
    with served(cwd=tmp_path) as (_, url, _):
        with pytest.raises(OSError, match="401"):
            get(f"{url}/v1/models")
        request = Request(f"{url}/v1/models", headers={"authorization": "Bearer a-token-of-enough-characters"})
        with urlopen(request, timeout=5) as answered:
            assert answered.status == 200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "set FANOUT_TOKEN"),
        (["--host", "0.0.0.0", "--token", "short"], "16 characters"),
        (["--host", "192.0.2.77", "--token", "a-token-of-enough-characters"], "cannot listen"),
        (["--tls-cert", "x.pem"], "belong together"),
        (["--config", "nowhere.toml"], "no such file"),
        (["--port", "http"], "not a valid integer"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_without_its_libraries_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "hypercorn", None)
    monkeypatch.setitem(sys.modules, "hypercorn.config", None)
    monkeypatch.delitem(sys.modules, "fanout.gateway.serve", raising=False)
    assert main(["serve"]) == 2
    assert "fanout-llm[serve]" in capsys.readouterr().err


def test_its_help_names_every_option() -> None:
    done = CliRunner().invoke(serve, ["--help"])
    assert done.exit_code == 0
    for name in ("--port", "--token", "--workers", "--config", "--queue"):
        assert name in done.output
    assert os.environ.get("FANOUT_TOKEN", "FANOUT_TOKEN") in done.output


@pytest.mark.parametrize(
    "name", ["quick", "x'; touch made; '", 'x"y', "\x1b[31m`touch made` $(touch made)", "two words"]
)
def test_the_line_to_try_is_one_command_whatever_a_project_calls_its_groups(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _say_ready(Wish(), Config({}, {name: GroupTable("race", ["local"])}))
    said = capsys.readouterr().err
    assert "\x1b" not in said
    line = next(line for line in said.splitlines() if "curl" in line)
    words = shlex.split(line.partition("try: ")[2], posix=True)
    assert words[:2] == ["curl", "http://127.0.0.1:8080/v1/chat/completions"]
    assert words[2:5] == ["-H", "content-type: application/json", "-d"]
    assert json.loads(words[5])["model"] == name.replace("\x1b[31m", "")
    assert len(words) == 6


def test_a_certificate_that_cannot_be_used_is_named_before_anything_is_served(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.pem").write_text("nothing")
    for name in ("bad.pem", "missing.pem"):
        file = str(tmp_path / name)
        assert main(["serve", "--port", "0", "--tls-cert", file, "--tls-key", file]) == 2
        said = capfd.readouterr()
        assert name in said.err
        assert "serves at" not in said.out


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(workers: str, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with served("--workers", workers, cwd=tmp_path) as (process, url, _):
            get(f"{url}/healthz")
            process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            assert process.poll() is None
            assert get(f"{url}/healthz")[0] == 200
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)
            assert process.returncode == 0
    finally:
        signal.signal(signal.SIGHUP, before)
