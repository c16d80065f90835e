"""CPU to set up one stream among many: from the call to the first chunk, over connections that are opened for it.

Each round has a client of its own, made before its clock starts, so that nothing but the streams is counted. Rounds of
short and of longer streams take turns in one process; set-up is what is left of a stream's cost at no chunks at all, on
the line through the medians of the two. Clients take turns, each repetition anew; ratios are to the floor, which
connects, sends and reads.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from attrs import define

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import clients
from benchmarks.clients import CLIENTS, DISTRIBUTIONS
from benchmarks.load import Failed, allow_sockets, child, open_server
from benchmarks.machine import arguments, chosen, circumstances, comma_list, conclude, every_line, foot, say, table

FLOOR = "floor"

EVERY = 5
"""Milliseconds between chunks."""

SHORT, LONG = 1, 11
"""Chunks of a stream."""


@define
class Line:
    """One process of one client: microseconds of CPU to set up one of so many streams."""

    client: str
    streams: int
    repetition: int
    us_per_stream: float


def intercept(short_us: float, long_us: float, streams: int) -> float:
    """Microseconds a stream at no chunks, on the line through two rounds."""
    slope = (long_us - short_us) / (LONG - SHORT)
    return round((short_us - slope * SHORT) / streams, 1)


def measure(
    names: Sequence[str], sizes: Sequence[int], repetitions: int, rounds: int
) -> tuple[list[Line], dict[str, str]]:
    """All lines, and what went wrong by client and number of streams."""
    lines: list[Line] = []
    failed: dict[str, str] = {}
    with open_server() as server:
        short, long = (server.stream(every=EVERY, chunks=chunks) for chunks in (SHORT, LONG))
        for repetition, streams, name in product(range(repetitions), sizes, names):
            where = f"{name}, {streams} streams"
            if where in failed:
                continue
            pair = [(short, streams, SHORT), (long, streams, LONG)]
            took = child(Path(clients.__file__), name, {"rounds": pair * (rounds + 1), "fresh": True})
            if isinstance(took, Failed):
                failed[where] = took.why
                say(f"{where} failed: {took.why}")
                continue
            _, _, *counted = [each["cpu_us"] for each in took["rounds"]]
            us = intercept(median(counted[::2]), median(counted[1::2]), streams)
            lines.append(Line(name, streams, repetition, us))
            say(f"{repetition + 1}/{repetitions} {where}: {us:.0f} µs a stream")
    return lines, failed


def medians(lines: Sequence[Line], names: Sequence[str], sizes: Sequence[int]) -> dict[str, dict[str, Any]]:
    """By number of streams and client: medians of the cost, and of its ratio to the floor's."""
    found: dict[str, dict[str, Any]] = {}
    for streams, name in product(sizes, names):
        here = [line for line in lines if line.streams == streams]
        least = {line.repetition: line.us_per_stream for line in here if line.client == FLOOR}
        own = [line for line in here if line.client == name]
        ratios = [line.us_per_stream / least[line.repetition] for line in own if least.get(line.repetition, 0) > 0]
        if ratios:
            us = round(median(line.us_per_stream for line in own), 1)
            found.setdefault(str(streams), {})[name] = {"us_per_stream": us, "ratio": round(median(ratios), 2)}
    return found


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the table, and below it the machine."""
    columns = results["medians"]
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    yield from table(
        ("set-up of a stream, ratio to the floor (µs)", *(f"{streams} streams" for streams in columns)),
        ((CLIENTS[name].says, *(_shown(column.get(name)) for column in columns.values())) for name in names),
    )
    yield ""
    yield from foot(results)


def _shown(cell: Mapping[str, float] | None) -> str:
    return f"{cell['ratio']:.1f} ({cell['us_per_stream']:.0f})" if cell else ""


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the table, and writes the results down."""
    parser = arguments("setup_cost", __doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--streams", type=comma_list(int), default=[64, 512], metavar="N,…")
    parser.add_argument("--rounds", type=int, default=3, help="of each length, in one process")
    options, names = chosen(parser, given, {name: client.missing for name, client in CLIENTS.items()})
    names = list(dict.fromkeys([FLOOR, *names]))
    allow_sockets(max(options.streams))
    about = circumstances(DISTRIBUTIONS, options.repetitions)
    lines, failed = measure(names, options.streams, options.repetitions, options.rounds)
    results = {
        **about,
        "settings": {"streams": options.streams, "rounds": options.rounds, "every": EVERY, "chunks": [SHORT, LONG]},
        "medians": medians(lines, names, options.streams),
        "failed": failed,
        **every_line(Line, lines),
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    main()
