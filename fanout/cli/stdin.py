"""Standard input, read to its end: with a word while nothing comes, and no longer than there is time."""

import os
import sys
from contextlib import suppress
from math import inf
from select import select
from time import monotonic

import click

from fanout.errors import TimedOut

WORD = 1.0
"""Seconds of silence before the user is told that standard input is waited for."""

PATIENCE = 10.0
"""Seconds of silence after which a prompt that stands elsewhere is put without standard input."""

_PIECE = 1 << 16


def is_there() -> bool:
    """True if there is a standard input other than a terminal."""
    return sys.stdin is not None and not sys.stdin.closed and not sys.stdin.isatty()


def read(deadline: float = inf, patience: float = inf) -> bytes | None:
    """Returns all of standard input, or None where nothing at all came within `patience` seconds.

    Many runners leave a pipe open that nobody writes to, which would hang a command for ever. Raises TimedOut if it
    has not ended within `deadline` seconds.
    """
    began = monotonic()
    try:
        descriptor = sys.stdin.fileno()
    except (OSError, ValueError):  # a test's stand-in
        return sys.stdin.buffer.read()
    end = min(patience, deadline)
    came = _ready(descriptor, began + min(WORD, end))
    if not came and end > WORD:
        _say("waiting for standard input; --no-stdin if there is none")
        came = _ready(descriptor, began + end)
    if not came and patience < deadline:
        _say(f"nothing came on standard input within {patience:g} s: asking without it; -f - waits for it")
        return None
    pieces: list[bytes] = []
    while _ready(descriptor, began + deadline):
        piece = os.read(descriptor, _PIECE)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
    words = f"standard input has not ended by the deadline, {deadline:g} s; --no-stdin does not read it"
    raise TimedOut(words, clock="deadline", seconds=deadline)


def _ready(descriptor: int, until: float) -> bool:
    """Waits until there is something to read, or the end; False if it is `until` (monotonic seconds) before."""
    with suppress(OSError, ValueError):  # not everything that can be read can be waited for
        return bool(select([descriptor], [], [], None if until == inf else max(until - monotonic(), 0.0))[0])
    return True


def _say(text: str) -> None:
    click.echo(f"fanout: {text}", err=True)
