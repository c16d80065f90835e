"""Other programs that measure services, each in an environment of its own, against the service that knows the truth.

AIPerf and GuideLLM are trees of processes. Their CPU is that of the tree, as `wait4` has it in the end, so it has the
writing of their results in it, which that of our clients has not. Their memory is the most that the tree had at once,
as PSS, in which what processes share counts once. What they measured is in the files that they leave: GuideLLM keeps no
gaps, only each request's mean. They may use every core, as they are made to; the service outranks them by its real-time
priority, and a run in which it was late does not count. Nothing of the user's environment reaches them, no proxy and no
key, and their home is a directory that ends with the run.
"""

import argparse
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, pairwise
from math import inf
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from attrs import frozen

from benchmarks.clients import QUESTION
from benchmarks.load import PATIENCE, CannotMeasure, Failed
from benchmarks.machine import say
from fanout import FanoutError
from fanout.bench.analysis.statistics import quantile
from fanout.local import weights

EVERY = 0.25
"""Seconds between two looks at the tree; every other one asks for its memory, which costs more."""

_INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")
_TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")


@frozen
class Load:
    """The load of a program: so many requests in all, `streams` at a time, to `url`, for answers of `tokens`."""

    url: str
    streams: int
    requests: int
    tokens: int


@frozen
class Answer:
    """One request as a program tells of it: seconds, `started` on the wall clock, infinite if it never was.

    One that failed has no `ttft`. `gaps` are None where the program keeps none.
    """

    started: float
    ttft: float | None
    gaps: tuple[float, ...] | None
    tokens: int


# AIPerf.

_TOKENIZER = """
import sys
from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

source, target = sys.argv[1:]
fields = GGUFReader(source).fields
words = fields["tokenizer.ggml.tokens"].contents()
merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
made = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=merges))
digits, level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
made.pre_tokenizer, made.decoder = pre_tokenizers.Sequence([digits, level]), decoders.ByteLevel()
end = words[int(fields["tokenizer.ggml.eos_token_id"].contents())]
PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end).save_pretrained(target)
"""


def make_tokenizer(program: Path, target: Path) -> None:
    """Makes the tokenizer that AIPerf insists on, that of the embedded model, unless it is there. Raises CannotMeasure.

    AIPerf's own Python makes it, and needs `gguf` for that.
    """
    if target.exists():
        return
    try:
        source = weights.locate()
    except FanoutError as error:
        raise CannotMeasure(f"AIPerf needs a tokenizer, which is made from the embedded model: {error}") from None
    command = [str(python_of(program)), "-c", _TOKENIZER, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = _last_line(done.stderr)
        raise CannotMeasure(f"the tokenizer cannot be made (AIPerf's environment needs gguf beside it): {why}")


def aiperf_command(program: Path, load: Load, directory: Path) -> list[str]:
    """Writes AIPerf's input and returns its command line; its tokenizer lies beside the directory."""
    make_tokenizer(program, tokenizer := directory.parent / "tokenizer")
    rows = _write_rows(directory, {"text": QUESTION}, load.requests)
    given = f"profile --model truth --endpoint-type chat --streaming --custom-dataset-type single_turn --ui none \
        --export-level records --use-server-token-count --no-gpu-telemetry --no-server-metrics \
        --concurrency {load.streams} --request-count {load.requests} --extra-inputs max_tokens:{load.tokens}"
    paths = {"--url": load.url, "--tokenizer": tokenizer, "--input-file": rows, "--artifact-dir": directory}
    return [str(program), *given.split(), *chain.from_iterable((name, str(value)) for name, value in paths.items())]


def aiperf_answers(directory: Path) -> list[Answer]:
    """Reads what AIPerf left there: a record a line. Raises OSError, KeyError, ValueError."""
    found = []
    for line in (directory / "profile_export.jsonl").read_bytes().splitlines():
        record = orjson.loads(line)
        values = {name: metric["value"] for name, metric in record["metrics"].items()}
        started = record["metadata"]["request_start_ns"] / 1e9
        if record.get("error") or "time_to_first_token" not in values:
            found.append(Answer(started, None, None, 0))
            continue
        gaps = tuple(gap / 1e3 for gap in values.get("inter_chunk_latency", ()))
        tokens = values.get("output_sequence_length", len(gaps) + 1)  # without usage it does not count them
        found.append(Answer(started, values["time_to_first_token"] / 1e3, gaps, tokens))
    return found


# GuideLLM. It needs no tokenizer, as its rows and the service say how many tokens there are.


def guidellm_command(program: Path, load: Load, directory: Path) -> list[str]:
    """Writes GuideLLM's input and returns its command line. It ends when its input does, so that has rows to spare."""
    row = {"prompt": QUESTION, "prompt_tokens_count": 8, "output_tokens_count": load.tokens}
    rows = _write_rows(directory, row, load.requests + load.streams)
    given = {
        # Its first request would ask whether the service is well, and that knows answers only.
        "--backend": f"kind=openai_http,target={load.url},model=truth,validate_backend=false",
        "--profile": f"kind=concurrent,streams={load.streams}",
        "--constraint": f"kind=max_requests,count={load.requests}",
        "--data": f"kind=json_file,path={rows}",
        "--output": f"kind=json,path={directory / 'guidellm.json'}",
    }
    return [str(program), "run", "--disable-console-interactive", *chain.from_iterable(given.items())]


def guidellm_answers(directory: Path) -> list[Answer]:
    """Reads what GuideLLM left there: one document. Raises OSError, KeyError, ValueError."""
    requests = orjson.loads((directory / "guidellm.json").read_bytes())["benchmarks"][0]["requests"]
    found = []
    for end in ("successful", "errored", "incomplete"):
        for request in requests[end]:
            started = request["info"]["timings"]["request_start"] or inf
            if end == "successful" and request["time_to_first_token_ms"] is not None:
                found.append(Answer(started, request["time_to_first_token_ms"] / 1e3, None, request["output_tokens"]))
            else:
                found.append(Answer(started, None, None, 0))
    return found


def _write_rows(directory: Path, row: Mapping[str, Any], count: int) -> Path:
    path = directory / "prompts.jsonl"
    path.write_text(f"{json.dumps(row)}\n" * count, "ascii")
    return path


@frozen
class Harness:
    """A program: what the table says of it, how it is called, and how what it leaves is read."""

    says: str
    command: Callable[[Path, Load, Path], list[str]]
    answers: Callable[[Path], list[Answer]]


HARNESSES = {
    "aiperf": Harness("AIPerf", aiperf_command, aiperf_answers),
    "guidellm": Harness("GuideLLM", guidellm_command, guidellm_answers),
}
"""By the name of its program, which is also that of its distribution."""

SAYS = {name: harness.says for name, harness in HARNESSES.items()}
"""The names in the table."""


def installed(parser: argparse.ArgumentParser, given: Sequence[str] | None) -> dict[str, Path]:
    """The programs that are there, by name, according to options that are added to the parser; says which are not.

    What is given becomes the option's default: where a program lies does not change the measurement.
    """
    first = argparse.ArgumentParser(add_help=False)
    for name, harness in HARNESSES.items():
        first.add_argument(f"--{name}", default=name)
        says = f"{harness.says}'s program, in an environment of its own (default: the one on PATH)"
        parser.add_argument(f"--{name}", metavar="PATH", help=says)
    wanted = vars(first.parse_known_args(given)[0])
    parser.set_defaults(**wanted)
    found = {}
    for name, path in wanted.items():
        if there := which(path):
            found[name] = Path(there).absolute()
        else:
            say(f"{HARNESSES[name].says} is not installed: there is no program {path}")
    return found


def not_measured(programs: Mapping[str, Path], names: Collection[str]) -> list[str]:
    """Lists the programs that are not among the clients that are measured, and why."""
    return [
        f"{name} ({'left out' if name in programs else 'not installed'})" for name in HARNESSES if name not in names
    ]


def python_of(program: Path) -> Path:
    """The interpreter of a program's environment, which lies beside it."""
    return program.resolve().parent / "python"


def versions(programs: Mapping[str, Path]) -> dict[str, str]:
    """The versions of the programs, by name; of those that tell."""
    code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    found = {}
    for name, program in programs.items():
        with suppress(OSError, subprocess.CalledProcessError):
            command = [str(python_of(program)), "-c", code, name]
            found[name] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return found


# A run, and what it cost.


@frozen
class Moment:
    """The use of a tree of processes: microseconds of CPU so far, and what it has now; seconds, monotonic."""

    at: float
    cpu_us: float
    processes: int
    pss_kb: int


@frozen
class Spent:
    """A program's life: when it began, what its tree was like now and then, and its CPU in the end."""

    spawned: float
    moments: Sequence[Moment]
    cpu_us: float
    raised: bool

    def cpu_us_at(self, at: float) -> float:
        """The CPU that the tree had used then: in proportion between two looks."""
        known = [(self.spawned, 0.0), *((moment.at, moment.cpu_us) for moment in self.moments)]
        for (before, low), (after, high) in pairwise(known):
            if at <= after:
                return low + (high - low) * max(at - before, 0.0) / (after - before)
        return known[-1][1]


def watched(command: Sequence[str], directory: Path, patience: float = PATIENCE) -> Spent:
    """Runs a program in that directory to its end; what it leaves running is ended too. Raises CannotMeasure."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= {"HOME": str(directory), "HF_HUB_DISABLE_TELEMETRY": "1"}
    output = directory / "output.txt"
    spawned = time.monotonic()
    with output.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    raised = _raise(process.pid)
    moments: list[Moment] = []
    over = False
    try:
        while not over and time.monotonic() < spawned + patience:
            moments.append(_look(process.pid, moments))
            time.sleep(EVERY)
            over = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # not waited for yet, so the number is still its own
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if not over:
        raise CannotMeasure(f"not ready after {patience:g} s")
    if process.returncode:
        said = _last_line(output.read_text("utf-8", "replace"))
        raise CannotMeasure(f"exit {process.returncode}: {said}")
    # Processes that nobody of the tree waits for are not in the kernel's account, but were seen.
    cpu_us = max((used.ru_utime + used.ru_stime) * 1e6, *(moment.cpu_us for moment in moments))
    return Spent(spawned, moments, cpu_us, raised)


def _raise(pid: int) -> bool:
    """Puts a process, and those that it will start, before its neighbours; whether that is allowed."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, -20)
    except PermissionError:
        return False
    with suppress(OSError):  # where the scheduler does not group sessions
        Path(f"/proc/{pid}/autogroup").write_text("-20", "ascii")
    return True


def _look(pid: int, before: Sequence[Moment]) -> Moment:
    tree = _session(pid)
    pss_kb = before[-1].pss_kb if len(before) % 2 else sum(map(_pss_kb, tree))
    return Moment(time.monotonic(), sum(tree.values()), len(tree), pss_kb)


def _session(leader: int) -> dict[int, float]:
    """The processes of a session: the CPU of each in microseconds, that of its children included that ended."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            _, _, _, session, *rest = path.read_bytes().rpartition(b") ")[2].split()
            if int(session) == leader:
                found[int(path.parent.name)] = sum(map(int, rest[7:11])) * _TICK_US
    return found


def _pss_kb(pid: int) -> int:
    """The memory of a process; nothing if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")[:200]


@frozen
class Runner:
    """The programs that are there, and a directory for what they need and leave."""

    programs: Mapping[str, Path]
    directory: Path

    def run(self, name: str, load: Load) -> dict[str, Any] | Failed:
        """One load by one program: what it measured and cost, under the names that our own clients use."""
        with TemporaryDirectory(dir=self.directory, ignore_cleanup_errors=True) as scratch:
            directory, harness = Path(scratch), HARNESSES[name]
            try:
                spent = watched(harness.command(self.programs[name], load, directory), directory)
            except (CannotMeasure, OSError) as error:
                return Failed(str(error))
            try:
                answers = harness.answers(directory)
            except (OSError, LookupError, TypeError, ValueError) as error:
                said = _last_line((directory / "output.txt").read_text("utf-8", "replace"))
                return Failed(f"it left no results that can be read ({error!r}); its last line: {said}")
        if all(answer.ttft is None for answer in answers):
            return Failed(f"none of its {len(answers)} requests succeeded")
        return figures(answers, load.streams) | costs(answers, spent)


@contextmanager
def open_runner(programs: Mapping[str, Path]) -> Iterator[Runner]:
    """A runner, whose directory ends with the block."""
    with TemporaryDirectory(prefix="fanout-harnesses-", ignore_cleanup_errors=True) as directory:
        yield Runner(programs, Path(directory))


def figures(answers: Sequence[Answer], streams: int) -> dict[str, Any]:
    """Percentiles in seconds, without each stream's first request; None for what the program does not keep."""
    counted = sorted(answers, key=lambda answer: answer.started)[streams:]
    values = {
        "ttft": [answer.ttft for answer in counted if answer.ttft is not None],
        "gap": list(chain.from_iterable(answer.gaps or () for answer in counted)),
    }
    percentiles = {
        f"{name}_p{round(100 * q)}": quantile(sorted(found), q) if found else None
        for name, found in values.items()
        for q in (0.5, 0.99)
    }
    return {**percentiles, "failed": sum(answer.ttft is None for answer in counted)}


def costs(answers: Sequence[Answer], spent: Spent) -> dict[str, Any]:
    """The cost of a run, before its first request and from there on; memory and processes are the most there were.

    Memory is called `rss_kb` as that of our own clients, but is PSS: pages that a tree shares would count again and
    again.
    """
    first_at = min(answer.started for answer in answers) + time.monotonic() - time.time()
    first_cpu_us = spent.cpu_us_at(first_at)
    return {
        "tokens": sum(answer.tokens for answer in answers),
        "start_s": first_at - spent.spawned,
        "first_cpu_us": first_cpu_us,
        "cpu_us": spent.cpu_us - first_cpu_us,
        "rss_kb": max(moment.pss_kb for moment in spent.moments),
        "processes": max(moment.processes for moment in spent.moments),
        "raised": spent.raised,
        **dict.fromkeys(("coalesced", "unpeeked", "lateness_p99")),
    }
