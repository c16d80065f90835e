import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from math import inf

import pytest
import trio

from fanout.cli import stdin
from fanout.errors import TimedOut
from tests.cli.command import COMMAND, ENVIRONMENT, fanout
from tests.servers.openai import open_server


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The writing end of a pipe that is standard input."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield writer


def later(seconds: float, act: Callable[[], object]) -> None:
    """Does something in a thread, after some time."""
    threading.Timer(seconds, act).start()


def end(pipe: int, data: bytes) -> None:
    """Writes the last of it."""
    os.write(pipe, data)
    os.close(pipe)


def test_a_pipe_is_read_to_its_end(pipe: int) -> None:
    os.write(pipe, b"one ")
    later(0.05, partial(end, pipe, b"two"))
    assert stdin.read(deadline=20, patience=20) == b"one two"


def test_a_silent_pipe_is_left_after_a_while_with_a_word(pipe: int, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert stdin.read(patience=0.1) is None
    assert time.monotonic() - began < 5
    assert (
        "nothing came on standard input within 0.1 s: asking without it; -f - waits for it" in capsys.readouterr().err
    )
    os.close(pipe)


def test_a_pipe_that_has_begun_to_speak_is_waited_for(pipe: int) -> None:
    os.write(pipe, b"one ")
    later(0.3, partial(end, pipe, b"two"))
    assert stdin.read(patience=0.1) == b"one two"


@pytest.mark.parametrize("said", [b"", b"half"])
def test_a_deadline_covers_standard_input(pipe: int, said: bytes) -> None:
    os.write(pipe, said)
    with pytest.raises(TimedOut, match=r"has not ended by the deadline, 0\.1 s; --no-stdin"):
        stdin.read(deadline=0.1)
    os.close(pipe)


def test_an_empty_standard_input_is_empty(pipe: int) -> None:
    os.close(pipe)
    assert stdin.read(deadline=inf) == b""


def test_a_closed_standard_input_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert not stdin.is_there()
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert stdin.is_there()


@pytest.mark.slow
@pytest.mark.parametrize(("words", "code"), [(("hi",), 0), ((), 124)])
async def test_a_runner_s_open_pipe_holds_a_run_up_to_its_deadline_and_no_longer(
    words: tuple[str, ...], code: int
) -> None:
    async with open_server() as server:
        command = [*COMMAND, "race", "-q", "--no-save", "-m", server.lane("a", n=1), "--deadline", "1", *words]
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT
        )
        assert process.stdin is not None and process.stderr is not None
        async with process.stdin, process.stderr:
            with trio.fail_after(10):
                said = b"".join([chunk async for chunk in process.stderr])
                assert await process.wait() == code
    assert b"standard input" in said


@pytest.mark.slow
async def test_without_standard_input_a_pipe_is_left_alone() -> None:
    async with open_server() as server:
        done = await fanout("race", "-q", "--no-stdin", "-m", server.lane("a", n=1), "hi", stdin=b"unread")
        (served,) = server.served
    assert done.code == 0
    assert b"unread" not in served.request.body
