"""Standard output as a Trio program must write it: a slow reader stops neither the lanes' clocks nor Ctrl-C."""

import os
import select
import stat
import sys

import trio


async def write(text: str) -> None:
    """Writes the text in UTF-8, whatever is in it. Raises OSError, of which BrokenPipeError when nobody reads on."""
    data = encode(text)
    descriptor = _descriptor()
    if descriptor is None:
        sys.stdout.write(data.decode())
        sys.stdout.flush()
        return
    sys.stdout.flush()
    view = memoryview(data)
    while view:
        await _writable(descriptor)
        # So much never blocks once a pipe is writable (POSIX, write).
        view = view[os.write(descriptor, view[: select.PIPE_BUF]) :]


def encode(text: str) -> bytes:
    """UTF-8: surrogate pairs become the characters they stand for, half a pair becomes U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def is_file() -> bool:
    """Tells if standard output is a file, where nothing that is written can meet a picture on a terminal."""
    descriptor = _descriptor()
    return descriptor is not None and stat.S_ISREG(os.fstat(descriptor).st_mode)


def _descriptor() -> int | None:
    try:
        return sys.stdout.fileno()
    except OSError:  # a test's stand-in has none
        return None


async def _writable(descriptor: int) -> None:
    try:
        await trio.lowlevel.wait_writable(descriptor)
    except OSError:
        await trio.lowlevel.checkpoint()  # a regular file is always writable, and epoll refuses it
