"""A Chromium process that is driven over two pipes, and of which nothing is left when its block is.

It listens on no port: whoever could connect to one could read the logged-in browser. Each start has a scratch directory
of its own with the profile in it, locked as long as this process lives, so that a later start can tell what a killed
process has left behind.
"""

import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import trio
from attrs import define

from fanout.addresses import is_this_machine
from fanout.errors import UsageError
from fanout.login.devtools import DevTools
from fanout.storage.environment import child_environment
from fanout.storage.writing import refuse_link

PREFIX = "fanout-browser-"
"""The beginning of the names of scratch directories."""
YOUNG = 10.0
"""Seconds in which a scratch directory may still be without its lock."""
LEAVE = 2.0
"""Seconds that a browser has to leave when it is asked to, and to be seen dead after its pipe broke."""
GONE = 0.2
"""Seconds in which the children of a killed process are waited for."""
END = 5.0
"""Seconds after which the end of a killed process is not waited for any longer."""

# Chromium reads from descriptor 3 and writes to 4, while `pass_fds` keeps the numbers that pipes happen to have. An
# isolated interpreter without site-packages moves them: `preexec_fn` is unsafe beside threads.
SHIM = """
import fcntl, os, sys
ends = [int(end) for end in sys.argv[1:3]]
moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
for end in ends:
    os.close(end)
os.dup2(moved[0], 3)
os.dup2(moved[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""

ALWAYS = (
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
)
HEADLESS = ("--disable-gpu",)
# The first is for websockets, of which there are none here; the second would switch off the isolation of sites.
NEVER = ("--remote-allow-origins", "--remote-debugging-port", "--disable-features=IsolateOrigins")

Command = Callable[[Path], Sequence[str]]
"""Given a profile's directory, the program to run and its arguments."""


def arguments(given: Iterable[str], *, headless: bool) -> list[str]:
    """The arguments to start with: those that are `given` and do no harm, and our own. Opens an empty page."""
    kept = [argument for argument in given if not argument.startswith(NEVER)]
    ours = ALWAYS + (HEADLESS if headless else ())
    return [*dict.fromkeys((*kept, *ours)), "about:blank"]


def obstacle(
    base_url: str,
    *,
    headless: bool = False,
    as_root: bool = False,
    environ: Mapping[str, str] = os.environ,
    platform: str | None = None,
    root: bool | None = None,
) -> str | None:
    """Says why no browser should be started for this address here, or None."""
    display = environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")
    if not headless and (platform or sys.platform) != "darwin" and not display:
        return "there is no display for a browser: neither DISPLAY nor WAYLAND_DISPLAY is set"
    root = os.geteuid() == 0 if root is None else root
    if root and not as_root and not is_this_machine(urlsplit(base_url).hostname):
        return (
            "as root a browser runs without its sandbox, and any page could take over the machine (--as-root insists)"
        )
    return None


@define(eq=False)
class Chromium:
    """A running browser."""

    tools: DevTools
    process: trio.Process
    scratch: Path

    async def status(self) -> int | None:
        """The exit status of a browser whose pipe broke, or None if it runs on."""
        with trio.move_on_after(LEAVE):
            await self.process.wait()
        return self.process.returncode

    def last_words(self) -> str:
        """Returns the last lines that it printed, to say why it did not start."""
        lines = (self.scratch / "stderr").read_bytes()[-2000:].decode(errors="replace").splitlines()
        return "\n".join(lines[-3:])


@asynccontextmanager
async def open_chromium(command: Command, profile: Path | None = None) -> AsyncGenerator[Chromium, None]:
    """Runs a browser with a profile that is new and goes with it or, if a directory is given, with that one.

    However the block is left, there is no process, no descriptor and no new profile of it afterwards. Raises what
    `command` raises, and UsageError if another browser uses the profile.
    """
    await trio.to_thread.run_sync(sweep)
    with ExitStack() as descriptors:
        scratch = Path(tempfile.mkdtemp(prefix=PREFIX))
        process = None
        try:
            hold(scratch, descriptors)
            if profile is not None:
                _own(profile, descriptors)
            program = command(profile or scratch / "profile")
            process, out, into = await _start(program, scratch, descriptors)
            async with DevTools.open(out, into) as tools:
                yield Chromium(tools, process, scratch)
        finally:
            with trio.move_on_after(END, shield=True):
                if process is not None:
                    await _end(process)
            with trio.move_on_after(END, shield=True):
                # Some hundred files: deleted here they would hold up every other task.
                await trio.to_thread.run_sync(_remove, scratch)


def sweep() -> None:
    """Deletes the scratch directories of processes that were killed: ours by name, owner and mode, and not locked."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError), ExitStack() as descriptors:  # another process sweeps as well
            found = path.lstat()
            ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
            named = re.fullmatch(r"[a-z0-9_]{8}", path.name.removeprefix(PREFIX))
            if ours and named and time.time() - found.st_mtime > YOUNG:
                hold(path, descriptors)
                _remove(path)


def hold(directory: Path, descriptors: ExitStack) -> None:
    """Locks a directory until `descriptors` is left or this process ends. Raises BlockingIOError if another has it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    descriptors.callback(os.close, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _own(profile: Path, descriptors: ExitStack) -> None:
    """Keeps a lasting profile, which holds cookies in clear, for its owner's eyes and for one browser at a time."""
    refuse_link(profile)
    profile.mkdir(mode=0o700, parents=True, exist_ok=True)
    profile.chmod(0o700)
    try:
        hold(profile, descriptors)
    except BlockingIOError:
        raise UsageError("another login uses this profile now; wait for its end, or log in without --profile") from None


async def _start(
    program: Sequence[str], scratch: Path, descriptors: ExitStack
) -> tuple[trio.Process, trio.lowlevel.FdStream, trio.lowlevel.FdStream]:
    with ExitStack() as the_childs:
        reads, ours = os.pipe()
        the_childs.callback(os.close, reads)
        out = _stream(ours, descriptors)
        ours, writes = os.pipe()
        the_childs.callback(os.close, writes)
        into = _stream(ours, descriptors)
        words = os.open(scratch / "stderr", os.O_WRONLY | os.O_CREAT, 0o600)
        the_childs.callback(os.close, words)
        process = await trio.lowlevel.open_process(
            [sys.executable, "-I", "-S", "-c", SHIM, str(reads), str(writes), *program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
            pass_fds=(reads, writes),
            start_new_session=True,
            # Chromium would leave the directory of its own lock in the common one if it is killed.
            env={**child_environment(), "TMPDIR": os.fspath(scratch)},
        )
    return process, out, into


def _stream(descriptor: int, descriptors: ExitStack) -> trio.lowlevel.FdStream:
    stream = trio.lowlevel.FdStream(descriptor)
    descriptors.callback(stream.close)
    return stream


async def _end(process: trio.Process) -> None:
    """Kills the browser with all its processes, and reaps it."""
    with suppress(ProcessLookupError, PermissionError):  # none is left; macOS says it by the second
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        with trio.move_on_after(GONE):  # its children are reaped by others, or by nobody
            while True:
                os.killpg(process.pid, 0)
                await trio.sleep(0.005)
    await process.wait()


def _remove(directory: Path) -> None:
    """Deletes a directory, into which dying processes may just have written something more; the next sweep tries on."""
    for _ in range(20):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            break
        time.sleep(0.05)
