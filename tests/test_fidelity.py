"""The measurement of measuring: `benchmarks/fidelity.py` and its service."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from benchmarks import fidelity
from benchmarks.fidelity import FLOOR, Line, Server
from benchmarks.load import CannotMeasure
from fanout.bench.calibration.truth import _WORDS, Sent
from tests.again import again

ROOT = Path(__file__).parent.parent


pytest_plugins = ("tests.compiled",)


@pytest.fixture
def server(compiler: None) -> Iterator[Server]:
    with fidelity.open_server(60) as running:
        yield running


def asked(server: Server, knobs: str, *, stay: bool = True) -> bytes:
    """The body of an answer, or nothing, if we do not stay for it."""
    with closing(http.client.HTTPConnection(urlsplit(server.truth.url).netloc, timeout=5)) as connection:
        connection.request("POST", f"/{knobs}/v1/chat/completions", b'{"stream":true}')
        response = connection.getresponse()
        return response.read() if stay else b""


def taken(server: Server) -> Sent:
    """Returns what was sent of the one answer, when it is over."""
    for _ in range(500):
        if found := server.truth.take():
            (sent,) = found
            return sent
        time.sleep(0.01)
    raise AssertionError("no answer is over")


def test_the_service_keeps_to_its_schedule_and_logs_every_token(server: Server) -> None:
    body = asked(server, "ttft=20&gap=4&jit=0.5&tokens=12")
    sent = taken(server)
    assert [number for number, _ in sent.pieces] == list(range(12))
    assert (sent.how, sent.tokens) == ("done", 12)
    assert sent.times[0] >= 0.02
    assert all(b > a for a, b in pairwise(sent.times))
    assert sent.times[-1] >= 0.02 + 11 * 0.002
    assert sent.pieces[-1][1] <= sent.over <= time.monotonic_ns()
    values = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    deltas = [choice["delta"].get("content") for value in values for choice in value["choices"]]
    assert deltas == [*(_WORDS * 2)[:12], None]
    assert values[-1]["usage"]["completion_tokens"] == 12
    state = server.state()
    assert state["blocked"] == 0
    assert 0 <= state["late_mean_us"] <= state["late_most_us"]
    assert server.state()["late_mean_us"] == 0


def test_a_client_that_leaves_is_noted_and_the_next_is_served(server: Server) -> None:
    asked(server, "ttft=200&tokens=3", stay=False)
    assert taken(server).how == "gone"
    asked(server, "ttft=1&gap=1&tokens=3")
    assert taken(server).how == "done"


def test_the_reader_sees_every_token_right_after_it_was_sent(server: Server) -> None:
    seen = fidelity.reader(server.url(3, 5), 3, 4, 0.0)
    sent = sorted(server.truth.take(), key=lambda answer: answer.asked)
    assert (len(sent), seen.tokens) == (7, 35)
    true = fidelity.percentiles([a.times[0] for a in sent[3:]], [b - a for s in sent[3:] for a, b in pairwise(s.times)])
    found = fidelity.percentiles(seen.ttft, seen.gaps)
    assert found == {name: pytest.approx(value, rel=0.2) for name, value in true.items()}
    assert seen.began < seen.first_at < time.monotonic()
    assert 0 < seen.cpu_us < 1e6
    assert 1000 < seen.rss_kb < 10_000  # not that of the process which started it


def test_the_reader_takes_no_other_answer_for_one(server: Server) -> None:
    with pytest.raises(CannotMeasure, match="reader: the body does not come in chunks"):
        fidelity.reader(f"{server.truth.url}/state", 1, 1, 0.0)


EVENTS = (
    b': a word\n\ndata: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    b'data: {"choices":[{"delta":{"content": " say \\"content\\":\\"x\\""}}]}\r\n\r\n'
    b'data: {"choices":[{"delta":{"reasoning":"\\"content\\":\\"x\\""}}]}\n\n'
    b'event: e\ndata:{"choices":[{"delta":{"content":"b"}}]}\n\ndata: [DONE]\n\n'
)


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("chunk", [1, 50, 10_000])
def test_the_reader_counts_content_however_it_is_cut(compiler: None, size: int, chunk: int) -> None:
    chunks = [EVENTS[at : at + chunk] for at in range(0, len(EVENTS), chunk)]
    body = b"".join(b"%x;q=1\r\n%b\r\n" % (len(data), data) for data in [*chunks, b""])
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            for _ in range(2):
                assert connection.recv(4096)
                for at in range(0, len(answer), size):
                    connection.sendall(answer[at : at + size])

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve, listener)
        seen = fidelity.reader(f"http://127.0.0.1:{listener.getsockname()[1]}", 1, 1, 0.0)
        served.result(5)
    assert (seen.tokens, len(seen.ttft), len(seen.gaps)) == (4, 1, 1)


def test_neighbours_end_with_their_block() -> None:
    def children() -> int:
        path = Path(f"/proc/self/task/{os.getpid()}/children")
        return len(path.read_text().split()) if path.exists() else 0

    before = children()
    with fidelity.neighbours(2, 5):
        assert children() in (before + 2, 0)
    assert children() == before


@pytest.mark.slow
@again
def test_errors_are_shares_of_the_truth_and_costs_shares_of_the_floor(compiler: None, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    sizes = ["--streams", "2", "--beside", "2", "--neighbours", "1", "--rounds", "1", "--tokens", "4"]
    command = [sys.executable, "benchmarks/fidelity.py", "--json", str(path), "--repetitions", "1", *sizes]
    command += ["--only", f"{FLOOR},bench"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = orjson.loads(path.read_bytes())
    assert results["failed"] == {}
    assert "aiperf" in done.stdout
    assert all(len(line.split()) == len(results["columns"].split()) for line in results["lines"])
    loads = [(cell["client"], cell["streams"], cell["neighbours"]) for cell in results["medians"]]
    assert sorted(loads) == sorted((c, 2, n) for c in (FLOOR, "bench") for n in (0, 1))
    for cell in results["medians"]:
        assert all(abs(error) < 0.5 for error in cell["errors"].values())
        assert cell["live"] == cell["streams"]
        assert cell["cpu_ratio"] == 1 if cell["client"] == FLOOR else cell["cpu_ratio"] > 0
        assert (cell["coalesced"] is None) == (cell["client"] == FLOOR)


@pytest.mark.parametrize("options", [["--only", "bench"], ["--repetitions", "1"], ["--tokens", "4"]])
def test_a_part_of_the_measurement_does_not_replace_the_committed_whole(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        fidelity.main(options)
    assert caught.value.code == 2
    assert "--json" in capsys.readouterr().err


def test_a_run_of_a_service_that_was_late_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late:
        truth: Any = type("Truth", (), {"take": staticmethod(list)})

        def url(self, *_: int) -> str:
            return ""

        def state(self) -> dict[str, Any]:
            return {"late_mean_us": 900.0, "blocked": 0}

    monkeypatch.setattr(fidelity, "child", lambda *_: {})
    options = type("Options", (), {"rounds": 1, "tokens": 4})
    late: Any = Late()
    found = fidelity._run(late, ("bench", 1, 0, 0), options)
    assert isinstance(found, fidelity.Spoilt)
    assert "900 µs late" in found.why


def line(client: str, repetition: int, us: float, error: float, rate: float) -> Line:
    errors = (error,) * 4
    return Line(
        client, 8, 0, repetition, *errors, 8, 0, rate, us, 0.1, 1.0, 1.0, 1, 0.0, 0.0, None, 10.0, raised=True
    )  # fmt: skip


def test_a_ratio_is_to_the_floor_of_its_own_repetition_and_the_worst_error_is_kept() -> None:
    lines = [line(FLOOR, 0, 10, 0, 100), line("bench", 0, 30, 0.01, 99), line(FLOOR, 1, 20, 0, 100)]
    lines += [line("bench", 1, 40, -0.03, 97), line("bench", 2, 99, 0.02, 1)]
    found = {cell["client"]: cell for cell in fidelity.medians(lines)}
    assert (found["bench"]["cpu_ratio"], found["bench"]["throughput"]) == (2.5, 0.98)
    assert (found["bench"]["errors"]["gap_p99"], found["bench"]["worst"]["gap_p99"]) == (0.01, -0.03)
    assert found[FLOOR]["throughput"] == 1
