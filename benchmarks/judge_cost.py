"""A judge of three lanes, one of which is three times slower: `Best` and `Fuse` beside "gather all, then ask".

One scripted service on a loopback socket answers the lanes and the judge. By turns: Best, Fuse, and by hand all answers
gathered first, then put to the same judge. Seconds are those until the answer is in the caller's hands. Of each run of
Best and Fuse besides, in milliseconds: from the moment when enough answers and the grace are over to the judge's start,
and from the service's sending the first token of a fusion to the caller's having it.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import trio
from attrs import asdict, define

sys.path.insert(0, str(Path(__file__).parent.parent))

import fanout
from benchmarks.machine import arguments, circumstances, conclude, every_line, foot, say, table
from fanout.events import Delta, End, Started
from tests.servers.openai import OpenAIServer, open_server

CHUNKS = 20
"""Pieces of an answer."""

SLOWER = 3
"""Times as long takes the slowest of the lanes."""

VERDICT = json.dumps({"best": "A"})
WAYS = ("best", "fuse", "gather-then-ask")


@define
class Line:
    """One run: its wall time in seconds; milliseconds to the judge's start and from its first token; -1: none."""

    way: str
    repetition: int
    wall_s: float
    start_ms: float = -1.0
    token_ms: float = -1.0


def lanes(server: OpenAIServer, answer: float, repetition: int) -> list[str]:
    """Three lanes whose answers take `answer` seconds, a little more, and three times as long."""
    gaps = (answer / CHUNKS, 1.02 * answer / CHUNKS, SLOWER * answer / CHUNKS)
    return [server.lane(name, n=CHUNKS, gap=gap, run=repetition) for name, gap in zip("abc", gaps, strict=True)]


async def judge_plan(server: OpenAIServer, way: str, answer: float, repetition: int) -> Line:
    """Measures one run of Best or Fuse."""
    speech = {"say": VERDICT} if way == "best" else {"n": CHUNKS, "gap": 0.005}
    judge = server.lane("d", ttft=0.2, run=f"{repetition}{way}", **speech)
    kind = fanout.Best if way == "best" else fanout.Fuse
    plan = kind(*lanes(server, answer, repetition), judge=judge)
    began, events, token = time.perf_counter(), [], -1.0
    async with fanout.open_fanout("Which?", plan) as running:
        async for tagged in running:
            events.append(tagged)
            if way == "fuse" and tagged.lane == "judge" and isinstance(tagged.event, Delta) and token < 0:
                token = 1000 * (trio.current_time() - server.of(judge).sent[0])
        wall = time.perf_counter() - began
        assert running.run.winner is not None
    ends = sorted(t.at for t in events if isinstance(t.event, End) and t.lane in ("a", "b"))
    started = next(t.at for t in events if t.lane == "judge" and isinstance(t.event, Started))
    due = ends[1] + max(0.5, 0.2 * ends[1])
    return Line(way, repetition, wall, 1000 * (started - due), token)


async def gather_and_ask(server: OpenAIServer, answer: float, repetition: int) -> Line:
    """Measures one run by hand: every answer first, then the judge."""
    began = time.perf_counter()
    answers = await fanout.gather("Which?", lanes(server, answer, repetition))
    shown = "\n\n".join(f"{label}: {one.text}" for label, one in zip("ABC", answers, strict=True))
    await fanout.race(f"Which is the best?\n{shown}", server.lane("d", ttft=0.2, say=VERDICT))
    return Line(WAYS[2], repetition, time.perf_counter() - began)


async def measure(answer: float, repetitions: int) -> list[Line]:
    """Measures every way by turns; the first round does not count."""
    found: list[Line] = []
    for repetition in range(repetitions + 1):
        async with open_server() as server:
            line = [await judge_plan(server, way, answer, repetition) for way in WAYS[:2]]
            line.append(await gather_and_ask(server, answer, repetition))
        say(", ".join(f"{one.way} {one.wall_s:.2f} s" for one in line))
        found += line if repetition else []
    return found


def summarise(found: Sequence[Line]) -> dict[str, dict[str, float]]:
    """The medians of each way, and its wall time beside that of gathering first."""
    medians = {}
    for way in WAYS:
        of = [asdict(line) for line in found if line.way == way]
        medians[way] = {name: round(median(one[name] for one in of), 3) for name in ("wall_s", "start_ms", "token_ms")}
    whole = medians[WAYS[2]]["wall_s"]
    return {way: {**cell, "ratio": round(cell["wall_s"] / whole, 3)} for way, cell in medians.items()}


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table, and the machine."""
    head = (
        "three lanes, one three times slower, and a judge",
        "seconds",
        "ratio",
        "ms to the judge's start",
        "ms of a token",
    )
    rows = (
        (
            way,
            f"{cell['wall_s']:.2f}",
            f"{cell['ratio']:.2f}",
            *(_show(cell[name]) for name in ("start_ms", "token_ms")),
        )
        for way, cell in results["medians"].items()
    )
    yield from table(head, rows)
    yield ""
    yield from foot(results)


def _show(milliseconds: float) -> str:
    return "" if milliseconds < 0 else f"{milliseconds:.2f}"


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints, and writes the results down."""
    parser = arguments("judge_cost", __doc__)
    parser.add_argument("--answer", type=float, default=1.0, metavar="SECONDS", help="how long a quick answer takes")
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args(given)
    found = trio.run(measure, options.answer, options.repetitions)
    results = {
        **circumstances(["fanout", "trio"], options.repetitions),
        "settings": {"answer_s": options.answer, "chunks": CHUNKS, "slower": SLOWER},
        "failed": {},
        "medians": summarise(found),
        **every_line(Line, found),
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    main()
