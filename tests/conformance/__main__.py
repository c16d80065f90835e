"""The command: one line a failure, then a table; status 1 if anything failed."""

import sys
from pathlib import Path

from tests.conformance.cases import PROJECT_FILE, load
from tests.conformance.runner import run


def main(arguments: list[str]) -> int:
    """Runs the files that are named, or the project's own."""
    paths = [Path(argument) for argument in arguments] or [PROJECT_FILE]
    report = run(case for path in paths for case in load(path))
    for line in [*map(str, report.failures), *report.table()]:
        sys.stdout.write(f"{line}\n")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
