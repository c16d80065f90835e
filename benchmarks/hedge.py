"""Hedging by learnt delays, beside other rules: the tail and the extra load, before and after a service gets slower.

12,000 prompts, one every two seconds, go to a service whose first token takes the longer the longer the prompt is, with
a heavy tail, and which is three times slower in the second half; one back-up stays as it is. Each rule runs through the
engine itself in virtual time and gets the same draws. The oracle knows the distribution of both halves, and not the
draws. The rules of tower and bhope/hedge are made from their sources' descriptions: tower records only requests that
end; bhope/hedge takes the 90th percentile of what came in the last half to whole minute.

Then an outage: the first service answers 503 for a minute, while a request comes every four seconds.
"""

import argparse
import re
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from math import ceil, inf
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import trio
from attrs import asdict, define, field, frozen
from trio.testing import MockClock

sys.path.insert(0, str(Path(__file__).parent.parent))

import fanout
from benchmarks.failover import REASONS, ask_router, open_faults
from benchmarks.failover import play as play_faults
from benchmarks.machine import arguments, circumstances, conclude, foot, say, table
from fanout.abc import Head, Policy, Request
from fanout.answers import Run
from fanout.connections import Connections
from fanout.learning.budgets import HedgeBudget
from fanout.learning.latencies import Key, Measure
from fanout.learning.pacing import Fixed, Pacer
from fanout.transports.memory import MemoryTransport, Script

PROMPTS = 12_000
EVERY = 2.0
SLOWER = 3.0
SEEDS = (1, 2, 3, 4, 5)
PATIENT = fanout.Timeouts(first=inf, idle=inf, total=inf)

ANSWER = b'data: {"choices": [{"delta": {"content": "Yes"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
LANES = [f"{name}=openai/m?base_url=https://{name}.test/v1&key_env=" for name in "ab"]
INDEX = re.compile(rb'"content":\s*"(\d+) ')


# The services.


def usual(size: int) -> float:
    """Returns the median seconds to the first token of a prompt of so many characters."""
    return 0.25 * (1 + size / 4000)


def draw_ratio(random: Random) -> float:
    """Draws the seconds to a first token over the median: lognormal, and of three in a hundred 4 to 25 times more."""
    ratio = random.lognormvariate(0, 0.25)
    return ratio * random.uniform(4, 25) if random.random() < 0.03 else ratio


@frozen
class Drawn:
    """A prompt: its characters, and the seconds that either service would take to its first token."""

    size: int
    first: float
    second: float


def draw(seed: int, prompts: int) -> list[Drawn]:
    """Draws all prompts of a seed."""
    random = Random(seed)
    drawn = []
    for number in range(prompts):
        size = int(min(60_000, max(20, random.lognormvariate(7.0, 1.2))))
        slower = SLOWER if number >= prompts // 2 else 1.0
        drawn.append(Drawn(size, usual(size) * draw_ratio(random) * slower, usual(size) * draw_ratio(random)))
    return drawn


def quantile(values: Sequence[float], q: float) -> float:
    """Returns the nearest rank."""
    return sorted(values)[max(0, ceil(q * len(values)) - 1)]


ORACLE = quantile([draw_ratio(Random(seed)) for seed in range(100_000)], 0.95)


# The rules of others.


@define
class Rule:
    """A pacer that is no rule of ours; it lives for a whole play, and is told of every run."""

    size: int = field(default=0, init=False)

    def order(self, lanes: int, size: int) -> Sequence[int]:
        """The order of the plan."""
        self.size = size
        return range(lanes)

    def delay(self, lane: int) -> float:
        """Never, unless a rule says otherwise."""
        return inf

    def may_hedge(self) -> bool:
        """True, unless a rule has a bucket."""
        return True

    def saw(self, run: Run, number: int) -> None:
        """Learns from a run."""


@define
class Oracle(Rule):
    """Knows the distribution at each time."""

    prompts: int

    def delay(self, lane: int) -> float:
        """The true percentile of such a prompt, now."""
        slower = SLOWER if trio.current_time() >= EVERY * (self.prompts // 2) else 1.0
        return ORACLE * usual(self.size) * slower


@define
class Tower(Rule):
    """The 95th percentile of the last 400 requests that ended: a request that was dropped never reports."""

    ended: deque[float] = field(factory=lambda: deque(maxlen=400))

    def delay(self, lane: int) -> float:
        """The percentile; a second before there are 20."""
        return quantile(self.ended, 0.95) if len(self.ended) >= 20 else 1.0

    def saw(self, run: Run, number: int) -> None:
        """Records the first lane if it answered."""
        if run.answers[0].status is fanout.Status.FINISHED and run.answers[0].ttft is not None:
            self.ended.append(run.answers[0].ttft)


@define
class Rotating(Rule):
    """The 90th percentile of two windows of 30 s, from the first start to the winner's first byte; 10 ms below 20."""

    bucket: HedgeBudget | None = None
    seen: deque[tuple[float, float]] = field(factory=deque)

    def order(self, lanes: int, size: int) -> Sequence[int]:
        """The order of the plan."""
        if self.bucket is not None:
            self.bucket.note_request()
        return range(lanes)

    def delay(self, lane: int) -> float:
        """The percentile of this window and the one before."""
        begin = (trio.current_time() // 30 - 1) * 30
        while self.seen and self.seen[0][0] < begin:
            self.seen.popleft()
        return quantile([seconds for _, seconds in self.seen], 0.9) if len(self.seen) >= 20 else 0.01

    def may_hedge(self) -> bool:
        """True as long as there is something in the bucket."""
        return self.bucket is None or self.bucket.take()

    def saw(self, run: Run, number: int) -> None:
        """Records the run."""
        self.seen.append((trio.current_time(), run.elapsed))


@define(eq=False)
class Ruled(Connections):
    """Connections whose groups are paced by a rule of the benchmark's."""

    rule: Any = field(default=None, kw_only=True)

    def pacer(self, policy: Policy, measure: Measure, keys: Sequence[Key], before: Sequence[int]) -> Pacer:
        """The rule."""
        return self.rule  # type: ignore[no-any-return]


RULES: Mapping[str, tuple[Callable[[int], Any], Mapping[str, Any]]] = {
    "no hedge": (lambda _: Rule(), {}),
    "fixed 0.8 s": (lambda _: Fixed(0.8), {}),
    "bhope/hedge: two windows of 30 s, p90": (lambda _: Rotating(), {}),
    "the same with its bucket of 10 %": (lambda _: Rotating(HedgeBudget(0.1)), {}),
    "tower: last 400 that ended, p95": (lambda _: Tower(), {}),
    "fanout: p95, no bucket": (lambda _: None, {"after": "p95", "budget": inf}),
    "fanout: p95": (lambda _: None, {"after": "p95"}),
    "oracle": (Oracle, {}),
}
"""The rules: what makes its pacer for so many prompts, None for the engine's own, and the settings of the hedge."""

OURS, CAPPED, BEST = "fanout: p95, no bucket", "fanout: p95", "oracle"


@frozen
class Half:
    """The figures of one half: seconds to the first token, and extra requests in a hundred."""

    p95: float
    p99: float
    extra: float


async def play(rule: str, drawn: Sequence[Drawn]) -> tuple[Half, Half]:
    """Plays all prompts under one rule, in virtual time."""
    make, settings = RULES[rule]
    seconds = [0.0] * len(drawn)
    asked = [0] * len(drawn)

    def script(request: Request) -> Script:
        found = INDEX.search(request.body)
        assert found
        number = int(found[1])
        if "//b." in request.url:
            asked[number] += 1
            return [drawn[number].second, ANSWER]
        return [drawn[number].first, ANSWER]

    transport = MemoryTransport(script)
    pacer = make(len(drawn))
    shared = Connections(transport) if pacer is None else Ruled(transport, rule=pacer)
    plan = fanout.Hedge(*LANES, on="first_token", **settings)

    async def one(number: int) -> None:
        prompt = f"{number} {'x' * drawn[number].size}"
        run = await fanout.ask(prompt, plan, transport=shared, timeouts=PATIENT)
        seconds[number] = run.elapsed
        if isinstance(pacer, Rule):
            pacer.saw(run, number)
        transport.exchanges.clear()

    async with trio.open_nursery() as nursery:
        for number in range(len(drawn)):
            await trio.sleep_until(EVERY * number)
            nursery.start_soon(one, number)
    middle = len(drawn) // 2
    halves = [
        Half(quantile(s, 0.95), quantile(s, 0.99), 100 * sum(a) / len(a))
        for s, a in ((seconds[:middle], asked[:middle]), (seconds[middle:], asked[middle:]))
    ]
    return halves[0], halves[1]


def measure_rules(seeds: Sequence[int], prompts: int) -> dict[str, dict[str, list[Any]]]:
    """Plays all rules with all seeds: by rule and seed, the two halves."""
    found: dict[str, dict[str, list[Any]]] = {rule: {} for rule in RULES}
    for seed in seeds:
        drawn = draw(seed, prompts)
        for rule in RULES:
            halves = in_virtual_time(partial(play, rule, drawn))
            found[rule][str(seed)] = [{name: round(value, 4) for name, value in asdict(h).items()} for h in halves]
            say(f"seed {seed}, {rule}: {found[rule][str(seed)]}")
    return found


def in_virtual_time(run: Callable[[], Awaitable[Any]]) -> Any:
    """Runs something under a clock that jumps to the next deadline."""
    return trio.run(run, clock=MockClock(autojump_threshold=0))


def worst(found: Mapping[str, Any], rule: str) -> dict[str, float]:
    """Returns the worst figures of a rule over seeds and halves: p99 over the oracle's, and extra requests."""
    return {
        "p99": max(
            mine["p99"] / best["p99"]
            for seed, halves in found[rule].items()
            for mine, best in zip(halves, found[BEST][seed], strict=True)
        ),
        "extra": max(half["extra"] for halves in found[rule].values() for half in halves),
    }


# The outage.

DOWN = 60.0
PERIOD = 4.0
REQUESTS = 40


@frozen
class Outage:
    """The course of an outage: requests that were served, those the first service got while down, and its return."""

    requests: int
    served: int
    tried: int
    back: float | None


async def play_outage() -> Outage:
    """Plays the outage to a fallback, in virtual time."""
    tried: list[float] = []

    def script(request: Request) -> Script:
        if "//b." in request.url:
            return [0.3, ANSWER]
        tried.append(trio.current_time())
        return [0.1, Head(503)] if trio.current_time() < DOWN else [0.3, ANSWER]

    shared = Connections(MemoryTransport(script))
    plan = fanout.Fallback(*LANES)
    winners = []
    for number in range(REQUESTS):
        await trio.sleep_until(PERIOD * number)
        run = await fanout.ask("Hi", plan, transport=shared)
        winners.append((trio.current_time(), run.winner.lane if run.winner else None))
    back = [at for at, winner in winners if winner == "a"]
    return Outage(
        REQUESTS,
        sum(w is not None for _, w in winners),
        sum(at < DOWN for at in tried),
        back[0] - DOWN if back else None,
    )


async def ask_the_router() -> str:
    """Plays the same outage to LiteLLM's Router, in real time: 22 requests."""
    async with open_faults() as server:
        verdicts = await play_faults(partial(ask_router, server), server, "router", [15])
    return f"{verdicts[15].verdict}: {verdicts[15].why}"


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the tables."""
    head = ("rule", "p95 s", "p99 s", "extra %", "slower: p95 s", "p99 s", "extra %")
    rows = [(rule, *(f"{value:.2f}" for value in middle(each))) for rule, each in results["rules"].items()]
    yield from table(head, rows)
    yield "Medians over the seeds."
    yield ""
    for rule, found in results["worst"].items():
        yield f"{rule}: worst p99 {found['p99']:.2f} of the oracle's, worst extra load {found['extra']:.2f} %."
    outage = results["outage"]
    yield (
        f"503 for {DOWN:g} s: {outage['served']} of {outage['requests']} served, the first service tried "
        f"{outage['tried']} times meanwhile, back after {outage['back']:.0f} s."
    )
    if results["router"]:
        yield f"LiteLLM's Router, {REASONS[15]}: {results['router']}."
    yield from foot(results)


def middle(seeds: Mapping[str, Any]) -> list[float]:
    """Returns the medians over the seeds: both halves' p95, p99 and extra load."""
    return [
        median(halves[half][name] for halves in seeds.values()) for half in (0, 1) for name in ("p95", "p99", "extra")
    ]


def main(given: Sequence[str] | None = None) -> None:
    """Plays everything, prints the tables, and writes the results down."""
    parser: argparse.ArgumentParser = arguments("hedge", __doc__)
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many of the seeds")
    options = parser.parse_args(given)
    rules = measure_rules(SEEDS[: options.seeds], options.prompts)
    results = {
        **circumstances(["fanout", "litellm", "trio"], options.seeds),
        "failed": {},
        "rules": rules,
        "worst": {rule: worst(rules, rule) for rule in (OURS, CAPPED)},
        "outage": asdict(in_virtual_time(play_outage)),
        "router": trio.run(ask_the_router) if find_spec("litellm") else None,
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    main()
