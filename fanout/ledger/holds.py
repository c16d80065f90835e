"""Which runs are under way: each holds a lock on a file of its own, which ends with its process, however that ends.

A number of a process would not do: it may be another's by now. Who looks shares the lock for a moment, so that two who
look do not take one another for the run.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from fanout.storage import folder


@frozen
class Hold:
    """The lock of a run that is under way in this process, for as long as `descriptor` is open."""

    place: Path
    name: str
    descriptor: int

    def close(self) -> None:
        """Ends it; the file stays, as it does when the process is killed."""
        os.close(self.descriptor)

    def end(self) -> None:
        """Ends it and deletes the file: the run is over."""
        forget(self.place, self.name)
        self.close()


def hold(place: Path, name: str) -> Hold:
    """Takes the lock of a run that nobody knows of yet. Raises UsageError."""
    with folder.open_folder(place) as files:
        descriptor = files.open(_file(name), os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            folder.take_lock(descriptor, wait=True)
        except BaseException:  # Ctrl-C too: nobody else knows the descriptor yet
            os.close(descriptor)
            raise
    return Hold(place, name, descriptor)


def is_held(place: Path, name: str) -> bool:
    """Whether the run's process has its lock. Raises UsageError."""
    with folder.open_folder(place) as files:
        try:
            descriptor = files.open(_file(name), os.O_RDONLY)
        except FileNotFoundError:
            return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def forget(place: Path, name: str) -> None:
    """Deletes the file of a run that is over."""
    with folder.open_folder(place) as files, suppress(FileNotFoundError):
        files.remove(_file(name))


def _file(name: str) -> str:
    return f"{name}.lock"
