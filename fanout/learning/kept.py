"""The memory between runs, for its owner alone.

    learnt/                  0700, in the state directory
        latencies.json       0600, and at most LONGEST bytes

It holds addresses of services, names of models, times and counts: nothing of what was asked or answered, and no key.
"""

import json
import logging
from pathlib import Path
from time import time

from fanout.errors import UsageError
from fanout.learning.latencies import WINDOW
from fanout.learning.memory import Memory
from fanout.storage.folder import Folder, open_folder
from fanout.storage.places import app_directory

_log = logging.getLogger("fanout")

NAME = "latencies.json"

LONGEST = 1 << 16
"""Bytes that the file may have."""


def directory() -> Path:
    """The directory in which it is kept. Raises UsageError."""
    return app_directory("state") / "learnt"


def may_remember() -> bool:
    """True if what is kept can be read: the command goes without, where it would not be safe, or there is no home."""
    try:
        load()
    except UsageError as error:
        _log.warning("what was learnt before is not used: %s", error)
        return False
    return True


def load(now: float = 0.0) -> Memory:
    """Returns what is kept; a file that cannot be read is as good as none. Raises UsageError where it is not safe.

    `now` is the time on the clock of the lanes.
    """
    with open_folder(directory()) as folder:
        return _read(folder, now)


def save(memory: Memory, now: float = 0.0) -> None:
    """Adds what this process has learnt to what is kept, by others too meanwhile. Raises UsageError."""
    if not memory.fresh:
        return
    with open_folder(directory(), create=True) as folder, folder.lock():
        kept = _read(folder, now)
        kept.add_fresh(memory)
        folder.replace(NAME, _write(kept, now))


def _read(folder: Folder, now: float) -> Memory:
    data = folder.read(NAME) or b""
    try:
        return Memory.from_json(json.loads(data), now, time()) if 0 < len(data) <= LONGEST else Memory()
    except (ValueError, RecursionError):
        return Memory()


def _write(memory: Memory, now: float) -> bytes:
    """Returns the file: with fewer points of each service where it would be too long, then without the oldest."""
    window = WINDOW
    while True:
        value = memory.to_json(window, now, time())
        data = json.dumps(value, separators=(",", ":")).encode()
        if len(data) <= LONGEST:
            return data
        if window > WINDOW // 4:
            window //= 2
        else:
            memory.forget_oldest()
