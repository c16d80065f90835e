"""What every measurement says of itself: the machine, the versions, the day; and how it is written down."""

import argparse
import json
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def arguments(name: str, purpose: str | None) -> argparse.ArgumentParser:
    """The command line of the measurement `name`: where its results go."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--json", type=Path, default=RESULTS / f"{name}.json", metavar="PATH")
    return parser


def version(distribution: str) -> str | None:
    """The version that is installed, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def facts(distributions: Iterable[str]) -> dict[str, Any]:
    """When, on what, and of which versions; a distribution that is not installed is left out."""
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


def store(path: Path, results: dict[str, Any]) -> None:
    """Writes the results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
