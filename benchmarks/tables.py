"""README's measured tables, made from the results of the measurements.

`python benchmarks/tables.py` writes them between the two marks in README; with `--check` it only says whether they are
there as the results have them, and fails if not.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import fidelity, import_cost, race_cost, scale, setup_cost, stream_cost
from benchmarks.clients import CLIENTS
from benchmarks.machine import RESULTS, table

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
REFERENCE = 64
"""Streams in the table of README; the other sizes are in the results."""


def streams(results: Mapping[str, Any]) -> Iterator[str]:
    """CPU per chunk at the reference size, at every pace, and memory per stream."""
    cells, settings, memory = results["medians"], results["settings"], results["kb_per_stream"]
    paces = {f"{every:g} ms" if every else "burst": every for every in settings["every"]}
    columns = {pace: cells.get(f"{REFERENCE} x {pace}", {}) for pace in paces}
    names = [name for name in CLIENTS if any(name in column for column in columns.values())]
    yield from table(
        (f"CPU per chunk, {REFERENCE} streams", *columns, "KB a further stream"),
        (
            (
                CLIENTS[name].says,
                *(stream_cost.shown(column.get(name)) for column in columns.values()),
                memory.get(name, ""),
            )
            for name in names
        ),
    )
    yield ""
    yield (
        "Ratios to the first row, in brackets the reads a chunk took: where fewer than 1 in a paced column, the client"
        " was too slow to read each chunk alone, and looks cheaper than it is."
    )


def measuring(results: Mapping[str, Any]) -> Iterator[str]:
    """How true programs measure, and what that costs, a row a load."""
    head = ("streams", "neighbours", "TTFT p50 / p99", "gap p50 / p99", "merged", "throughput", "CPU a token")
    yield from table(
        ("errors and costs of measuring", *head),
        (
            (client, streams, cell["neighbours"], *errors, *fidelity.costs(cell)[2:4])
            for cell in results["medians"]
            for client, streams, *errors in [fidelity.errors(cell)]
        ),
    )
    yield ""
    yield (
        "Errors are shares of what the service's log says, throughput and CPU ratios to the first row of the same load."
        " Merged are pieces whose stamp the kernel gave to several together; figures with many of them are not trusted."
    )
    if any(cell["client"] in ("aiperf", "guidellm") for cell in results["medians"]):
        times = "one repetition" if results["repetitions"] == 1 else f"medians of {results['repetitions']}"
        yield f"AIPerf and GuideLLM are made for machines of many cores; this one has two. {times.capitalize()}."


PARTS: dict[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "stream_cost": streams,
    "race_cost": race_cost.report,
    "setup_cost": setup_cost.report,
    "scale": scale.report,
    "import_cost": import_cost.report,
    "fidelity": measuring,
    "fidelity_peers": measuring,
}
"""By measurement, what README shows of it, in this order."""

_MACHINE = re.compile(r"^(?:\d+ races each\. )?Linux .*; medians of \d+; [\d-]+\.$", re.MULTILINE)


def measured(directory: Path = RESULTS) -> dict[str, Any]:
    """The results that are there, of those that README shows."""
    paths = {name: directory / f"{name}.json" for name in PARTS}
    return {name: json.loads(path.read_text("utf-8")) for name, path in paths.items() if path.exists()}


def figures(results: Mapping[str, Any]) -> str:
    """The block between the marks: the tables, and once what they were measured on."""
    parts = ["\n".join(part(results[name])) for name, part in PARTS.items() if name in results]
    tables = [_MACHINE.sub("", part).strip() for part in parts]
    first = next(iter(results.values()))
    machine = first["machine"]
    versions: dict[str, str] = {}
    for each in results.values():
        versions |= each["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    dates = sorted({each["date"] for each in results.values()})
    days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    where = f"{machine['system']}, {machine['processor']}, {machine['cores']} cores, {days}; {named}."
    return "\n\n".join([*tables, f"Measured on {where}"])


def filled(readme: str, results: Mapping[str, Any]) -> str:
    """README with the tables of these results. Raises ValueError without the two marks."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{figures(results)}\n\n{END}{after}"


def main(given: Sequence[str] | None = None) -> None:
    """Writes the tables, or checks them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if README differs")
    parser.add_argument("--readme", type=Path, default=README, metavar="PATH")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIRECTORY")
    options = parser.parse_args(given)
    results = measured(options.results)
    if not results:
        parser.error(f"there are no results in {options.results}")
    text = options.readme.read_text("utf-8")
    try:
        wanted = filled(text, results)
    except ValueError as error:
        parser.error(str(error))
    if wanted == text:
        return
    if options.check:
        parser.exit(1, "README's figures are not those of the results: run benchmarks/tables.py\n")
    options.readme.write_text(wanted, "utf-8")


if __name__ == "__main__":
    main()
