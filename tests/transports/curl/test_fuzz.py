import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")

COUNT = int(os.environ.get("FANOUT_FUZZ", "1500"))
GROWTH = 6_000
"""Kilobytes that the allocators may still take after the first tenth, in the long run."""


@pytest.mark.slow
@pytest.mark.parametrize(("protocol", "seed"), [("http1", 1), ("http2", 2)])
def test_transfers_by_chance_leave_nothing_behind(protocol: str, seed: int) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.transports.fuzz", str(COUNT), str(seed), protocol]
    environment = {**os.environ, "PYTHONDEVMODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    print(done.stdout)  # noqa: T201  # shown with -s
    found = json.loads(done.stdout)
    assert found["fds"][0] == found["fds"][1]
    assert (found["left"], found["owners"]) == (0, 0)
    assert found["easies"] == [1, 0]  # the template, closed
    assert found["rss"][-1] - found["rss"][0] < GROWTH
    assert sum(found["outcomes"].values()) == COUNT
    kinds = {"whole", "enough", "raised", "cancelled", "reset", "truncated", "protocol", "connect"}
    assert set(found["outcomes"]) == kinds
