"""Whether a failed attempt may be repeated, and after how long.

The waits are those of common clients (half a second doubling to eight, jittered); the budget is gRPC's retry throttling
(proposal A6): retries stop while a service fails more than it succeeds, first attempts never do.
"""

from random import Random

from attrs import define

from fanout.errors import ProviderError

LONGEST_WAIT = 120.0
"""Seconds. A service that asks for a longer pause is not waited for: the lane fails and says how long it asked."""


@define
class Budget:
    """How much repeating a service still gets: full at 10 tokens, a failure takes one, ten successes give one back."""

    tokens: float = 10.0
    full: float = 10.0

    def failed(self) -> None:
        """An attempt failed in a way that repeating might mend."""
        self.tokens = max(0.0, self.tokens - 1)

    def succeeded(self) -> None:
        """An attempt finished."""
        self.tokens = min(self.full, self.tokens + 0.1)

    @property
    def allows(self) -> bool:
        """Whether a retry may be sent: above half."""
        return self.tokens > self.full / 2


def pause(error: ProviderError, attempt: int, random: Random) -> float | None:
    """Seconds to wait before attempt number `attempt + 1`, or None if there is no point in one."""
    if not error.retryable:
        return None
    if error.retry_after is not None:
        return max(0.0, error.retry_after) if error.retry_after <= LONGEST_WAIT else None
    return random.uniform(0.0, min(8.0, 0.5 * 2.0 ** (attempt - 1)))
