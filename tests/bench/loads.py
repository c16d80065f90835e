"""Loads in virtual time: scripted services, and what became of each request."""

from collections.abc import Callable
from typing import Any

from attrs import define, field

from fanout.abc import Request
from fanout.bench.load.design.schedule import Schedule
from fanout.bench.load.design.workload import load_prompts
from fanout.bench.load.lanes import prepare_lanes
from fanout.bench.load.loop import Load
from fanout.bench.load.request import Sender
from fanout.bench.load.setup import Limits, Setup
from fanout.bench.records.record import Record
from fanout.catalog import LaneSpec
from fanout.connections import Connections
from fanout.transports.memory import MemoryTransport, Script
from tests.words import Words, said

Scripts = dict[str, Script] | Callable[[Request], Script]
QUICK = said("one", "two", first=0.2, gap=0.1)
"""Takes 0.3 s."""


@define(eq=False)
class Bench:
    """A load that is being run, with the records so far, and what its services saw."""

    load: Load
    transport: MemoryTransport
    records: list[Record] = field(factory=list)

    async def run(self, *schedules: Schedule) -> "Bench":
        await self.load.run(schedules)
        return self

    async def put(self, record: Record) -> None:
        self.records.append(record)

    @property
    def counted(self) -> list[Record]:
        return [record for record in self.records if not record.warmup]

    def of(self, lane: str) -> list[Record]:
        return [record for record in self.counted if record.lane == lane]

    @property
    def texts(self) -> list[str]:
        return [exchange.request.body.decode() for exchange in self.transport.exchanges]


def bench(
    scripts: Scripts,
    *lanes: LaneSpec | str,
    requests: int | None = 4,
    seconds: float | None = None,
    precision: float | None = None,
    cost: float | None = None,
    prompts: str = "builtin:short",
    salt: str | None = None,
    twice: bool = False,
    **setup: Any,
) -> Bench:
    """A load on lanes of the simplest wire; no warm-up unless the test wants one."""
    specs = [LaneSpec(lane, Words(lane)) if isinstance(lane, str) else lane for lane in lanes]
    setup.setdefault("warmup", 0)
    made = Setup(
        lanes=prepare_lanes(specs, twice=twice),
        workload=setup.pop("workload", None) or load_prompts(prompts),
        limits=Limits(requests, seconds, precision, cost),
        salt=salt,
        **setup,
    )
    transport = MemoryTransport(scripts)
    under_way = Bench(Load(made, Sender(Connections(transport), made.timeout), None), transport)  # type: ignore[arg-type]
    under_way.load.sink = under_way.put
    return under_way
