"""Many seeds, one after the other, and the sum of what became of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from time import monotonic, process_time, time_ns

from attrs import define, field

from fanout.sim.check import Verdict, check_seed, check_world
from fanout.sim.draw import draw_world
from fanout.sim.notation import Shape

NEWEST = 10**9
"""Seeds that are made up lie below."""


def make_up_seed() -> int:
    """Returns a seed that nobody has tried, as far as the clock can say."""
    return time_ns() // 1000 % NEWEST


def seeds_from(first: int, number: int | None, minutes: float | None) -> Iterator[int]:
    """Yields `first` and those after it: so many, or for so many minutes, whichever is over first."""
    until = None if minutes is None else monotonic() + 60 * minutes
    for seed in count(first) if number is None else range(first, first + number):
        if until is not None and monotonic() >= until:
            return
        yield seed


@define
class Sum:
    """The sum over the seeds so far: what was played, and how often each law was broken."""

    seeds: int = 0
    calls: int = 0
    lanes: int = 0
    requests: int = 0
    events: int = 0
    broken: Counter[str] = field(factory=Counter)
    cpu: float = 0.0

    def add(self, verdict: Verdict) -> None:
        """Takes one more."""
        record = verdict.record
        self.seeds += 1
        self.calls += len(record.seen)
        self.lanes += sum(len(seen.call.plan.leaves()) for seen in record.seen)
        self.requests += sum(map(len, record.exchanges.values()))
        self.events += sum(len(seen.events) for seen in record.seen)
        self.broken.update({broken.law for broken in verdict.broken[:1]})


def sweep(seeds: Iterable[int], shape: Shape | None, told: Callable[[Verdict, Sum], None]) -> Sum:
    """Checks the world of each seed, and tells of it."""
    total, before = Sum(), process_time()
    for seed in seeds:
        verdict = check_world(draw_world(seed, shape)) if shape else check_seed(seed)
        total.add(verdict)
        total.cpu = process_time() - before
        told(verdict, total)
    return total
