"""The life of a browser's process, with other programs in its place; `test_browser.py` has the real one."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import trio

from fanout.errors import UsageError
from fanout.login import chromium
from fanout.login.chromium import arguments, obstacle, open_chromium, sweep
from fanout.login.devtools import BrowserClosed
from tests.login.test_devtools import command
from tests.servers.login import descriptors, left, own_temporary_directory, processes

HOME, ABROAD = "http://127.0.0.1:8000/chat", "https://example.org"

ECHO = """
import json, os, sys
rest = b""
while data := os.read(3, 65536):
    *messages, rest = (rest + data).split(b"\\0")
    for message in messages:
        said = {"arguments": sys.argv[1:], "temporary": os.environ["TMPDIR"], "open": sorted(os.listdir("/dev/fd"))}
        os.write(4, json.dumps({"id": json.loads(message)["id"], "result": {"value": said}}).encode() + b"\\0")
"""
DEAF = "import time; time.sleep(60)"


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    with own_temporary_directory(monkeypatch) as path:
        yield path


def play(program: str) -> Callable[[Path], Sequence[str]]:
    """Another program in place of the browser."""
    return lambda profile: [sys.executable, "-c", program, str(profile)]


def test_harmful_arguments_are_left_out_and_ours_come_once() -> None:
    given = [
        "--remote-allow-origins=*",
        "--no-first-run",
        "--user-data-dir=/p",
        "--disable-features=IsolateOrigins,site-per-process",
        "--remote-debugging-port=9222",
    ]
    made = arguments(given, headless=False)
    assert made[:2] == ["--no-first-run", "--user-data-dir=/p"]
    assert made[-1] == "about:blank"
    assert "--remote-debugging-pipe" in made
    assert not [a for a in made if "port" in a or "origins" in a.lower()]
    assert len(made) == len(set(made))
    assert set(arguments(given, headless=True)) - set(made) == {"--disable-gpu"}


@pytest.mark.parametrize(
    ("environ", "platform", "words"),
    [
        ({}, "linux", "no display"),
        ({"DISPLAY": ""}, "linux", "no display"),
        ({"DISPLAY": ":0"}, "linux", None),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", None),
        ({}, "darwin", None),
    ],
)
def test_a_window_needs_a_display(environ: dict[str, str], platform: str, words: str | None) -> None:
    said = obstacle(ABROAD, environ=environ, platform=platform, root=False)
    assert (said is None) == (words is None)
    assert said is None or words is None or words in said


@pytest.mark.parametrize(
    ("url", "as_root", "refused"), [(ABROAD, False, True), (ABROAD, True, False), (HOME, False, False)]
)
def test_root_logs_in_to_loopback_pages_or_insists(url: str, as_root: bool, refused: bool) -> None:
    said = obstacle(url, headless=True, as_root=as_root, root=True)
    assert bool(said) == refused
    assert said is None or "--as-root" in said
    assert obstacle(url, headless=True, root=False) is None


async def test_the_program_reads_from_3_writes_to_4_and_has_no_other_descriptor(temporary: Path) -> None:
    async with open_chromium(play(ECHO)) as browser:
        said = await browser.tools.call(command())
    [scratch] = {Path(said["temporary"]), browser.scratch}
    assert scratch.parent == temporary
    assert said["arguments"] == [str(scratch / "profile")]
    assert set(said["open"]) - {"5"} == {"0", "1", "2", "3", "4"}  # 5 is the listing's own


MOVE = """
import fcntl, os, subprocess, sys
shim, reads, writes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (*os.pipe(), *os.pipe())]
os.closerange(3, 20)
os.dup2(high[0], reads)
os.dup2(high[3], writes)
program = "import os; os.write(4, os.read(3, 9)); print(len(os.listdir('/dev/fd')))"
command = [sys.executable, "-I", "-S", "-c", shim, str(reads), str(writes), sys.executable, "-c", program]
os.write(high[1], b"through")
print(subprocess.run(command, pass_fds=(reads, writes), check=True, capture_output=True, text=True).stdout.strip())
print(os.read(high[2], 9).decode())
"""


@pytest.mark.parametrize(("reads", "writes"), [(3, 4), (4, 3), (4, 7), (7, 3), (3, 7), (7, 8), (12, 13)])
def test_the_pipes_are_moved_whatever_numbers_they_have(reads: int, writes: int) -> None:
    command = [sys.executable, "-c", MOVE, chromium.SHIM, str(reads), str(writes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    assert (done.stdout, done.stderr) == ("6\nthrough\n", "")  # the sixth is that of the listing


async def test_nothing_is_left_after_the_block_nor_after_an_error_in_it(temporary: Path) -> None:
    before = descriptors()
    for _ in range(2):
        async with open_chromium(play(ECHO)) as browser:
            await browser.tools.call(command())
            (browser.scratch / "profile").mkdir()
            (browser.scratch / "profile" / "cookies").write_text("x")
            assert processes(temporary)
    with pytest.raises(ZeroDivisionError):
        async with open_chromium(play(DEAF)):
            raise ZeroDivisionError
    assert left(temporary) == ([], [], before)


async def test_nothing_is_left_of_a_command_that_cannot_be_made(temporary: Path) -> None:
    before = descriptors()

    def fail(_profile: Path) -> Sequence[str]:
        raise UsageError("no browser")

    with pytest.raises(UsageError):
        async with open_chromium(fail):
            pass
    assert left(temporary) == ([], [], before)


@pytest.mark.parametrize("delay", [0, 0.001, 0.01, 0.03, 0.1])
async def test_nothing_is_left_after_a_cancellation(temporary: Path, delay: float) -> None:
    before = descriptors()
    with trio.move_on_after(delay) as scope:
        async with open_chromium(play(DEAF)):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert left(temporary) == ([], [], before)


async def test_the_children_of_the_browser_end_with_it(temporary: Path) -> None:
    nest = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {DEAF!r}, sys.argv[1]])"
    async with open_chromium(play(nest)):
        with trio.fail_after(10):
            while len(processes(temporary)) < 2:  # noqa: ASYNC110  # another process's doing
                await trio.sleep(0.02)
    assert processes(temporary) == []


async def test_a_crash_is_noticed_with_its_status_and_last_words() -> None:
    program = "import sys; print('one\\ntwo\\nthree\\nfour', file=sys.stderr); sys.exit(3)"
    async with open_chromium(play(program)) as browser:
        with pytest.raises(BrowserClosed):
            await browser.tools.call(command())
        assert await browser.status() == 3
        assert browser.last_words() == "two\nthree\nfour"


async def test_a_lasting_profile_stays_for_its_owner_s_eyes_and_for_one_browser(tmp_path: Path) -> None:
    profile = tmp_path / "profiles" / "x"
    async with open_chromium(play(ECHO), profile) as browser:
        assert (await browser.tools.call(command()))["arguments"] == [str(profile)]
        with pytest.raises(UsageError, match="another login uses this profile"):
            async with open_chromium(play(ECHO), profile):
                pass
    assert profile.stat().st_mode & 0o777 == 0o700


def scratch(directory: Path, name: str, *, age: float = 60, mode: int = 0o700) -> Path:
    (path := directory / name).mkdir(mode=mode)
    (path / "profile").mkdir()
    os.utime(path, times=(time.time() - age,) * 2)
    return path


def test_the_sweep_deletes_what_killed_processes_left_and_nothing_else(temporary: Path) -> None:
    left = scratch(temporary, "fanout-browser-abcd1234")
    kept = {
        scratch(temporary, "fanout-browser-abcd1235", age=1),
        scratch(temporary, "fanout-browser-abcd1236", mode=0o755),
        scratch(temporary, "fanout-browser-notes"),
        scratch(temporary, "fanout-notes"),
        held := scratch(temporary, "fanout-browser-abcd1237"),
    }
    (link := temporary / "fanout-browser-abcd1238").symlink_to(kept.copy().pop())
    descriptor = os.open(held, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        sweep()
    finally:
        os.close(descriptor)
    assert not left.exists()
    assert set(temporary.iterdir()) == {*kept, link}
    assert all((path / "profile").is_dir() for path in kept)
    sweep()
    assert not held.exists()


async def test_the_sweep_spares_a_browser_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chromium, "YOUNG", -1.0)
    async with open_chromium(play(ECHO)) as browser:
        async with open_chromium(play(ECHO)):
            assert browser.scratch.exists()
        assert json.dumps(await browser.tools.call(command()))


LOOK_AROUND = ECHO.replace('"open":', '"environ": list(os.environ.values()), "open":')


async def test_the_browser_gets_no_keys_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary-key")
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_COOKIE", "canary-cookie")
    async with open_chromium(play(LOOK_AROUND)) as browser:
        said = await browser.tools.call(command())
    assert os.environ["PATH"] in said["environ"]
    assert not [value for value in said["environ"] if "canary" in value]
