"""Plays a world on the real engine, in virtual time, and keeps the record of all that was seen."""

import json
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from math import inf
from typing import Any

import trio
from attrs import define, field
from trio.testing import MockClock

from fanout import api
from fanout.abc import Request
from fanout.answers import Answer, Run
from fanout.catalog.config import Config
from fanout.connections import Connections
from fanout.engine import retry
from fanout.events import End, Event, Tagged
from fanout.learning.memory import Memory
from fanout.plan import CallSettings
from fanout.sim.plans import make_plan
from fanout.sim.world import Act, Call, Leaf, World
from fanout.transports.memory import Exchange, MemoryTransport, Script

HANGS = 10**6
"""Virtual seconds after which a world counts as hung: all clocks and pauses are over long before."""


class Left(Exception):  # the user's own
    """Raised in the body of a block, by the user."""


@define(eq=False)
class Seen:
    """The record of one call: its events with the time at which the user had each, and what became of it."""

    call: Call
    started: float = 0.0
    events: list[tuple[float, Tagged]] = field(factory=list)
    acts: list[tuple[float, Act]] = field(factory=list)
    pieces: list[str] = field(factory=list)
    run: Run | None = None
    answers: tuple[Answer, ...] | None = None
    raised: BaseException | None = None
    ended: float = inf
    complete: bool = False


@define(eq=False)
class Record:
    """The record of a world: its calls, its exchanges by call and host, and what was left when all was over."""

    world: World
    seen: list[Seen]
    exchanges: dict[tuple[int, str], list[Exchange]] = field(factory=lambda: defaultdict(list))
    left: list[str] = field(factory=list)
    hung: bool = False
    crashed: BaseException | None = None


_ASKED = re.compile(rb"call (\d+)")


def play(world: World) -> Record:
    """Plays the world from its beginning to its end."""
    record = Record(world, [Seen(call) for call in world.calls])
    with _seeded(world.seed):
        try:
            trio.run(_play, record, clock=MockClock(autojump_threshold=0))
        except Exception as error:  # noqa: BLE001  # a law is broken: it is told as one
            record.crashed = error
    return record


LEARNS = 4
"""One world in so many has a memory of its services. A circuit opens before the budget for repeats is used up."""


def learns(world: World) -> bool:
    """True for a world with a memory of its services, of whose circuits the model knows nothing: only laws hold."""
    return world.seed % LEARNS == 1


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Has Trio run its tasks, and our retries wait, as the seed says."""
    # Trio shuffles the tasks of a batch; with this flag it sorts them before, so that its seed decides. Its names are
    # private: a test says when they change. See Trio's own comment there on what stays undetermined: ties of deadlines.
    core: Any = trio._core._run  # noqa: SLF001
    before, jitter = core._ALLOW_DETERMINISTIC_SCHEDULING, retry.RANDOM.getstate()  # noqa: SLF001
    order = core._r.getstate()  # noqa: SLF001
    core._ALLOW_DETERMINISTIC_SCHEDULING = True  # noqa: SLF001
    core._r.seed(seed)  # noqa: SLF001
    retry.RANDOM.seed(seed)
    try:
        yield
    finally:
        core._ALLOW_DETERMINISTIC_SCHEDULING = before  # noqa: SLF001
        core._r.setstate(order)  # noqa: SLF001
        retry.RANDOM.setstate(jitter)


async def _play(record: Record) -> None:
    transport = MemoryTransport(_Scripts(record).find)
    connections = Connections(transport, memory=Memory() if learns(record.world) else None)
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.move_on_after(HANGS) as scope:
        async with trio.open_nursery() as nursery:
            for seen in record.seen:
                nursery.start_soon(_live, seen, connections)
    record.hung = scope.cancelled_caught
    after = trio.lowlevel.current_statistics().tasks_living
    if after != before:
        record.left.append(f"{after - before} tasks")
    if transport.open:
        record.left.append(f"{transport.open} exchanges")
    for name, limiter in sorted(connections.limiters.items()):
        if limiter.borrowed_tokens or limiter.statistics().tasks_waiting:
            record.left.append(f"a place at the limit of {name}")
    for exchange in transport.exchanges:
        record.exchanges[_key_of(exchange.request)].append(exchange)


def _key_of(request: Request) -> tuple[int, str]:
    """The call and the host that a request belongs to; the prompt says which call it is."""
    found = _ASKED.search(json.dumps(json.loads(request.body)).encode())
    assert found is not None
    return int(found[1]), request.url.split("/")[2]


class _Scripts:
    """Chooses the script of a request: the lane's next reply, and its last one again and again."""

    def __init__(self, record: Record) -> None:
        leaves = [(call.number, leaf) for call in record.world.calls for leaf in call.plan.leaves()]
        self._leaves: dict[tuple[int, str], Leaf] = {(number, leaf.host): leaf for number, leaf in leaves}
        self._asked: dict[tuple[int, str], int] = defaultdict(int)

    def find(self, request: Request) -> Script:
        """Returns the script."""
        key = _key_of(request)
        replies = self._leaves[key].replies
        number = self._asked[key]
        self._asked[key] += 1
        return replies[min(number, len(replies) - 1)].steps()


async def _live(seen: Seen, connections: Connections) -> None:
    """Makes one call as its user does, and notes what comes out of it."""
    call = seen.call
    await trio.sleep(call.at)
    seen.started = trio.current_time()
    try:
        with trio.CancelScope() as scope:
            async with _acts_from_outside(seen, scope) as running:
                try:
                    await _WAYS[call.user.way](seen, connections, running)
                    seen.complete = True
                except Exception as error:  # noqa: BLE001  # a law says which may come
                    seen.raised = error
    except ExceptionGroup as error:  # raised in the moment in which the call was cut off
        seen.raised = error
    seen.ended = trio.current_time()


@asynccontextmanager
async def _acts_from_outside(seen: Seen, scope: trio.CancelScope) -> AsyncGenerator[list[api.Fanout]]:
    """Does in another task what the user does at certain times, until the block ends."""
    running: list[api.Fanout] = []

    async def act_at(act: Act) -> None:
        await trio.sleep(act.at)
        seen.acts.append((trio.current_time(), act))
        if act.what == "cut":
            scope.cancel()
        elif running:
            _cancel(running[0], act)

    async with trio.open_nursery() as nursery:
        for act in seen.call.user.acts:
            if isinstance(act.at, float):
                nursery.start_soon(act_at, act)
        yield running
        nursery.cancel_scope.cancel()


def is_due(act: Act, had: Sequence[Event]) -> bool:
    """True if the last of these events is the one after which the user acts."""
    if not isinstance(act.at, int):
        return False
    if not act.ends:
        return act.at == len(had)
    return isinstance(had[-1], End) and act.at == sum(isinstance(event, End) for event in had)


def _cancel(running: api.Fanout, act: Act) -> None:
    running.cancel(act.lane if act.what == "stop" else None)


def _settings(call: Call, connections: Connections) -> CallSettings:
    return {
        "transport": connections,
        "timeouts": call.timeouts,
        "retries": call.retries,
        "on_lose": call.on_lose,
        "deadline": call.deadline,
        "config": _NOTHING,
    }


_NOTHING = Config()


def _prompt(call: Call) -> str:
    return f"call {call.number} of the simulation"


async def _iterate(seen: Seen, connections: Connections, running: list[api.Fanout]) -> None:
    call = seen.call
    fanout = None
    try:
        async with api.open_fanout(_prompt(call), make_plan(call.plan), **_settings(call, connections)) as fanout:
            running.append(fanout)
            async for tagged in fanout:
                seen.events.append((trio.current_time(), tagged))
                if await _act_inside(seen, fanout):
                    break
                if call.user.pace:
                    await trio.sleep(call.user.pace)
    finally:
        seen.run = fanout.run if fanout is not None else None


async def _act_inside(seen: Seen, fanout: api.Fanout) -> bool:
    """Does what the user does after so many events; True: leaves the block."""
    for act in seen.call.user.acts:
        if is_due(act, [tagged.event for _, tagged in seen.events]):
            if act.pause:
                await trio.sleep(act.pause)
            seen.acts.append((trio.current_time(), act))
            if act.what == "raise":
                raise Left
            if act.what == "leave":
                return True
            if act.what in ("cancel", "stop"):
                _cancel(fanout, act)
    return False


async def _take(seen: Seen, connections: Connections, _: list[api.Fanout]) -> None:
    call = seen.call
    fanout = None
    try:
        async with api.open_fanout(_prompt(call), make_plan(call.plan), **_settings(call, connections)) as fanout:
            while True:
                try:
                    events = await fanout.take()
                except StopAsyncIteration:
                    break
                seen.events += [(trio.current_time(), tagged) for tagged in events]
    finally:
        seen.run = fanout.run if fanout is not None else None


async def _ask(seen: Seen, connections: Connections, _: list[api.Fanout]) -> None:
    seen.run = await api.ask(_prompt(seen.call), make_plan(seen.call.plan), **_settings(seen.call, connections))


async def _gather(seen: Seen, connections: Connections, _: list[api.Fanout]) -> None:
    answers = await api.gather(_prompt(seen.call), make_plan(seen.call.plan), **_settings(seen.call, connections))
    seen.answers = tuple(answers)


async def _race(seen: Seen, connections: Connections, _: list[api.Fanout]) -> None:
    answer = await api.race(_prompt(seen.call), make_plan(seen.call.plan), **_settings(seen.call, connections))
    seen.answers = (answer,)


async def _stream(seen: Seen, connections: Connections, _: list[api.Fanout]) -> None:
    call = seen.call
    stream = None
    try:
        async with api.stream(_prompt(call), make_plan(call.plan), **_settings(call, connections)) as stream:
            async for piece in stream:
                seen.pieces.append(piece)
    finally:
        seen.run = stream.run if stream is not None else None


_WAYS = {"open": _iterate, "take": _take, "ask": _ask, "gather": _gather, "race": _race, "stream": _stream}
