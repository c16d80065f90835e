"""Policies compared on lanes of scripted latencies: each request goes through the real engine, in virtual time."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from random import Random
from typing import Any

import trio
from attrs import evolve, frozen
from trio.testing import MockClock

from fanout import api, catalog
from fanout.abc import Policy, Request
from fanout.catalog.config import Config
from fanout.errors import UsageError
from fanout.policies.race import On
from fanout.settings import explain_unknown
from fanout.sim.latencies import ScriptedLane, quantile_of
from fanout.sim.notation import Shape
from fanout.sim.plans import CLASSES
from fanout.sim.world import Reply
from fanout.transports.memory import MemoryTransport, Script

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
"""The quantiles that are told."""

Progress = Callable[[str, int], None]
"""Is told the policy, and how many requests of it are done."""


@frozen
class Outlook:
    """The result of one policy over `n` requests; times in seconds, +inf where nobody answered.

    `first` and `total` are quantiles of the time to the winner's first token and to the end of all (of a quorum and of
    all: to the last answer that they need). Per request, on average:
    `extra` requests beyond the first, and the `wasted` tokens of losers. `failed` is the share without an answer.
    """

    policy: str
    n: int
    first: dict[str, float]
    total: dict[str, float]
    extra: float
    wasted: float
    failed: float


def resolve(shape: Shape, lanes: Mapping[str, ScriptedLane]) -> Shape:
    """Gives a policy without lanes all of them, and a hedge after a quantile its seconds. Raises UsageError."""
    members = shape.lanes or tuple(lanes)
    for lane in members:
        if isinstance(lane, str) and lane not in lanes:
            raise UsageError(explain_unknown("lane", lane, lanes, f"the file has {', '.join(lanes)}"))
    full = evolve(shape, lanes=tuple(lane if isinstance(lane, str) else resolve(lane, lanes) for lane in members))
    if shape.quantile is not None:
        first = full.lanes[0]
        if not isinstance(first, str):
            raise UsageError(f"{shape}: its first lane is a plan, whose quantiles nobody knows; write seconds")
        return evolve(full, argument=f"{lanes[first].first.at(shape.quantile):.6g}")
    full.given(len(full.lanes))
    return full


def compare(
    shapes: Sequence[Shape], lanes: Mapping[str, ScriptedLane], n: int, seed: int, on: On, progress: Progress
) -> list[Outlook]:
    """Plays `n` requests under each policy; all of them meet the same luck, lane by lane. Raises UsageError."""
    return [_play(shape, resolve(shape, lanes), lanes, n, seed, on, progress) for shape in shapes]


def _play(
    shape: Shape, full: Shape, lanes: Mapping[str, ScriptedLane], n: int, seed: int, on: On, progress: Progress
) -> Outlook:
    runs: list[tuple[float, float, int, int]] = []

    async def play() -> None:
        plan, hosts = make_plan(full, on)
        luck = _Luck(lanes, hosts, seed)
        transport = MemoryTransport(luck.find)
        for number in range(n):
            luck.number = number
            runs.append(await _ask(plan, transport))
            progress(str(shape), number + 1)

    trio.run(play, clock=MockClock(autojump_threshold=0))
    firsts, totals = sorted(run[0] for run in runs), sorted(run[1] for run in runs)
    return Outlook(
        str(shape),
        n,
        {name: quantile_of(firsts, share) for name, share in SHARES.items()},
        {name: quantile_of(totals, share) for name, share in SHARES.items()},
        sum(run[2] for run in runs) / n - 1,
        sum(run[3] for run in runs) / n,
        sum(total == inf for total in totals) / n,
    )


async def _ask(plan: Policy, transport: MemoryTransport) -> tuple[float, float, int, int]:
    """One request: the times to the winner's first token and to the end, the requests, the wasted tokens."""
    began = trio.current_time()
    transport.exchanges.clear()
    run = await api.ask("?", plan, transport=transport, config=_NOTHING)
    asked = {exchange.request.url.split("/")[2]: exchange.began - began for exchange in transport.exchanges}
    winner = run.winner
    if winner is None and not plan.chooses:
        first_done = [answer for answer in run.answers if answer.answered]
        winner = min(first_done, key=lambda answer: answer.elapsed or inf, default=None)
    if winner is None or winner.ttft is None:
        return inf, inf, len(transport.exchanges), run.wasted.tokens
    start = asked[_host(winner.lane)]
    return start + winner.ttft, run.elapsed, len(transport.exchanges), run.wasted.tokens


_NOTHING = Config()


def make_plan(shape: Shape, on: On) -> tuple[Policy, dict[str, str]]:
    """Makes the plan; and which lane each host stands for: a lane that is there twice is two hosts."""
    hosts: dict[str, str] = {}

    def make(shape: Shape) -> Policy:
        members: list[Any] = []
        for lane in shape.lanes:
            if isinstance(lane, Shape):
                members.append(make(lane))
                continue
            number = sum(name == lane for name in hosts.values()) + 1
            label = lane if number == 1 else f"{lane}#{number}"
            hosts[_host(label)] = lane
            spec = catalog.find(f"openai/m?base_url=https://{_host(label)}/v1", _NOTHING)
            members.append(evolve(spec, name=label))
        given = shape.given(len(members))
        if shape.policy in ("race", "hedge", "fallback"):
            given["on"] = on
        return CLASSES[shape.policy](*members, **given)  # type: ignore[no-any-return]  # the classes differ

    return make(shape), hosts


def _host(label: str) -> str:
    """Returns a host for a lane's name, which may have letters that no host has."""
    return f"lane-{label.encode().hex()}.test"


class _Luck:
    """Draws what a lane says to each request: the same for every policy, so that they differ by nothing else."""

    def __init__(self, lanes: Mapping[str, ScriptedLane], hosts: Mapping[str, str], seed: int) -> None:
        self.number = 0
        self._lanes, self._hosts, self._seed = lanes, hosts, seed

    def find(self, request: Request) -> Script:
        """Returns the script of a request."""
        host = request.url.split("/")[2]
        random = Random(f"{self._seed} {host} {self.number}")  # noqa: S311  # latencies need no secrecy
        reply: Reply = self._lanes[self._hosts[host]].reply(random)
        return reply.steps()
