"""The files of answers, saved where the user wants them: under names of ours, and over nothing that is there."""

import errno
import os
import re
from collections.abc import Sequence
from itertools import count
from mimetypes import guess_extension
from pathlib import Path
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

import click
import trio

from fanout import Answer, fetch_file
from fanout.abc import Transport
from fanout.catalog.config import FILE
from fanout.cli.screen.live import say
from fanout.errors import ProviderError, UsageError
from fanout.events import File
from fanout.formats.summary import one_line, reason
from fanout.storage.writing import open_new, refuse_link

NAME_LENGTH = 100
"""Bytes that are kept of a service's name for a file, without its suffix."""


async def save_all(answers: Sequence[Answer], directory: Path, transport: Transport, *, quiet: bool) -> bool:
    """Saves the files of these answers, and says where; returns False if one does not come. Raises UsageError."""
    files = [(answer, file) for answer in answers for file in answer.files]
    whole = True
    for answer, file in files:
        try:
            data = await fetch_file(file, transport=transport)
        except (ProviderError, UsageError) as error:
            why = reason(error) if isinstance(error, ProviderError) else one_line(str(error))
            click.echo(f"fanout: a file of {one_line(answer.lane)} is not saved: {why}", err=True)
            whole = False
            continue
        path = await trio.to_thread.run_sync(write, directory, name_of(file), data)
        if not quiet:
            say(f"saved {path}")
    return whole


def check(directory: Path) -> None:
    """Raises UsageError if no file could be written there, before anybody is asked for one; makes nothing."""
    refuse_link(directory)
    found = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
    if not found.is_dir():
        raise _refuse(directory, os.strerror(errno.ENOTDIR))
    if not os.access(found, os.W_OK | os.X_OK):
        raise _refuse(directory, os.strerror(errno.EACCES))


def write(directory: Path, name: str, data: bytes) -> Path:
    """Writes a new file in the directory, which is made if it is not there; returns its path. Raises UsageError."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122  # of a name, not of a path
    refuse_link(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = directory / (name if number == 1 else f"{stem}-{number}{suffix}")
            try:
                file = open_new(path)
            except FileExistsError:
                continue
            with file:
                file.write(data)
            return path
    except OSError as error:
        raise _refuse(directory, error.strerror or str(error)) from None
    raise AssertionError("numbers do not end")


def _refuse(directory: Path, why: str) -> UsageError:
    return UsageError(f"--save-files {directory}: {why}")


def name_of(file: File) -> str:
    """A name for the file that is no path: letters, digits and a few marks of what the service calls it.

    It begins with no dot, and is not that of our own configuration: no service is to say where prompts go.
    """
    given = file.name or unquote(_path(file.url))
    last = re.split(r"[/\\]", given)[-1]
    name = re.sub(r"[^\w.() +-]", "_", last).strip(" .")
    stem, suffix = os.path.splitext(name)  # noqa: PTH122  # of a name, not of a path
    suffix = suffix[:16] or guess_extension((file.media_type or "").partition(";")[0].strip()) or ""
    # In bytes, because a file system bounds those.
    stem = stem.encode()[:NAME_LENGTH].decode(errors="ignore").strip(" .") or "file"
    # Some file systems take names that differ in case or form for the same.
    ours = normalize("NFKC", f"{stem}{suffix}").casefold() == FILE
    return f"{stem}_{suffix}" if ours else f"{stem}{suffix}"


def _path(url: str | None) -> str:
    try:
        return urlsplit(url or "").path
    except ValueError:
        return ""
