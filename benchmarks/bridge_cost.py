"""Measures what an event costs on its way to a program without Trio: CPU of all threads, from producer to consumer.

The producer is a task of Trio's that makes events and does nothing else. The unit is Trio's own memory channel, within
one Trio run: an await for each event on either side. Each way takes its turn in each repetition.
"""

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time_ns
from typing import Any

import trio
from anyio.from_thread import start_blocking_portal
from attrs import define, frozen

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.clients import is_there
from benchmarks.machine import arguments, chosen, circumstances, conclude, every_line, measured_on, say, table
from fanout import api
from fanout.engine.channel import Channel
from fanout.engine.group import Group
from fanout.events import Delta, Event
from fanout.facades import aio, sync
from fanout.policies.all import All

UNIT = "Trio's memory channel"
BUFFER = 128
"""Events that the memory channel holds."""
EVENTS: Sequence[Event] = [Delta("word ")] * 64


@frozen
class Load:
    """`count` events, `burst` at a time, with `pause` seconds between bursts; 0 is a checkpoint."""

    burst: int
    count: int
    pause: float = 0.0

    async def play(self, put: Callable[[Sequence[Event]], Awaitable[None]]) -> None:
        """Has `put` take every burst."""
        for _ in range(self.count // self.burst):
            await put(EVENTS[: self.burst])
            await trio.sleep(self.pause)


LOADS = {
    "one by one": Load(1, 20_000),
    "16 a read": Load(16, 64_000),
    "one each ms": Load(1, 300, 0.001),
}


async def through_memory_channel(load: Load) -> int:
    """Counts the events that come through a memory channel."""
    send, receive = trio.open_memory_channel[Event](BUFFER)

    async def put(events: Sequence[Event]) -> None:
        for event in events:
            await send.send(event)

    async def produce() -> None:
        with send:
            await load.play(put)

    count = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce)
        async for _ in receive:
            count += 1
    return count


@asynccontextmanager
async def open_produced(load: Load) -> AsyncGenerator[api.Fanout]:
    """A fan-out whose events come from `load` alone."""
    channel = Channel(trio.current_time())

    async def put(events: Sequence[Event]) -> None:
        channel.put("lane", events, 0.0)

    async def produce() -> None:
        await load.play(put)
        channel.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce)
        yield api.Fanout(Group("all", All(), [], "cancel"), channel)


async def within_trio(load: Load) -> int:
    """Counts the events of a fan-out in the same Trio run."""
    count = 0
    async with open_produced(load) as fanout:
        async for _ in fanout:
            count += 1
    return count


async def across_to_asyncio(load: Load) -> int:
    """Counts the events that cross to an asyncio loop."""
    count = 0
    flag = aio.Flag()
    fanout = aio.Fanout(open_produced(load), flag)
    async with aio.hold(fanout.block, flag):
        async for _ in fanout:
            count += 1
    return count


def across_to_a_thread(load: Load) -> int:
    """Counts the events that cross to a thread without a loop."""
    flag = threading.Event()
    fanout = sync.Fanout(open_produced(load), flag)
    with sync.hold("open_fanout", fanout.block, flag):
        return sum(1 for _ in fanout)


def call_by_call(load: Load) -> int:
    """Counts the events that a thread gets through anyio's blocking portal, one call an event."""
    count = 0
    with start_blocking_portal("trio") as portal, portal.wrap_async_context_manager(open_produced(load)) as fanout:
        try:
            while True:
                portal.call(fanout.__anext__)
                count += 1
        except StopAsyncIteration:
            return count


def on_uvloop(load: Load) -> int:
    """Counts the events that cross to a uvloop."""
    import uvloop  # noqa: PLC0415  # not everybody has it

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(across_to_asyncio(load))


@frozen
class Way:
    """A way for events, and the module that it needs."""

    run: Callable[[Load], int]
    needs: str = "trio"


WAYS = {
    UNIT: Way(lambda load: trio.run(partial(through_memory_channel, load))),
    "fanout's channel, on Trio": Way(lambda load: trio.run(partial(within_trio, load))),
    "`fanout.aio`, asyncio": Way(lambda load: asyncio.run(across_to_asyncio(load))),
    "`fanout.aio`, uvloop": Way(on_uvloop, "uvloop"),
    "`fanout.sync`": Way(across_to_a_thread),
    "blocking portal, a call an event": Way(call_by_call),
}


@define
class Line:
    """One run of a way under a load."""

    way: int
    load: int
    repetition: int
    ns_an_event: int


def run(way: Way, load: Load) -> int:
    """Nanoseconds of CPU an event, on all threads together. Fails if an event is lost."""
    gc.collect()
    began = process_time_ns()
    got = way.run(load)
    took = process_time_ns() - began
    wanted = load.count // load.burst * load.burst
    assert got == wanted, f"{got} of {wanted} events arrived"
    return took // wanted


def measure(names: Sequence[str], repetitions: int, scale: float) -> list[Line]:
    """All lines; the first round warms up, and is not counted."""
    lines = []
    for repetition in range(-1, repetitions):
        say(f"{repetition + 1}/{repetitions}")
        for number, load in enumerate(LOADS.values()):
            for name in names:
                took = run(WAYS[name], Load(load.burst, int(load.count * scale), load.pause))
                if repetition >= 0:
                    lines.append(Line(list(WAYS).index(name), number, repetition, took))
    return lines


def medians(lines: Sequence[Line], names: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """By way and load: the median cost of an event in microseconds, and its ratio to the unit's of the same round."""
    took = {(line.way, line.load, line.repetition): line.ns_an_event for line in lines}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in names:
        way = list(WAYS).index(name)
        found[name] = {}
        for number, load in enumerate(LOADS):
            rounds = [r for w, n, r in took if (w, n) == (way, number)]
            found[name][load] = {
                "us": round(median(took[way, number, r] for r in rounds) / 1000, 2),
                "ratio": round(median(took[way, number, r] / took[0, number, r] for r in rounds), 2),
            }
    return found


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the table, and below it the machine."""
    yield from table(
        ("CPU an event, from producer to consumer", *LOADS),
        (
            (name, *(f"{found[load]['ratio']:.2f} ({found[load]['us']:g} µs)" for load in LOADS))
            for name, found in results["medians"].items()
        ),
    )
    yield ""
    yield measured_on(results)


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the table, and writes the results down."""
    parser = arguments("bridge_cost", __doc__)
    parser.add_argument("--repetitions", type=int, default=11)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of events")
    lacking = {name: () if is_there(way.needs) else (way.needs,) for name, way in WAYS.items()}
    options, names = chosen(parser, given, lacking, "WAY")
    names = list(dict.fromkeys([UNIT, *names]))
    about = circumstances(["fanout", "trio", "anyio", "uvloop"], options.repetitions)
    lines = measure(names, options.repetitions, options.scale)
    results = {**about, "medians": medians(lines, names), **every_line(Line, lines)}
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    main()
