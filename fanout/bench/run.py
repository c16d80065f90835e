r"""A benchmark from Python: plan it, run it, sum it up.

    import trio
    from fanout.bench.report import console
    from fanout.bench.run import RunWish, plan_run, run, sum_up

    async def main():
        planned = plan_run(RunWish(lanes=["groq/llama-3.3-70b-versatile", "local"], requests=40))
        result = await run(planned)
        summary = sum_up(result.records, result.about)
        print(*console.lines(summary), sep="\n")

    trio.run(main)

`keep_run` puts every request into a store as it ends (fanout.bench.records.store), as `fanout bench` does, and
`write_files` writes a run's files, the page report.html among them. docs/metrics.md defines what a summary holds.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import trio
from attrs import evolve, frozen

from fanout.bench.analysis.metrics import parse_objectives
from fanout.bench.analysis.summary import Summary, summarize, to_json
from fanout.bench.load.environment import Strain
from fanout.bench.load.lanes import price
from fanout.bench.load.loop import Load, Sink
from fanout.bench.load.planning import PlannedRun, plan_run
from fanout.bench.load.request import Sender, open_stamped
from fanout.bench.load.wish import RunWish
from fanout.bench.records import files
from fanout.bench.records.record import Record, to_line
from fanout.bench.records.store import KeptRun, Store
from fanout.bench.report import console
from fanout.bench.report.page import make_page
from fanout.errors import UsageError
from fanout.errors.unwrapped import unwrapping
from fanout.formats.summary import one_line
from fanout.ledger.journal import open_journal

__all__ = ["Board", "PlannedRun", "RunResult", "RunWish", "keep_run", "plan_run", "run", "sum_up", "write_files"]

Board = Callable[[Load], Awaitable[object]]
"""Shows how a load stands, until it is cancelled."""

INTERRUPTED = "interrupted: what was measured until then counts"


@frozen
class RunResult:
    """The end of a run. `about` tells how it was asked for and how it went: `sum_up` takes it with the records.

    `records` are in the order in which requests ended; empty if a sink took them. `interrupted` says that the run's
    scope was cancelled.
    """

    records: Sequence[Record]
    about: Mapping[str, Any]
    interrupted: bool


async def run(
    planned: PlannedRun,
    sink: Sink | None = None,
    board: Board | None = None,
    *,
    salt: str | None = None,
    scope: trio.CancelScope | None = None,
) -> RunResult:
    """Sends a planned run, and hands the record of each request to `sink` as it ends.

    `board` is given the load once, and cancelled at its end. `salt` is in the marks that make prompts unique, for a
    run that is to send the same ones again; else it is random. Cancelling `scope` ends the run early: requests under
    way are cut off and recorded as such, and the result is of everything until then.
    """
    records: list[Record] = []
    scope = trio.CancelScope() if scope is None else scope
    setup = planned.setup
    if planned.wish.cache == "unique":
        setup = evolve(setup, salt=salt or token_hex(8))
    for lane in setup.lanes:
        price(lane, 1, 1)  # loads the table of prices, which takes too long to happen within a request
    strain = Strain()
    transport = planned.wish.transport or planned.config.defaults.transport
    fresh = planned.wish.fresh_connections
    async with open_stamped(transport, reuse=not fresh) as connections:
        load = Load(setup, Sender(connections, setup.timeout, planned.config, fresh=fresh), sink or _into(records))
        with unwrapping():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(strain.watch)
                if board is not None:
                    nursery.start_soon(board, load)
                with scope:
                    await load.run(planned.schedules)
                nursery.cancel_scope.cancel()
    ended = [*load.reasons, *([INTERRUPTED] if scope.cancel_called else [])]
    about = {**planned.about, "client": strain.figures(), "looks": max(1, load.looks), "ended": ended}
    return RunResult(records, about, scope.cancel_called)


def _into(records: list[Record]) -> Sink:
    async def keep(record: Record) -> None:
        records.append(record)
        await trio.lowlevel.checkpoint()

    return keep


async def keep_run(
    planned: PlannedRun, store: Store, board: Board | None = None, *, scope: trio.CancelScope | None = None
) -> KeptRun:
    """Runs a planned benchmark and keeps every request in the store as it ends. Raises UsageError if the disk is full.

    The run that is returned is complete, interrupted, or failed: nothing but a warm-up came to an end. Its name is the
    salt of its prompts. The store has no summary yet: `Store.finish` takes one.
    """
    begun = await trio.to_thread.run_sync(store.begin, planned.about)
    measured = 0
    async with open_journal(partial(store.add, begun.id)) as journal:

        async def keep(record: Record) -> None:
            nonlocal measured
            measured += not record.warmup
            await journal.put(to_line(record))  # made here: a thread that computes would keep the loop from its stamps

        result = await run(planned, keep, board, salt=begun.name, scope=scope)
    state = "interrupted" if result.interrupted else "complete" if measured else "failed"
    with trio.CancelScope(shield=True):  # what was measured is written also where the caller is cancelled
        await trio.to_thread.run_sync(store.finish, begun.id, state, None, result.about)
    return store.find(begun.name)


def sum_up(records: Sequence[Record], about: Mapping[str, Any]) -> Summary:
    """Sums up a run from its records and from what it tells of itself. Takes seconds for 100,000 requests.

    Raises UsageError if there is no record, or if `about` was changed to something that no run tells.
    """
    lanes = _field(about, "lanes", list) or []
    return summarize(
        records,
        lanes=[str(lane["name"]) for lane in lanes if isinstance(lane, Mapping) and "name" in lane],
        objectives=parse_objectives(_field(about, "objectives", str) or ""),
        seed=_field(about, "seed", int) or 0,
        looks=max(1, _field(about, "looks", int) or 1),
        baseline=_field(about, "baseline", str),
        fresh_connections=_field(about, "fresh_connections", bool) or False,
        ignore_eos=_field(about, "ignore_eos", bool) or False,
    )


def _field(about: Mapping[str, Any], name: str, kind: type) -> Any:
    value = about.get(name)
    if value is not None and not isinstance(value, kind):
        raise UsageError(f"the run tells nonsense of its {name}: {one_line(repr(value), 40)}; run.json was changed")
    return value


def write_files(directory: Path, summary: Summary, records: Sequence[Record], about: Mapping[str, Any]) -> None:
    """Writes all files of a run into a directory, over none that is there (see records/files.py). Raises UsageError."""
    files.write(
        directory,
        about,
        records,
        to_json(summary),
        table=console.markdown(summary, f"fanout bench: {', '.join(summary.lanes)}"),
        page=lambda: make_page(summary, records, about),
    )
