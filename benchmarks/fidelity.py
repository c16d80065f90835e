"""How true `fanout bench` measures, and what measuring costs: against a service that logs when it sent each token.

A closed loop of so many streams asks `native/truth.c`, which has the last core to itself and keeps to its schedule. The
error of a percentile is the measured one over the one from the log, less 1. Each stream's first request, which opens
its connection, counts on neither side. Throughput and CPU per token are ratios to the floor of the same repetition: one
thread, one epoll, stamps of its own. Neighbours are busy loops on all cores, which end with each run. Clients run above
normal priority where that is allowed, as the results say.
"""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import pairwise, product
from pathlib import Path
from select import EPOLLIN, epoll
from statistics import median
from typing import Any
from urllib.request import ProxyHandler, build_opener

import orjson
import trio
from attrs import asdict, define, field, fields, frozen

sys.path.insert(0, str(Path(__file__).parent.parent))

import fanout
from benchmarks.clients import READ, Pieces, _connected, child_task, is_there, leave, request_bytes, resident_kb
from benchmarks.load import CannotMeasure, Failed, _keep_to, allow_sockets, built, child, cores
from benchmarks.machine import arguments, chosen, comma_list, conditions, facts, measured_on, say, store, table
from fanout.bench.calibrate import most_at_once, run_load
from fanout.bench.metrics import measure
from fanout.bench.request import open_stamped
from fanout.bench.statistics import quantile
from fanout.bench.truth import Sent, Truth
from fanout.plan import Connections

FLOOR = "floor"

TTFT, GAP, SPREAD = 200, 20, 0.3
"""The answers: milliseconds, and the share by which gaps vary."""

LATEST_US = 200.0
"""A run counts only if the service sent its tokens less late than this on average."""

NAMES = ("ttft_p50", "ttft_p99", "gap_p50", "gap_p99")
"""What is compared."""

PEERS = ("aiperf", "guidellm")
"""Other programs that measure services. None of them is run by this script yet; it says which ones are there."""

_DIRECT = build_opener(ProxyHandler({}))


@frozen
class Server:
    """The service, and what it says of itself."""

    truth: Truth

    def url(self, streams: int, tokens: int) -> str:
        """Its base URL for a load of so many streams, and answers of so many tokens."""
        return f"{self.truth.url}/ttft={TTFT}&gap={GAP}&jit={SPREAD}&tokens={tokens}&seed={streams}"

    def state(self) -> dict[str, Any]:
        """Since it was asked the last time: how late it was, whom it cut off; and its priority and CPU."""
        with _DIRECT.open(f"{self.truth.url}/state", timeout=10) as response:
            found: dict[str, Any] = orjson.loads(response.read())
        return found


@contextmanager
def open_server(seconds: int = 4 * 3600) -> Iterator[Server]:
    """The service, until the block is left. Raises CannotMeasure."""
    command = [str(built("truth.c")), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            _keep_to(process.pid, cores()[1])
            yield Server(Truth(f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid))
        finally:
            process.terminate()


_BUSY = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"


@contextmanager
def neighbours(count: int, seconds: float = 300.0) -> Iterator[None]:
    """So many busy loops, on any core; each ends by itself after so long at the latest."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY, str(seconds)]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


# A client: what it measures of so many requests by so many streams, after one more of each stream.


@define
class Seen:
    """What a client measured: seconds. `cpu_us` and `tokens` are of all its requests, those to warm up among them."""

    ttft: list[float]
    gaps: list[float]
    tokens: int
    first_at: float
    first_cpu_us: float
    cpu_us: float = 0.0
    failed: int = 0
    coalesced: float | None = None
    unpeeked: float | None = None
    lateness_p99: float | None = None


def floor(url: str, streams: int, requests: int) -> Seen:
    """One thread, one epoll, sockets as they are; a stamp after each read, before anything is made of it."""
    request = request_bytes(url)
    seen = Seen([], [], 0, time.monotonic(), _cpu_us())
    left = requests
    with epoll() as ready:
        talks = {(socket := _connected(url)).fileno(): _Talk(socket) for _ in range(streams)}
        for fd, talk in talks.items():
            ready.register(fd, EPOLLIN)
            talk.ask(request)
        open_talks = len(talks)
        while open_talks:
            for fd, _ in ready.poll():
                talk = talks[fd]
                if not talk.read():
                    continue
                seen.tokens += len(talk.times)
                if talk.answers > 1:
                    seen.ttft.append(talk.times[0] - talk.sent)
                    seen.gaps += [b - a for a, b in pairwise(talk.times)]
                if left:
                    left -= 1
                    talk.ask(request)
                else:
                    open_talks -= 1
        for talk in talks.values():
            talk.socket.close()
    return seen


@define
class _Talk:
    """One stream of the floor."""

    socket: Any
    pieces: Pieces = field(factory=Pieces)
    times: list[float] = field(factory=list)
    sent: float = 0.0
    answers: int = 0

    def ask(self, request: bytes) -> None:
        """Sends the next request."""
        self.pieces, self.times, self.sent = Pieces(), [], time.monotonic()
        self.answers += 1
        self.socket.sendall(request)

    def read(self) -> bool:
        """Takes one read; whether the answer is over."""
        data = self.socket.recv(READ)
        now = time.monotonic()
        assert data, "the service hung up"
        before = self.pieces.count
        self.pieces.feed(data)
        self.times += [now] * (self.pieces.count - before)
        return self.pieces.over


@asynccontextmanager
async def unstamped() -> AsyncGenerator[Connections]:
    """Connections without the kernel's stamps."""
    async with fanout.open_transport("curl") as connections:
        yield connections


def bench(opened: Any, url: str, streams: int, requests: int) -> Seen:
    """`fanout bench`: its load, its engine, its records."""
    started = _cpu_us()
    began: deque[float] = deque()

    @asynccontextmanager
    async def noted() -> AsyncGenerator[Connections]:
        async with opened() as connections:
            began.extend((time.monotonic(), _cpu_us()))
            yield connections

    records, _ = trio.run(run_load, f"{url}/v1", streams, requests, noted)
    kept = [record for record in records if not record.warmup]
    figures = [measure(record) for record in kept if record.finished]
    pieces = sum(len(record.times) for record in kept) or 1
    late = sorted(record.lateness for record in kept if record.lateness is not None)
    first_at, first_cpu_us = began
    assert started <= first_cpu_us
    return Seen(
        ttft=[found.ttft for found in figures if found.ttft is not None],
        gaps=[gap for found in figures for gap in found.gaps],
        tokens=sum(len(record.times) for record in records),
        first_at=first_at,
        first_cpu_us=first_cpu_us,
        failed=len(kept) - len(figures),
        coalesced=sum(record.coalesced for record in kept) / pieces,
        unpeeked=sum(record.unpeeked for record in kept) / pieces,
        lateness_p99=quantile(late, 0.99) if late else None,
    )


Client = Callable[[str, int, int], Seen]

CLIENTS: dict[str, tuple[Client, str]] = {
    FLOOR: (floor, "one thread, epoll, own stamps"),
    "bench": (lambda *load: bench(open_stamped, *load), "fanout bench"),
    "bench-own": (lambda *load: bench(unstamped, *load), "fanout bench without the kernel's stamps"),
}
"""Every client by name, and what the table says of it."""


def _cpu_us() -> float:
    return time.process_time() * 1e6


def _rise() -> bool:
    """Puts this process before its neighbours; whether that is allowed."""
    os.setsid()
    try:
        os.nice(-20)
    except OSError:
        return False
    with suppress(OSError):  # where the scheduler does not group sessions
        Path("/proc/self/autogroup").write_text("-20", "ascii")
    return True


def work(client: str, task: Mapping[str, Any]) -> None:
    """A child's task: one load."""
    raised = _rise()
    seen = CLIENTS[client][0](task["url"], task["streams"], task["requests"])
    seen.cpu_us = _cpu_us() - seen.first_cpu_us
    percentiles = {
        f"{name}_p{round(100 * q)}": quantile(values, q)
        for name, values in (("ttft", sorted(seen.ttft)), ("gap", sorted(seen.gaps)))
        for q in (0.5, 0.99)
    }
    kept = {name: value for name, value in asdict(seen).items() if name not in ("ttft", "gaps", "first_at")}
    rollup = Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()
    pss = next((int(line.split()[1]) for line in rollup if line.startswith("Pss:")), None)
    start_s = seen.first_at - task["spawned"]
    leave({**kept, **percentiles, "start_s": start_s, "raised": raised, "pss_kb": pss, "rss_kb": resident_kb("VmHWM")})


@define
class Line:
    """One run. Errors are shares of the truth; `live` answers were really under way at once, at most."""

    client: str
    streams: int
    neighbours: int
    repetition: int
    ttft_p50: float
    ttft_p99: float
    gap_p50: float
    gap_p99: float
    live: int
    failed: int
    tokens_per_s: float
    us_per_token: float
    cpu_share: float
    start_cpu_ms: float
    start_ms: float
    rss_kb: int
    pss_kb: int | None
    coalesced: float | None
    unpeeked: float | None
    lateness_p99_ms: float | None
    late_mean_us: float
    raised: bool

    @classmethod
    def of(
        cls, who: tuple[str, int, int, int], took: Mapping[str, Any], sent: Sequence[Sent], state: Mapping[str, Any]
    ) -> "Line":
        """The line of what a child took and what the service sent, those that opened the connections left out."""
        client, streams, beside, repetition = who
        counted = sorted(sent, key=lambda answer: answer.asked)[streams:]
        true = truths(counted)
        whole = (max(a.over for a in sent) - min(a.asked for a in sent)) / 1e9
        late = took["lateness_p99"]
        return cls(
            client,
            streams,
            beside,
            repetition,
            **{name: round(took[name] / true[name] - 1, 6) for name in NAMES},
            live=most_at_once(counted),
            failed=took["failed"],
            tokens_per_s=round(rate(counted, streams), 1),
            us_per_token=round(took["cpu_us"] / took["tokens"], 2),
            cpu_share=round(took["cpu_us"] / 1e6 / whole, 4),
            start_cpu_ms=round(took["first_cpu_us"] / 1e3, 1),
            start_ms=round(took["start_s"] * 1e3, 1),
            rss_kb=took["rss_kb"],
            pss_kb=took["pss_kb"],
            coalesced=None if took["coalesced"] is None else round(took["coalesced"], 5),
            unpeeked=None if took["unpeeked"] is None else round(took["unpeeked"], 5),
            lateness_p99_ms=None if late is None else round(late * 1e3, 3),
            late_mean_us=state["late_mean_us"],
            raised=took["raised"],
        )


def rate(sent: Sequence[Sent], streams: int) -> float:
    """Tokens a second while every stream has begun and none has asked for the last time: what its turns cost shows."""
    begin, end = sent[streams - 1].asked, sent[-1].asked
    if end - begin < 1e8:  # one request a stream has no such time
        begin, end = sent[0].asked, max(answer.over for answer in sent)
    return sum(begin <= at < end for answer in sent for _, at in answer.pieces) / (end - begin) * 1e9


def truths(sent: Sequence[Sent]) -> dict[str, float]:
    """The true percentiles."""
    first = sorted(answer.times[0] for answer in sent)
    gaps = sorted(b - a for answer in sent for a, b in pairwise(answer.times))
    both = (("ttft", first), ("gap", gaps))
    return {f"{name}_p{round(100 * q)}": quantile(values, q) for name, values in both for q in (0.5, 0.99)}


def measure_all(names: Sequence[str], options: Any) -> tuple[list[Line], dict[str, str]]:
    """All lines, and what went wrong: why, by client and load."""
    lines: list[Line] = []
    failed: dict[str, str] = {}
    with open_server() as server:
        loads = product(range(options.repetitions), options.neighbours, options.streams, names)
        for repetition, beside, streams, name in loads:
            where = f"{name}, {streams} streams, {beside} neighbours"
            found = _run(server, (name, streams, beside, repetition), options)
            if isinstance(found, Failed):
                failed[where] = found.why
                say(f"{where} failed: {found.why}")
                continue
            lines.append(found)
            shown = ", ".join(f"{n} {100 * getattr(found, n):+.2f} %" for n in NAMES)
            say(f"{repetition + 1}/{options.repetitions} {where}: {shown}; {found.us_per_token:.0f} µs a token")
    return lines, failed


def _run(server: Server, who: tuple[str, int, int, int], options: Any) -> Line | Failed:
    name, streams, beside, _ = who
    server.truth.take()
    server.state()
    requests = streams * options.rounds if streams > 1 else 2 * options.rounds
    task = {"url": server.url(streams, options.tokens), "streams": streams, "requests": requests}
    with neighbours(beside):
        took = child(Path(__file__), name, {**task, "spawned": time.monotonic()})
    if isinstance(took, Failed):
        return took
    sent, state = server.truth.take(), server.state()
    if state["blocked"] or state["late_mean_us"] > LATEST_US:
        return Failed(f"the service was {state['late_mean_us']:.0f} µs late, and cut off {state['blocked']} answers")
    if len(sent) != streams + requests:
        return Failed(f"the service sent {len(sent)} answers, not {streams + requests}")
    return Line.of(who, took, sent, state)


def medians(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """For each load and client: medians, the worst error of each percentile, and ratios to the floor."""
    floors = {(line.streams, line.neighbours, line.repetition): line for line in lines if line.client == FLOOR}
    found = []
    for streams, beside, client in dict.fromkeys((line.streams, line.neighbours, line.client) for line in lines):
        own = [line for line in lines if (line.streams, line.neighbours, line.client) == (streams, beside, client)]
        pairs = [
            (line, least)
            for line in own
            if (least := floors.get((line.streams, line.neighbours, line.repetition))) is not None
        ]
        columns = ("us_per_token", "cpu_share", "start_cpu_ms", "start_ms", "rss_kb", "pss_kb", "tokens_per_s", "live")
        found.append(
            {
                "client": client,
                "streams": streams,
                "neighbours": beside,
                "errors": {n: median(getattr(line, n) for line in own) for n in NAMES},
                "worst": {n: max((getattr(line, n) for line in own), key=abs) for n in NAMES},
                "coalesced": _median(line.coalesced for line in own),
                "unpeeked": _median(line.unpeeked for line in own),
                **{name: _median(getattr(line, name) for line in own) for name in columns},
                "throughput": _median(line.tokens_per_s / least.tokens_per_s for line, least in pairs),
                "cpu_ratio": _median(line.us_per_token / least.us_per_token for line, least in pairs),
            }
        )
    return found


def _median(values: Iterator[Any] | Any) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 5) if known else None


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """What is printed: errors, and costs."""
    for beside in results["settings"]["neighbours"]:
        cells = [cell for cell in results["medians"] if cell["neighbours"] == beside]
        yield f"Errors in percent of the truth (TTFT p50 / p99, gap p50 / p99), {beside} busy neighbours:\n"
        yield from table(("client", "streams", "TTFT", "gap", "merged"), (_errors(cell) for cell in cells))
        yield "\nCosts; throughput and CPU are shares of the floor's:\n"
        head = ("client", "streams", "throughput", "CPU a token", "share of a core", "CPU to start", "start", "RSS MB")
        yield from table(head, (_costs(cell) for cell in cells))
        yield ""
    for where, why in results["failed"].items():
        yield f"Failed: {where}: {why}"
    yield f"Not measured: {', '.join(results['not_measured'])}."
    yield measured_on(results)


def _errors(cell: Mapping[str, Any]) -> list[str]:
    shown = {name: f"{100 * error:+.2f}" for name, error in cell["errors"].items()}
    merged = "" if cell["coalesced"] is None else f"{100 * cell['coalesced']:.2f} %"
    pairs = [f"{shown[f'{name}_p50']} / {shown[f'{name}_p99']}" for name in ("ttft", "gap")]
    return [CLIENTS[cell["client"]][1], str(cell["streams"]), *pairs, merged]


def _costs(cell: Mapping[str, Any]) -> list[str]:
    throughput = "" if cell["throughput"] is None else f"{100 * cell['throughput']:.1f} %"
    ratio = "" if cell["cpu_ratio"] is None else f"{cell['cpu_ratio']:.2f}"
    start = [f"{cell['start_cpu_ms']:.0f} ms", f"{cell['start_ms']:.0f} ms", f"{cell['rss_kb'] / 1024:.0f}"]
    share = f"{100 * cell['cpu_share']:.1f} %"
    return [CLIENTS[cell["client"]][1], str(cell["streams"]), throughput, ratio, share, *start]


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the tables, and writes the results down."""
    parser = arguments("fidelity", __doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--streams", type=comma_list(int), default=[1, 16, 64, 128, 256, 512], metavar="N,…")
    parser.add_argument("--neighbours", type=comma_list(int), default=[0, 4], metavar="N,…", help="busy loops")
    parser.add_argument("--rounds", type=int, default=4, help="requests of a stream; a single one sends twice as many")
    parser.add_argument("--tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--only", type=comma_list(), metavar="CLIENT,…", help=f"of {', '.join(CLIENTS)}")
    options = parser.parse_args(given)
    names = chosen(parser, options, dict.fromkeys(CLIENTS, ()))
    allow_sockets(max(options.streams))
    about = {**facts(["fanout", "trio", "curl_cffi", "orjson"]), "conditions": conditions()}
    about["repetitions"] = options.repetitions
    lines, failed = measure_all(names, options)
    absent = [f"{peer} (not {'run by this script' if is_there(peer) else 'installed'})" for peer in PEERS]
    results = {
        **about,
        "settings": {name: getattr(options, name) for name in ("streams", "neighbours", "rounds", "tokens")},
        "answers": {"ttft_ms": TTFT, "gap_ms": GAP, "jit": SPREAD},
        "raised": all(line.raised for line in lines),
        "medians": medians(lines),
        "failed": failed,
        "not_measured": absent,
        "columns": " ".join(column.name for column in fields(Line)),
        "lines": [" ".join(map(str, asdict(line).values())) for line in lines],
    }
    print(*report(results), sep="\n")
    store(options.json, results)


if __name__ == "__main__":
    if asked := child_task(sys.argv):
        work(*asked)
    else:
        try:
            main()
        except CannotMeasure as error:
            sys.exit(str(error))
