"""Measures how true `fanout bench` is, and what it costs: against a service that logs when it sent each token.

A closed loop of so many streams asks `native/truth.c`, which has the last core to itself and keeps to its schedule. The
error of a percentile is the measured one over the one from the log, less 1. Each stream's first request, which opens
its connection, counts on neither side. Throughput and CPU per token are ratios to the floor of the same repetition:
`native/reader.c`, which is the same load in C with stamps of its own, one thread, one epoll. Neighbours are busy loops
on all cores, which end with each run. Clients run above normal priority where that is allowed, as the results say.

With its defaults it takes about ten minutes: three repetitions, and neighbours beside one number of streams only.
Where AIPerf and GuideLLM are installed (`harnesses.py`), they are measured too, which takes half an hour more.
"""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import orjson
import trio
from attrs import asdict, define, frozen

sys.path.insert(0, str(Path(__file__).parent.parent))

import fanout
from benchmarks import harnesses
from benchmarks.clients import child_task, leave, request_bytes, resident_kb
from benchmarks.load import PATIENCE, CannotMeasure, Failed, allow_sockets, built, child, got, running
from benchmarks.machine import arguments, chosen, circumstances, comma_list, conclude, every_line, foot, say, table
from fanout.bench.analysis.metrics import measure
from fanout.bench.analysis.statistics import quantile
from fanout.bench.calibration.calibrate import most_at_once, run_load
from fanout.bench.calibration.truth import Sent, Truth
from fanout.bench.load.request import open_stamped

FLOOR = "reader"

TTFT, GAP, SPREAD = 200, 20, 0.3
"""The answers: milliseconds, and the share by which gaps vary."""

LATEST_US = 200.0
"""A run counts only if the service sent its tokens less late than this on average."""

NAMES = ("ttft_p50", "ttft_p99", "gap_p50", "gap_p99")
"""A figure that is compared."""


@frozen
class Server:
    """The service, and what it says of itself."""

    truth: Truth

    def url(self, streams: int, tokens: int) -> str:
        """Its base URL for a load of so many streams, and answers of so many tokens."""
        return f"{self.truth.url}/ttft={TTFT}&gap={GAP}&jit={SPREAD}&tokens={tokens}&seed={streams}"

    def state(self) -> dict[str, Any]:
        """Since it was asked the last time: how late it was, whom it cut off; and its priority and CPU."""
        found: dict[str, Any] = orjson.loads(got(f"{self.truth.url}/state"))
        return found


@contextmanager
def open_server(seconds: int = 4 * 3600) -> Iterator[Server]:
    """The service, until the block is left. Raises CannotMeasure."""
    with running("truth.c", seconds) as (url, pid):
        yield Server(Truth(url, pid))


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
    """The measurements of a client, and their cost.

    `ttft` and `gaps` are seconds, of what counts; `tokens` and `cpu_us` are of all requests, from `first_at` on, which
    is CLOCK_MONOTONIC like `began`, when its process began. `first_cpu_us` is the CPU until then.
    """

    ttft: Sequence[float]
    gaps: Sequence[float]
    tokens: int
    began: float
    first_at: float
    first_cpu_us: float
    cpu_us: float
    rss_kb: int
    failed: int = 0
    coalesced: float | None = None
    unpeeked: float | None = None
    lateness_p99: float | None = None


def reader(url: str, streams: int, requests: int, _: float) -> Seen:
    """`native/reader.c`, in a process of its own, without the shim that counts reads. Raises CannotMeasure."""
    command = [str(built("reader.c")), str(PATIENCE), str(urlsplit(url).port), str(streams), str(requests)]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    began = time.monotonic()
    done = subprocess.run(command, input=request_bytes(url), env=environment, capture_output=True, check=False)
    if done.returncode:
        raise CannotMeasure(done.stderr.decode().strip() or f"the reader ended with {done.returncode}")
    *answers, costs = map(orjson.loads, done.stdout.splitlines())
    kept = [answer for answer in answers if not answer["first"]]
    return Seen(
        ttft=[(answer["times"][0] - answer["asked"]) / 1e9 for answer in kept],
        gaps=[(b - a) / 1e9 for answer in kept for a, b in pairwise(answer["times"])],
        tokens=sum(len(answer["times"]) for answer in answers),
        began=began,
        **{**costs, "first_at": costs["first_at"] / 1e9},
    )


def unstamped() -> Any:
    """Connections without the kernel's stamps, to be entered."""
    return fanout.open_transport("curl")


def bench(opened: Any, url: str, streams: int, requests: int, began: float) -> Seen:
    """`fanout bench`: its load, its engine, its records."""
    first: deque[float] = deque()

    @asynccontextmanager
    async def noted() -> AsyncGenerator[Any]:
        async with opened() as connections:
            first.extend((time.monotonic(), _cpu_us()))
            yield connections

    records, _ = trio.run(run_load, f"{url}/v1", streams, requests, noted)
    first_at, first_cpu_us = first
    cpu_us = _cpu_us() - first_cpu_us
    kept = [record for record in records if not record.warmup]
    figures = [measure(record) for record in kept if record.finished]
    pieces = sum(len(record.times) for record in kept) or 1
    late = sorted(record.lateness for record in kept if record.lateness is not None)
    return Seen(
        ttft=[ttft for found in figures if (ttft := found["ttft"]) is not None],
        gaps=[gap for found in figures for gap in found.gaps],
        tokens=sum(len(record.times) for record in records),
        began=began,
        first_at=first_at,
        first_cpu_us=first_cpu_us,
        cpu_us=cpu_us,
        rss_kb=resident_kb("VmHWM"),
        failed=len(kept) - len(figures),
        coalesced=sum(record.coalesced for record in kept) / pieces,
        unpeeked=sum(record.unpeeked for record in kept) / pieces,
        lateness_p99=quantile(late, 0.99) if late else None,
    )


@frozen
class Client:
    """A client: how it asks the service at a URL, with streams, requests and the time its process began; what it is."""

    run: Callable[[str, int, int, float], Seen]
    says: str


CLIENTS = {
    FLOOR: Client(reader, "C, one thread, one epoll, own stamps"),
    "bench": Client(partial(bench, open_stamped), "fanout bench"),
    "bench-own": Client(partial(bench, unstamped), "fanout bench without the kernel's stamps"),
}
"""Every client of ours by name: each is a row of the tables."""

SAYS = {name: client.says for name, client in CLIENTS.items()} | harnesses.SAYS
"""The rows by name; other programs that measure services have rows where they are installed."""


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
    seen = CLIENTS[client].run(task["url"], task["streams"], task["requests"], task["began"])
    kept = {name: value for name, value in asdict(seen).items() if name not in ("ttft", "gaps", "began", "first_at")}
    start_s = seen.first_at - seen.began
    leave({**kept, **percentiles(seen.ttft, seen.gaps), "start_s": start_s, "raised": raised})


def percentiles(ttft: Iterable[float], gaps: Iterable[float]) -> dict[str, float | None]:
    """The figures that are compared, by name; None where nothing was measured."""
    both = (("ttft", sorted(ttft)), ("gap", sorted(gaps)))
    return {
        f"{name}_p{round(100 * q)}": quantile(values, q) if values else None
        for name, values in both
        for q in (0.5, 0.99)
    }


@define
class Line:
    """One run. Errors are shares of the truth, None where the client does not measure that.

    `live` answers were really under way at once, at most.
    """

    client: str
    streams: int
    neighbours: int
    repetition: int
    ttft_p50: float | None
    ttft_p99: float | None
    gap_p50: float | None
    gap_p99: float | None
    live: int
    failed: int
    tokens_per_s: float
    us_per_token: float
    cpu_share: float
    start_cpu_ms: float
    start_ms: float
    rss_kb: int
    coalesced: float | None
    unpeeked: float | None
    lateness_p99_ms: float | None
    late_mean_us: float
    raised: bool
    processes: int = 1

    @classmethod
    def of(
        cls, who: tuple[str, int, int, int], took: Mapping[str, Any], sent: Sequence[Sent], state: Mapping[str, Any]
    ) -> "Line":
        """The line of what a child took and what the service sent, those that opened the connections left out."""
        client, streams, beside, repetition = who
        counted = sorted(sent, key=lambda answer: answer.asked)[streams:]
        true = percentiles(
            (answer.times[0] for answer in counted), (b - a for answer in counted for a, b in pairwise(answer.times))
        )
        whole = (max(a.over for a in sent) - min(a.asked for a in sent)) / 1e9
        late = took["lateness_p99"]
        return cls(
            client,
            streams,
            beside,
            repetition,
            **{name: None if took[name] is None else round(took[name] / true[name] - 1, 6) for name in NAMES},
            live=most_at_once(counted),
            failed=took["failed"],
            tokens_per_s=round(rate(counted, streams), 1),
            us_per_token=round(took["cpu_us"] / took["tokens"], 2),
            cpu_share=round(took["cpu_us"] / 1e6 / whole, 4),
            start_cpu_ms=round(took["first_cpu_us"] / 1e3, 1),
            start_ms=round(took["start_s"] * 1e3, 1),
            rss_kb=took["rss_kb"],
            coalesced=None if took["coalesced"] is None else round(took["coalesced"], 5),
            unpeeked=None if took["unpeeked"] is None else round(took["unpeeked"], 5),
            lateness_p99_ms=None if late is None else round(late * 1e3, 3),
            late_mean_us=state["late_mean_us"],
            raised=took["raised"],
            processes=took.get("processes", 1),
        )


def rate(sent: Sequence[Sent], streams: int) -> float:
    """Tokens a second while every stream has begun and none has asked for the last time: what its turns cost shows."""
    begin, end = sent[streams - 1].asked, sent[-1].asked
    if end - begin < 1e8:  # one request a stream has no such time
        begin, end = sent[0].asked, max(answer.over for answer in sent)
    return sum(begin <= at < end for answer in sent for _, at in answer.pieces) / (end - begin) * 1e9


class Spoilt(Failed):
    """A repetition in which the service itself was late: it is set aside, and says nothing of the client."""


def measure_all(names: Sequence[str], options: Any) -> tuple[list[Line], dict[str, str], dict[str, str]]:
    """All lines, what went wrong, and what was set aside: why, by client and load."""
    lines: list[Line] = []
    failed: dict[str, str] = {}
    spoilt: dict[str, str] = {}
    loads = [(streams, 0) for streams in options.streams] + [
        (streams, options.neighbours) for streams in options.beside
    ]
    with open_server() as server:
        for repetition, (streams, beside), name in product(range(options.repetitions), loads, names):
            where = f"{name}, {streams} streams, {beside} neighbours"
            found = _run(server, (name, streams, beside, repetition), options)
            if isinstance(found, Failed):
                (spoilt if isinstance(found, Spoilt) else failed)[where] = found.why
                say(f"{where} {'set aside' if isinstance(found, Spoilt) else 'failed'}: {found.why}")
                continue
            lines.append(found)
            shown = ", ".join(f"{n} {_percent(getattr(found, n))}" for n in NAMES)
            say(f"{repetition + 1}/{options.repetitions} {where}: {shown}; {found.us_per_token:.0f} µs a token")
    return lines, failed, spoilt


def _run(server: Server, who: tuple[str, int, int, int], options: Any) -> Line | Failed:
    name, streams, beside, _ = who
    server.truth.take()
    server.state()
    requests = streams * options.rounds if streams > 1 else 3 * options.rounds
    task = {"url": server.url(streams, options.tokens), "streams": streams, "requests": requests}
    with neighbours(beside):
        if name in CLIENTS:
            took = child(Path(__file__), name, {**task, "began": time.monotonic()})
        else:
            took = options.runner.run(name, harnesses.Load(task["url"], streams, streams + requests, options.tokens))
    if isinstance(took, Failed):
        return took
    sent, state = server.truth.take(), server.state()
    if state["blocked"] or state["late_mean_us"] > LATEST_US:
        return Spoilt(f"the service was {state['late_mean_us']:.0f} µs late, and cut off {state['blocked']} answers")
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
        columns = (
            "us_per_token",
            "cpu_share",
            "start_cpu_ms",
            "start_ms",
            "rss_kb",
            "tokens_per_s",
            "live",
            "processes",
        )
        found.append(
            {
                "client": client,
                "streams": streams,
                "neighbours": beside,
                "errors": {n: _median(getattr(line, n) for line in own) for n in NAMES},
                "worst": {n: max(_known(getattr(line, n) for line in own), key=abs, default=None) for n in NAMES},
                "coalesced": _median(line.coalesced for line in own),
                "unpeeked": _median(line.unpeeked for line in own),
                **{name: _median(getattr(line, name) for line in own) for name in columns},
                "throughput": _median(line.tokens_per_s / least.tokens_per_s for line, least in pairs),
                "cpu_ratio": _median(line.us_per_token / least.us_per_token for line, least in pairs),
            }
        )
    return found


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _median(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return round(median(known), 5) if known else None


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """Yields what is printed: errors, and costs."""
    for beside in dict.fromkeys(cell["neighbours"] for cell in results["medians"]):
        cells = [cell for cell in results["medians"] if cell["neighbours"] == beside]
        yield f"Errors, as a share of the truth (TTFT p50 / p99, gap p50 / p99), {beside} busy neighbours:\n"
        yield from table(("client", "streams", "TTFT", "gap", "merged"), (errors(cell) for cell in cells))
        yield "\nCosts; throughput and CPU are shares of the floor's:\n"
        head = (
            "client",
            "streams",
            "throughput",
            "CPU a token",
            "share of a core",
            "CPU to start",
            "start",
            "MB",
            "processes",
        )
        yield from table(head, (costs(cell) for cell in cells))
        yield ""
    yield f"Not measured: {', '.join(results['not_measured']) or 'none'}."
    yield from foot(results)


def errors(cell: Mapping[str, Any]) -> list[str]:
    """A row: client, streams, errors of TTFT and gaps, share of merged stamps."""
    shown = {name: _percent(error) for name, error in cell["errors"].items()}
    merged = "" if cell["coalesced"] is None else f"{100 * cell['coalesced']:.2f} %"
    pairs = [f"{shown[f'{name}_p50']} / {shown[f'{name}_p99']}" for name in ("ttft", "gap")]
    return [SAYS[cell["client"]], _streams(cell), *pairs, merged]


def _streams(cell: Mapping[str, Any]) -> str:
    """The number that was asked for, and the real one if it is another."""
    asked, live = cell["streams"], cell["live"]
    return str(asked) if live == asked else f"{asked} ({live:g} in flight)"


def _percent(error: float | None) -> str:
    return "?" if error is None else f"{100 * error:+.2f} %"


def costs(cell: Mapping[str, Any]) -> list[str]:
    """A row: client, streams, throughput, CPU a token, share of a core, CPU and time to start, MB, processes."""
    throughput = "" if cell["throughput"] is None else f"{100 * cell['throughput']:.1f} %"
    ratio = "" if cell["cpu_ratio"] is None else f"{cell['cpu_ratio']:.2f}"
    start = [f"{cell['start_cpu_ms']:.0f} ms", f"{cell['start_ms']:.0f} ms", f"{cell['rss_kb'] / 1024:.0f}"]
    share, processes = f"{100 * cell['cpu_share']:.1f} %", f"{cell['processes']:.0f}"
    return [SAYS[cell["client"]], str(cell["streams"]), throughput, ratio, share, *start, processes]


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the tables, and writes the results down."""
    parser = arguments("fidelity", __doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--streams", type=comma_list(int), default=[1, 16, 64, 128, 256, 512], metavar="N,…")
    parser.add_argument(
        "--beside", type=comma_list(int), default=[128], metavar="N,…", help="streams with neighbours too"
    )
    parser.add_argument("--neighbours", type=int, default=4, help="busy loops")
    parser.add_argument(
        "--rounds", type=int, default=3, help="requests of a stream; a single one sends three times as many"
    )
    parser.add_argument("--tokens", type=int, default=64, help="of an answer")
    programs = harnesses.installed(parser, given)
    options, names = chosen(parser, given, dict.fromkeys([*CLIENTS, *programs], ()))
    allow_sockets(max(*options.streams, *options.beside))
    about = circumstances(["fanout", "trio", "curl_cffi", "orjson"], options.repetitions)
    about["versions"] |= harnesses.versions(programs)
    began = time.monotonic()
    with harnesses.open_runner(programs) as options.runner:
        lines, failed, spoilt = measure_all(names, options)
    settings = ("streams", "beside", "neighbours", "rounds", "tokens")
    results = {
        **about,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "settings": {name: getattr(options, name) for name in settings},
        "answers": {"ttft_ms": TTFT, "gap_ms": GAP, "jit": SPREAD},
        "raised": all(line.raised for line in lines),
        "medians": medians(lines),
        "failed": failed,
        "set_aside": spoilt,
        "not_measured": harnesses.not_measured(programs, names),
        **every_line(Line, lines),
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    if asked := child_task(sys.argv):
        work(*asked)
    else:
        try:
            main()
        except CannotMeasure as error:
            sys.exit(str(error))
