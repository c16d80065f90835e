"""The memory of all that lanes have taught, for as long as connections are shared, or longer where it is kept."""

from typing import Any

from attrs import define, field

from fanout.learning.budgets import HedgeBudget
from fanout.learning.circuits import Circuits
from fanout.learning.latencies import Key, Latencies
from fanout.learning.lengths import Lengths

VERSION = 1
"""Of the form in which it is kept."""


@define(eq=False)
class Memory:
    """All that lanes have taught of their services, and what hedging them may still cost."""

    latencies: Latencies = field(factory=Latencies)
    circuits: Circuits = field(factory=Circuits)
    lengths: Lengths = field(factory=Lengths)
    _budgets: dict[tuple[Key, float], HedgeBudget] = field(factory=dict)

    def hedge_budget(self, key: Key, rate: float) -> HedgeBudget:
        """Returns the budget of hedges beside a service, of which each request brings `rate`."""
        return self._budgets.setdefault((key, rate), HedgeBudget(rate))

    @property
    def fresh(self) -> bool:
        """True if this process has learnt something that is worth keeping."""
        return bool(self.latencies.fresh or self.circuits.fresh)

    def forget_oldest(self) -> None:
        """Forgets the latencies that were used least lately; where there are none, all circuits."""
        if not self.latencies.forget_oldest():
            self.circuits, self.lengths = Circuits(), Lengths()

    def add_fresh(self, other: "Memory") -> None:
        """Takes what `other` has learnt itself, after what is known here."""
        self.latencies.add_fresh(other.latencies)
        self.circuits.add_fresh(other.circuits)
        self.lengths.add_fresh(other.lengths)

    def to_json(self, window: int, now: float = 0.0, wall: float = 0.0) -> dict[str, Any]:
        """Returns plain data, which `from_json` takes, with at most `window` latencies of each service and measure.

        `now` is the time on the clock of the lanes, `wall` the time of day then, in seconds.
        """
        return {
            "version": VERSION,
            "latencies": self.latencies.to_json(window),
            "circuits": self.circuits.to_json(now, wall),
            "lengths": self.lengths.to_json(),
        }

    @classmethod
    def from_json(cls, data: Any, now: float = 0.0, wall: float = 0.0) -> "Memory":
        """Returns the memory that `to_json` gave; an empty one for anything else."""
        if not isinstance(data, dict) or data.get("version") != VERSION:
            return cls()
        circuits = Circuits.from_json(data.get("circuits"), now, wall)
        return cls(Latencies.from_json(data.get("latencies")), circuits, Lengths.from_json(data.get("lengths")))
