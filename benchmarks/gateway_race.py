"""A race by the name of a model: how near its first token comes to the better lane's, and what clients leave behind.

Two lanes draw the time to their first chunk from a heavy-tailed distribution (Pareto, seeded). Each pair is asked by
`race:a,b` through the gateway, and the better of the two directly, by turns. Then many clients leave at random moments:
the service's own log says when it noticed, the kernel what the gateway still holds.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Any
from urllib.parse import quote

import trio

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.gateway_cost import rss
from benchmarks.load import Server, allow_sockets, cores, open_server
from benchmarks.machine import arguments, circumstances, conclude, foot, say, table

EVERY = 10
"""Milliseconds between chunks."""

SLOTS = 250
"""Pairs of lanes, which clients use one after the other: a configuration has its size."""

ROUNDS = 50
"""Clients that leave in one round, all at work at once."""


def draws(count: int, seed: int = 7) -> list[float]:
    """Milliseconds to the first chunk: mostly 20 to 50, now and then a second."""
    random = Random(seed)  # no secret
    return [min(1500.0, 20 * random.paretovariate(1.2)) for _ in range(count)]


@contextmanager
def open_gateway(lanes: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """The gateway before lanes, each with the address of its service: its port and its process."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "fanout.toml"
        specs = {name: f"openai/m?base_url={quote(url, safe='')}/v1&key_env=" for name, url in lanes.items()}
        path.write_text("\n".join(f'[lanes.{name}]\nspec = "{spec}"' for name, spec in specs.items()))
        words = [sys.executable, "-m", "fanout", "serve", "--port", "0", "--config", str(path), "-q"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout
            try:
                yield int(process.stdout.readline().rpartition(":")[2]), process.pid
            finally:
                process.terminate()


def request(path: str, model: str) -> bytes:
    """A streamed question, as bytes."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": True}).encode()
    head = f"POST {path}/v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def first_token(port: int, path: str, model: str) -> float:
    """Milliseconds until the first words come."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        began = time.perf_counter()
        await stream.send_all(request(path, model))
        got = b""
        while b'"content":" w' not in got:
            data = await stream.receive_some()
            if not data:
                raise RuntimeError(f"no answer: {got[-300:]!r}")
            got += data
        return (time.perf_counter() - began) * 1000


def race(server: Server, pairs: int) -> dict[str, Any]:
    """The times to the first token, by the race and by the better lane alone."""
    times = draws(2 * pairs)
    urls = {
        f"{'ab'[index % 2]}{index // 2}": server.stream(every=EVERY, chunks=5, after=round(after, 1), phase=0)
        for index, after in enumerate(times)
    }
    found: dict[str, list[float]] = {"race": [], "better": [], "first lane": []}
    with open_gateway(urls) as (port, _):
        own = int(server.url.rpartition(":")[2])
        trio.run(first_token, port, "", "race:a0,b0")  # warm
        for number in range(pairs):
            a, b = times[2 * number], times[2 * number + 1]
            found["race"].append(trio.run(first_token, port, "", f"race:a{number},b{number}"))
            better = f"{'a' if a <= b else 'b'}{number}"
            found["better"].append(trio.run(first_token, own, urls[better].removeprefix(server.url), "m"))
            found["first lane"].append(a + EVERY)
    return {name: {"p50": _at(each, 0.5), "p95": _at(each, 0.95)} for name, each in found.items()}


def _at(values: Sequence[float], share: float) -> float:
    return round(sorted(values)[int(share * (len(values) - 1))], 2)


def leave(server: Server, clients: int) -> dict[str, Any]:
    """Measures what clients that leave at random leave: the delay until the service notices, memory, descriptors."""
    random = Random(11)  # no secret
    urls = {
        f"{lane}{number}": server.stream(every=EVERY, chunks=2000, after=random.randint(0, 300), tag=f"{lane}{number}")
        for number in range(SLOTS)
        for lane in "ab"
    }
    left: dict[int, list[int]] = {number: [] for number in range(SLOTS)}

    async def visit(port: int, number: int) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        slot = number % SLOTS
        await stream.send_all(request("", f"race:a{slot},b{slot}"))
        with trio.move_on_after(random.uniform(0.05, 0.6)):
            while await stream.receive_some():
                pass
        left[slot].append(time.monotonic_ns())
        await stream.aclose()

    async def visit_all(port: int, numbers: range) -> None:
        async with trio.open_nursery() as nursery:
            for number in numbers:
                nursery.start_soon(visit, port, number)
                await trio.sleep(0.01)

    memory: list[float] = []
    held: list[int] = []
    with open_gateway(urls) as (port, pid):
        server.reset()
        for begin in range(0, clients, ROUNDS):
            trio.run(visit_all, port, range(begin, min(clients, begin + ROUNDS)))
            time.sleep(0.2)
            memory.append(rss(pid))
            held.append(len(list(Path(f"/proc/{pid}/fd").iterdir())))
        requests = server.stats().requests
    # A client may have left before the service was even asked.
    gone = [(one, min((at for at in left[int(one.tag[1:])] if at > one.asked), default=one.asked)) for one in requests]
    delays = [(one.over - at) / 1e6 for one, at in gone if one.over > at]  # the others had lost before
    return {
        "clients": clients,
        "upstreams": len(requests),
        "still_open": sum(one.end not in ("closed", "reset", "done") for one in requests),
        "closed_after_the_client": len(delays),
        "delay_ms": {"p50": round(median(delays), 2), "p95": _at(delays, 0.95)},
        "rss_mb": {"after_the_first_round": round(memory[1], 1), "at_the_end": round(memory[-1], 1)},
        "descriptors": {"after_the_first_round": held[1], "at_the_end": held[-1]},
    }


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table, what clients left behind, and the machine."""
    rows = ((name, *(f"{cell[key]:.1f}" for key in ("p50", "p95"))) for name, cell in results["race"].items())
    yield from table(("ms to the first token", "p50", "p95"), rows)
    yield ""
    gone = results["leaving"]
    yield (
        f"{gone['clients']} clients left at random: {gone['upstreams']} upstream requests, {gone['still_open']} left "
        "open, "
        f"closed {gone['delay_ms']['p50']} ms after the client (p95 {gone['delay_ms']['p95']}); "
        f"memory {gone['rss_mb']['after_the_first_round']} to {gone['rss_mb']['at_the_end']} MB, "
        f"descriptors {gone['descriptors']['after_the_first_round']} to {gone['descriptors']['at_the_end']}."
    )
    yield from foot(results)


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints, and writes the results down."""
    parser = arguments("gateway_race", __doc__)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--clients", type=int, default=1000)
    options = parser.parse_args(given)
    allow_sockets(1000)
    with open_server() as server:
        raced = race(server, options.pairs)
        say(f"race: {raced}")
        gone = leave(server, options.clients)
    results = {
        **circumstances(["fanout", "hypercorn", "starlette", "trio"], 1),
        "failed": {},
        "race": raced,
        "leaving": gone,
        "cores": len(cores()[0]),
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    main()
