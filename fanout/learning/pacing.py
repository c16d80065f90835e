"""Pacers: the order in which the lanes of a group start, and the silence after which the next one does.

A pacer is asked by its group, with the time given, and does no I/O: `Fixed` has one delay for all prompts, `Learnt` one
that follows the service.
"""

from collections.abc import Sequence
from math import inf
from random import Random
from typing import Protocol

from attrs import define, field, frozen

from fanout.learning.budgets import HedgeBudget
from fanout.learning.latencies import FIRST, SHORTEST, Key, Latencies, Measure


class Pacer(Protocol):
    """Says in which order lanes start, and when the next one does."""

    def order(self, lanes: int, size: int) -> Sequence[int]:
        """Returns the order in which so many lanes start, for a prompt of `size` characters; asked once a prompt."""
        ...

    def delay(self, lane: int) -> float:
        """Returns the seconds that the lanes must be silent, of which `lane` started last, before the next starts."""
        ...

    def may_hedge(self) -> bool:
        """Returns True if the next lane may start because those that run are silent, and counts it then.

        A start after a failure is no hedge, and not asked for.
        """
        ...


@frozen
class Fixed:
    """Starts the lanes in the order of the plan, each after the same silence, in seconds."""

    seconds: float

    def order(self, lanes: int, size: int) -> Sequence[int]:
        """The order of the plan."""
        return range(lanes)

    def delay(self, lane: int) -> float:
        """The same for all."""
        return self.seconds

    def may_hedge(self) -> bool:
        """True: who sets a delay has chosen what it costs."""
        return True


@define
class Learnt:
    """Starts the next lane once the last is later than the share `q` of its requests was, in the order of the plan.

    `keys` are the lanes' services, and `before` the characters that stand before the prompt in each lane's
    conversation. `fallback` is the delay, in seconds, where less than LEAST requests are known. `budget` is a cap.
    """

    latencies: Latencies
    q: float
    fallback: float
    budget: HedgeBudget | None
    keys: Sequence[Key]
    measure: Measure = FIRST
    before: Sequence[int] = ()
    _size: int = field(default=0, init=False)

    def order(self, lanes: int, size: int) -> Sequence[int]:
        """The order of the plan."""
        self._size = size
        if self.budget is not None:
            self.budget.note_request()
        return range(lanes)

    def delay(self, lane: int) -> float:
        """The learnt delay of the lane that started last."""
        size = self._size + (self.before[lane] if self.before else 0)
        found = self.latencies.delay(self.keys[lane], size, self.q, self.measure)
        return self.fallback if found is None else max(SHORTEST, found)

    def may_hedge(self) -> bool:
        """True as long as the budget allows it."""
        return self.budget is None or self.budget.take()


@define
class Sorted:
    """Starts the lanes in the order of their learnt medians, the fastest first; else as `pacer` says.

    With the probability `explore` another goes first: one of which little is known, if there is one, and then every
    other time.
    """

    pacer: Pacer
    latencies: Latencies
    keys: Sequence[Key]
    explore: float
    random: Random

    def order(self, lanes: int, size: int) -> Sequence[int]:
        """The fastest first; those of which little is known come last, unless it is their turn."""
        planned = self.pacer.order(lanes, size)
        medians = [self.latencies.median(key, size) for key in self.keys]
        order = sorted(planned, key=medians.__getitem__)
        unknown = [lane for lane in order if medians[lane] == inf]
        others = unknown or order[1:]
        often = max(self.explore, 0.5) if unknown and self.explore else self.explore
        if others and self.random.random() < often:
            first = self.random.choice(others)
            order.remove(first)
            order.insert(0, first)
        return order

    def delay(self, lane: int) -> float:
        """As the other pacer says."""
        return self.pacer.delay(lane)

    def may_hedge(self) -> bool:
        """As the other pacer says."""
        return self.pacer.may_hedge()
