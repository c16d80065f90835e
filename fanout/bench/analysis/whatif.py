"""Policies simulated on the records of lanes that all got the same prompts.

A lane is assumed to do under the policy what it did when it was measured: other lanes do not slow it down. That holds
for services a network away, and not for lanes that share a machine or a limit.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from heapq import merge
from math import inf
from statistics import fmean

from attrs import frozen

from fanout.bench.analysis.metrics import tokens
from fanout.bench.analysis.statistics import QUANTILES, Interval, quantile, quantile_interval
from fanout.bench.records.record import Record
from fanout.errors import UsageError
from fanout.events import Status
from fanout.policies.race import On

DELAYS = (0.5, 0.9, 0.95)
"""Quantiles of the first lane's silences: the delays that `alternatives` tries."""

LONGER_DELAYS = (0.96, 0.97, 0.98, 0.99)
"""Quantiles too: the delays that `recommend` tries where the one of its budget costs more than the budget."""

LEAST_PROMPTS = 36
"""Prompts without which no hedge is recommended."""

LEAST_GAIN = 0.05
"""The share by which a recommended hedge makes the tail shorter."""


@frozen
class SimulatedPolicy:
    """Lanes in their order, and the seconds of silence after which the next one starts.

    0 is a race, inf a fallback, anything between a hedge; one lane is that lane alone. `on` is what wins.
    """

    lanes: tuple[str, ...]
    pace: float = 0.0
    on: On = "finish"

    @property
    def name(self) -> str:
        """alone, race, hedge or fallback."""
        if len(self.lanes) == 1:
            return "alone"
        return {0.0: "race", inf: "fallback"}.get(self.pace, "hedge")


@frozen
class WhatIf:
    """The result of a policy over `n` prompts; times in seconds from the start, +inf where nobody answered.

    `first` and `total` are percentiles by name (p50, p90, p95, p99) of the winner's first content and of its end.
    Per prompt, on average: `requests` beyond the first, `tokens` and those `wasted` by losers until they were
    cancelled, `cost` in US dollars (None where any price is unknown). `failed` is the share without an answer.
    """

    policy: SimulatedPolicy
    n: int
    first: dict[str, Interval]
    total: dict[str, Interval]
    requests: float
    tokens: float
    wasted: float
    cost: float | None
    failed: float


@frozen
class Outcome:
    """One prompt under a policy: the times of its answer (+inf: none), the starts of its lanes, and the verdict's."""

    first: float
    total: float
    winner: int | None
    asked: tuple[float, ...]
    over: float


def play(records: Sequence[Record], pace: float, on: On = "finish") -> Outcome:
    """Plays one prompt; `records` are those of the policy's lanes in their order.

    The next lane starts after `pace` seconds without content of any running lane, counted anew from each start, and at
    once for each lane that fails; see `fanout.engine.group`.
    """
    starts: list[float] = []
    failures = 0
    start = 0.0
    for index, _ in enumerate(records):
        if index:
            start, failures = _turn(records, starts, pace, failures)
        if start == inf or start >= _verdict(records, starts, on)[0]:
            break
        starts.append(start)
    over, winner = _verdict(records, starts, on)
    if winner is None:
        return Outcome(inf, inf, None, tuple(starts), inf)
    best = records[winner]
    return Outcome(
        first=starts[winner] + (best.times[0] if best.times else best.ended) if best.finished else inf,
        total=starts[winner] + best.ended if best.finished else inf,
        winner=winner,
        asked=tuple(starts),
        over=over,
    )


def _turn(records: Sequence[Record], starts: Sequence[float], pace: float, failures: int) -> tuple[float, int]:
    """The start of the next lane, and the number of failures that have started one by then."""
    begun = starts[-1]
    ended = sorted(
        start + record.ended for start, record in zip(starts, records, strict=False) if not _is_answer(record)
    )
    failed = max(begun, ended[failures]) if failures < len(ended) else inf
    spoke = begun
    heard = merge(*([start + at for at in record.times] for start, record in zip(starts, records, strict=False)))
    for at in heard:
        if at - spoke > pace:
            break
        spoke = max(spoke, at)
    return (spoke + pace, failures) if spoke + pace < failed else (failed, failures + 1)


def _verdict(records: Sequence[Record], starts: Sequence[float], on: On) -> tuple[float, int | None]:
    """The time of the verdict and the index of the winner, among the lanes that were started."""
    good = (
        (start + at, index)
        for index, (start, record) in enumerate(zip(starts, records, strict=False))
        if (at := _good(record, on)) < inf
    )
    return min(good, default=(inf, None))


def _is_answer(record: Record) -> bool:
    """True if it finished with more than reasoning: an empty answer is a failure to its group."""
    return record.finished and bool(record.kinds.strip("r"))


def _good(record: Record, on: On) -> float:
    """The time at which the lane would win: that of its end, or of its first piece of anything but a refusal."""
    if on == "finish":
        return record.ended if _is_answer(record) else inf
    return next((at for at, kind in zip(record.times, record.kinds, strict=True) if kind != "n"), inf)


def tokens_made(record: Record, seconds: float) -> float:
    """The output tokens made by the lane so long after its start.

    Reasoning that is counted but not shown was made evenly before the first piece.
    """
    count, _ = tokens(record)
    if seconds >= record.ended or not record.times:
        return float(count) if seconds >= record.ended else 0.0
    hidden = record.reasoning if record.reasoning and "r" not in record.kinds else 0
    hidden = min(hidden, count)
    thought = hidden * min(1.0, seconds / record.times[0]) if record.times[0] else float(hidden)
    shown = sum(size for at, size in zip(record.times, record.sizes, strict=True) if at <= seconds)
    return thought + (count - hidden) * shown / (sum(record.sizes) or 1)


def cost_so_far(record: Record, seconds: float) -> float | None:
    """The cost of the lane so long after its start, in US dollars: its prompt, and the tokens made by then.

    Services that finish what nobody reads any more, and bill it, cost more.
    """
    if record.cost is None or seconds >= record.ended:
        return record.cost
    given = record.prompt_cost or 0.0
    count, _ = tokens(record)
    return given + (record.cost - given) * (tokens_made(record, seconds) / count if count else 0.0)


def replay(records: Sequence[Record], policy: SimulatedPolicy) -> WhatIf:
    """Replays a policy over every block in which all its lanes have a record. Raises UsageError if there is none."""
    blocks = _blocks(records, policy.lanes)
    if not blocks:
        raise UsageError(f"no prompt went to all of {', '.join(policy.lanes)}: there is nothing to replay")
    plays = [(block, play(block, policy.pace, policy.on)) for block in blocks]
    outcomes = [outcome for _, outcome in plays]
    made = [_count_tokens(block, outcome) for block, outcome in plays]
    costs = [_cost(block, outcome) for block, outcome in plays]
    known = [cost for cost in costs if cost is not None]
    return WhatIf(
        policy=policy,
        n=len(blocks),
        first=_percentiles([outcome.first for outcome in outcomes]),
        total=_percentiles([outcome.total for outcome in outcomes]),
        requests=fmean(len(outcome.asked) - 1 for outcome in outcomes),
        tokens=fmean(sum(each) for each in made),
        wasted=fmean(
            sum(each) - (each[outcome.winner] if outcome.winner is not None and outcome.total < inf else 0.0)
            for each, outcome in zip(made, outcomes, strict=True)
        ),
        cost=fmean(known) if len(known) == len(costs) else None,
        failed=fmean(outcome.total == inf for outcome in outcomes),
    )


def _blocks(records: Iterable[Record], lanes: Sequence[str]) -> list[tuple[Record, ...]]:
    """The records of each prompt that went to all of these lanes and that nobody cancelled, in the lanes' order."""
    found: dict[tuple[float | None, int], dict[str, Record]] = defaultdict(dict)
    for record in records:
        if not (record.warmup or record.race or record.status is Status.CANCELLED):
            found[record.level, record.block][record.lane] = record
    return [tuple(block[lane] for lane in lanes) for block in found.values() if all(lane in block for lane in lanes)]


def _until(outcome: Outcome, index: int) -> float:
    """The seconds that the lane ran: to its end where it won or nobody did, else until the verdict."""
    return inf if index == outcome.winner else outcome.over - outcome.asked[index]


def _count_tokens(block: Sequence[Record], outcome: Outcome) -> list[float]:
    return [tokens_made(block[index], _until(outcome, index)) for index in range(len(outcome.asked))]


def _cost(block: Sequence[Record], outcome: Outcome) -> float | None:
    costs = [cost_so_far(block[index], _until(outcome, index)) for index in range(len(outcome.asked))]
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def _percentiles(values: Sequence[float]) -> dict[str, Interval]:
    return {name: quantile_interval(values, q) for name, q in QUANTILES.items()}


def silences(records: Iterable[Record]) -> list[float]:
    """Each finished request's longest silence, in ascending order: a hedge by less would have started a second one."""
    return sorted(
        max(later - earlier for earlier, later in zip((0.0, *record.times), (*record.times, record.ended), strict=True))
        for record in records
        if record.finished
    )


def alternatives(records: Sequence[Record], lanes: Sequence[str]) -> tuple[WhatIf, ...]:
    """Each lane alone, then race, fallback and hedges (at p50, p90, p95 of the first lane's silences) in this order."""
    names = tuple(lanes)
    policies = [SimulatedPolicy((lane,)) for lane in names if _blocks(records, (lane,))]
    if len(names) > 1 and (blocks := _blocks(records, names)):
        policies += [SimulatedPolicy(names), SimulatedPolicy(names, inf)]
        quiet = silences(block[0] for block in blocks)
        policies += [SimulatedPolicy(names, quantile(quiet, q)) for q in DELAYS if quiet]
    return tuple(replay(records, policy) for policy in policies)


def recommend(records: Sequence[Record], lanes: Sequence[str], budget: float = 0.05) -> WhatIf | None:
    """The hedge with the shortest delay that starts at most `budget` lanes a prompt for a silence; None if none helps.

    The shortest delay is the best one: an earlier second request never makes an answer later. It helps where the tail
    (the highest percentile that there are enough prompts for) gets at least a twentieth shorter than a fallback's.
    """
    names = tuple(lanes)
    blocks = _blocks(records, names) if len(names) > 1 else []
    quiet = silences(block[0] for block in blocks)
    if len(quiet) < LEAST_PROMPTS:
        return None
    plain = replay(records, SimulatedPolicy(names, inf))
    for q in (1 - budget, *(q for q in LONGER_DELAYS if q > 1 - budget)):
        hedge = replay(records, SimulatedPolicy(names, quantile(quiet, q)))
        if hedge.requests - plain.requests <= budget + 1 / len(blocks):
            return hedge if _tail(hedge) < (1 - LEAST_GAIN) * _tail(plain) else None
    return None


def _tail(what: WhatIf) -> float:
    return next(found.estimate for found in reversed(what.total.values()) if found.estimate is not None)
