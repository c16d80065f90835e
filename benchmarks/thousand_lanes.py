"""Time until the first request of a thousand lanes is read by its service, and the longest step of the loop meanwhile.

All lanes of one `fanout.ask` begin at once, over the real transports, at a load server that notes when it has read each
request. The time counts from the call. A step is what one task does without letting others run, by the wall clock, and
with what the garbage collector does in the middle of it. Each process makes one round in which all is done for the
first time, with connections to be opened, and warm ones after it; lanes are all alike, or have a model each.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import trio
from attrs import define, field

sys.path.insert(0, str(Path(__file__).parent.parent))

import fanout
from benchmarks.clients import CLIENTS, DISTRIBUTIONS, PATIENT, QUESTION, child_task, leave, transport
from benchmarks.load import Failed, allow_sockets, child, open_server
from benchmarks.machine import arguments, chosen, circumstances, conclude, every_line, foot, say, table
from fanout.catalog.config import Config

CARRIERS = {"curl": CLIENTS["fanout-curl"], "httpx": CLIENTS["fanout-httpx"]}

MODELS = {"alike": "m", "different": "m{}"}
"""By the word for them, the lanes' model, with its number."""

ROUNDS = {"first": 1, "warm": 3}
"""Rounds of a process, one after the other."""


@define(eq=False)
class Steps(trio.abc.Instrument):
    """The longest step of any task, in seconds."""

    longest: float = 0.0
    _began: float = field(factory=time.perf_counter, init=False)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """As Trio says."""
        self._began = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """As Trio says."""
        self.longest = max(self.longest, time.perf_counter() - self._began)


@define
class Line:
    """One round: milliseconds from the call to the first and last request, the longest step's, and of all of it."""

    carrier: str
    lanes: str
    repetition: int
    round: str
    first_ms: float
    last_ms: float
    step_ms: float
    total_ms: float


async def ask(carrier: str, task: Mapping[str, Any]) -> list[dict[str, float]]:
    """Asks the lanes of each round, all at once."""
    took = []
    async with transport(carrier) as carries:
        for base_url in task["rounds"]:
            lanes = write_lanes(base_url, task["model"], task["lanes"])
            steps = Steps()
            trio.lowlevel.add_instrument(steps)
            await trio.lowlevel.checkpoint()
            steps.longest = 0.0  # the one before is that of this function
            began = time.monotonic()
            run = await fanout.ask(
                QUESTION, fanout.All(*lanes), transport=carries, timeouts=PATIENT, config=Config(), retries=0
            )
            total = time.monotonic() - began
            await trio.lowlevel.checkpoint()
            trio.lowlevel.remove_instrument(steps)
            failed = [answer.error for answer in run.answers if answer.error]
            assert not failed, f"{len(failed)} of {len(lanes)} lanes failed: {failed[0]}"
            took.append({"began": began, "step": steps.longest, "total": total})
    return took


def write_lanes(base_url: str, model: str, count: int) -> list[str]:
    """Returns the lanes' specs."""
    options = f"base_url={quote(base_url, safe='')}&key_env="
    return [f"openai/{model.format(number)}?{options}" for number in range(count)]


def measure(names: Sequence[str], count: int, repetitions: int) -> tuple[list[Line], dict[str, str]]:
    """All lines, and what went wrong."""
    lines: list[Line] = []
    failed: dict[str, str] = {}
    rounds = [name for name, times in ROUNDS.items() for _ in range(times)]
    with open_server() as server:
        for repetition, carrier, (words, model) in product(range(repetitions), names, MODELS.items()):
            server.reset()
            tags = [f"round{number}" for number in range(len(rounds))]
            urls = [f"{server.stream(every=20, chunks=5, tag=tag)}/v1" for tag in tags]
            task = {"rounds": urls, "model": model, "lanes": count}
            took = child(Path(__file__), carrier, task)
            if isinstance(took, Failed):
                failed[f"{carrier}, {words}"] = took.why
                say(f"{carrier}, {words} failed: {took.why}")
                continue
            requests = server.stats().requests
            for name, tag, each in zip(rounds, tags, took["rounds"], strict=True):
                asked = [request.asked / 1e9 - each["began"] for request in requests if request.tag == tag]
                times = (min(asked), max(asked), each["step"], each["total"])
                lines.append(Line(carrier, words, repetition, name, *(round(1000 * t, 1) for t in times)))
                say(f"{repetition + 1}/{repetitions} {carrier}, {words}, {name}: {lines[-1]}")
    return lines, failed


def medians(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """By carrier, lanes and round: medians of the times."""
    found = []
    for carrier, words, name in dict.fromkeys((line.carrier, line.lanes, line.round) for line in lines):
        here = [line for line in lines if (line.carrier, line.lanes, line.round) == (carrier, words, name)]
        times = {
            time: round(median(getattr(line, time) for line in here), 1)
            for time in ("first_ms", "last_ms", "step_ms", "total_ms")
        }
        found.append({"carrier": carrier, "lanes": words, "round": name, **times})
    return found


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the table, and below it the machine."""
    head = (f"{results['settings']['lanes']} lanes", "round", "first request ms", "last", "longest step", "all of it")
    rows = [
        (
            f"{CARRIERS[cell['carrier']].says.partition(',')[0]}, {cell['lanes']}",
            cell["round"],
            *(f"{cell[name]:.0f}" for name in ("first_ms", "last_ms", "step_ms", "total_ms")),
        )
        for cell in results["medians"]
    ]
    yield from table(head, rows)
    yield ""
    yield from foot(results)


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints the table, and writes the results down."""
    parser = arguments("thousand_lanes", __doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--lanes", type=int, default=1000)
    options, names = chosen(parser, given, {name: client.missing for name, client in CARRIERS.items()})
    allow_sockets(options.lanes)
    about = circumstances(DISTRIBUTIONS, options.repetitions)
    lines, failed = measure(names, options.lanes, options.repetitions)
    results = {
        **about,
        "settings": {"lanes": options.lanes, "rounds": ROUNDS},
        "medians": medians(lines),
        "failed": failed,
        **every_line(Line, lines),
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    if asked := child_task(sys.argv):
        leave({"rounds": trio.run(ask, *asked)})
    main()
