"""The loops that send the requests of a load, one attempt each, and hand on the record of each as it ends.

A block is one prompt, put to every lane. With one stream a block's lanes are asked one after the other, in an order
that Latin squares balance, so that nothing but the lane differs. With several streams each lane has as many of its own,
and all lanes take the same blocks in the same order, each at its own speed: a lane that had to wait for a slower one
would not be under the load that is asked for. In an open loop a block goes to all lanes at its planned time.

Nothing is tried again, and each lane uses one key: a failure is a result. A request that is due in an open loop while
all streams are busy waits in a queue, from which its record has its planned start; after the time-out it is given up.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from math import inf
from typing import Any

import trio
from attrs import define, evolve, field

from fanout.bench.analysis.metrics import CHARACTERS_PER_TOKEN
from fanout.bench.analysis.tally import Tally
from fanout.bench.load.design.order import interleave
from fanout.bench.load.design.schedule import Closed, Open, Replay, Schedule
from fanout.bench.load.lanes import price
from fanout.bench.load.request import Sender
from fanout.bench.load.setup import Limits, Setup
from fanout.bench.records.record import Record
from fanout.catalog import LaneSpec
from fanout.errors.unwrapped import unwrapping
from fanout.events import Status

Sink = Callable[[Record], Awaitable[None]]
"""Takes the record of a request that has ended, also one that was never sent."""

FIRST_LOOK = 24
"""Requests of each lane before the precision is looked at; then again at each quarter more."""

UNBOUNDED_TOKENS = 1000
"""Tokens of an answer that nothing bounds, for the estimate of its cost before the first one has come."""

GRACE_SECONDS = 1.0
"""The time for the record of a request that was cut off to be handed on."""


@define(eq=False)
class _Level:
    """One level of load, or its warm-up. `base` is its first block; `until` the Trio time of its last start."""

    name: str
    load: float | None
    began: float
    base: int
    warmup: bool
    requests: int | None
    until: float
    taken: dict[str, int] = field(factory=dict)
    places: dict[int, int] = field(factory=dict)
    stopped: trio.Event = field(factory=trio.Event)
    next_look: int = FIRST_LOOK

    def take(self, who: str) -> int | None:
        """The number of the next prompt for this lane, or for all; None when there is none any more."""
        if self.stopped.is_set() or self.is_out(who) or trio.current_time() >= self.until:
            return None
        number = self.taken.get(who, 0)
        self.taken[who] = number + 1
        return number

    def is_out(self, who: str) -> bool:
        """True if this lane, or all, have taken as many prompts as there are."""
        return self.taken.get(who, 0) == self.requests

    def block(self, number: int) -> int:
        """The block of the prompt with this number; those of a warm-up are negative."""
        return -1 - self.base - number if self.warmup else self.base + number

    def place(self, number: int, lanes: int) -> int:
        """The number of lanes that were sent this prompt before."""
        place = self.places.pop(number, 0)
        if place + 1 < lanes:
            self.places[number] = place + 1
        return place


@define(eq=False)
class Load:
    """A run that is being sent. `state` names its level, `tallies` has the figures so far by lane, within `limits`.

    `reasons` say why levels ended before all their requests were sent. `looks` counts the looks at the precision,
    `spent` the US dollars so far.
    """

    setup: Setup
    sender: Sender
    sink: Sink
    state: str = ""
    tallies: dict[str, Tally] = field(factory=dict)
    limits: Limits = field(factory=Limits)
    level_began: float = 0.0
    looks: int = 0
    spent: float = 0.0
    reasons: list[str] = field(factory=list)
    _reserved: float = 0.0
    _dearest: dict[str, float] = field(factory=dict)
    _orders: tuple[Any, list[tuple[str, ...]]] = ((), [])

    async def run(self, schedules: Sequence[Schedule]) -> None:
        """Sends everything, level by level. Cancelled, it has handed on the records of what was under way.

        Lanes that are asked together and of which none answers its warm-up are asked nothing more.
        """
        base = warm = 0
        together = [self.setup.lanes]
        if self.setup.order == "sequential":
            together = [(lane,) for lane in self.setup.lanes]
        for schedule in schedules:
            used = [0]
            for lanes in list(together):
                warm += await self._warm_up(schedule, lanes, warm)
                if self._warm_up_failed():
                    together.remove(lanes)
                else:
                    used.append(await self._measure(schedule, lanes, base))
            base += max(used)

    async def _warm_up(self, schedule: Schedule, lanes: Sequence[LaneSpec], base: int) -> int:
        """Sends requests that open connections and fill a service's caches; returns their number."""
        closed = schedule if isinstance(schedule, Closed) else Closed(1)
        requests = self.setup.warmup * closed.streams
        if requests:
            level = self._begin(schedule, lanes, Limits(requests), base, warmup=True)
            await self._run_closed(closed, lanes, level)
        return requests

    def _warm_up_failed(self) -> bool:
        """True if all requests of the warm-up failed: a key is missing, or nobody is there. Notes it as a reason."""
        if not self.tallies or any(tally.errors < tally.done or not tally.done for tally in self.tallies.values()):
            return False
        names = ", ".join(self.tallies)
        self.reasons.append(f"{self.state}: every request failed, so no other was sent to {names}")
        return True

    async def _measure(self, schedule: Schedule, lanes: Sequence[LaneSpec], base: int) -> int:
        """Sends one level; returns the number of prompts that were asked."""
        limits = self.setup.limits
        if isinstance(schedule, Replay):
            limits = evolve(limits, requests=min(len(schedule.at), limits.requests or len(schedule.at)))
        level = self._begin(schedule, lanes, limits, base)
        if isinstance(schedule, Closed):
            await self._run_closed(schedule, lanes, level)
        else:
            await self._open(schedule, lanes, level)
        return max(level.taken.values(), default=0)

    def _begin(
        self, schedule: Schedule, lanes: Sequence[LaneSpec], limits: Limits, base: int, *, warmup: bool = False
    ) -> _Level:
        self.state = f"{schedule.label}, warm-up" if warmup else schedule.label
        self.tallies = {lane.name: Tally() for lane in lanes}
        self.limits = limits
        self.level_began = began = trio.current_time()
        until = began + (inf if limits.seconds is None else limits.seconds)
        return _Level(self.state, _load_of(schedule), began, base, warmup, limits.requests, until)

    async def _run_closed(self, schedule: Closed, lanes: Sequence[LaneSpec], level: _Level) -> None:
        if schedule.streams == 1:
            await self._in_turn(lanes, level)
            return
        with unwrapping():
            async with trio.open_nursery() as nursery:
                for stream in range(schedule.streams):
                    for lane in self._order(stream, lanes):
                        start = level.began + schedule.beginning(stream)
                        nursery.start_soon(self._stream, lane, start, level)

    async def _in_turn(self, lanes: Sequence[LaneSpec], level: _Level) -> None:
        """Sends block by block, lane by lane. A block that has begun is finished, unless there is no money for it."""
        while (number := level.take("all")) is not None:
            for lane in self._order(number, lanes):
                if self._affords(lane, number, level):
                    await self._send(lane, number, level)

    async def _stream(self, lane: LaneSpec, start: float, level: _Level) -> None:
        """Sends the requests of one stream of a closed loop."""
        await trio.sleep_until(start)
        while (number := level.take(lane.name)) is not None and self._affords(lane, number, level):
            await self._send(lane, number, level)

    async def _open(self, schedule: Open | Replay, lanes: Sequence[LaneSpec], level: _Level) -> None:
        queues = {lane.name: _Queue(lane, schedule.streams) for lane in lanes}
        try:
            with unwrapping():
                async with trio.open_nursery() as nursery:
                    for after in schedule.times():
                        due = level.began + after
                        if due >= level.until or level.is_out("all"):
                            break
                        with trio.move_on_at(due):
                            await level.stopped.wait()
                        number = level.take("all")
                        if number is None:
                            break
                        for lane in self._order(number, lanes):
                            self.tallies[lane.name].waiting += 1
                            if queues[lane.name].add(number, due):
                                nursery.start_soon(self._serve, queues[lane.name], level)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + GRACE_SECONDS):
                for queue in queues.values():  # nothing is left in them, unless the load was cancelled
                    for number, due in queue.due:
                        await self._hand_on(
                            self._record_unsent(queue.lane, number, due, level, Status.CANCELLED), level
                        )

    async def _serve(self, queue: "_Queue", level: _Level) -> None:
        """Sends the requests of one stream of an open loop while any are due, even if the level has stopped."""
        lane = queue.lane
        while queue.due:
            number, due = queue.due.popleft()
            self.tallies[lane.name].waiting -= 1
            if not self._affords(lane, number, level):
                await self._hand_on(self._record_unsent(lane, number, due, level, Status.CANCELLED), level)
            elif trio.current_time() - due > self.setup.timeout:
                await self._hand_on(self._record_unsent(lane, number, due, level, Status.TIMED_OUT), level)
            else:
                await self._send(lane, number, level, due)
        queue.streams -= 1

    def _order(self, number: int, lanes: Sequence[LaneSpec]) -> Iterator[LaneSpec]:
        """The lanes in the order in which they get the prompt with this number."""
        names = {lane.name: lane for lane in lanes}
        chunk, place = divmod(number, 64 * len(lanes))  # whole Latin squares
        key = (*names, chunk)
        if self._orders[0] != key:
            self._orders = (key, interleave(list(names), 64 * len(lanes), self.setup.seed + chunk))
        return (names[name] for name in self._orders[1][place])

    async def _send(self, lane: LaneSpec, number: int, level: _Level, due: float | None = None) -> None:
        """Sends one request and hands its record on; `due` is its planned start in an open loop."""
        block, tally = level.block(number), self.tallies[lane.name]
        prompt = self.setup.prompt(lane.name, block, number)
        known = {
            "place": level.place(number, len(self.tallies)),
            "intended": None if due is None else due - self.sender.began,
            "warmup": level.warmup,
            "level": level.load,
        }
        records: list[Record] = []
        reserved = self._estimate_cost(lane, number)
        self._reserved += reserved
        tally.begin(trio.current_time())
        try:
            await self.sender.send(lane, prompt, block, records.append, **known)
        finally:
            tally.end(trio.current_time())
            self._reserved -= reserved
            with trio.CancelScope(shield=True, deadline=trio.current_time() + GRACE_SECONDS):
                for record in records:
                    await self._hand_on(record, level)

    def _record_unsent(self, lane: LaneSpec, number: int, due: float, level: _Level, status: Status) -> Record:
        """The record of a request that was due, but never sent."""
        late = status is Status.TIMED_OUT
        return Record(
            lane=lane.name,
            block=level.block(number),
            status=status,
            sent=trio.current_time() - self.sender.began,
            ended=0.0,
            place=level.place(number, len(self.tallies)),
            intended=due - self.sender.began,
            error="timeout" if late else None,
            message=f"no stream was free within {self.setup.timeout:g} s of its planned start" if late else None,
            clock="queue" if late else None,
            limit=self.setup.timeout if late else None,
            level=level.load,
        )

    async def _hand_on(self, record: Record, level: _Level) -> None:
        self.tallies[record.lane].add(record)
        if record.cost is not None:
            self.spent += record.cost
            self._dearest[record.lane] = max(record.cost, self._dearest.get(record.lane, 0.0))
        self._look(level)
        await self.sink(record)

    def _look(self, level: _Level) -> None:
        """Stops the level when all its lanes are measured as precisely as was asked for."""
        precision = self.setup.limits.precision
        least = min(tally.done for tally in self.tallies.values())
        if precision is None or level.warmup or least < level.next_look or level.stopped.is_set():
            return
        level.next_look = max(least + 1, least * 5 // 4)
        self.looks += 1
        if all(tally.precision <= precision for tally in self.tallies.values()):
            self.reasons.append(f"{level.name}: precise to {100 * precision:g} % after {least} requests a lane")
            level.stopped.set()

    def _affords(self, lane: LaneSpec, number: int, level: _Level) -> bool:
        """True if another request would probably stay below the most that may be spent; else stops the level."""
        most = self.setup.limits.cost
        if most is None or self.spent + self._reserved + self._estimate_cost(lane, number) <= most:
            return True
        if not level.stopped.is_set():
            self.reasons.append(f"{level.name}: another request might have cost more than {most:g} USD in all")
            level.stopped.set()
        return False

    def _estimate_cost(self, lane: LaneSpec, number: int) -> float:
        """The most that a request will probably cost: as much as the dearest so far, or as its lengths suggest."""
        if self.setup.limits.cost is None:
            return 0.0
        if (known := self._dearest.get(lane.name)) is not None:
            return known
        item = self.setup.workload.item(number)
        characters = sum(len(message.text) for message in item.prompt.messages)
        bound = lane.options.max_tokens or item.max_tokens or self.setup.max_tokens or UNBOUNDED_TOKENS
        return price(lane, characters // CHARACTERS_PER_TOKEN + 10, bound) or 0.0


@define(eq=False)
class _Queue:
    """The requests due in one lane of an open loop: numbers of prompts, and the Trio times of their planned starts."""

    lane: LaneSpec
    most: int
    streams: int = 0
    due: deque[tuple[int, float]] = field(factory=deque)

    def add(self, number: int, due: float) -> bool:
        """Adds one that is due. Returns True if another stream may begin for it, which is counted then."""
        self.due.append((number, due))
        room = self.streams < self.most
        self.streams += room
        return room


def _load_of(schedule: Schedule) -> float | None:
    if isinstance(schedule, Closed):
        return float(schedule.streams)
    return schedule.rate if isinstance(schedule, Open) else None
