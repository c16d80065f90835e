"""CPU per chunk and memory per stream: fanout and other clients against the least that any client must do.

One process a run: a warm-up, a short run and a long one with the same client. The cost of a chunk is the slope between
the two, so that imports and set-up drop out. Clients take turns, each repetition anew; every ratio is to the floor of
its own repetition, and beside it stands how many reads a chunk took: where fewer than 1, chunks came together, because
the client was too slow to read each one alone, and looks cheaper than it is. A burst comes as fast as it is read.
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
from benchmarks.load import Failed, Server, allow_sockets, child, open_server
from benchmarks.machine import arguments, chosen, circumstances, comma_list, conclude, every_line, foot, say, table

FLOOR = "floor"

FEW, MANY = 64, 512
"""Between these numbers of streams memory is compared."""


@frozen
class Cell:
    """So many streams, with so many milliseconds between chunks (0: a burst), of so many chunks in the long run."""

    streams: int
    every: float
    chunks: int

    @classmethod
    def of(cls, streams: int, every: float, seconds: float, most: int) -> "Cell":
        """The cell whose long run takes so many seconds, or `most` chunks in all streams together if that is less."""
        in_time = int(seconds * 1000 / every) if every else most
        return cls(streams, every, max(4, min(in_time, most // streams)))

    @property
    def name(self) -> str:
        """Its name in the results."""
        return f"{self.streams} x {self.every:g} ms" if self.every else f"{self.streams} x burst"

    def rounds(self, server: Server) -> list[tuple[str, int, int]]:
        """The warm-up, the short run and the long run."""
        sizes = max(2, self.chunks // 20), max(2, self.chunks // 10), self.chunks
        return [(server.stream(every=self.every, chunks=size), self.streams, size) for size in sizes]


@define
class Line:
    """One run of one client in one cell. `cpu_share` is CPU time by wall time in the long run; 1 is a whole core."""

    client: str
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
    with open_server() as server:
        for number, (repetition, cell) in enumerate(product(range(repetitions), cells), 1):
            for name in names:
                where = f"{name}, {cell.name}"
                if where in failed:
                    continue
                took = child(Path(clients.__file__), name, {"rounds": cell.rounds(server)})
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
    """By cell and client: medians of the cost, of its ratio to the floor's, of reads, CPU share and memory."""
    return {
        cell.name: {
            name: _middle(own, [line for line in here if line.client == FLOOR])
            for name in names
            if (own := [line for line in here if line.client == name])
        }
        for cell in cells
        if (here := [line for line in lines if (line.streams, line.every) == (cell.streams, cell.every)])
    }


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


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """Yields a table for each pace, of ratios to the floor and of reads per chunk; memory; the machine."""
    cells, settings = results["medians"], results["settings"]
    names = list(dict.fromkeys(name for cell in cells.values() for name in cell))
    for every in settings["every"]:
        pace = f"{every:g} ms" if every else "burst"
        columns = [(n, cells[f"{n} x {pace}"]) for n in settings["streams"] if f"{n} x {pace}" in cells]
        head = [f"{n} stream{'s' * (n > 1)}" for n, _ in columns]
        yield f"CPU per chunk, ratio to the floor (reads per chunk), {pace if every else 'in a burst'}:"
        yield ""
        yield from table(
            ("client", *head),
            ((CLIENTS[name].says, *(shown(column.get(name)) for _, column in columns)) for name in names),
        )
        floors = (f"{column[FLOOR]['us_per_chunk']:.1f} µs" for _, column in columns if FLOOR in column)
        yield f"\nThe floor: {', '.join(floors)}.\n"
    if results["kb_per_stream"]:
        yield from table(
            ("client", f"KB per stream, {FEW} to {MANY}"),
            ((CLIENTS[name].says, kb) for name, kb in results["kb_per_stream"].items()),
        )
        yield ""
    yield from foot(results)


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the tables, and writes the results down."""
    parser = arguments("stream_cost", __doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--streams", type=comma_list(int), default=[1, 8, 64, 512], metavar="N,…")
    parser.add_argument("--every", type=comma_list(float), default=[5.0, 20.0, 0.0], metavar="MS,…", help="0: burst")
    parser.add_argument("--seconds", type=float, default=1.2, help="of the long run, paced")
    parser.add_argument("--most", type=int, default=16_000, help="chunks in a long run, all streams together")
    options, names = chosen(parser, given, {name: client.missing for name, client in CLIENTS.items()})
    names = list(dict.fromkeys([FLOOR, *names]))
    allow_sockets(max(options.streams))
    pairs = product(options.every, options.streams)
    cells = [Cell.of(streams, every, options.seconds, options.most) for every, streams in pairs]
    about = circumstances(DISTRIBUTIONS, options.repetitions)
    lines, failed = measure(names, cells, options.repetitions)
    found = medians(lines, names, cells)
    results = {
        **about,
        "settings": {name: getattr(options, name) for name in ("streams", "every", "seconds", "most")},
        "medians": found,
        "kb_per_stream": memory(found, "20 ms"),
        "failed": failed,
        **every_line(Line, lines),
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    main()
