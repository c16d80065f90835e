import os
import signal

import pytest
import trio

from fanout.cli.stop import Stopping, run, run_gracefully


def test_the_work_s_exit_code_is_the_command_s() -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        return 3

    assert run(work) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_work_and_gives_the_code(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned = []

    async def work() -> int:
        try:
            os.kill(os.getpid(), number)
            await trio.sleep_forever()
        finally:
            cleaned.append(True)

    assert run(work) == 128 + number
    assert cleaned == [True]
    assert capsys.readouterr().err == "fanout: interrupted\n"


def test_signals_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    async def work() -> int:
        await trio.lowlevel.checkpoint()
        return 0

    run(work)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_an_error_in_the_work_comes_out() -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        raise ValueError("x")

    with pytest.RaisesGroup(ValueError):
        run(work)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)

    async def work() -> int:
        os.kill(os.getpid(), number)
        await trio.sleep(0.05)
        return 3

    try:
        assert run(work) == 3
    finally:
        signal.signal(number, before)


def test_work_that_ends_by_itself_is_asked_first_and_its_code_is_the_signal_s() -> None:
    shown = []

    async def work(stopping: Stopping) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        await stopping.asked.wait()
        await trio.sleep(0.01)
        shown.append("what there is")
        return 0

    assert run_gracefully(work) == 143
    assert shown == ["what there is"]


def test_work_that_does_not_end_when_it_is_asked_is_cancelled() -> None:
    async def work(_: Stopping) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        await trio.sleep_forever()

    assert run_gracefully(work, grace=0.05) == 130


def test_a_terminal_that_is_gone_does_not_hide_the_signal() -> None:
    async def work(stopping: Stopping) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        await stopping.asked.wait()
        raise OSError(5, "Input/output error")

    assert run_gracefully(work) == 129
