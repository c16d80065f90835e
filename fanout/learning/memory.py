"""The memory of all that lanes have taught, for as long as connections are shared, or longer where it is kept."""

from typing import Any

from attrs import define, field

from fanout.learning.budgets import HedgeBudget
from fanout.learning.latencies import Key, Latencies

VERSION = 1
"""Of the form in which it is kept."""


@define(eq=False)
class Memory:
    """All that lanes have taught of their services, and what hedging them may still cost."""

    latencies: Latencies = field(factory=Latencies)
    _budgets: dict[tuple[Key, float], HedgeBudget] = field(factory=dict)

    def hedge_budget(self, key: Key, rate: float) -> HedgeBudget:
        """Returns the budget of hedges beside a service, of which each request brings `rate`."""
        return self._budgets.setdefault((key, rate), HedgeBudget(rate))

    @property
    def fresh(self) -> bool:
        """True if this process has learnt something that is worth keeping."""
        return bool(self.latencies.fresh)

    def add_fresh(self, other: "Memory") -> None:
        """Takes what `other` has learnt itself, after what is known here."""
        self.latencies.add_fresh(other.latencies)

    def to_json(self, window: int) -> dict[str, Any]:
        """Returns plain data, which `from_json` takes, with at most `window` latencies of each service and measure."""
        return {"version": VERSION, "latencies": self.latencies.to_json(window)}

    @classmethod
    def from_json(cls, data: Any) -> "Memory":
        """Returns the memory that `to_json` gave; an empty one for anything else."""
        if not isinstance(data, dict) or data.get("version") != VERSION:
            return cls()
        return cls(Latencies.from_json(data.get("latencies")))
