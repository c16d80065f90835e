"""The load server of the measurements, and clients in processes of their own beside it.

The server, and what else must not cost much, is written in C (`native/`) and compiled when first needed. The server has
the last core to itself; clients have the others.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from shutil import which
from typing import Any
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from attrs import frozen

NATIVE = Path(__file__).parent / "native"

PATIENCE = 600
"""Seconds that one client may take for its task."""

_DIRECT = build_opener(ProxyHandler({}))


class CannotMeasure(Exception):
    """Something that the measurement needs is not here."""


def compiler() -> str:
    """The C compiler. Raises CannotMeasure."""
    if not sys.platform.startswith("linux"):
        raise CannotMeasure("the load server runs on Linux only")
    found = which("gcc") or which("cc")
    if found is None:
        raise CannotMeasure("there is no C compiler to build the load server with: install gcc")
    return found


def built(source: str, *options: str) -> Path:
    """The compiled `native/<source>`, from the cache if it has been compiled before. Raises CannotMeasure."""
    gcc, path = compiler(), NATIVE / source
    cache = Path(tempfile.gettempdir()) / f"fanout-benchmarks-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    if cache.stat().st_uid != os.getuid():
        raise CannotMeasure(f"{cache} belongs to somebody else")
    parts = [path.read_bytes(), *(header.read_bytes() for header in sorted(NATIVE.glob("*.h"))), repr(options).encode()]
    target = cache / f"{path.stem}-{sha256(b''.join(parts)).hexdigest()[:16]}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            fresh = Path(directory) / "out"
            done = subprocess.run(
                [gcc, "-O2", "-Wall", "-o", str(fresh), str(path), *options],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise CannotMeasure(f"{source} does not compile:\n{done.stderr}")
            fresh.replace(target)
    return target


@frozen
class Over:
    """The server's record of a request that is over; times in nanoseconds of CLOCK_MONOTONIC, 0 for never.

    `late_chunks` and `late_bytes` are those sent after the mark: after the last bytes of the winner.
    """

    tag: str
    id: int
    end: str
    winner: bool
    asked: int
    first: int
    last: int
    over: int
    chunks: int
    bytes: int
    late_chunks: int
    late_bytes: int


@frozen
class Stats:
    """The server's knowledge: the requests that are over, the mark (0: none), and its own CPU in microseconds."""

    requests: list[Over]
    mark: int
    cpu_us: int


@frozen
class Server:
    """A load server that runs."""

    url: str

    def stream(self, **knobs: str | float) -> str:
        """The address of a service that streams as the knobs say, which `native/paced.c` explains; without `/v1`."""
        return f"{self.url}/{urlencode(knobs)}"

    def stats(self) -> Stats:
        """The requests since the last reset."""
        *requests, tail = map(json.loads, self._get("/stats").splitlines())
        return Stats([Over(**request) for request in requests], **tail)

    def reset(self) -> None:
        """Forgets requests and mark."""
        self._get("/reset")

    def _get(self, path: str) -> bytes:
        return got(self.url + path)


def got(url: str) -> bytes:
    """The body of the reply, whatever proxies there are."""
    with _DIRECT.open(url, timeout=10) as response:
        body: bytes = response.read()
    return body


@contextmanager
def running(source: str, seconds: int) -> Iterator[tuple[str, int]]:
    """The address and the process of the service `native/<source>`, which lives until the block is left.

    It lives `seconds` at the most. Raises CannotMeasure.
    """
    with subprocess.Popen([str(built(source)), str(seconds)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            _keep_to(process.pid, cores()[1])
            yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
        finally:
            process.terminate()


@contextmanager
def open_server(seconds: int = 4 * 3600) -> Iterator[Server]:
    """A server that lives until the block is left, and `seconds` at the most. Raises CannotMeasure."""
    with running("paced.c", seconds) as (url, _):
        yield Server(url)


def cores() -> tuple[set[int], set[int]]:
    """The cores of the clients and those of the server; with one core they share it."""
    *clients, server = sorted(os.sched_getaffinity(0))
    return set(clients) or {server}, {server}


def _keep_to(pid: int, allowed: set[int]) -> None:
    os.sched_setaffinity(pid, allowed)


def allow_sockets(count: int) -> None:
    """Lets this process, and its children, have so many sockets. Raises CannotMeasure."""
    needed = count + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CannotMeasure(f"{count} streams need {needed} open files, and the hard limit is {hard}: see `ulimit -Hn`")
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@frozen
class Failed:
    """A client that did not do what it should have done."""

    why: str


def child(script: Path, client: str, task: Mapping[str, Any], trust: Path | None = None) -> dict[str, Any] | Failed:
    """Runs `script --child CLIENT TASK` in a process of its own and returns what it prints, a JSON object.

    Its reads are counted, and no proxy, credential or price table of the environment gets in its way. `trust` is a
    directory of certificate authorities in place of the system's.
    """
    environment = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    shim = built("reads.c", "-shared", "-fPIC", "-ldl")
    environment |= {"LD_PRELOAD": str(shim), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "CRITICAL"}
    environment |= trusting(trust)
    command = [sys.executable, str(script), "--child", client, json.dumps(task)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE, preexec_fn=_settle
        )
    except subprocess.TimeoutExpired:
        return Failed(f"not ready after {PATIENCE} s")
    if done.returncode:
        return Failed(next(iter(reversed(done.stderr.strip().splitlines())), f"exit {done.returncode}")[:200])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def trusting(authorities: Path | None) -> dict[str, str]:
    """Returns what the environment says to who shall trust those of a directory, if there is one."""
    if authorities is None:
        return {}
    return {"SSL_CERT_FILE": str(authorities / "ca-certificates.crt"), "SSL_CERT_DIR": str(authorities)}


def _settle() -> None:
    _keep_to(0, cores()[0])
