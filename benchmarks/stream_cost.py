"""CPU per chunk and memory per stream: fanout and other clients against the least that any client must do.

One process a run: a warm-up, a short run and a long one with the same client. The cost of a chunk is the slope between
the two, so that imports and set-up drop out. Clients take turns, each repetition anew; every ratio is to the floor of
its own repetition, and beside it stands how many reads a chunk took: where fewer than 1, chunks came together, because
the client was too slow to read each one alone, and looks cheaper than it is. A burst comes as fast as it is read.

Each client gets to the service in the ways that it knows: straight, and through a front with TLS over HTTP/1.1 or
HTTP/2. The floor of both is the same thread with Python's `ssl`, which undoes HTTP's chunks too, since a front cuts
them anew. There a read is a TLS record: some take several out of the kernel at once, others one by one.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from attrs import define, frozen

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import clients
from benchmarks.clients import CLIENTS, DISTRIBUTIONS
from benchmarks.front import add_ways, find_ways, open_front
from benchmarks.load import Failed, Server, allow_sockets, child, open_server
from benchmarks.machine import arguments, chosen, circumstances, comma_list, conclude, every_line, foot, say, table
from benchmarks.ways import ADDED, KINDS, PLAIN, WAYS, floor_of

FLOOR = "floor"

FEW, MANY = 64, 512
"""Between these numbers of streams memory is compared."""


@frozen
class Cell:
    """So many streams, with so many milliseconds between chunks (0: a burst), of so many chunks in the long run."""

    streams: int
    every: float
    chunks: int
    way: str = PLAIN

    @classmethod
    def of(cls, streams: int, every: float, seconds: float, most: int, way: str = PLAIN) -> "Cell":
        """The cell whose long run takes so many seconds, or `most` chunks in all streams together if that is less."""
        in_time = int(seconds * 1000 / every) if every else most
        return cls(streams, every, max(4, min(in_time, most // streams)), way)

    @property
    def name(self) -> str:
        """Its name in the results of its way."""
        return f"{self.streams} x {self.every:g} ms" if self.every else f"{self.streams} x burst"

    def rounds(self, server: Server) -> list[tuple[str, int, int]]:
        """The warm-up, the short run and the long run."""
        sizes = max(2, self.chunks // 20), max(2, self.chunks // 10), self.chunks
        return [(server.stream(every=self.every, chunks=size), self.streams, size) for size in sizes]


@define
class Line:
    """One run of one client in one cell. `cpu_share` is CPU time by wall time in the long run; 1 is a whole core."""

    client: str
    way: str
    streams: int
    every: float
    chunks: int
    repetition: int
    us_per_chunk: float
    reads_per_chunk: float | None
    cpu_share: float
    wall_s: float
    rss_start_kb: int
    rss_kb: int

    @classmethod
    def of(cls, client: str, cell: Cell, repetition: int, took: Mapping[str, Any]) -> "Line":
        """The line of what a child took."""
        _, short, long = took["rounds"]
        short_size = max(2, cell.chunks // 10)
        more = cell.streams * (cell.chunks - short_size)
        reads = None if long["reads"] is None else round((long["reads"] - short["reads"]) / more, 3)
        return cls(
            client=client,
            way=cell.way,
            streams=cell.streams,
            every=cell.every,
            chunks=cell.chunks,
            repetition=repetition,
            us_per_chunk=round((long["cpu_us"] - short["cpu_us"]) / more, 2),
            reads_per_chunk=reads,
            cpu_share=round(long["cpu_us"] / long["wall_s"] / 1e6, 2),
            wall_s=round(long["wall_s"], 3),
            rss_start_kb=took["rss_start_kb"],
            rss_kb=took["rss_kb"],
        )


def measure(names: Sequence[str], cells: Sequence[Cell], repetitions: int) -> tuple[list[Line], dict[str, str]]:
    """All lines, and what went wrong: why, by client and cell. What failed once is not tried again."""
    lines: list[Line] = []
    failed: dict[str, str] = {}
    with open_server() as server, open_front(server, {cell.way for cell in cells}) as front:
        for number, (repetition, cell) in enumerate(product(range(repetitions), cells), 1):
            for name in names:
                where = f"{name}, {WAYS[cell.way]}, {cell.name}"
                if where in failed or cell.way not in CLIENTS[name].ways:
                    continue
                task = {"rounds": cell.rounds(front.servers[cell.way])}
                took = child(Path(clients.__file__), name, task, front.trust)
                if isinstance(took, Failed):
                    failed[where] = took.why
                    say(f"{where} failed: {took.why}")
                    continue
                lines.append(line := Line.of(name, cell, repetition, took))
                say(
                    f"{number}/{repetitions * len(cells)} {where}: {line.us_per_chunk:.1f} µs a chunk,"
                    f" {line.reads_per_chunk} reads"
                )
    return lines, failed


def medians(lines: Sequence[Line], names: Sequence[str], cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
    """By way, cell and client: medians of the cost, of its ratio to the floor's, of reads, CPU share and memory."""
    found: dict[str, dict[str, Any]] = {cell.way: {} for cell in cells}
    for cell in cells:
        here = [line for line in lines if (line.streams, line.every) == (cell.streams, cell.every)]
        floor = [line for line in here if (line.client, line.way) == (FLOOR, floor_of(cell.way))]
        own = {name: [line for line in here if (line.client, line.way) == (name, cell.way)] for name in names}
        found[cell.way][cell.name] = {name: _middle(each, floor) for name, each in own.items() if each}
    return found


def _middle(own: Sequence[Line], floor: Sequence[Line]) -> dict[str, float | None]:
    least = {line.repetition: line.us_per_chunk for line in floor}
    ratios = [line.us_per_chunk / least[line.repetition] for line in own if least.get(line.repetition, 0) > 0]
    reads = [line.reads_per_chunk for line in own if line.reads_per_chunk is not None]
    return {
        "us_per_chunk": round(median(line.us_per_chunk for line in own), 2),
        "ratio": round(median(ratios), 2) if ratios else None,
        "reads_per_chunk": round(median(reads), 2) if reads else None,
        "cpu_share": round(median(line.cpu_share for line in own), 2),
        "rss_kb": median(line.rss_kb for line in own),
        "rss_growth_kb": median(line.rss_kb - line.rss_start_kb for line in own),
    }


def memory(cells: Mapping[str, Mapping[str, Any]], every: str) -> dict[str, float]:
    """KB for each stream beyond the 64th, by client, if both sizes were measured."""
    few, many = cells.get(f"{FEW} x {every}", {}), cells.get(f"{MANY} x {every}", {})
    return {name: round((many[name]["rss_kb"] - few[name]["rss_kb"]) / (MANY - FEW), 1) for name in few if name in many}


def shown(cell: Mapping[str, Any] | None) -> str:
    """One cell of the table."""
    if cell is None or cell["ratio"] is None:
        return ""
    if cell["ratio"] <= 0:
        return "lost in the noise"
    reads = "?" if cell["reads_per_chunk"] is None else f"{max(0.0, cell['reads_per_chunk']):.2f}"
    return f"{cell['ratio']:.1f} ({reads})"


def rows(results: Mapping[str, Any], ways: Sequence[str], columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yields a row of a table for each client and way: its name, and its ratio in each of these cells."""
    for name, way in product(CLIENTS, ways):
        cells = results["medians"].get(way, {})
        if any(name in cells.get(column, {}) for column in columns):
            says = f"{CLIENTS[name].says}{ADDED[way]}"
            yield says, *(shown(cells.get(column, {}).get(name)) for column in columns)


def memory_rows(results: Mapping[str, Any], ways: Sequence[str]) -> dict[str, float]:
    """KB for each further stream, by the names of `rows`."""
    found = results["kb_per_stream"]
    return {f"{CLIENTS[name].says}{ADDED[way]}": kb for way in ways for name, kb in found.get(way, {}).items()}


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """Yields a table for each kind of way and pace: ratios to the floor, reads per chunk; memory; the machine."""
    settings = results["settings"]
    for (kind, ways), every in product(KINDS.items(), settings["every"]):
        pace = f"{every:g} ms" if every else "burst"
        cells = results["medians"].get(ways[0], {})
        sizes = settings["streams" if ways == (PLAIN,) else "secure"]
        columns = [name for name in (f"{n} x {pace}" for n in sizes) if name in cells]
        if not columns:
            continue
        head = [f"{name.split()[0]} stream{'s' * (name.split()[0] != '1')}" for name in columns]
        yield f"CPU per chunk over {kind}, ratio to the floor (reads per chunk), {pace if every else 'in a burst'}:"
        yield ""
        yield from table(("client", *head), rows(results, ways, columns))
        floors = (f"{cells[name][FLOOR]['us_per_chunk']:.1f} µs" for name in columns if FLOOR in cells[name])
        yield f"\nThe floor: {', '.join(floors)}.\n"
    for kind, ways in KINDS.items():
        if memory := memory_rows(results, ways):
            yield from table((f"client over {kind}", f"KB per stream, {FEW} to {MANY}"), memory.items())
            yield ""
    yield from foot(results)


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the tables, and writes the results down."""
    parser = arguments("stream_cost", __doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--streams", type=comma_list(int), default=[1, 8, 64, 512], metavar="N,…")
    parser.add_argument("--secure", type=comma_list(int), default=[FEW, MANY], metavar="N,…", help="streams over TLS")
    parser.add_argument("--every", type=comma_list(float), default=[5.0, 20.0, 0.0], metavar="MS,…", help="0: burst")
    parser.add_argument("--seconds", type=float, default=1.2, help="of the long run, paced")
    parser.add_argument("--most", type=int, default=16_000, help="chunks in a long run, all streams together")
    add_ways(parser)
    options, names = chosen(parser, given, {name: client.missing for name, client in CLIENTS.items()})
    names = list(dict.fromkeys([FLOOR, *names]))
    ways = find_ways(parser, options)
    allow_sockets(max(*options.streams, *options.secure))
    cells = [
        Cell.of(streams, every, options.seconds, options.most, way)
        for every, streams, way in product(options.every, sorted({*options.streams, *options.secure}), ways)
        if streams in (options.streams if way == PLAIN else options.secure)
    ]
    about = circumstances(DISTRIBUTIONS, options.repetitions)
    lines, failed = measure(names, cells, options.repetitions)
    found = medians(lines, names, cells)
    results = {
        **about,
        "settings": {name: getattr(options, name) for name in ("streams", "secure", "every", "seconds", "most")},
        "medians": found,
        "kb_per_stream": {way: memory(by_cell, "20 ms") for way, by_cell in found.items()},
        "failed": failed,
        **every_line(Line, lines),
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    main()
