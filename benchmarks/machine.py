"""Writes measurements down, each with the machine, the versions and the day."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from attrs import AttrsInstance, asdict, fields

RESULTS = Path(__file__).parent / "results"


def arguments(name: str, purpose: str | None) -> argparse.ArgumentParser:
    """The command line of the measurement `name`: where its results go."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--json", type=Path, default=RESULTS / f"{name}.json", metavar="PATH")
    return parser


def version(distribution: str) -> str | None:
    """The version that is installed, or None. This one's distribution has a longer name than what is imported."""
    try:
        return metadata.version("fanout-llm" if distribution == "fanout" else distribution)
    except metadata.PackageNotFoundError:
        return None


def facts(distributions: Iterable[str]) -> dict[str, Any]:
    """The day, the machine and the versions; a distribution that is not installed is left out."""
    versions = {name: found for name in distributions if (found := version(name))}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
        },
        "versions": {"python": platform.python_version(), **versions},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def conclude(path: Path, results: Mapping[str, Any], report: Iterable[str]) -> None:
    """Prints the report and writes the results as JSON."""
    print(*report, sep="\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


def comma_list(kind: Callable[[str], Any] = str) -> Callable[[str], list[Any]]:
    """The type of an option that is a comma list."""
    return lambda text: [kind(part) for part in text.split(",")]


def chosen(
    parser: argparse.ArgumentParser,
    given: Sequence[str] | None,
    lacking: Mapping[str, Collection[str]],
    kind: str = "CLIENT",
) -> tuple[argparse.Namespace, list[str]]:
    """The options of the command line, and the clients that its `--only` names and that lack nothing, in their order.

    `lacking` has every client, with the modules it needs and that are not there; without `--only` all are meant. Says
    who is left out. Ends the program if a client is unknown, or if the committed results would be overwritten with less
    than the whole: fewer clients, other sizes.
    """
    parser.add_argument("--only", type=comma_list(), metavar=f"{kind},…", help=f"of {', '.join(lacking)}")
    options = parser.parse_args(given)
    wanted = options.only or list(lacking)
    if unknown := [name for name in wanted if name not in lacking]:
        parser.error(f"there is no client {', '.join(unknown)}; there are {', '.join(lacking)}")
    names = [name for name in lacking if name in wanted and not lacking[name]]
    for name in wanted:
        if lacking[name]:
            say(f"{name} is left out: {', '.join(lacking[name])} is not installed")
    changed = [name for name, value in vars(options).items() if value != parser.get_default(name)]
    if options.json == parser.get_default("json") and (len(names) < len(lacking) or changed):
        why = f"{', '.join(changed)} changed" if changed else "clients missing"
        parser.error(f"these are not the committed measurements ({why}): give a file of your own with --json")
    return options, names


def say(line: str) -> None:
    """Tells of the progress, on stderr."""
    print(line, file=sys.stderr, flush=True)


def circumstances(distributions: Iterable[str], repetitions: int) -> dict[str, Any]:
    """The facts, and what else may matter: the kernel, and how busy the machine is, on average of the last minute."""
    conditions = {"kernel": platform.release(), "load_average": round(os.getloadavg()[0], 2)}
    return {**facts(distributions), "conditions": conditions, "repetitions": repetitions}


def every_line(kind: type[AttrsInstance], lines: Iterable[AttrsInstance]) -> dict[str, Any]:
    """The single runs as the results hold them: the names of the columns once, and the values of a line as one text."""
    return {
        "columns": " ".join(column.name for column in fields(kind)),
        "lines": [" ".join(map(str, asdict(line).values())) for line in lines],
    }


def foot(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines below the tables: what failed, and `measured_on`."""
    for where, why in results["failed"].items():
        yield f"Failed: {where}: {why}"
    yield measured_on(results)


def measured_on(results: Mapping[str, Any]) -> str:
    """One line below a table: the machine, the versions, the repetitions."""
    machine, versions = results["machine"], results["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine['system']}, {machine['processor']}, {machine['cores']} cores; {named}; "
        f"medians of {results['repetitions']}; {results['date']}."
    )
