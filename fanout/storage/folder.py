"""A directory that is its owner's alone, and files in it that are replaced whole or not at all."""

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from time import monotonic, sleep

from attrs import frozen

from fanout.errors import UsageError

LOCK_SECONDS = 5.0
"""Seconds that a lock is waited for: it is held for milliseconds, unless its process hangs."""

LOOK = 0.01
"""Seconds between two looks at a lock."""


class Busy(Exception):
    """Raised where another process has locked the directory."""


@frozen
class Folder:
    """An open directory. Without a descriptor it stands for one that does not exist, and is empty.

    A file in it that others can read, or could have put there, is refused with a UsageError that says what to do: a
    file of another user, a symbolic link, and anything that is not a regular file.
    """

    path: Path
    descriptor: int | None

    def names(self) -> list[str]:
        """The names in it, sorted."""
        return [] if self.descriptor is None else sorted(os.listdir(self.descriptor))  # noqa: PTH208  # by descriptor

    def read(self, name: str) -> bytes | None:
        """The bytes of the file, or None if it does not exist."""
        try:
            descriptor = self.open(name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def remove(self, name: str) -> None:
        """Deletes the file, of whatever kind it is. Raises FileNotFoundError."""
        os.unlink(name, dir_fd=self.descriptor)

    def replace(self, name: str, data: bytes) -> None:
        """Puts a file in place of the one of this name, with mode 0600. The directory must be locked."""
        for left in self.names():
            if left.startswith(f".{name}."):  # of a process that died between write and rename: we hold the lock
                self.remove(left)
        new = f".{name}.{token_hex(4)}"
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o600, dir_fd=self.descriptor)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), 0o600)  # the umask may have taken bits from 0600
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        except BaseException:  # also Ctrl-C: half a file of secrets must not stay behind
            self.remove(new)
            raise
        if self.descriptor is not None:
            os.fsync(self.descriptor)

    def open(self, name: str, flags: int) -> int:
        """Opens a file and returns its descriptor. Raises FileNotFoundError, and UsageError if it is refused."""
        if self.descriptor is None:
            raise FileNotFoundError(name)
        path = self.path / name
        # Without O_NONBLOCK, opening a FIFO waits for its other end.
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(name, flags, 0o600, dir_fd=self.descriptor)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _make_error(path, error) from None
        try:
            _check_owner_only(path, os.fstat(descriptor), stat.S_ISREG, "600")
            if flags & os.O_CREAT:
                os.fchmod(descriptor, 0o600)
        except BaseException:  # also Ctrl-C: the caller does not have the descriptor yet
            os.close(descriptor)
            raise
        return descriptor

    @contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[None]:
        """Keeps other processes from changing the directory until the block is left.

        While another process holds the lock this waits, or raises Busy without `wait`. It belongs into a thread, where
        there is an event loop. Raises UsageError when it has waited for LOCK_SECONDS.
        """
        if self.descriptor is None:
            yield
            return
        descriptor = self.open(".lock", os.O_RDWR | os.O_CREAT)
        try:
            if not take_lock(descriptor, wait=wait):
                if wait:
                    raise UsageError(
                        f"{self.path} has been locked by another process for {LOCK_SECONDS:g} s; try again"
                    )
                raise Busy
            yield
        finally:
            os.close(descriptor)


def take_lock(descriptor: int, *, wait: bool) -> bool:
    """Locks an open file until it is closed. Returns False if another process has locked it, and goes on doing so.

    With `wait` that is for LOCK_SECONDS: flock itself would wait for ever, for a process that hangs.
    """
    until = monotonic() + (LOCK_SECONDS if wait else 0)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() >= until:
                return False
            sleep(LOOK)
        else:
            return True


@contextmanager
def open_folder(path: Path, *, create: bool = False) -> Iterator[Folder]:
    """Opens the directory. Raises UsageError if others can read it or could have put it there.

    An OSError within the block becomes a UsageError too.
    """
    descriptor = None
    try:
        if create:
            _make(path)
        if path.parent.is_dir():  # the home of a daemon may be /dev/null
            with suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                _check_owner_only(path, os.fstat(descriptor), stat.S_ISDIR, "700")
        yield Folder(path, descriptor)
    except OSError as error:
        raise _make_error(path, error) from None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(0o700)
        path.chmod(0o700)  # the umask may have taken bits from 0700


def _make_error(path: Path, error: OSError) -> UsageError:
    # A symbolic link is ELOOP or, for a directory, ENOTDIR.
    if path.is_symlink():
        return UsageError(f"{path} is a symbolic link, which is not followed; rm {path}")
    return UsageError(f"{path}: {error.strerror or error}")


def _check_owner_only(path: Path, found: os.stat_result, kind: Callable[[int], bool], mode: str) -> None:
    if not kind(found.st_mode):
        raise UsageError(f"{path} is not a file; rm -r {path}")
    if found.st_uid != os.geteuid():
        raise UsageError(f"{path} belongs to another user, who can read it or has written it; sudo rm -r {path}")
    if found.st_mode & 0o077:
        raise UsageError(f"{path} can be read by others; chmod {mode} {path}")
