"""Several keys for one service: which of them is used, and which must rest."""

from attrs import define, field

from fanout.abc import Provider
from fanout.errors import ProviderError, QuotaError, RateLimited

KEY_BLOCK = 60.0
"""Seconds that a limited key is not used, if the service did not say how long."""


@define
class Keys:
    """The same provider with each of its keys, and until when (a Trio time) a key is blocked, for all who share it.

    The first key that is not blocked is used: to change it without need would defeat the service's prompt cache.
    """

    providers: tuple[Provider, ...]
    blocked: dict[Provider, float] = field(factory=dict)

    def usable(self, now: float) -> Provider:
        """The first provider whose key is not blocked; if all are, the one that is soonest free."""
        if len(self.providers) == 1:
            return self.providers[0]
        until = {provider: self.blocked.get(provider, now) for provider in self.providers}
        return next((p for p, at in until.items() if at <= now), min(until, key=lambda p: until[p]))

    def change(self, provider: Provider, error: ProviderError, now: float) -> bool:
        """Blocks a key that is limited or used up; whether another one is free."""
        if len(self.providers) == 1 or not isinstance(error, RateLimited | QuotaError):
            return False
        self.blocked[provider] = now + (error.retry_after or KEY_BLOCK)
        return self.blocked.get(self.usable(now), now) <= now
