"""CPU to set up one stream among many: from the call to the first chunk, over connections that are opened for it.

Each round has a client of its own, made before its clock starts, so that nothing but the streams is counted. Rounds of
short and of longer streams take turns in one process; set-up is what is left of a stream's cost at no chunks at all, on
the line through the medians of the two. Clients take turns, each repetition anew; ratios are to the floor, which
connects, sends and reads. Over TLS each connection shakes hands anew; over HTTP/2 too, since of streams that begin at
once none knows yet of a connection that it could share.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from attrs import define

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import clients
from benchmarks.clients import CLIENTS, DISTRIBUTIONS
from benchmarks.front import add_ways, find_ways, open_front
from benchmarks.load import Failed, allow_sockets, child, open_server
from benchmarks.machine import arguments, chosen, circumstances, comma_list, conclude, every_line, foot, say, table
from benchmarks.ways import ADDED, KINDS, WAYS, floor_of

FLOOR = "floor"

EVERY = 5
"""Milliseconds between chunks."""

SHORT, LONG = 1, 11
"""Chunks of a stream."""


@define
class Line:
    """One process of one client: microseconds of CPU to set up one of so many streams."""

    client: str
    way: str
    streams: int
    repetition: int
    us_per_stream: float


def intercept(short_us: float, long_us: float, streams: int) -> float:
    """Microseconds a stream at no chunks, on the line through two rounds."""
    slope = (long_us - short_us) / (LONG - SHORT)
    return round((short_us - slope * SHORT) / streams, 1)


def measure(
    names: Sequence[str], ways: Sequence[str], sizes: Sequence[int], repetitions: int, rounds: int
) -> tuple[list[Line], dict[str, str]]:
    """All lines, and what went wrong by client, way and number of streams."""
    lines: list[Line] = []
    failed: dict[str, str] = {}
    with open_server() as server, open_front(server, ways) as front:
        for repetition, streams, way, name in product(range(repetitions), sizes, ways, names):
            where = f"{name}, {WAYS[way]}, {streams} streams"
            if where in failed or way not in CLIENTS[name].ways:
                continue
            urls = [(front.servers[way].stream(every=EVERY, chunks=chunks), chunks) for chunks in (SHORT, LONG)]
            pair = [(url, streams, chunks) for url, chunks in urls]
            task = {"rounds": pair * (rounds + 1), "fresh": True}
            took = child(Path(clients.__file__), name, task, front.trust)
            if isinstance(took, Failed):
                failed[where] = took.why
                say(f"{where} failed: {took.why}")
                continue
            _, _, *counted = [each["cpu_us"] for each in took["rounds"]]
            us = intercept(median(counted[::2]), median(counted[1::2]), streams)
            lines.append(Line(name, way, streams, repetition, us))
            say(f"{repetition + 1}/{repetitions} {where}: {us:.0f} µs a stream")
    return lines, failed


def medians(lines: Sequence[Line], names: Sequence[str], ways: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """By way, number of streams and client: medians of the cost, and of its ratio to the floor's."""
    found: dict[str, dict[str, dict[str, Any]]] = {way: {} for way in ways}
    for way, streams, name in product(ways, dict.fromkeys(line.streams for line in lines), names):
        here = [line for line in lines if line.streams == streams]
        floor = [line for line in here if (line.client, line.way) == (FLOOR, floor_of(way))]
        least = {line.repetition: line.us_per_stream for line in floor}
        own = [line for line in here if (line.client, line.way) == (name, way)]
        ratios = [line.us_per_stream / least[line.repetition] for line in own if least.get(line.repetition, 0) > 0]
        if ratios:
            us = round(median(line.us_per_stream for line in own), 1)
            found[way].setdefault(str(streams), {})[name] = {"us_per_stream": us, "ratio": round(median(ratios), 2)}
    return found


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table for each kind of way, and below them the machine."""
    for kind, ways in KINDS.items():
        columns = results["medians"].get(ways[0])
        if columns:
            head = f"set-up of a stream over {kind}, ratio to the floor (µs)"
            yield from table((head, *(f"{streams} streams" for streams in columns)), _rows(results, ways, columns))
            yield ""
    yield from foot(results)


def _rows(results: Mapping[str, Any], ways: Sequence[str], sizes: Iterable[str]) -> Iterator[tuple[str, ...]]:
    for name, way in product(CLIENTS, ways):
        found = results["medians"].get(way, {})
        if any(name in found.get(size, {}) for size in sizes):
            yield f"{CLIENTS[name].says}{ADDED[way]}", *(_shown(found.get(size, {}).get(name)) for size in sizes)


def _shown(cell: Mapping[str, float] | None) -> str:
    return f"{cell['ratio']:.1f} ({cell['us_per_stream']:.0f})" if cell else ""


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the table, and writes the results down."""
    parser = arguments("setup_cost", __doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--streams", type=comma_list(int), default=[64, 512], metavar="N,…")
    parser.add_argument("--rounds", type=int, default=3, help="of each length, in one process")
    add_ways(parser)
    options, names = chosen(parser, given, {name: client.missing for name, client in CLIENTS.items()})
    names = list(dict.fromkeys([FLOOR, *names]))
    ways = find_ways(parser, options)
    allow_sockets(max(options.streams))
    about = circumstances(DISTRIBUTIONS, options.repetitions)
    lines, failed = measure(names, ways, options.streams, options.repetitions, options.rounds)
    results = {
        **about,
        "settings": {"streams": options.streams, "rounds": options.rounds, "every": EVERY, "chunks": [SHORT, LONG]},
        "medians": medians(lines, names, ways),
        "failed": failed,
        **every_line(Line, lines),
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    main()
