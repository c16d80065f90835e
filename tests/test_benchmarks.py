import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks import conformance, wire_cost
from benchmarks.conformance import Peer
from fanout.errors import FanoutError
from tests.conformance.cases import Case
from tests.conformance.judge import Got, judge

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


def test_results_are_committed() -> None:
    assert {path.stem for path in RESULTS} >= {"conformance", "wire_cost"}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_names_versions_and_no_place_on_the_machine_it_comes_from(path: Path) -> None:
    text = path.read_text("utf-8")
    assert {"python", "fanout"} <= orjson.loads(text)["versions"].keys()
    assert re.search(r'"(/|~|[A-Z]:\\\\)|/(home|root|tmp|work|usr|opt|Users)\b|://|\blocalhost\b', text) is None
