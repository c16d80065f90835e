"""Measures a race after the winner's last byte: until the verdict, until the losers are gone, and what they sent.

Eight lanes at 5 ms a chunk. The last one wins after 20 chunks, the others would run on for two seconds. One clock
serves both sides, CLOCK_MONOTONIC: the server notes it before it sends the winner's last bytes, the client when it has
the answer in its hands, the server again when each loser has hung up. A process runs some races with one
client, the first of which does not count; clients take turns. Where a client races only whole answers,
not streams, the services answer at once after the same times; then losers cannot send chunks.

The lanes lead to the server straight, or through a front with TLS over HTTP/1.1 or HTTP/2, which adds its own time to
all three. Over HTTP/2 losers are reset, and their connections stay open.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

import trio
from attrs import asdict, define, frozen

sys.path.insert(0, str(Path(__file__).parent.parent))

import fanout
from benchmarks.clients import (
    DISTRIBUTIONS,
    MESSAGES,
    QUESTION,
    child_task,
    is_there,
    lane,
    leave,
    transport,
)
from benchmarks.front import add_ways, find_ways, open_front
from benchmarks.load import Failed, Server, Stats, child, open_server
from benchmarks.machine import arguments, chosen, circumstances, conclude, every_line, measured_on, say, table
from benchmarks.ways import ADDED, H2, KINDS, PLAIN, TLS, WAYS

EVERY = 5
"""Milliseconds between chunks."""

PATIENCE = 10.0
"""Seconds after a verdict in which every lane should be gone."""


@frozen
class Course:
    """One race: its number, and the lanes, which lead through `front`. The winner is listed last."""

    server: Server
    front: Server
    number: int
    lanes: int
    winner_chunks: int
    loser_chunks: int

    def urls(self, *, whole: bool = False) -> list[str]:
        """The lanes' addresses. `whole`: no streams, but documents that come when the streams would have ended."""
        losers = [self._url(str(place), self.loser_chunks, whole=whole) for place in range(self.lanes - 1)]
        return [*losers, self._url("winner", self.winner_chunks, whole=whole)]

    def _url(self, name: str, chunks: int, *, whole: bool) -> str:
        how = {"whole": 1, "after": chunks * EVERY} if whole else {"every": EVERY, "chunks": chunks}
        return self.front.stream(tag=f"{self.number}-{name}", winner=int(name == "winner"), **how)


@frozen
class Taken:
    """The times of one race: milliseconds from the winner's last byte to the verdict and to the last loser's end."""

    verdict_ms: float
    closed_ms: float
    late_chunks: int

    @classmethod
    def of(cls, verdict: int, stats: Stats) -> "Taken":
        """Of the verdict's time and what the server saw."""
        losers = [request for request in stats.requests if not request.winner]
        return cls(
            verdict_ms=round((verdict - stats.mark) / 1e6, 3),
            closed_ms=round((max(request.over for request in losers) - stats.mark) / 1e6, 3),
            late_chunks=sum(request.late_chunks for request in losers),
        )


Asleep = Callable[[float], Awaitable[None]]


async def judged(course: Course, verdict: int, sleep: Asleep) -> Taken:
    """Waits, without keeping the client's loop from its work, until the server has seen the end of every lane."""
    until = time.monotonic() + PATIENCE
    while True:
        await sleep(0.1)
        stats = course.server.stats()
        if len(stats.requests) == course.lanes:
            course.server.reset()
            return Taken.of(verdict, stats)
        assert time.monotonic() < until, f"{course.lanes - len(stats.requests)} lanes still run"


async def fanout_race(carrier: str, courses: Sequence[Course]) -> list[Taken]:
    """`fanout.race` over one transport."""
    taken = []
    async with transport(carrier) as carries:
        for course in courses:
            lanes = [lane(url) for url in course.urls()]
            answer = await fanout.race(QUESTION, lanes, transport=carries)
            verdict = time.monotonic_ns()
            assert answer.chunks == course.winner_chunks
            taken.append(await judged(course, verdict, trio.sleep))
    return taken


async def openai_race(courses: Sequence[Course], *, gather: bool) -> list[Taken]:
    """A task a lane, `asyncio.wait` for the first, and the others cancelled: with or without waiting for their end."""
    client: Any = import_module("openai").AsyncOpenAI(api_key="k", max_retries=0, base_url="http://127.0.0.1")
    taken = []
    async with client:
        for course in courses:
            tasks = {asyncio.create_task(_openai_text(client, url)) for url in course.urls()}
            done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            verdict = time.monotonic_ns()
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            if gather:
                verdict = time.monotonic_ns()
            assert done.pop().result().count("w") == course.winner_chunks
            taken.append(await judged(course, verdict, asyncio.sleep))
    return taken


async def _openai_text(client: Any, url: str) -> str:
    here = client.with_options(base_url=f"{url}/v1")
    chunks = await here.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])


def _deployment(model: str, url: str) -> dict[str, str]:
    return {"model": f"openai/{model}", "api_base": f"{url}/v1", "api_key": "k"}


async def litellm_router(courses: Sequence[Course]) -> list[Taken]:
    """`Router.abatch_completion_fastest_response`; a router a race, since it holds the addresses."""
    litellm: Any = import_module("litellm")
    taken = []
    for course in courses:
        models = [
            {"model_name": f"m{place}", "litellm_params": _deployment("m", url)}
            for place, url in enumerate(course.urls(whole=True))
        ]
        router = litellm.Router(model_list=models, num_retries=0)
        names = ",".join(f"m{place}" for place in range(course.lanes))
        answer = await router.abatch_completion_fastest_response(model=names, messages=MESSAGES)
        verdict = time.monotonic_ns()
        assert "winner" in answer.choices[0].message.content
        taken.append(await judged(course, verdict, asyncio.sleep))
    return taken


async def litellm_batch(courses: Sequence[Course]) -> list[Taken]:
    """`batch_completion_models`, with deployments; it blocks, in threads of its own."""
    litellm: Any = import_module("litellm")
    taken = []
    for course in courses:
        deployments = [_deployment(f"m{place}", url) for place, url in enumerate(course.urls(whole=True))]
        answer = litellm.batch_completion_models(deployments=deployments, model_list=[], messages=MESSAGES)
        verdict = time.monotonic_ns()
        assert "winner" in answer.choices[0].message.content
        taken.append(await judged(course, verdict, asyncio.sleep))
    return taken


@frozen
class Racer:
    """A client: how it races, what the table says of it, the modules that it needs, and the ways that it knows."""

    run: Callable[[Sequence[Course]], list[Taken]]
    says: str
    needs: tuple[str, ...] = ()
    ways: tuple[str, ...] = (PLAIN, TLS)

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed."""
        return tuple(name for name in self.needs if not is_there(name))


def _on_trio(race: Callable[[Sequence[Course]], Awaitable[list[Taken]]]) -> Callable[[Sequence[Course]], list[Taken]]:
    return lambda courses: trio.run(race, courses)


def _on_asyncio(race: Callable[[Sequence[Course]], Any]) -> Callable[[Sequence[Course]], list[Taken]]:
    return lambda courses: asyncio.run(race(courses))


RACERS = {
    "fanout-curl": Racer(
        _on_trio(partial(fanout_race, "curl")),
        "fanout over curl",
        ("fanout.transports.curl", "curl_cffi"),
        (PLAIN, TLS, H2),
    ),
    "fanout-httpx": Racer(_on_trio(partial(fanout_race, "httpx")), "fanout over httpx"),
    "openai-gather": Racer(
        _on_asyncio(partial(openai_race, gather=True)), "openai SDK, `asyncio.wait`, cancel and gather", ("openai",)
    ),
    "openai-first": Racer(
        _on_asyncio(partial(openai_race, gather=False)), "openai SDK, `asyncio.wait`, the result first", ("openai",)
    ),
    "litellm-router": Racer(
        _on_asyncio(litellm_router), "litellm `Router` fastest_response, whole answers", ("litellm",)
    ),
    "litellm-batch": Racer(
        _on_asyncio(litellm_batch), "litellm `batch_completion_models`, whole answers", ("litellm",)
    ),
}


@define
class Line:
    """One race of one client."""

    client: str
    way: str
    repetition: int
    race: int
    verdict_ms: float
    closed_ms: float
    late_chunks: int


def measure(names: Sequence[str], ways: Sequence[str], options: Any) -> tuple[list[Line], dict[str, str]]:
    """All lines, and by client and way what went wrong."""
    lines: list[Line] = []
    failed: dict[str, str] = {}
    task = {name: getattr(options, name) for name in ("races", "lanes", "winner_chunks", "loser_chunks")}
    with open_server() as server, open_front(server, ways) as front:
        for repetition, way, name in product(range(options.repetitions), ways, names):
            where = f"{name}, {WAYS[way]}"
            if where in failed or way not in RACERS[name].ways:
                continue
            server.reset()
            urls = {"url": server.url, "front": front.servers[way].url}
            took = child(Path(__file__), name, {**urls, **task}, front.trust)
            if isinstance(took, Failed):
                failed[where] = took.why
                say(f"{where} failed: {took.why}")
                continue
            own = [Line(name, way, repetition, race, **each) for race, each in enumerate(took["races"])]
            lines += own
            verdict, closed = median(x.verdict_ms for x in own), median(x.closed_ms for x in own)
            say(f"{repetition + 1}/{options.repetitions} {where}: verdict {verdict:.2f} ms, closed {closed:.2f} ms")
    return lines, failed


def medians(lines: Sequence[Line], names: Sequence[str], ways: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """By way and client: medians, and the worst of the verdicts."""
    return {
        way: {
            name: {
                "verdict_ms": round(median(line.verdict_ms for line in own), 2),
                "worst_verdict_ms": round(max(line.verdict_ms for line in own), 2),
                "closed_ms": round(median(line.closed_ms for line in own), 2),
                "late_chunks": median(line.late_chunks for line in own),
            }
            for name in names
            if (own := [line for line in lines if (line.client, line.way) == (name, way)])
        }
        for way in ways
    }


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table for each kind of way, and below them the machine."""
    head = ("verdict, ms", "worst", "all losers closed, ms", "chunks sent to the losers")
    for kind, ways in KINDS.items():
        if results["medians"].get(ways[0]):
            yield from table((f"race of 8 lanes over {kind}", *head), _rows(results, ways))
            yield ""
    yield (
        "From the winner's last byte. Each client has raced before; the losers' connections are opened anew for every"
        " race, since the last one closed them, and litellm's also the winner's; over HTTP/2 they are reset, and"
        " connections stay open. Medians, but for the worst."
    )
    for name, why in results["failed"].items():
        yield f"Failed: {name}: {why}"
    races = len(results["lines"]) // max(1, sum(map(len, results["medians"].values())))
    yield f"{races} races each. {measured_on(results)}"


def _rows(results: Mapping[str, Any], ways: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for name, way in product(RACERS, ways):
        found = results["medians"].get(way, {}).get(name)
        if found:
            yield (
                f"{RACERS[name].says}{ADDED[way]}",
                f"{found['verdict_ms']:.1f}",
                f"{found['worst_verdict_ms']:.1f}",
                f"{found['closed_ms']:.1f}",
                "" if name.startswith("litellm") else f"{found['late_chunks']:g}",
            )


def work(name: str, task: Mapping[str, Any]) -> NoReturn:
    """Does a child's task: so many races, and one before them that does not count."""
    racer, server, front = RACERS[name], Server(task["url"]), Server(task["front"])
    numbers = range(task["races"] + 1)
    sizes = task["lanes"], task["winner_chunks"], task["loser_chunks"]
    _, *taken = racer.run([Course(server, front, number, *sizes) for number in numbers])
    leave({"races": [asdict(each) for each in taken]})


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the table, and writes the results down."""
    parser = arguments("race_cost", __doc__)
    parser.add_argument("--repetitions", type=int, default=5, help="processes of each client")
    parser.add_argument("--races", type=int, default=5, help="in each process")
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--winner-chunks", type=int, default=20)
    parser.add_argument("--loser-chunks", type=int, default=420)
    add_ways(parser)
    options, names = chosen(parser, given, {name: racer.missing for name, racer in RACERS.items()})
    ways = find_ways(parser, options)
    about = circumstances(DISTRIBUTIONS, options.repetitions)
    lines, failed = measure(names, ways, options)
    results = {
        **about,
        "settings": {name: getattr(options, name) for name in ("races", "lanes", "winner_chunks", "loser_chunks")},
        "medians": medians(lines, names, ways),
        "failed": failed,
        **every_line(Line, lines),
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    if asked := child_task(sys.argv):
        work(*asked)
    main()
