"""Five hundred random scenarios on real sockets: whatever happens, nothing is left, and each lane has one End."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

import fanout
from fanout import All, Best, Consensus, Fallback, Fuse, Hedge, Quorum, Race, Timeouts
from fanout.abc import OnLose, Policy
from fanout.events import End, Status, Tagged
from tests.servers.openai import OpenAIServer, open_server

SEEDS = 500
AT_ONCE = 10

FAULTS: list[dict[str, Any]] = [
    {"status": 500},
    {"status": 429, "retry": "0.01"},
    {"status": 401},
    {"error": 0},
    {"error": 2},
    {"empty": True},
    {"html": True},
    {"cut": 1},
    {"cut": 0},
    {"reset": 1},
    {"stall": 1},
    {"hang": 0},
    {"nodone": True},
    {"drip": True},
    {"linger": True},
    {"refuse": True},
]


def draw_script(random: Random) -> dict[str, Any]:
    script: dict[str, Any] = {
        "ttft": round(random.expovariate(40), 3),
        "gap": round(random.expovariate(200), 3),
        "n": random.randint(1, 8),
    }
    if random.random() < 0.5:
        script.update(random.choice(FAULTS))
    if random.random() < 0.2:
        script["ka"] = True
    return script


def draw_plan(random: Random, server: OpenAIServer, names: Iterator[int], depth: int = 2) -> Policy:
    def lane() -> Policy | str:
        if depth > 1 and random.random() < 0.3:
            return draw_plan(random, server, names, depth - 1)
        return server.lane(f"l{next(names)}", **draw_script(random))

    lanes = [lane() for _ in range(random.randint(1, 4))]
    judge = server.lane(f"j{next(names)}", **draw_script(random))
    on_lose: OnLose | None = random.choice([None, None, "keep"])
    deadline = random.choice([float("inf"), round(random.expovariate(8), 3)])
    return random.choice(
        [
            All(*lanes, deadline=deadline),
            Race(*lanes, deadline=deadline, on_lose=on_lose),
            Race(*lanes, on="first_token", on_lose=on_lose),
            Hedge(*lanes, after=random.expovariate(40), on_lose=on_lose),
            Fallback(*lanes),
            Quorum(*lanes, k=random.randint(1, len(lanes)), on_lose=on_lose),
            Consensus(*lanes, wave=random.choice([None, 1]), or_judge=random.choice([None, judge]), on_lose=on_lose),
            Best(*lanes, judge=judge, grace=0.02, swap=random.random() < 0.5, deadline=deadline, on_lose=on_lose),
            Fuse(*lanes, judge=judge, grace=0.02, analysis=random.random() < 0.5, on_lose=on_lose),
        ]
    )


async def run_scenario(seed: int, server: OpenAIServer) -> None:
    """One scenario: a plan, faults, perhaps a caller who gives up; checks what must always hold."""
    random = Random(seed)
    plan = draw_plan(random, server, iter(range(100)))
    patience = random.choice([float("inf"), random.expovariate(15)])
    timeouts = Timeouts(first=0.3, idle=0.2, total=0.6)
    seen: list[Tagged] = []
    outcome = None
    with trio.move_on_after(patience) as caller:
        async with fanout.open_fanout("?", plan, timeouts=timeouts) as outcome:
            async for tagged in outcome:
                seen.append(tagged)  # noqa: PERF401  # what was seen before a cancellation counts too
    assert outcome is not None or caller.cancelled_caught, seed
    if outcome is not None:
        check(seed, seen, outcome, gave_up=caller.cancelled_caught)


def check(seed: int, seen: list[Tagged], outcome: fanout.Fanout, *, gave_up: bool) -> None:
    lanes: dict[str, list[Tagged]] = {lane: [] for lane in outcome.lanes}
    for tagged in seen:
        lanes[tagged.lane].append(tagged)
    for lane, tags in lanes.items():
        ends = [tagged for tagged in tags if isinstance(tagged.event, End)]
        if not gave_up:
            assert len(ends) == 1, (seed, lane)
        assert not ends or ends == tags[-1:], (seed, lane)
        assert [t.at for t in tags] == sorted(t.at for t in tags), (seed, lane)
    for answer in outcome.run.answers:
        assert answer.status is not None, (seed, answer)
        assert (answer.error is None) == (answer.status in (Status.FINISHED, Status.CANCELLED)), (seed, answer)
        if answer.error:
            assert (answer.error.lane, answer.error.partial) == (answer.lane, answer.text), (seed, answer)
    winner = outcome.run.winner
    assert winner is None or winner.status is Status.FINISHED, seed


def sockets() -> set[str]:
    """The sockets that this process has open."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            links.append(os.readlink(link))  # noqa: PTH115  # the target is no path
        except FileNotFoundError:
            continue
    return {link for link in links if link.startswith("socket:")}


def children() -> list[str]:
    """The processes that this one has started and that still are."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    return listed.read_text().split() if listed.exists() else []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts sockets in /proc")
async def test_after_five_hundred_random_scenarios_nothing_is_left_and_every_lane_had_one_end() -> None:
    before = sockets()
    tasks_before = trio.lowlevel.current_statistics().tasks_living
    limit = trio.CapacityLimiter(AT_ONCE)

    async def limited(seed: int, server: OpenAIServer) -> None:
        async with limit:
            await run_scenario(seed, server)

    async with open_server() as server:
        async with trio.open_nursery() as nursery:
            for seed in range(SEEDS):
                nursery.start_soon(limited, seed, server)
        with trio.fail_after(5):
            await server.all_closed()
        assert len(server.served) > SEEDS
    await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living == tasks_before
    assert sockets() == before
    assert not children()
