"""The measured figures of README and docs/, made from the results of the measurements.

`python benchmarks/tables.py` writes them between the two marks of each page; with `--check` it only says whether they
are there as the results have them, and fails if not.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import (
    bridge_cost,
    conformance,
    failover,
    fidelity,
    gateway_cost,
    gateway_race,
    import_cost,
    judge_cost,
    race_cost,
    scale,
    schema_cost,
    setup_cost,
    start_cost,
    stream_cost,
    thousand_lanes,
)
from benchmarks.machine import RESULTS, table
from benchmarks.ways import KINDS, TLS

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
REFERENCE = 64
"""Streams in the table; the other sizes are in the results."""
MEASURED = 128
"""Streams at which README compares programs that measure."""
WIDTH = 118


def streams(results: Mapping[str, Any]) -> Iterator[str]:
    """CPU per chunk at the reference size, at every pace, and memory per stream: a table for each kind of way."""
    paces = [f"{every:g} ms" if every else "burst" for every in results["settings"]["every"]]
    for kind, ways in KINDS.items():
        columns = [f"{REFERENCE} x {pace}" for pace in paces]
        rows = list(stream_cost.rows(results, ways, columns))
        if rows:
            memory = stream_cost.memory_rows(results, ways)
            head = (f"CPU per chunk over {kind}, {REFERENCE} streams", *paces)
            if memory:
                head = (*head, "KB a further stream")
                rows = [(*row, f"{memory[row[0]]:.1f}" if row[0] in memory else "") for row in rows]
            yield from table(head, rows)
            yield ""
    yield (
        "Ratios to the first row, in brackets the reads a chunk took: where fewer than 1 in a paced column, the client"
        " was too slow to read each chunk alone, and looks cheaper than it is. Over TLS, curl and Python's `ssl` read"
        " record by record, the others all that is there."
    )


def measuring(results: Mapping[str, Any]) -> Iterator[str]:
    """The fidelity of programs that measure, and its cost, a row a load."""
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
    "judge_cost": judge_cost.report,
    "schema_cost": schema_cost.report,
    "setup_cost": setup_cost.report,
    "scale": scale.report,
    "thousand_lanes": thousand_lanes.report,
    "bridge_cost": bridge_cost.report,
    "import_cost": import_cost.report,
    "start_cost": start_cost.report,
    "fidelity": measuring,
    "fidelity_peers": measuring,
}
"""By measurement, what docs/performance.md shows of it, in this order."""

GATEWAY: dict[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "gateway_cost": gateway_cost.report,
    "gateway_race": gateway_race.report,
    "failover": failover.report,
}
"""The same for docs/gateway.md."""

_MACHINE = re.compile(r"^(?:\d+ races each\. )?Linux .*; medians of \d+; [\d-]+\.$", re.MULTILINE)


def measured(directory: Path = RESULTS) -> dict[str, Any]:
    """The results that are there, of those that a page shows."""
    paths = {name: directory / f"{name}.json" for name in (*PARTS, *GATEWAY, "conformance")}
    return {name: json.loads(path.read_text("utf-8")) for name, path in paths.items() if path.exists()}


def headline(results: Mapping[str, Any]) -> str:
    """Three figures for those who have a minute, as a list."""
    parts = (_verdict(results["race_cost"]), _chunk(results["stream_cost"]), _truth(results["fidelity_peers"]))
    return "\n".join(fill(f"* {part}", WIDTH, subsequent_indent="  ", break_on_hyphens=False) for part in parts)


def _verdict(results: Mapping[str, Any]) -> str:
    ms = {name: found["verdict_ms"] for name, found in results["medians"][TLS].items()}
    ours, sdk, later = (f"{ms[name]:.1f}" for name in ("fanout-curl", "openai-gather", "openai-first"))
    litellm = f"{ms['litellm-router']:.1f}"
    return (
        f"**{ours} ms from the winner's last byte to your code**, in a race of {results['settings']['lanes']} over TLS"
        f" whose losers are closed by then. By hand, with the OpenAI SDK: {sdk} ms, or {later} and the losers closed"
        f" later. LiteLLM's `Router`: {litellm} ms, and its losers run on. {_link('race_cost')}"
    )


def _chunk(results: Mapping[str, Any]) -> str:
    cells = results["medians"][TLS][f"{REFERENCE} x 20 ms"]
    ours, sdk, litellm = (f"{cells[name]['ratio']:.1f}" for name in ("fanout-curl", "openai", "litellm"))
    return (
        f"**{ours} times the CPU of a bare epoll loop** for each piece of an answer, at {REFERENCE} streams over TLS."
        f" The OpenAI SDK takes {sdk} times as much as that loop, LiteLLM {litellm}. {_link('stream_cost')}"
    )


def _truth(results: Mapping[str, Any]) -> str:
    cells = {cell["client"]: cell["errors"]["ttft_p99"] for cell in results["medians"] if cell["streams"] == MEASURED}
    return (
        f"**{100 * cells['bench']:.1f} % error in the 99th percentile of the time to first token** where `fanout bench`"
        f" measures {MEASURED} streams on two cores. AIPerf is off by {100 * cells['aiperf']:.0f} %, GuideLLM by"
        f" {100 * cells['guidellm']:.0f} %. {_link('fidelity_peers')}"
    )


def _link(result: str) -> str:
    return f"[[{result}](benchmarks/results/{result}.json)]"


def conformed(results: Mapping[str, Any]) -> str:
    """The number of the cases that each client decodes right."""
    lines = conformance.report_lines(results["conformance"])
    return _wrap("\n".join(line if line.startswith("|") else f"{line}\n" for line in lines)).rstrip()


def figures(results: Mapping[str, Any]) -> str:
    """The block between the marks: the tables, and once what they were measured on."""
    parts = ["\n".join(part(results[name])) for name, part in {**PARTS, **GATEWAY}.items() if name in results]
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
    return _wrap("\n\n".join([*tables, f"Measured on {where}"]))


def _wrap(text: str) -> str:
    """Breaks the lines that belong to no table."""
    return "\n".join(
        line if line.startswith("|") else fill(line, WIDTH, break_on_hyphens=False) for line in text.split("\n")
    )


PAGES: Mapping[str, tuple[Callable[[Mapping[str, Any]], str], tuple[str, ...]]] = {
    "README.md": (headline, ("race_cost", "stream_cost", "fidelity_peers")),
    "docs/performance.md": (figures, tuple(PARTS)),
    "docs/gateway.md": (figures, tuple(GATEWAY)),
    "docs/conformance.md": (conformed, ("conformance",)),
}
"""By page, what makes its figures, and of which measurements."""


def filled(page: str, text: str, results: Mapping[str, Any]) -> str:
    """The text of a page with the figures of these results. Raises ValueError without the two marks."""
    make, _ = PAGES[page]
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{make(results)}\n\n{END}{after}"


def stale(root: Path, results: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """The pages whose figures are not those of the results, and their text with those. Raises ValueError."""
    for page, (_, needed) in PAGES.items():
        found = {name: results[name] for name in needed if name in results}
        if not found or (page == "README.md" and len(found) < len(needed)):
            continue
        path = root / page
        text = path.read_text("utf-8")
        if (wanted := filled(page, text, found)) != text:
            yield path, wanted


def main(given: Sequence[str] | None = None) -> None:
    """Writes the figures, or checks them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page differs")
    parser.add_argument("--root", type=Path, default=ROOT, metavar="DIRECTORY")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIRECTORY")
    options = parser.parse_args(given)
    results = measured(options.results)
    if not results:
        parser.error(f"there are no results in {options.results}")
    try:
        found = list(stale(options.root, results))
    except ValueError as error:
        parser.error(str(error))
    if options.check and found:
        names = ", ".join(path.name for path, _ in found)
        parser.exit(1, f"the figures of {names} are not those of the results: run benchmarks/tables.py\n")
    for path, text in found:
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
