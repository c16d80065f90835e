"""What a run happened on: versions, machine and clocks, and how busy this process itself was."""

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

TICK = 0.05
"""Seconds between two looks at how late the event loop is."""

_PACKAGES = ("trio", "curl_cffi", "httpx", "httpx2", "orjson")


def environment() -> dict[str, Any]:
    """Versions, machine and clocks, for whoever wants to know later."""
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
    """How busy this process was while it measured: what it did late, it also stamped late."""

    began: float = field(factory=time.monotonic)
    used: float = field(factory=time.process_time)
    lateness: "array[float]" = field(factory=lambda: array("d"))

    async def watch(self) -> None:
        """Notes for ever how late the event loop comes back to a task that is due."""
        while True:
            due = trio.current_time() + TICK
            await trio.sleep_until(due)
            self.lateness.append(trio.current_time() - due)

    def measured(self) -> dict[str, float | None]:
        """The share of a processor that was used, and the event loop's lateness in seconds."""
        late = sorted(self.lateness)
        elapsed = time.monotonic() - self.began
        return {
            "cpu_share": (time.process_time() - self.used) / elapsed if elapsed else None,
            "lag_p50": late[len(late) // 2] if late else None,
            "lag_p99": late[len(late) * 99 // 100] if late else None,
            "lag_max": late[-1] if late else None,
        }
