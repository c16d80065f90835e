"""A command's work, run under Trio until it ends or a signal ends it; and stopped and resumed as a shell says."""

import signal
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from math import inf

import click
import trio
from attrs import define, field

from fanout.cli import pictures

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a command's work."""

GRACE = 3.0
"""Seconds that work which ends by itself has after a signal: nobody may read what it prints."""

_NOTICED = 0.5
"""Seconds within which a process that was stopped hears that it was resumed."""


@define(eq=False)
class Stopping:
    """A signal's word to the work: `asked` is set, and the work has `grace` seconds before it is cancelled."""

    asked: trio.Event = field(factory=trio.Event)
    grace: float = GRACE


def run(work: Callable[[], Awaitable[int]]) -> int:
    """The work's exit code, or that of the signal that cancelled it, as a shell would give it."""
    return run_gracefully(lambda _: work(), grace=0.0)


def run_gracefully(work: Callable[[Stopping], Awaitable[int]], grace: float = GRACE) -> int:
    """Like `run`, for work that ends by itself when it is asked to, with what it has by then."""
    return trio.run(_until_stopped, work, grace)


async def _until_stopped(work: Callable[[Stopping], Awaitable[int]], grace: float) -> int:
    stopping = Stopping(grace=grace)
    stops: list[int] = []
    code = 0
    try:
        async with trio.open_nursery() as nursery:
            # A signal cancels, where KeyboardInterrupt would come up in the middle of any statement.
            await nursery.start(listen, nursery.cancel_scope, stops, stopping)
            await nursery.start(suspend)
            code = await work(stopping)
            nursery.cancel_scope.cancel()
    except* OSError:
        if not stops:
            raise  # else its terminal is gone, as the signal has said
    if not stops:
        return code
    click.echo("fanout: interrupted", err=True)
    return 128 + stops[0]


def heeded(*numbers: signal.Signals) -> tuple[signal.Signals, ...]:
    """Those of the signals that were not ignored when we were started, as nohup and shells without job control do."""
    return tuple(number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN)


async def listen(
    scope: trio.CancelScope,
    stops: list[int],
    stopping: Stopping | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Cancels at the first signal, which it adds to `stops`; a second one does what it would without us.

    With `stopping` the work is told, and has its grace.
    """
    numbers = heeded(*STOPS)
    if not numbers:
        task_status.started()
        await trio.sleep_forever()
    with trio.open_signal_receiver(*numbers) as signals:
        task_status.started()
        stops.append(await anext(signals))
    if stopping is not None:
        stopping.asked.set()
    scope.deadline = trio.current_time() + (stopping.grace if stopping else -inf)


async def suspend(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Stops the process at Ctrl-Z with its pictures away and the cursor back; both are there again when it goes on."""
    if not heeded(signal.SIGTSTP):
        task_status.started()
        return
    with trio.open_signal_receiver(signal.SIGTSTP, signal.SIGCONT) as signals:
        task_status.started()
        async for number in signals:
            if number == signal.SIGTSTP:
                with ExitStack() as away:
                    for picture in pictures.shown:
                        away.enter_context(picture.hold())
                    _stop_process()
                    with trio.move_on_after(_NOTICED):
                        await anext(signals)
                        continue
                    # Without a shell to go back to, as over `ssh -t`, the system stops nothing.
                    if pictures.shown:
                        click.echo("fanout: no shell to go back to: Ctrl-Z again brings the picture back", err=True)
                    await anext(signals)


def _stop_process() -> None:
    """Does what SIGTSTP does to a program that knows nothing of it."""
    ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTSTP)  # returns when the process goes on
    signal.signal(signal.SIGTSTP, ours)
