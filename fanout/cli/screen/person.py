"""The person at the terminal: told what a login is waiting for, and asked whether there should be one."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import click
import trio
from attrs import define, field

from fanout.cli.screen.live import Screen
from fanout.formats.summary import one_line
from fanout.login.browser import obtain
from fanout.login.logins import LoginPolicy, Logins
from fanout.login.services import Site


@define(eq=False)
class Person:
    """Reads and answers while the lanes run on. What is on the `screen` makes room meanwhile.

    One question at a time; `asking` is held while one is being asked, so that nothing else is written into it on a
    terminal.
    """

    screen: Screen = field(factory=Screen)
    asking: trio.Lock = field(factory=trio.Lock)

    def tell(self, text: str) -> None:
        """Shows a line on stderr."""
        with self.screen.hold():
            click.echo(text, err=True)

    async def confirm(self, site: Site, base_url: str) -> bool:
        """Asks whether to log in now. No answer, or none in words of yes, is a no."""
        question = f"{site.name} wants a login at {one_line(base_url)}. Open a browser and log in now? [y/N] "
        async with self.asking:
            with self.screen.hold(), _terminal() as terminal:
                if terminal is None:
                    return False
                reads, writes = terminal
                os.write(writes, question.encode())
                answered = False
                try:
                    await trio.lowlevel.wait_readable(reads)
                    answer = os.read(reads, 1024).decode(errors="replace")
                    answered = answer.endswith("\n")
                finally:
                    if not answered:  # cancelled, or closed: what comes next begins a line of its own
                        click.echo(err=True)
        return answer.strip().lower() in ("y", "yes")


def at_hand() -> bool:
    """Tells if there is a terminal to ask on."""
    with _terminal() as terminal:
        return terminal is not None


def logins(policy: LoginPolicy, person: Person) -> Logins:
    """Logins by a browser, as `policy` allows them."""
    return Logins(policy, partial(obtain, tell=person.tell), person.confirm)


@contextmanager
def _terminal() -> Iterator[tuple[int, int] | None]:
    """The descriptors that read and write the terminal: ours, or that of the process where ours are pipes, or None."""
    if sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty() and sys.stderr.isatty():
        yield sys.stdin.fileno(), sys.stderr.fileno()
        return
    descriptor = None
    with suppress(OSError):  # a process without a terminal
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        yield None if descriptor is None else (descriptor, descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)
