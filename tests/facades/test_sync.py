"""fanout.sync: results, exceptions and interrupts in a program without a loop, and in processes of its own."""

import inspect
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import trio
from anyio.from_thread import BlockingPortal

import fanout
from fanout import Delta, End, Status
from fanout.errors import ServerError, UsageError
from fanout.facades.home import find_home
from fanout.transports.memory import HANG
from tests.facades.test_aio import END, LANE, TOKEN, play, running_tasks
from tests.servers.openai import OpenAIServer

ROOT = Path(__file__).parents[2]


def test_it_has_the_calls_of_fanout_with_their_arguments_and_none_is_async() -> None:
    calls = [name for name in fanout.__all__ if inspect.isfunction(getattr(fanout, name))]
    assert set(fanout.sync.__all__) == {*calls, "Fanout", "Stream"}
    assert fanout.sync.__all__ == sorted(fanout.sync.__all__)
    for name in calls:
        theirs, ours = getattr(fanout, name), getattr(fanout.sync, name)
        assert inspect.signature(theirs) == inspect.signature(ours)
        assert not inspect.iscoroutinefunction(ours)
        assert hasattr(ours, "__wrapped__")


def test_every_call_returns_what_it_returns_under_trio(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    lanes = [server.lane("a"), server.lane("b", status=500)]
    with fanout.sync.open_transport() as transport:
        assert fanout.sync.race("?", lanes, transport=transport).lane == "a"
        assert [a.status for a in fanout.sync.gather("?", lanes, retries=0)] == [Status.FINISHED, Status.FAILED]
        assert fanout.sync.ask("?", lanes, retries=0).winner
    assert fanout.sync.list_models("openai") == ["m-2", "m-1"]
    assert fanout.sync.check_keys("openai") == [None]
    with pytest.RaisesGroup(ServerError):
        fanout.sync.race("?", lanes[1], retries=0)


def test_a_stream_gives_every_event(server: OpenAIServer) -> None:
    with fanout.sync.open_fanout("?", [server.lane("a", n=300, ttft=0.05)]) as events:
        got = list(events)
    assert sum(type(tagged.event) is Delta for tagged in got) == events.run.answers[0].chunks == 300
    assert isinstance(got[-1].event, End)


def test_a_stream_gives_the_winners_text(server: OpenAIServer) -> None:
    with fanout.sync.stream("?", [server.lane("slow", ttft=5), server.lane("fast", ttft=0.05)]) as text:
        assert "".join(text) == "w0 w1 w2 "
        assert text.lane == "fast"
    bad = fanout.sync.stream("?", server.lane("bad", status=500), retries=0)
    with pytest.RaisesGroup(ServerError), bad as text:
        list(text)


def test_a_block_that_is_left_leaves_nothing() -> None:
    transport = play(TOKEN, HANG)
    with fanout.sync.open_fanout("?", LANE, transport=transport) as events:
        for tagged in events:
            if isinstance(tagged.event, Delta):
                break
    assert transport.open == 0
    with pytest.raises(ValueError, match="mine"), fanout.sync.open_fanout("?", LANE, transport=transport):
        raise ValueError("mine")
    assert transport.open == running_tasks() == 0


def test_what_a_fan_out_breaks_off_with_comes_out_of_the_block() -> None:
    def accept(_: fanout.Answer) -> bool:
        raise LookupError("mine")

    plan = fanout.Race(LANE, accept=accept)
    with (
        pytest.raises(LookupError, match="mine"),
        fanout.sync.open_fanout("?", plan, transport=play(TOKEN, END)) as all_,
    ):
        list(all_)
    with pytest.raises(LookupError, match="mine"), fanout.sync.open_fanout("?", plan, transport=play(TOKEN, END)):
        time.sleep(0.05)
    with pytest.raises(UsageError), fanout.sync.open_fanout("?", []):
        pass


@pytest.fixture
def interrupted() -> Iterator[None]:
    """Interrupts the main thread after a moment."""
    timer = threading.Timer(0.05, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT))
    timer.start()
    yield
    timer.join()


def test_an_interrupt_ends_a_call_and_comes_out(interrupted: None) -> None:
    transport = play(TOKEN, HANG)
    with pytest.raises(KeyboardInterrupt):
        fanout.sync.race("?", LANE, transport=transport)
    assert transport.open == running_tasks() == 0


def test_an_interrupt_ends_a_stream_and_comes_out(interrupted: None) -> None:
    transport = play(TOKEN, HANG)
    with pytest.raises(KeyboardInterrupt), fanout.sync.open_fanout("?", LANE, transport=transport) as events:
        list(events)
    assert transport.open == running_tasks() == 0


def test_a_call_in_accept_is_refused_and_does_not_hang() -> None:
    def accept(_: fanout.Answer) -> bool:
        return bool(fanout.sync.race("?", LANE, transport=play(TOKEN, END)).text)

    with pytest.raises(UsageError, match="such as accept"):
        fanout.sync.race("?", LANE, accept=accept, transport=play(TOKEN, END))


def test_many_threads_share_one(server: OpenAIServer) -> None:
    texts: list[str] = []
    lane = server.lane("a", ttft=0.02)
    threads = [threading.Thread(target=lambda: texts.append(fanout.sync.race("?", lane).text)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["w0 w1 w2 "] * 20
    assert sum(thread.name == "fanout" for thread in threading.enumerate()) == 1


def run_program(code: str, *arguments: str) -> str:
    """Runs a program of its own, in which a warning is an error on stderr, and stderr has to be empty."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", dedent(code), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def all_closed(portal: BlockingPortal, server: OpenAIServer) -> None:
    async def wait() -> None:
        with trio.fail_after(1):
            await server.all_closed()

    portal.call(wait)


@pytest.mark.slow
def test_a_program_ends_cleanly_though_calls_still_run(portal: BlockingPortal, server: OpenAIServer) -> None:
    code = """
        import asyncio, sys, threading, time
        import fanout.aio, fanout.sync

        lane = sys.argv[1]
        threading.Thread(target=lambda: asyncio.run(fanout.aio.race("?", lane)), daemon=True).start()
        with fanout.sync.open_fanout("?", lane) as events:
            for tagged in events:
                if isinstance(tagged.event, fanout.Delta):
                    break
        threading.Thread(target=fanout.sync.ask, args=("?", lane), daemon=True).start()
        time.sleep(0.1)
        print("end")
    """
    begun = time.monotonic()
    assert run_program(code, server.lane("a", n=10_000, gap=0.01)) == "end\n"
    assert time.monotonic() - begun < 5
    all_closed(portal, server)


@pytest.mark.slow
def test_a_fork_begins_anew(server: OpenAIServer) -> None:
    code = """
        import os, sys
        import fanout.sync

        lane = sys.argv[1]
        with fanout.sync.open_transport() as transport, fanout.sync.open_fanout("?", lane) as events:
            next(events)
            child = os.fork()
            if not child:
                calls = [
                    lambda: next(events),
                    lambda: events.run,
                    lambda: fanout.sync.race("?", lane, transport=transport),
                ]
                for call in calls:
                    try:
                        call()
                    except fanout.UsageError as error:
                        print(error)
                print(fanout.sync.race("?", lane).text)
                sys.exit()
            os.waitpid(child, 0)
            print(len(list(events)) > 3, fanout.sync.race("?", lane, transport=transport).text)
    """
    lines = run_program(code, server.lane("a", ttft=0.2)).splitlines()
    forked = "this was opened before the process was forked: open it again in the new process"
    assert lines[:2] == [forked, forked]
    assert "another loop" in lines[2]
    assert lines[3:] == ["w0 w1 w2 ", "True w0 w1 w2 "]


def test_importing_it_imports_neither_trio_nor_an_http_client() -> None:
    code = """
        import sys, fanout, fanout.aio, fanout.sync
        print(fanout.aio, *sorted(set(sys.modules) & {"trio", "anyio", "asyncio", "httpx", "attrs", "curl_cffi"}))
    """
    assert run_program(code).count(" ") == 3  # those of the module's own description


def test_the_thread_is_not_the_callers() -> None:
    assert not find_home().is_current()
