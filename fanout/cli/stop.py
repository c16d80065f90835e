"""A command's work, run under Trio until it ends or a signal ends it."""

import signal
from collections.abc import Awaitable, Callable

import click
import trio

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a command's work."""


def run(work: Callable[[], Awaitable[int]]) -> int:
    """The work's exit code, or that of the signal that cancelled it, as a shell would give it."""
    return trio.run(_until_stopped, work)


async def _until_stopped(work: Callable[[], Awaitable[int]]) -> int:
    stops: list[int] = []
    code = 0
    async with trio.open_nursery() as nursery:
        # A signal cancels, where KeyboardInterrupt would come up in the middle of any statement.
        await nursery.start(listen, nursery.cancel_scope, stops)
        code = await work()
        nursery.cancel_scope.cancel()
    if not stops:
        return code
    click.echo("fanout: interrupted", err=True)
    return 128 + stops[0]


async def listen(
    scope: trio.CancelScope, stops: list[int], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Cancels at the first signal, which it adds to `stops`; a second one does what it would without us."""
    with trio.open_signal_receiver(*STOPS) as signals:
        task_status.started()
        stops.append(await anext(signals))
        scope.cancel()
