"""The cost of a gateway between client and service: time to first token, CPU for each chunk, memory, time to start.

In one run, by turns: no gateway at all, a bare echo (the same server and the same libcurl, bytes passed on unread), the
same echo by hypercorn, `fanout serve`, and LiteLLM's proxy where it is installed. The service sends a chunk every
20 ms. CPU is that of the gateway's processes, from the kernel's count.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import trio
from attrs import define
from hypercorn.trio import serve

sys.path.insert(0, str(Path(__file__).parent.parent))

import fanout
from benchmarks.failover import KEY, wait_for
from benchmarks.load import Server, allow_sockets, cores, open_server
from benchmarks.machine import arguments, circumstances, comma_list, conclude, every_line, foot, say, table
from fanout.abc import Head, Request
from fanout.gateway import http1
from fanout.gateway.answering import STREAM
from fanout.gateway.serve import GRACE, IDLE, UNREAD, Wish, listen, settings
from fanout.gateway.streams import Reply, respond

EVERY = 20
"""Milliseconds between chunks."""

CHUNKS = 200
AFTER = 100
"""Chunks of a stream, and milliseconds before the first one."""

ALONE = 30
"""Further requests for the time to the first token where one stream runs alone."""

ECHOS = ("echo", "echo, hypercorn")
SUBJECTS = ("none", *ECHOS, "fanout", "LiteLLM")
PORT = 4998


@define
class Line:
    """One round: milliseconds to the first chunk (median, p95), microseconds of CPU a chunk, megabytes resident."""

    subject: str
    streams: int
    repetition: int
    ttft_ms: float
    ttft_p95_ms: float
    us_per_chunk: float
    rss_mb: float


# The echo.


class _Through:
    """Passes on what a service sends, as it comes."""

    def __init__(self, out: trio.MemorySendChannel[bytes]) -> None:
        self._out = out

    def head(self, head: Head, /) -> None:
        """Takes the head."""

    def data(self, data: bytes, /) -> bool:
        """Takes the bytes of one read."""
        self._out.send_nowait(data)
        return False


def echo(target: str, *, by_hypercorn: bool) -> None:
    """Serves the echo until its process ends."""

    async def main() -> None:
        async with fanout.open_transport() as transport:

            async def app(scope: Any, receive: Any, send: Any) -> None:
                if scope["type"] == "lifespan":
                    await _live(receive, send)
                    return
                body = b""
                while (message := await receive()).get("more_body"):
                    body += message["body"]
                body += message.get("body", b"")

                async def work(reply: Reply) -> None:
                    out, into = trio.open_memory_channel[bytes](100_000)
                    headers = {"content-type": "application/json", "accept-encoding": "identity"}
                    request = Request("POST", f"{target}/v1/chat/completions", headers, body)

                    async def ask() -> None:
                        with out:
                            await transport.exchange(request, _Through(out), 5)

                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(ask)
                        await reply.begin(200, STREAM)
                        async for data in into:
                            parts = [data]
                            while True:
                                try:
                                    parts.append(into.receive_nowait())
                                except (trio.WouldBlock, trio.EndOfChannel):
                                    break
                            await reply.write(b"".join(parts))

                await respond(receive, send, work)

            sock = listen(Wish(port=0))
            print(f"echo serves at port:{sock.getsockname()[1]}", flush=True)
            if by_hypercorn:
                await serve(app, settings(Wish(), sock.detach()))
            else:
                await http1.serve(app, sock, trio.sleep_forever, idle=IDLE, unread=UNREAD, grace=GRACE)

    trio.run(main)


async def _live(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


# The subjects, each in a process of its own.


@contextmanager
def open_subject(name: str, server: Server, target: str) -> Iterator[tuple[int, int, float]]:
    """A subject before a service: its port, its process (0 for none), and the seconds until it answered."""
    if name == "none":
        yield int(server.url.rpartition(":")[2]), 0, 0.0
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "config"
        words, environment = _command(name, path, target)
        began = time.monotonic()
        quiet = None if name in ECHOS else subprocess.DEVNULL
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=quiet, text=True, env=environment) as process:
            os.sched_setaffinity(process.pid, cores()[0])
            try:
                port = PORT
                if name == "LiteLLM":
                    wait_for(PORT)
                else:
                    assert process.stdout
                    port = int(process.stdout.readline().rpartition(":")[2])
                yield port, process.pid, time.monotonic() - began
            finally:
                process.terminate()


def _command(name: str, path: Path, target: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "CRITICAL"}
    if name in ECHOS:
        own = ["--by-hypercorn"] if name != "echo" else []
        return [sys.executable, __file__, "--child", target, *own], environment
    if name == "fanout":
        address = quote(target, safe="")
        path.write_text(f'[lanes.m]\nspec = "openai/m?base_url={address}/v1&key_env="')
        return [sys.executable, "-m", "fanout", "serve", "--port", "0", "--config", str(path), "-q"], environment
    params = {"model": "openai/m", "api_base": f"{target}/v1", "api_key": "x"}
    config = {"model_list": [{"model_name": "m", "litellm_params": params}], "general_settings": {"master_key": KEY}}
    path.write_text(json.dumps(config))
    litellm = str(Path(sys.executable).with_name("litellm"))
    return [litellm, "--config", str(path), "--port", str(PORT), "--host", "127.0.0.1"], environment


def cpu(pid: int) -> float:
    """Microseconds of CPU that a process and its children have taken."""
    if not pid:
        return 0.0
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    own = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000
    children = [child for task in tasks for child in (task / "children").read_text().split()]
    return own + sum(cpu(int(child)) for child in children)


def rss(pid: int) -> float:
    """Resident megabytes of a process."""
    if not pid:
        return 0.0
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


# The client.


def question(path: str) -> bytes:
    """A streamed question, as bytes."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}).encode()
    head = f"POST {path}/v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {KEY}\r\n"
    head += f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def stream_all(port: int, path: str, streams: int) -> tuple[list[float], int]:
    """Streams so many answers at once: the seconds to the first words of each, and the chunks of all."""
    firsts: list[float] = []
    chunks = 0

    async def one() -> None:
        nonlocal chunks
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            began = time.perf_counter()
            await stream.send_all(question(path))
            first, tail = None, b""
            while data := await stream.receive_some(65536):
                found = (tail + data).count(b'"content":" w')
                if found and first is None:
                    first = time.perf_counter() - began
                chunks += found
                if b"[DONE]" in tail + data:
                    break
                tail = data[-12:] if not data[-12:].count(b'"content":" w') else b""
            if first is not None:
                firsts.append(first)

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            for _ in range(streams):
                nursery.start_soon(one)
                await trio.sleep(EVERY / 1000)  # all run at once in the end, and no two begin at once
    return firsts, chunks


async def peek(port: int, path: str) -> list[float]:
    """Streams one answer up to its first words."""
    with trio.move_on_after(5):
        return [await first_words(port, path)]
    return []


async def first_words(port: int, path: str) -> float:
    """Seconds until the first words come, after which the client leaves."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        began = time.perf_counter()
        await stream.send_all(question(path))
        got = b""
        while b'"content":" w' not in got:
            got += await stream.receive_some()
        return time.perf_counter() - began


def measure(names: Sequence[str], sizes: Sequence[int], repetitions: int) -> tuple[list[Line], dict[str, float]]:
    """All lines, and how long each subject took to start."""
    lines: list[Line] = []
    starts: dict[str, float] = {}
    with open_server() as server:
        target = server.stream(every=EVERY, chunks=CHUNKS, after=AFTER, phase=0)
        for repetition in range(repetitions):
            for name in names:
                with open_subject(name, server, target) as (port, pid, started):
                    starts[name] = min(started, starts.get(name, 1e9))
                    path = target.removeprefix(server.url) if name == "none" else ""
                    trio.run(stream_all, port, path, 2)  # warm
                    for streams in sizes:
                        before = cpu(pid)
                        firsts, chunks = trio.run(stream_all, port, path, streams)
                        took = cpu(pid) - before
                        if streams == 1:  # one time says little
                            firsts += [first for _ in range(ALONE) for first in trio.run(peek, port, path)]
                        firsts.sort()
                        p95 = firsts[int(0.95 * (len(firsts) - 1))]
                        ms = median(firsts) * 1000
                        line = Line(name, streams, repetition, *_round(ms, p95 * 1000, took / max(1, chunks), rss(pid)))
                        lines.append(line)
                        say(f"{repetition + 1}/{repetitions} {line}: {chunks} chunks")
    return lines, {name: round(seconds, 2) for name, seconds in starts.items()}


def _round(*figures: float) -> list[float]:
    return [round(figure, 2) for figure in figures]


def medians(lines: Sequence[Line], names: Sequence[str], sizes: Sequence[int]) -> dict[str, dict[str, Any]]:
    """By number of streams and subject: what was added to the time to first token, CPU a chunk, memory."""
    found: dict[str, dict[str, Any]] = {}
    for streams in sizes:
        here = {name: [one for one in lines if (one.subject, one.streams) == (name, streams)] for name in names}
        direct = median(one.ttft_ms for one in here["none"])
        found[str(streams)] = {
            name: {
                "added_ttft_ms": round(median(one.ttft_ms for one in own) - direct, 2),
                "us_per_chunk": round(median(one.us_per_chunk for one in own), 1),
                "rss_mb": round(max(one.rss_mb for one in own), 1),
            }
            for name, own in here.items()
        }
    return found


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table, and below it the machine."""
    rows = [
        (streams, name, f"{cell['added_ttft_ms']:+.1f}", f"{cell['us_per_chunk']:.0f}", f"{cell['rss_mb']:.0f}")
        for streams, cells in results["medians"].items()
        for name, cell in cells.items()
        if name != "none"
    ]
    yield from table(("streams", "gateway", "ms to the first token", "µs of CPU a chunk", "MB"), rows)
    yield ""
    starts = (f"{name} {seconds:.2f} s" for name, seconds in results["starts"].items() if name != "none")
    yield f"Ready after: {', '.join(starts)}."
    yield from foot(results)


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the table, and writes the results down."""
    parser = arguments("gateway_cost", __doc__)
    parser.add_argument("--child", metavar="URL", help="serves the echo before this service")
    parser.add_argument("--by-hypercorn", action="store_true", help="serves it by hypercorn, as with TLS")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--sizes", type=comma_list(int), default=[1, 16, 128], metavar="N,…")
    options = parser.parse_args(given)
    if options.child:
        echo(options.child, by_hypercorn=options.by_hypercorn)
        return
    names = [name for name in SUBJECTS if name != "LiteLLM" or find_spec("litellm")]
    allow_sockets(2 * max(options.sizes))
    lines, starts = measure(names, options.sizes, options.repetitions)
    results = {
        **circumstances(["fanout", "litellm", "hypercorn", "starlette", "trio"], options.repetitions),
        "failed": {},
        "medians": medians(lines, names, options.sizes),
        "starts": starts,
        "runs": every_line(Line, lines),
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    main()
