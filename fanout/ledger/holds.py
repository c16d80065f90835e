"""Locks that tell what is under way: each is a lock on a file of its own, and ends with its process, however that ends.

The number of a process would not do: it may belong to another one by now. `is_held` takes a shared lock for a moment,
so that two who look at the same time do not take each other for the holder.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from fanout.errors import UsageError
from fanout.storage.folder import open_folder, take_lock


@frozen
class Hold:
    """The lock of something that is under way in this process, held while `descriptor` is open."""

    directory: Path
    name: str
    descriptor: int

    def release(self) -> None:
        """Gives the lock up and leaves its file, as the end of the process does."""
        os.close(self.descriptor)

    def end(self) -> None:
        """Deletes the file and gives the lock up."""
        remove_hold(self.directory, self.name)
        self.release()


def take_hold(directory: Path, name: str) -> Hold:
    """Takes the lock of something new. Raises UsageError, also where there is one of this name."""
    with open_folder(directory) as folder:
        descriptor = folder.open(_file(name), os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            locked = take_lock(descriptor, wait=True)
        except BaseException:  # also Ctrl-C: the caller does not have the descriptor yet
            os.close(descriptor)
            raise
        if not locked:  # who looks at it holds it for a moment only
            os.close(descriptor)
            raise UsageError(f"{directory / _file(name)} is locked by another process; try again")
    return Hold(directory, name, descriptor)


def is_held(directory: Path, name: str) -> bool:
    """True while a process holds this lock. Raises UsageError."""
    with open_folder(directory) as folder:
        try:
            descriptor = folder.open(_file(name), os.O_RDONLY)
        except FileNotFoundError:
            return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_hold(directory: Path, name: str) -> None:
    """Deletes the file of a lock, if there is one."""
    with open_folder(directory) as folder, suppress(FileNotFoundError):
        folder.remove(_file(name))


def _file(name: str) -> str:
    return f"{name}.lock"
