"""A cap on what hedging costs: each request brings a little, each hedge takes one."""

from attrs import define, field

FULL = 10.0
"""Hedges that a budget holds at most, and at the start."""


@define
class HedgeBudget:
    """Bounds the hedges that a service's requests get: `rate` of one a request, FULL at the start and at most.

    Of n requests never more than FULL + rate * n are hedged, whatever happens.
    """

    rate: float
    tokens: float = field(default=FULL)

    def note_request(self) -> None:
        """Takes note of a request that might be hedged."""
        self.tokens = min(FULL, self.tokens + self.rate)

    def take(self) -> bool:
        """Takes a hedge from the budget. Returns False if there is none."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True
