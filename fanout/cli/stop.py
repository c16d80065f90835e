"""A command's work, run under Trio until it ends or a signal ends it."""

import signal
from collections.abc import Awaitable, Callable

import click
import trio

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(work: Callable[[], Awaitable[int]]) -> int:
    """The work's exit code, or that of the signal that cancelled it, as a shell would give it."""
    return trio.run(_until_stopped, work)


async def _until_stopped(work: Callable[[], Awaitable[int]]) -> int:
    stops: list[int] = []
    code = 0
    async with trio.open_nursery() as nursery:
        # A signal cancels, where KeyboardInterrupt would come up in the middle of any statement.
        await nursery.start(_listen, nursery.cancel_scope, stops)
        code = await work()
        nursery.cancel_scope.cancel()
    if not stops:
        return code
    click.echo("fanout: interrupted", err=True)
    return 128 + stops[0]


async def _listen(
    scope: trio.CancelScope, stops: list[int], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Cancels at the first signal; a second one does what it would without us."""
    with trio.open_signal_receiver(*_STOPS) as signals:
        task_status.started()
        stops.append(await anext(signals))
        scope.cancel()
