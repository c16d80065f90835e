"""Measures what an import costs before anything is asked: CPU, memory and modules, each in a fresh interpreter.

The interpreter's own start is measured too and taken off; ratios are to `import trio`. Bytecode is compiled before.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from attrs import define, frozen

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.clients import is_there
from benchmarks.machine import arguments, chosen, circumstances, conclude, every_line, measured_on, say, table

_HELP = """
import sys
sys.argv = ["fanout", "--help"]
from fanout.cli import main
try:
    main()
except SystemExit:
    pass
"""

_REPORT = """
import sys
count = len(sys.modules)
import resource
used = resource.getrusage(resource.RUSAGE_SELF)
lines = open("/proc/self/status").read().splitlines()
peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
print(int((used.ru_utime + used.ru_stime) * 1e6), peak, count, file=sys.stderr)
"""

DISTRIBUTIONS = ["fanout", "trio", "httpx", "httpx2", "aiohttp", "curl_cffi", "openai", "litellm", "click", "rich"]

NOTHING, UNIT = "python", "import trio"


@frozen
class Subject:
    """A program, and the module that it needs."""

    code: str
    needs: str


SUBJECTS = {
    NOTHING: Subject("", "sys"),
    UNIT: Subject("import trio", "trio"),
    "import fanout": Subject("import fanout", "fanout"),
    "fanout --help": Subject(_HELP, "fanout"),
    "import fanout.api": Subject("import fanout.api", "fanout"),
    **{
        f"import {name}": Subject(f"import {name}", name)
        for name in ("httpx", "httpx2", "aiohttp", "curl_cffi", "openai", "litellm")
    },
}


@define
class Line:
    """One fresh interpreter."""

    subject: str
    repetition: int
    cpu_us: int
    rss_kb: int
    modules: int


def run(code: str) -> tuple[int, int, int]:
    """CPU in microseconds, peak memory in KB, and the number of modules, of an interpreter that ran `code`."""
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [sys.executable, "-c", code + _REPORT], env=environment, capture_output=True, text=True, check=True
    )
    cpu_us, rss_kb, modules = map(int, done.stderr.splitlines()[-1].split())
    return cpu_us, rss_kb, modules


def measure(names: Sequence[str], repetitions: int) -> list[Line]:
    """All lines; the first run of each compiles, and is not counted."""
    lines = []
    for repetition in range(-1, repetitions):
        say(f"{repetition + 1}/{repetitions}")
        for name in names:
            took = run(SUBJECTS[name].code)
            if repetition >= 0:
                lines.append(Line(name.replace(" ", "_"), repetition, *took))
    return lines


def medians(lines: Sequence[Line], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """By subject: medians of CPU, also beyond the bare interpreter and as a ratio to trio's, of memory and modules."""
    cpu: dict[str, float] = {}
    found: dict[str, dict[str, float]] = {}
    for name in names:
        own = [line for line in lines if line.subject == name.replace(" ", "_")]
        cpu[name] = median(line.cpu_us for line in own)
        found[name] = {
            "cpu_ms": round(cpu[name] / 1000, 1),
            "ratio": round((cpu[name] - cpu[NOTHING]) / (cpu[UNIT] - cpu[NOTHING]), 2) if name != NOTHING else 0.0,
            "rss_kb": median(line.rss_kb for line in own),
            "modules": median(line.modules for line in own),
        }
    return found


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the table, and below it the machine."""
    yield from table(
        ("", "CPU beyond the interpreter's, ratio to `import trio`", "CPU in all, ms", "peak MB", "modules"),
        (
            (
                f"`{name}`",
                f"{found['ratio']:.2f}",
                found["cpu_ms"],
                f"{found['rss_kb'] / 1024:.0f}",
                f"{found['modules']:g}",
            )
            for name, found in results["medians"].items()
        ),
    )
    yield ""
    yield measured_on(results)


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the table, and writes the results down."""
    parser = arguments("import_cost", __doc__)
    parser.add_argument("--repetitions", type=int, default=11)
    lacking = {name: () if is_there(subject.needs) else (subject.needs,) for name, subject in SUBJECTS.items()}
    options, names = chosen(parser, given, lacking, "NAME")
    names = list(dict.fromkeys([NOTHING, UNIT, *names]))
    about = circumstances(DISTRIBUTIONS, options.repetitions)
    lines = measure(names, options.repetitions)
    results = {
        **about,
        "medians": medians(lines, names),
        **every_line(Line, lines),
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    main()
