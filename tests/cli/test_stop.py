import os
import signal

import pytest
import trio

from fanout.cli.stop import run


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
