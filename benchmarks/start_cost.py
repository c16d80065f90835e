"""The time that a command takes from `exec` until its request is on the wire, against an interpreter that imports Trio.

Commands take turns, each in a fresh process: their request arrives at a service in this process, which answers at once,
and that time counts; of `python -c "import trio"` it counts until the process has ended. Bytecode is compiled before,
by a run of each that does not count, into a directory for the occasion; so are settings and history, of which there
are none. Ratios are of medians, and the median of those turn by turn, which what else the machine does moves less.
"""

import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from statistics import median
from typing import Any

from attrs import define, field, frozen

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.load import Failed
from benchmarks.machine import arguments, chosen, circumstances, conclude, every_line, foot, say, table

UNIT = "trio"

PATIENCE = 60
"""Seconds for one command."""

DISTRIBUTIONS = ["fanout", "trio", "click", "attrs", "curl_cffi", "llm", "openai"]

_ANSWER = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
_LLM_MODELS = "- model_id: m\n  model_name: m\n  api_base: {url}/v1\n"
"""The words in which llm is told of a service in its `extra-openai-models.yaml`."""


@define
class Service:
    """A service that notes when a request has come, in seconds of time.monotonic, and answers at once."""

    listener: socket.socket
    came: list[float] = field(factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        """Serves until the listener is closed."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                if connection.recv(1 << 16):
                    self.came.append(time.monotonic())
                    connection.sendall(_HEAD % len(_ANSWER) + _ANSWER)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1 << 16):  # a body that comes after its head, until they hang up
                        pass


@contextmanager
def open_service() -> Iterator[Service]:
    """Opens a service in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        service = Service(listener)
        thread = threading.Thread(target=service.serve, daemon=True)
        thread.start()
        yield service
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        thread.join()


@frozen
class Command:
    """A command line with `{url}` for the service's address, what the table says of it, and whether it asks."""

    line: tuple[str, ...]
    says: str
    asks: bool = True

    @property
    def missing(self) -> tuple[str, ...]:
        """The program, if it is not installed."""
        return () if which(self.line[0]) else (Path(self.line[0]).name,)


_SCRIPTS = Path(sysconfig.get_path("scripts"))

COMMANDS = {
    UNIT: Command((sys.executable, "-c", "import trio"), '`python -c "import trio"`, until it has ended', asks=False),
    "fanout": Command(
        (str(_SCRIPTS / "fanout"), "race", "-q", "-m", "a=openai/m?base_url={url}/v1", "hi"),
        "`fanout race -q -m a=openai/m?base_url=…`",
    ),
    "llm": Command((str(_SCRIPTS / "llm"), "-m", "m", "--key", "k", "--no-log", "hi"), "`llm -m …`"),
}


@define
class Line:
    """One process."""

    command: str
    repetition: int
    ms: float


@contextmanager
def prepared(url: str) -> Iterator[dict[str, str]]:
    """Makes an environment with no settings but what is needed, and a directory for bytecode."""
    with tempfile.TemporaryDirectory(prefix="fanout-start-") as name:
        home = Path(name)
        (home / "llm").mkdir()
        (home / "llm" / "extra-openai-models.yaml").write_text(_LLM_MODELS.format(url=url), "utf-8")
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        yield {
            **kept,
            "HOME": name,
            "LLM_LOAD_PLUGINS": "",  # beyond its own: one of them needs what is not there
            "LLM_USER_PATH": str(home / "llm"),
            "OPENAI_API_KEY": "k",
            "PYTHONPYCACHEPREFIX": str(home / "bytecode"),
        }


def run(command: Command, service: Service, environment: Mapping[str, str]) -> float | Failed:
    """Returns the milliseconds from just before the process is made until its request has come, or until it ends."""
    service.came.clear()
    line = [part.replace("{url}", service.url) for part in command.line]
    began = time.monotonic()
    try:
        done = subprocess.run(
            line,
            env=environment,
            cwd=environment["HOME"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return Failed(f"not ready after {PATIENCE} s")
    ended = time.monotonic()
    if done.returncode:
        return Failed((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:200])
    if command.asks and (len(service.came) != 1 or "hi" not in done.stdout):
        return Failed(f"{len(service.came)} requests, and the answer {done.stdout[:80]!r}")
    return round(((service.came[0] if command.asks else ended) - began) * 1000, 2)


def measure(names: Sequence[str], repetitions: int) -> tuple[list[Line], dict[str, str]]:
    """All lines, and by command what went wrong; the first run of each compiles, and does not count."""
    lines: list[Line] = []
    failed: dict[str, str] = {}
    with open_service() as service, prepared(service.url) as environment:
        for repetition in range(-1, repetitions):
            say(f"{repetition + 1}/{repetitions}")
            for name in names:
                if name in failed:
                    continue
                took = run(COMMANDS[name], service, environment)
                if isinstance(took, Failed):
                    failed[name] = took.why
                    say(f"{name} failed: {took.why}")
                elif repetition >= 0:
                    lines.append(Line(name, repetition, took))
    return lines, failed


def medians(lines: Sequence[Line], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """By command: the median time, its ratio to the unit's, and the median of the ratios turn by turn."""
    unit = {line.repetition: line.ms for line in lines if line.command == UNIT}
    return {
        name: {
            "ms": round(median(line.ms for line in own), 1),
            "ratio": round(median(line.ms for line in own) / median(unit.values()), 2),
            "ratio_in_turns": round(median(line.ms / unit[line.repetition] for line in own), 2),
        }
        for name in names
        if (own := [line for line in lines if line.command == name])
    }


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the table, and below it the machine."""
    yield from table(
        ("from `exec` to the request on the wire", "ms", "ratio", "turn by turn"),
        (
            (COMMANDS[name].says, f"{found['ms']:.0f}", f"{found['ratio']:.2f}", f"{found['ratio_in_turns']:.2f}")
            for name, found in results["medians"].items()
        ),
    )
    yield ""
    yield from foot(results)


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the table, and writes the results down."""
    parser = arguments("start_cost", __doc__)
    parser.add_argument("--repetitions", type=int, default=31)
    options, names = chosen(parser, given, {name: command.missing for name, command in COMMANDS.items()}, "NAME")
    names = list(dict.fromkeys([UNIT, *names]))
    about = circumstances(DISTRIBUTIONS, options.repetitions)
    lines, failed = measure(names, options.repetitions)
    results = {**about, "medians": medians(lines, names), "failed": failed, **every_line(Line, lines)}
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    main()
