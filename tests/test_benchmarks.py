import contextlib
import http.client
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest

from benchmarks import (
    bridge_cost,
    clients,
    conformance,
    front,
    import_cost,
    load,
    race_cost,
    scale,
    setup_cost,
    start_cost,
    stream_cost,
    tables,
    thousand_lanes,
    wire_cost,
)
from benchmarks.conformance import Peer
from benchmarks.load import CannotMeasure, Over, Server
from benchmarks.ways import H2, PLAIN, TLS, WAYS
from fanout.errors import FanoutError
from fanout.prompt import Prompt
from tests.conformance.cases import Case
from tests.conformance.judge import Got, judge
from tests.transports.test_contract import Ears

ROOT = Path(__file__).parent.parent
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def test_the_wire_cost_has_a_ratio_for_every_decoder_and_size_of_reads(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    # In a process of its own: it collects garbage before each measurement, and here there is a lot of it.
    command = [sys.executable, "benchmarks/wire_cost.py", "--repetitions", "1", "--chunks", "70", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    costs = orjson.loads(path.read_bytes())["costs"]
    assert {name: set(cost) for name, cost in costs.items()} == {
        name: set(wire_cost.READS) for name in wire_cost.DECODERS
    }
    assert all(by_read["ratio"] > 0 for cost in costs.values() for by_read in cost.values())
    _, _, *rows = done.stdout.splitlines()
    assert [len(re.findall(r"\d+\.\d\d \(\d+\.\d\d µs\)", row)) for row in rows] == [3] * len(wire_cost.DECODERS)


@pytest.mark.parametrize("name", wire_cost.DECODERS)
def test_a_chunk_has_its_size(name: str) -> None:
    assert len(wire_cost.DECODERS[name].chunk) == wire_cost.CHUNK


class Sayer(Peer):
    """Says a text, then raises."""

    packages = ("fanout",)

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self._error = error

    def hear(self, case: Case, chunks: Any) -> tuple[Got, BaseException | None]:
        got: Got = {"text": "Hel", "finish": None if self._error else "stop", "tool_calls": [], "complete": True}
        return got, self._error


CUT = Case("cut", "openai-chat", {"text": "Hel", "error": "truncated"}, {"chunks": []})


def test_an_exception_of_a_peers_own_that_says_nothing_particular_counts_as_what_is_expected() -> None:
    assert judge(CUT, Sayer(FanoutError("oops")).run(CUT, [])) == []


def test_an_exception_of_a_peers_own_that_says_something_else_does_not() -> None:
    class RateLimitError(FanoutError):
        pass

    RateLimitError.__module__ = "fanout"
    assert judge(CUT, Sayer(RateLimitError("slower")).run(CUT, [])) != []


def test_a_foreign_exception_fails_and_is_listed() -> None:
    peer = Sayer(KeyError("x"))
    assert judge(CUT, peer.run(CUT, [])) != []
    assert (peer.leaks, peer.only_leaked) == ({"cut": "KeyError"}, ["cut"])


def test_silence_about_an_error_fails() -> None:
    assert judge(CUT, Sayer(None).run(CUT, [])) != []


def test_nobody_passes_what_every_reader_of_the_format_fails() -> None:
    clients: dict[str, dict[str, Any]] = {
        "fanout": {"passed": {"sse": 2, "cohere": 1}, "failed": {"sse": [], "cohere": []}},
        "a": {"passed": {"sse": 1}, "failed": {"sse": ["x", "y"]}},
        "b": {"passed": {"sse": 1, "cohere": 1}, "failed": {"sse": ["y"], "cohere": ["z"]}},
        "reads no cohere": {"passed": {"cohere": 0}, "failed": {"cohere": ["w"]}},
    }
    assert conformance.nobody_passes(clients) == ["y", "z"]


def test_a_partial_result_does_not_replace_the_committed_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(conformance, "version", lambda name: None if name in ("litellm", "httpx-sse") else "1")
    monkeypatch.setattr(conformance, "examine_all", lambda *_, **__: pytest.fail("it has begun"))
    with pytest.raises(SystemExit):
        conformance.main([])
    assert "not installed: httpx-sse, litellm; --json PATH writes a partial result elsewhere" in capsys.readouterr().err


class Lines(conformance.LiteLlmCohere):
    """Keeps what the client would be sent."""

    def __init__(self) -> None:
        super().__init__("cohere_chat/m", "")

    async def _ask(self, case: Case, chunks: Any, heard: conformance.Heard) -> None:
        heard.text = b"".join(chunks).decode()


def test_a_client_that_asks_cohere_for_json_gets_an_object_a_line() -> None:
    chunks = [b'event: a\ndata: {"type":', b'"a"}\n\nevent: b\r\ndata: {}\r\n\r\n']
    got, error = Lines().hear(CUT, chunks)
    assert (got["text"], error) == ('{"type":"a"}\n{}\r\n', None)


def test_results_are_committed() -> None:
    assert {path.stem for path in RESULTS} >= {"conformance", "wire_cost"}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_names_versions_and_no_place_on_the_machine_it_comes_from(path: Path) -> None:
    text = path.read_text("utf-8")
    assert {"python", "fanout"} <= orjson.loads(text)["versions"].keys()
    assert re.search(r'"(/|~|[A-Z]:\\\\)|/(home|root|tmp|work|usr|opt|Users)\b|://|\blocalhost\b', text) is None


pytest_plugins = ("tests.compiled",)

COMPILED = pytest.mark.usefixtures("compiler")
SECURE = pytest.mark.usefixtures("secure")


@pytest.fixture
def server(compiler: None) -> Iterator[Server]:
    with load.open_server(60) as running:
        yield running


def asked(url: str) -> tuple[int, bytes]:
    """The status and the body of the answer, as far as it comes within half a second of silence."""
    with contextlib.closing(http.client.HTTPConnection(url.split("/")[2], timeout=0.5)) as connection:
        connection.request("POST", "/" + url.split("/", 3)[3] + "/v1/chat/completions", clients.BODY, clients.HEADERS)
        response = connection.getresponse()
        try:
            return response.status, response.read()
        except http.client.IncompleteRead as error:
            return response.status, error.partial
        except TimeoutError:
            return response.status, b""


def finished(server: Server, count: int = 1) -> list[Over]:
    """The requests that are over, when there are so many."""
    for _ in range(500):
        if len(found := server.stats().requests) >= count:
            return found
        time.sleep(0.01)  # the server hears of a client's end when the kernel says so
    raise AssertionError(f"{len(found)} requests are over, not {count}")


@pytest.mark.slow
@pytest.mark.parametrize("every", [3, 0])
def test_the_load_server_sends_every_chunk_and_never_two_sooner_than_it_should(server: Server, every: float) -> None:
    status, body = asked(server.stream(every=every, chunks=9, tag="a"))
    pieces = clients.Pieces()
    pieces.feed(body)
    assert (status, pieces.count, pieces.done) == (200, 9, True)
    (seen,) = finished(server)
    assert (seen.tag, seen.end, seen.chunks, seen.late_chunks) == ("a", "done", 9, 0)
    assert seen.last - seen.first >= 8 * every * 1e6
    assert seen.asked <= seen.first <= seen.last <= seen.over <= time.monotonic_ns()


@pytest.mark.slow
@pytest.mark.parametrize("knobs", [{"cut": 2}, {"stall": 2}])
def test_the_load_server_breaks_off_as_asked(server: Server, knobs: dict[str, float]) -> None:
    asked(server.stream(every=1, chunks=9, **knobs))
    (seen,) = finished(server)
    assert (seen.chunks, seen.end) == (2, "cut" if "cut" in knobs else "closed")


def test_the_load_server_answers_with_a_status_or_a_whole_document(server: Server) -> None:
    assert asked(server.stream(status=503))[0] == 503
    status, body = asked(server.stream(whole=1, after=5, tag="b"))
    assert (status, orjson.loads(body)["choices"][0]["message"]["content"]) == (200, "whole b")


@pytest.mark.slow
def test_the_load_server_counts_what_it_sends_after_the_mark(server: Server) -> None:
    with ThreadPoolExecutor(2) as pool:
        late = pool.submit(asked, server.stream(every=5, chunks=40, phase=0))
        asked(server.stream(every=5, chunks=10, phase=0, winner=1))
    assert late.result()[0] == 200
    winner, loser = finished(server, 2)
    assert winner.winner
    assert winner.last <= server.stats().mark <= winner.over
    assert 20 <= loser.late_chunks < 40
    assert loser.late_bytes > loser.late_chunks * 200
    server.reset()
    assert (server.stats().requests, server.stats().mark) == ([], 0)


@COMPILED
@pytest.mark.slow
def test_the_load_server_dies_with_its_parent() -> None:
    code = """if True:
        import os
        from benchmarks.load import open_server
        with open_server(60) as server:
            print(server.url, flush=True)
            os.kill(os.getpid(), 9)
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert_gone(done.stdout.strip().removeprefix("http://"))


def assert_gone(address: str) -> None:
    """Waits until nobody listens there any more."""
    assert address.startswith("127.0.0.1:")
    host, port = address.split(":")
    until = time.monotonic() + 5
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            return
        assert time.monotonic() < until


def test_without_a_compiler_the_measurements_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CannotMeasure, match="install gcc" if sys.platform == "linux" else "Linux"):
        load.compiler()


@COMPILED
@pytest.mark.parametrize("path", sorted(load.NATIVE.glob("*.c")), ids=lambda path: path.stem)
def test_a_c_program_compiles_without_a_warning(path: Path, tmp_path: Path) -> None:
    options = ["-O2", "-Wall", "-Wextra", "-Werror", "-c", "-o", str(tmp_path / "out")]
    done = subprocess.run([load.compiler(), *options, str(path)], capture_output=True, text=True, check=False)
    assert done.stderr == ""


@COMPILED
def test_a_program_is_compiled_again_when_a_header_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "NATIVE", tmp_path)
    (tmp_path / "one.c").write_text('#include "one.h"\nint main(void) { return STATUS; }')
    for status in (3, 4, 3):
        (tmp_path / "one.h").write_text(f"#define STATUS {status}")
        assert subprocess.run([load.built("one.c")], check=False).returncode == status


def run(script: str, path: Path, *options: str) -> dict[str, Any]:
    """The results of a short measurement, in a process of its own."""
    command = [sys.executable, f"benchmarks/{script}.py", "--json", str(path), "--repetitions", "1", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = orjson.loads(path.read_bytes())
    assert results.get("failed", {}) == {}
    assert "| " in done.stdout
    assert all(len(line.split()) == len(results["columns"].split()) for line in results["lines"])
    return results


@COMPILED
@pytest.mark.slow
def test_the_stream_cost_is_a_ratio_to_the_floor_with_the_reads_beside_it(tmp_path: Path) -> None:
    sizes = ("--streams", "2", "--every", "2,0", "--seconds", "0.1", "--most", "2000", "--only", "fanout-httpx")
    results = run("stream_cost", tmp_path / "r.json", *sizes, "--ways", PLAIN)
    assert set(results["medians"]) == {PLAIN}
    assert set(results["medians"][PLAIN]) == {"2 x 2 ms", "2 x burst"}
    paced = results["medians"][PLAIN]["2 x 2 ms"]
    assert set(paced) == {"floor", "fanout-httpx"}
    assert paced["floor"]["ratio"] == 1
    assert all(0.4 < cell["reads_per_chunk"] <= 1.2 for cell in paced.values())
    assert results["medians"][PLAIN]["2 x burst"]["floor"]["reads_per_chunk"] < 0.1


@SECURE
@pytest.mark.slow
def test_the_stream_cost_over_tls_is_a_ratio_to_the_floor_over_tls(tmp_path: Path) -> None:
    sizes = ("--streams", "1", "--secure", "2", "--every", "2,0", "--seconds", "0.1", "--most", "2000")
    results = run("stream_cost", tmp_path / "r.json", *sizes, "--only", "fanout-curl,trio")
    found = results["medians"]
    assert {way: set(cells["2 x 2 ms"]) for way, cells in found.items() if way != PLAIN} == {
        TLS: {"floor", "fanout-curl"},
        H2: {"fanout-curl"},
    }
    assert set(found[PLAIN]["1 x burst"]) == {"floor", "trio", "fanout-curl"}
    assert found[TLS]["2 x 2 ms"]["floor"]["ratio"] == 1
    # The head of a record is no read; or there would be two for each chunk.
    assert all(0.4 < cell["reads_per_chunk"] <= 1.2 for way in (TLS, H2) for cell in found[way]["2 x 2 ms"].values())
    assert all(cell["ratio"] for way in (TLS, H2) for cells in found[way].values() for cell in cells.values())


@COMPILED
@pytest.mark.slow
def test_the_race_cost_has_a_verdict_and_the_losers_ends(tmp_path: Path) -> None:
    sizes = ("--races", "1", "--lanes", "3", "--winner-chunks", "4", "--loser-chunks", "100", "--only", "fanout-httpx")
    found = run("race_cost", tmp_path / "r.json", *sizes, "--ways", PLAIN)["medians"]
    assert set(found) == {PLAIN}
    assert 0 < found[PLAIN]["fanout-httpx"]["verdict_ms"] < 400
    assert 0 < found[PLAIN]["fanout-httpx"]["closed_ms"] < 400
    assert found[PLAIN]["fanout-httpx"]["late_chunks"] < 160


@SECURE
@pytest.mark.slow
def test_a_race_over_tls_ends_at_the_server_too(tmp_path: Path) -> None:
    sizes = ("--races", "1", "--lanes", "3", "--winner-chunks", "4", "--loser-chunks", "100", "--only", "fanout-curl")
    found = run("race_cost", tmp_path / "r.json", *sizes)["medians"]
    assert {way: set(clients) for way, clients in found.items()} == {way: {"fanout-curl"} for way in WAYS}
    assert all(0 < clients["fanout-curl"]["closed_ms"] < 400 for clients in found.values())


@COMPILED
@pytest.mark.slow
def test_the_set_up_cost_is_a_ratio_to_the_floor(tmp_path: Path) -> None:
    sizes = ("--streams", "4", "--rounds", "1", "--only", "fanout-httpx", "--ways", PLAIN)
    found = run("setup_cost", tmp_path / "r.json", *sizes)["medians"]
    assert {way: set(clients) for way, sizes in found.items() for clients in sizes.values()} == {
        PLAIN: {"floor", "fanout-httpx"}
    }


@SECURE
@pytest.mark.slow
def test_the_set_up_over_tls_costs_more_than_without(tmp_path: Path) -> None:
    sizes = ("--streams", "4", "--rounds", "1", "--only", "fanout-curl")
    found = run("setup_cost", tmp_path / "r.json", *sizes)["medians"]
    assert {way: set(sizes["4"]) for way, sizes in found.items()} == {
        PLAIN: {"floor", "fanout-curl"},
        TLS: {"floor", "fanout-curl"},
        H2: {"fanout-curl"},
    }
    assert found[TLS]["4"]["floor"]["us_per_stream"] > found[PLAIN]["4"]["floor"]["us_per_stream"]


@pytest.mark.slow
def test_the_bridge_costs_at_most_twice_a_channel_of_trios(tmp_path: Path) -> None:
    options = ("--scale", "0.1", "--only", f"{bridge_cost.UNIT},`fanout.sync`")
    found = run("bridge_cost", tmp_path / "r.json", *options)["medians"]
    assert {cell["ratio"] for cell in found[bridge_cost.UNIT].values()} == {1}
    assert found["`fanout.sync`"]["16 a read"]["ratio"] < 2
    committed = orjson.loads((ROOT / "benchmarks" / "results" / "bridge_cost.json").read_bytes())["medians"]
    ways = [found for name, found in committed.items() if name.startswith("`fanout.")]
    assert len(ways) == 3
    assert max(cell["ratio"] for found in ways for cell in found.values()) <= 2


@pytest.mark.slow
def test_the_import_cost_is_a_ratio_to_trio(tmp_path: Path) -> None:
    found = run("import_cost", tmp_path / "r.json", "--only", "import fanout")["medians"]
    assert found["import trio"]["ratio"] == 1
    assert found["import fanout"]["ratio"] < 1
    assert found["import fanout"]["modules"] < found["import trio"]["modules"]


@COMPILED
@pytest.mark.slow
def test_the_scale_compares_many_with_few(tmp_path: Path) -> None:
    sizes = ("--streams", "2,4", "--every", "2", "--seconds", "0.1", "--races", "1", "--race-every", "5")
    results = run("scale", tmp_path / "r.json", *sizes, "--only", "floor,races-httpx")
    loads = [(found["client"], found["count"]) for found in results["medians"]]
    assert loads == [("floor", 2), ("floor", 4), ("races-httpx", 1)]


@COMPILED
@pytest.mark.slow
def test_of_many_lanes_the_first_request_the_last_and_the_longest_step_are_told(tmp_path: Path) -> None:
    found = run("thousand_lanes", tmp_path / "r.json", "--lanes", "20", "--only", "httpx")["medians"]
    assert [(cell["lanes"], cell["round"]) for cell in found] == [
        (lanes, name) for lanes in thousand_lanes.MODELS for name in thousand_lanes.ROUNDS
    ]
    assert all(0 < cell["first_ms"] <= cell["last_ms"] < cell["total_ms"] and cell["step_ms"] > 0 for cell in found)


@pytest.mark.slow
def test_the_judge_cost_is_that_of_best_and_fuse_beside_gathering_first(tmp_path: Path) -> None:
    found = run("judge_cost", tmp_path / "r.json", "--answer", "0.5")["medians"]
    assert set(found) == {"best", "fuse", "gather-then-ask"}
    assert found["gather-then-ask"]["ratio"] == 1
    assert all(0 < way["ratio"] < 3 for way in found.values())
    assert all(0 <= found[way]["start_ms"] < 200 for way in ("best", "fuse"))
    assert 0 < found["fuse"]["token_ms"] < 200


@pytest.mark.slow
def test_the_start_cost_is_a_ratio_to_an_interpreter_with_trio(tmp_path: Path) -> None:
    found = run("start_cost", tmp_path / "r.json", "--only", "fanout")["medians"]
    assert set(found) == {"trio", "fanout"}
    assert found["trio"]["ratio"] == found["trio"]["ratio_in_turns"] == 1
    assert found["fanout"]["ratio"] == found["fanout"]["ratio_in_turns"] > 0.5


def test_a_command_that_sends_no_request_has_failed(tmp_path: Path) -> None:
    silent = start_cost.Command((sys.executable, "-c", "print('hi')"), "")
    with start_cost.open_service() as service:
        took = start_cost.run(silent, service, {"HOME": str(tmp_path)})
    assert took == load.Failed("0 requests, and the answer 'hi\\n'")


SCRIPTS = [stream_cost, race_cost, setup_cost, scale, thousand_lanes, import_cost, start_cost, bridge_cost]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
@pytest.mark.parametrize("options", [["--only", "NAME"], ["--repetitions", "1"]])
def test_a_part_of_the_measurement_does_not_replace_the_committed_whole(
    script: ModuleType, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("CARRIERS", "CLIENTS", "RACERS", "SUBJECTS", "COMMANDS", "WAYS")
    every = next(getattr(script, name) for name in names if hasattr(script, name))
    name = "import trio" if script is import_cost else next(iter(every))
    with pytest.raises(SystemExit) as caught:
        script.main([option.replace("NAME", name) for option in options])
    assert caught.value.code == 2
    assert "--json" in capsys.readouterr().err


@pytest.mark.parametrize("script", [stream_cost, race_cost, setup_cost], ids=lambda script: script.__name__)
def test_without_a_front_only_a_file_of_ones_own_is_written(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(front, "PLACES", "")
    monkeypatch.setattr(script, "measure", lambda *_: pytest.fail("it has begun"))
    monkeypatch.setattr(script, "chosen", lambda parser, given, _: (parser.parse_args(given), []))
    with pytest.raises(SystemExit):
        script.main([])
    assert "install nginx and openssl; or give a file of your own with --json" in capsys.readouterr().err
    monkeypatch.setattr(script, "measure", lambda *_: ([], {}))
    script.main(["--json", str(tmp_path / "r.json")])
    assert "TLS is left out" in capsys.readouterr().err
    assert set(orjson.loads((tmp_path / "r.json").read_bytes())["medians"]) == {PLAIN}


def test_an_unknown_way_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        stream_cost.main(["--ways", "pigeon", "--json", str(tmp_path / "r.json")])
    assert "there is no way pigeon; there are plain, tls, h2" in capsys.readouterr().err


@SECURE
def test_a_front_speaks_tls_to_who_trusts_it_and_keeps_nothing_back(server: Server) -> None:
    with front.open_front(server, [TLS]) as opened:
        assert opened.trust
        trusting = ssl.create_default_context(cafile=str(opened.trust / "ca-certificates.crt"))
        url = opened.servers[TLS].stream(every=0, chunks=2, stall=2)
        host = url.split("/")[2]
        for context, says in ((trusting, None), (ssl.create_default_context(), ssl.SSLCertVerificationError)):
            connection = http.client.HTTPSConnection(host, timeout=2, context=context)
            with contextlib.closing(connection), pytest.raises(says) if says else contextlib.nullcontext():
                connection.request("POST", f"/{url.split('/', 3)[3]}/v1/chat/completions", clients.BODY)
                assert b"w000001" in connection.getresponse().read1()  # the server stalls before the end
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(host.split(":")[1])))


@SECURE
@pytest.mark.parametrize(("way", "protocol"), [(TLS, "HTTP/1.1"), (H2, "HTTP/2.0")])
async def test_a_way_is_the_protocol_that_it_says(
    server: Server, monkeypatch: pytest.MonkeyPatch, way: str, protocol: str
) -> None:
    ears = Ears()
    with front.open_front(server, [way]) as opened:
        for name, path in load.trusting(opened.trust).items():
            monkeypatch.setenv(name, path)
        request = clients.lane(opened.servers[way].stream(every=0, chunks=2)).request(Prompt.of(clients.QUESTION))
        async with clients.transport("curl") as carries:
            await carries.exchange(request, ears, 5)
    assert ears.heads[0].headers["x-protocol"] == protocol


@SECURE
@pytest.mark.slow
def test_a_front_dies_with_its_parent() -> None:
    code = """if True:
        import os
        from benchmarks.front import open_front
        from benchmarks.load import open_server
        with open_server(60) as server, open_front(server, ["tls"]) as front:
            print(front.servers["tls"].url, flush=True)
            os.kill(os.getpid(), 9)
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert_gone(done.stdout.strip().removeprefix("https://"))


@SECURE
def test_a_front_that_does_not_start_says_why(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "CONFIG", "nonsense;")
    with pytest.raises(CannotMeasure, match='unknown directive "nonsense"'), front.open_front(server, [TLS]):
        pass


def test_pieces_are_found_however_a_front_cuts_them() -> None:
    frames = b"".join(b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % n for n in range(3)) + b"data: [DONE]\n\n"
    for size in range(1, len(frames)):
        parts = [frames[at : at + size] for at in range(0, len(frames), size)]
        sent = b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts)
        pieces = clients.Framed()
        for at in range(0, len(sent), 7):
            pieces.feed(sent[at : at + 7])
        assert not pieces.over
        pieces.feed(b"0\r\n\r\n")
        assert (pieces.count, pieces.over) == (3, True)


def test_an_unknown_client_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        stream_cost.main(["--only", "nobody"])
    assert "there is no client nobody; there are floor, trio" in capsys.readouterr().err


@COMPILED
def test_a_client_that_loses_chunks_is_not_measured(server: Server) -> None:
    task = {"rounds": [(server.stream(every=0, chunks=5), 1, 6)]}
    took = load.child(Path(clients.__file__), "floor", task)
    assert isinstance(took, load.Failed)
    assert "{5: 1}, not {6: 1}" in took.why


def line(client: str, repetition: int, us: float, rss_kb: int = 0, way: str = PLAIN) -> stream_cost.Line:
    return stream_cost.Line(client, way, 64, 5.0, 100, repetition, us, 1.0, 0.1, 1.0, 0, rss_kb)


def test_a_ratio_is_to_the_floor_of_its_own_repetition() -> None:
    lines = [line("floor", 0, 1), line("a", 0, 2), line("floor", 1, 10), line("a", 1, 40), line("floor", 2, 5)]
    lines.append(line("a", 2, 15))
    found = stream_cost.medians(lines, ["floor", "a"], [stream_cost.Cell(64, 5.0, 100)])
    assert found[PLAIN]["64 x 5 ms"]["a"]["ratio"] == 3
    assert found[PLAIN]["64 x 5 ms"]["a"]["us_per_chunk"] == 15


def test_a_ratio_over_http2_is_to_the_floor_over_tls() -> None:
    lines = [line("floor", 0, 1), line("floor", 0, 5, way=TLS), line("a", 0, 20, way=TLS), line("a", 0, 10, way=H2)]
    cells = [stream_cost.Cell(64, 5.0, 100, way) for way in WAYS]
    found = stream_cost.medians(lines, ["floor", "a"], cells)
    assert {way: by_cell["64 x 5 ms"].get("a", {}).get("ratio") for way, by_cell in found.items()} == {
        PLAIN: None,
        TLS: 4,
        H2: 2,
    }


def test_set_up_is_what_is_left_at_no_chunks() -> None:
    per_stream, per_chunk = 300, 20
    short, long = ((per_stream + per_chunk * chunks) * 8 for chunks in (setup_cost.SHORT, setup_cost.LONG))
    assert setup_cost.intercept(short, long, 8) == per_stream


def test_memory_is_what_each_further_stream_takes() -> None:
    cells = {"64 x 20 ms": {"a": {"rss_kb": 30_000}}, "512 x 20 ms": {"a": {"rss_kb": 38_960}, "b": {"rss_kb": 1}}}
    assert stream_cost.memory(cells, "20 ms") == {"a": 20.0}


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A directory with one small result."""
    cells = {"64 x 5 ms": {name: {"ratio": 2.0, "reads_per_chunk": 0.98} for name in ("floor", "fanout-curl")}}
    over_http2 = {"64 x 5 ms": {"fanout-curl": {"ratio": 3.0, "reads_per_chunk": 0.5}}}
    result = {
        "date": "2026-01-02",
        "machine": {"system": "Linux x", "processor": "P", "cores": 2},
        "versions": {"python": "3.11"},
        "settings": {"every": [5.0]},
        "medians": {PLAIN: cells, TLS: cells, H2: over_http2},
        "kb_per_stream": {PLAIN: {"floor": 1.0}, H2: {"fanout-curl": 4.0}},
    }
    (tmp_path / "stream_cost.json").write_bytes(orjson.dumps(result))
    return tmp_path


def test_the_tables_stand_between_their_marks_and_nothing_else_changes(measured: Path) -> None:
    page = measured / "docs" / "performance.md"
    page.parent.mkdir()
    page.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    options = ["--root", str(measured), "--results", str(measured)]
    with pytest.raises(SystemExit):
        tables.main([*options, "--check"])
    tables.main(options)
    tables.main([*options, "--check"])
    text = page.read_text()
    head = "| CPU per chunk over plain HTTP, 64 streams | 5 ms | KB a further stream |\n"
    assert text.startswith(f"before\n{tables.BEGIN}\n\n{head}")
    assert "| one thread, epoll, split, orjson | 2.0 (0.98) | 1.0 |" in text
    _, secure = text.split("| CPU per chunk over TLS, 64 streams | 5 ms | KB a further stream |\n")
    assert "| one thread, epoll, split, orjson | 2.0 (0.98) |  |" in secure
    assert "| fanout over curl, tagged events, HTTP/2 | 3.0 (0.50) | 4.0 |" in secure
    assert "old" not in text
    assert text.endswith(f"{tables.END}\nafter\n")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_committed_result_is_small_and_nothing_of_ours_failed(path: Path) -> None:
    assert path.stat().st_size < 200_000
    failed = orjson.loads(path.read_bytes()).get("failed", {})
    ours = ("floor", "fanout", "curl", "races", "reader", "bench")
    assert [where for where in failed if where.startswith(ours)] == []


def test_hedges_by_learnt_delays_keep_to_their_bars() -> None:
    results = orjson.loads((ROOT / "benchmarks" / "results" / "hedge.json").read_bytes())
    assert [len(seeds) for seeds in results["rules"].values()] == [5] * 8
    free, capped = results["worst"]["fanout: p95, no bucket"], results["worst"]["fanout: p95"]
    assert free["p99"] <= 1.15
    assert free["extra"] <= 5.8
    assert capped["p99"] <= 1.25
    assert capped["extra"] <= 5.2
    outage = results["outage"]
    assert outage["served"] == outage["requests"]
    assert outage["tried"] <= 6
    assert outage["back"] <= 30


@pytest.mark.slow
def test_hedges_are_measured_through_the_engine(tmp_path: Path) -> None:
    results = orjson.loads(_short_hedges(tmp_path / "hedge.json"))
    assert set(results["worst"]) == {"fanout: p95, no bucket", "fanout: p95"}
    assert results["outage"]["tried"] <= 6


def _short_hedges(path: Path) -> bytes:
    code = (
        "import sys; from pathlib import Path; import benchmarks.hedge as h; h.find_spec = lambda _: None; "
        "h.main(['--json', sys.argv[1], '--prompts', '60', '--seeds', '1'])"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return path.read_bytes()
