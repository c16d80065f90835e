"""The time of the model: callbacks in the order of their times, and the places and budgets that lanes share."""

from collections import defaultdict
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from typing import Any

from attrs import define, field


@define(eq=False)
class Places:
    """The places at the limit of lanes of one name: first come, first served."""

    free: int
    waiting: list[tuple[float, float, Any]] = field(factory=list)


@define(eq=False)
class Budget:
    """The tokens that a service's repeats are paid from: ten at first, one a failure, a tenth back a success."""

    tokens: float = 10.0

    def fail(self) -> None:
        """Takes a token."""
        self.tokens = max(0.0, self.tokens - 1)

    def succeed(self) -> None:
        """Gives a tenth of one back."""
        self.tokens = min(10.0, self.tokens + 0.1)


@define(eq=False)
class Time:
    """The time of one world's model. `now` is in virtual seconds; `random` draws the pauses between tries."""

    random: Random
    now: float = 0.0
    places: dict[str, Places] = field(factory=dict)
    budgets: dict[str, Budget] = field(factory=lambda: defaultdict(Budget))
    blocked: dict[tuple[str, int], float] = field(factory=dict)
    refused: set[tuple[str, int]] = field(factory=set)
    fired: dict[float, int] = field(factory=lambda: defaultdict(int))
    """The moments at which clocks fired, and how many: of several at once nobody says which is first."""
    _heap: list[tuple[float, int, Callable[[], None]]] = field(factory=list)
    _number: Any = field(factory=count)

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Calls at the time `when`, after what else is due then so far."""
        if when < inf:
            heappush(self._heap, (max(when, self.now), next(self._number), call))

    def run(self) -> None:
        """Makes all calls, until none is left."""
        while self._heap:
            self.now, _, call = heappop(self._heap)
            call()
