"""Runs `fanout` as a process of its own, with or without a terminal."""

import atexit
import fcntl
import os
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory

import trio
from attrs import define, field

STATE = TemporaryDirectory(prefix="fanout-tests-")
"""The directory in which the commands keep their last run and their logins: not the user's."""
atexit.register(STATE.cleanup)

COMMAND = [sys.executable, "-m", "fanout"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))},
    "TERM": "xterm-256color",
    "LC_ALL": "C.UTF-8",
    "XDG_STATE_HOME": STATE.name,
}


@define
class Done:
    """The output of a command, and its exit code."""

    code: int
    out: str
    err: str


async def fanout(*arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Done:
    """Runs the command to its end, with pipes for everything."""
    done = await trio.run_process(
        [*COMMAND, *arguments],
        stdin=stdin,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**ENVIRONMENT, **(env or {})},
    )
    assert b"Traceback" not in done.stderr
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


async def run_line(line: str, env: Mapping[str, str] | None = None) -> Done:
    """Runs a line of shell that is nothing but a command of ours, such as documents show."""
    program, *arguments = shlex.split(line, comments=True)
    assert program == "fanout"
    return await fanout(*arguments, env=env)


@define(eq=False)
class Terminal:
    """A command on a terminal of its own: what it wrote so far, and its process."""

    process: trio.Process
    master: int
    out: int | None = None
    written: str = ""
    grew: trio.Event = field(factory=trio.Event)

    async def until(self, pattern: str) -> str:
        """Waits until the pattern has been written, and returns everything written."""
        with trio.fail_after(20):
            while not re.search(pattern, self.written):
                await self.grew.wait()
        return self.written

    async def end(self) -> int:
        """Waits for the end of the process and of what it wrote, and returns its exit code."""
        with trio.fail_after(20):
            code = await self.process.wait()
        await trio.sleep(0.05)  # what it wrote last is still on its way through the terminal
        return code

    async def read(self) -> None:
        """Reads what the command writes, for ever."""
        async with trio.lowlevel.FdStream(os.dup(self.master)) as stream:
            while True:
                self.written += (await stream.receive_some()).decode(errors="replace")
                self.grew.set()
                self.grew = trio.Event()


@asynccontextmanager
async def on_terminal(
    *arguments: str, width: int = 120, height: int = 30, stdout: int | None = None
) -> AsyncGenerator[Terminal]:
    """Runs the command on a new terminal of this size, in a process group of its own; `stdout` may go elsewhere."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            [*COMMAND, *arguments],
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            start_new_session=True,
            env=ENVIRONMENT,
        )
        terminal = Terminal(process, master)
        nursery.start_soon(terminal.read)
        try:
            yield terminal
        finally:
            if process.poll() is None:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
            nursery.cancel_scope.cancel()
            os.close(slave)
            os.close(master)


def children(pid: int) -> list[int]:
    """The processes that this one has started and not ended."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]
