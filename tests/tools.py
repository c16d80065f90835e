"""The checkers of the code, run one after the other beside the tests: they need a core and no attention."""

import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from shutil import which

ROOT = Path(__file__).parent.parent
MODULES = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "fanout").rglob("*.py"))]

# ASYNC91x want a checkpoint on every path, against one a batch; ASYNC114 wants a list of functions that `nursery.start`
# may call; ASYNC127 calls httpx unmaintained.
_DISABLED = "ASYNC910,ASYNC911,ASYNC912,ASYNC913,ASYNC114,ASYNC127"

TOOLS: dict[str, list[str]] = {
    "ruff": ["-m", "ruff", "check", "--no-cache"],
    "format": ["-m", "ruff", "format", "--check", "--no-cache"],
    "imports": ["-c", "from importlinter.cli import lint_imports_command as c; c(['--no-cache'])"],
    "mypy": ["-m", "mypy"],
    "flake8-async": ["-m", "flake8_async", "--enable=ASYNC", f"--disable={_DISABLED}", *MODULES],
}


def _run(name: str) -> subprocess.CompletedProcess[str]:
    command = [*(["nice", "-n", "10"] if which("nice") else []), sys.executable, *TOOLS[name]]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@cache
def start() -> dict[str, Future[subprocess.CompletedProcess[str]]]:
    """Starts all of them at the first call, one after the other, and returns what they will find."""
    pool = ThreadPoolExecutor(1)
    futures = {name: pool.submit(_run, name) for name in TOOLS}
    pool.shutdown(wait=False)
    return futures
