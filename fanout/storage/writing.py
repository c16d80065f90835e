"""Files at places that the user names: readable by their owner alone, and written through no symbolic link."""

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import IO

from fanout.errors import UsageError


def refuse_link(path: Path) -> None:
    """Raises UsageError if the path is a symbolic link: whoever made it chose what would be written to."""
    if os.path.islink(path):  # noqa: PTH114  # false, where Path.is_symlink raises: the writing tells better what is wrong
        raise UsageError(f"{path} is a symbolic link, which is not followed; write its target, or remove it")


def open_new(path: Path) -> IO[bytes]:
    """Opens a new file to write to, with mode 0600. Raises FileExistsError if there is anything, also a link."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb")


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file with mode 0600, in place of one that is there, whole or not at all.

    Raises UsageError for a symbolic link, and OSError.
    """
    refuse_link(path)
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a file")
    new = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with open_new(new) as file:
            file.write(data)
        new.replace(path)
    except BaseException:  # also Ctrl-C: half a file must not stay behind
        with suppress(FileNotFoundError):
            new.unlink()
        raise
