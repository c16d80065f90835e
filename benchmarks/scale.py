"""Measures what a stream and a race cost when there are very many in one process, against few.

Chunks: CPU per chunk of 64 and of 2,000 streams, as the slope between a short and a long run. At 20 ms the many send
more chunks than one core can read one by one: several come in one read, which the reads per chunk show. Races: CPU per
race of 8 and of 1,000 races of three lanes at once, at a pace that one core can follow. What grows with the number is
searched for, or kept.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import trio
from attrs import asdict, define, frozen

sys.path.insert(0, str(Path(__file__).parent.parent))

import fanout
from benchmarks.clients import (
    CLIENTS,
    DISTRIBUTIONS,
    PATIENT,
    QUESTION,
    Client,
    Round,
    child_task,
    lane,
    on_trio,
    transport,
    work,
)
from benchmarks.load import Failed, Server, allow_sockets, child, open_server
from benchmarks.machine import arguments, chosen, circumstances, comma_list, conclude, every_line, foot, say, table
from benchmarks.stream_cost import Cell
from benchmarks.stream_cost import Line as StreamLine
from fanout.catalog.config import Config

LANES = 3
"""Lanes of a race."""

LOSERS = 20
"""The chunks that a loser would send, in those of the winner: more than pass while a core is busy with set-up."""


async def races(carrier: str, rounds: Sequence[Round]) -> None:
    """All races of a round at once, over one transport: each is won by its last lane, the others have more to say."""
    async with transport(carrier) as carries:
        for each in rounds:
            losers = [lane(f"{each.url}&chunks={each.chunks * LOSERS}")] * (LANES - 1)
            lanes = [*losers, lane(f"{each.url}&chunks={each.chunks}")]
            counts: list[int] = []
            with each:
                async with trio.open_nursery() as nursery:
                    for _ in range(each.streams):
                        nursery.start_soon(_race, lanes, carries, counts)
                each.saw(counts)


async def _race(lanes: Sequence[Any], carries: Any, counts: list[int]) -> None:
    answer = await fanout.race(QUESTION, lanes, transport=carries, timeouts=PATIENT, config=Config())
    counts.append(answer.chunks)


STREAMS = {name: CLIENTS[name] for name in ("floor", "fanout-curl", "fanout-httpx")}
"""The readers of many streams."""

RACES = {
    "races-curl": Client(on_trio(partial(races, "curl")), "races, fanout over curl", CLIENTS["fanout-curl"].needs),
    "races-httpx": Client(on_trio(partial(races, "httpx")), "races, fanout over httpx"),
}
"""The runners of many races; a Round's streams are races here."""


@frozen
class Load:
    """A client and how many streams or races it has at once, with so many milliseconds between chunks."""

    client: str
    count: int
    every: float

    @property
    def where(self) -> str:
        """Its name in messages."""
        return f"{self.client}, {self.count} at {self.every:g} ms"


@define
class Line:
    """One process: microseconds of CPU for one chunk or one race."""

    client: str
    count: int
    every: float
    repetition: int
    us: float
    reads_per_chunk: float | None
    rss_kb: int


def loads(names: Sequence[str], options: Any) -> list[Load]:
    """A thing that is measured."""
    streams = [Load(*each) for each in product(STREAMS, options.streams, options.every)]
    races = [Load(name, count, options.race_every) for name, count in product(RACES, options.races)]
    return [load for load in (*streams, *races) if load.client in names]


def _run(server: Server, load: Load, options: Any) -> dict[str, Any] | Failed:
    """One process, as the fields of a Line."""
    if load.client in STREAMS:
        cell = Cell.of(load.count, load.every, options.seconds, sys.maxsize)
        rounds = cell.rounds(server)
    else:
        cell = Cell(load.count, load.every, options.race_chunks)
        rounds = [(server.stream(every=load.every), load.count, options.race_chunks)] * 2
    took = child(Path(__file__), load.client, {"rounds": rounds})
    if isinstance(took, Failed):
        return took
    if load.client in RACES:  # the first round has opened the connections
        us = round(took["rounds"][1]["cpu_us"] / load.count, 1)
        return {"us": us, "reads_per_chunk": None, "rss_kb": took["rss_kb"]}
    line = StreamLine.of(load.client, cell, 0, took)
    return {"us": line.us_per_chunk, "reads_per_chunk": line.reads_per_chunk, "rss_kb": line.rss_kb}


def measure(plan: Sequence[Load], options: Any) -> tuple[list[Line], dict[str, str]]:
    """All lines, and what went wrong."""
    lines: list[Line] = []
    failed: dict[str, str] = {}
    with open_server() as server:
        for repetition, load in product(range(options.repetitions), plan):
            if load.where in failed:
                continue
            took = _run(server, load, options)
            if isinstance(took, Failed):
                failed[load.where] = took.why
                say(f"{load.where} failed: {took.why}")
                continue
            lines.append(Line(load.client, load.count, load.every, repetition, **took))
            say(f"{repetition + 1}/{options.repetitions} {load.where}: {took['us']:.1f} µs")
    return lines, failed


def medians(lines: Sequence[Line], plan: Sequence[Load]) -> list[dict[str, Any]]:
    """For each load: medians of the cost, and of its ratio to that of the smallest number at the same pace."""
    found = []
    for load in plan:
        same = [line for line in lines if (line.client, line.every) == (load.client, load.every)]
        here = [line for line in same if line.count == load.count]
        least = min((line.count for line in same), default=0)
        few = {line.repetition: line.us for line in same if line.count == least and line.us > 0}
        ratios = [line.us / few[line.repetition] for line in here if line.repetition in few]
        reads = [line.reads_per_chunk for line in here if line.reads_per_chunk is not None]
        if here:
            found.append(
                {
                    **asdict(load),
                    "us": round(median(line.us for line in here), 1),
                    "ratio": round(median(ratios), 2) if ratios else None,
                    "reads_per_chunk": round(median(reads), 2) if reads else None,
                    "rss_kb": median(line.rss_kb for line in here),
                }
            )
    return found


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the table, and below it the machine."""
    says = {name: client.says for name, client in {**STREAMS, **RACES}.items()}
    rows = [
        (
            says[found["client"]],
            found["count"],
            f"{found['every']:g}",
            f"{found['us']:.1f}",
            "" if found["ratio"] is None else f"{found['ratio']:.2f}",
            "" if found["reads_per_chunk"] is None else f"{found['reads_per_chunk']:.2f}",
            f"{found['rss_kb'] / 1024:.0f}",
        )
        for found in results["medians"]
    ]
    head = ("", "at once", "ms", "µs for a chunk or a race", "ratio to the fewest", "reads per chunk", "peak MB")
    yield from table(head, rows)
    yield ""
    yield from foot(results)


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the table, and writes the results down."""
    every = {**STREAMS, **RACES}
    parser = arguments("scale", __doc__)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--streams", type=comma_list(int), default=[64, 2000], metavar="N,…")
    parser.add_argument("--every", type=comma_list(float), default=[20.0, 200.0], metavar="MS,…")
    parser.add_argument("--seconds", type=float, default=3.0, help="of the long run")
    parser.add_argument("--races", type=comma_list(int), default=[8, 1000], metavar="N,…")
    parser.add_argument("--race-every", type=float, default=500.0, metavar="MS")
    parser.add_argument("--race-chunks", type=int, default=6, help="of the winner")
    options, names = chosen(parser, given, {name: client.missing for name, client in every.items()})
    allow_sockets(max(*options.streams, *(count * LANES for count in options.races)))
    about = circumstances(DISTRIBUTIONS, options.repetitions)
    plan = loads(names, options)
    lines, failed = measure(plan, options)
    results = {
        **about,
        "settings": {name: getattr(options, name) for name in ("streams", "every", "seconds", "races", "race_chunks")},
        "medians": medians(lines, plan),
        "failed": failed,
        **every_line(Line, lines),
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    if asked := child_task(sys.argv):
        work({**STREAMS, **RACES}[asked[0]], asked[1])
    main()
