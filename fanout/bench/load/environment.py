"""Versions, machine and clocks of a run, and the load on this process while it measured."""

import os
import platform
import sys
import time
from array import array
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import trio
from attrs import define, field

from fanout import __version__

TICK_SECONDS = 0.05
"""The time between two looks at the lateness of the event loop."""

_PACKAGES = ("trio", "curl_cffi", "httpx", "httpx2", "orjson")


def environment() -> dict[str, Any]:
    """Versions, machine and clocks, for the files of a run."""
    versions = {"python": platform.python_version(), "fanout": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    clock = time.get_clock_info("monotonic")
    return {
        "versions": versions,
        "machine": {
            "system": platform.system(),
            "kernel": platform.release(),
            "architecture": platform.machine(),
            "processors": os.cpu_count(),
            "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        },
        "clock": {"name": clock.implementation, "resolution": clock.resolution, "platform": sys.platform},
    }


@define(eq=False)
class Strain:
    """The load on this process while it measures: if it is late, its own stamps are late."""

    began: float = field(factory=time.monotonic)
    used: float = field(factory=time.process_time)
    lateness: "array[float]" = field(factory=lambda: array("d"))

    async def watch(self) -> None:
        """Notes, for ever, how late the event loop comes back to a task that is due."""
        while True:
            due = trio.current_time() + TICK_SECONDS
            await trio.sleep_until(due)
            self.lateness.append(trio.current_time() - due)

    def figures(self) -> dict[str, float | None]:
        """The share of a processor that was used, and the event loop's lateness in seconds."""
        late = sorted(self.lateness)
        elapsed = time.monotonic() - self.began
        return {
            "cpu_share": (time.process_time() - self.used) / elapsed if elapsed else None,
            "lag_p50": late[len(late) // 2] if late else None,
            "lag_p99": late[len(late) * 99 // 100] if late else None,
            "lag_max": late[-1] if late else None,
        }
