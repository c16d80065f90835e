"""The forms of one service that a lane may use: one for each key, and what it has learnt to leave out."""

from collections.abc import Hashable

from attrs import define, field

from fanout.abc import Provider
from fanout.errors import ProviderError, QuotaError, RateLimited

KEY_BLOCK = 60.0
"""Seconds that a limited key is not used, if the service did not say how long."""


@define
class Known:
    """What is known of services' keys and tastes, for all who share connections.

    `blocked` says until when (a Trio time) a key is of no use, `forms` which form of a provider the service takes.
    """

    blocked: dict[Hashable, float] = field(factory=dict, repr=False)
    forms: dict[Hashable, Provider] = field(factory=dict, repr=False)


@define
class Keys:
    """The same provider with each of its keys.

    The first key that is not blocked is used: to change it without need would defeat the service's prompt cache.
    """

    providers: tuple[Provider, ...]
    known: Known = field(factory=Known)

    def usable(self, now: float) -> Provider:
        """The first provider whose key is not blocked, or the one that is soonest free; in the form that is taken."""
        chosen = self.providers[0]
        if len(self.providers) > 1:
            chosen = min(self.providers, key=lambda p: max(0.0, self.known.blocked.get(_name(p), now) - now))
        while (form := self.known.forms.get(_name(chosen))) is not None:
            chosen = form
        return chosen

    def change(self, provider: Provider, error: ProviderError, now: float) -> bool:
        """Learns from a failure of `provider`; whether there is another form or key to try now."""
        form = provider.adapted(error)
        if form is not None and _name(form) not in self.known.forms:  # never back to one that was refused
            self.known.forms[_name(provider)] = form
            return True
        if len(self.providers) == 1 or not isinstance(error, RateLimited | QuotaError):
            return False
        limited = next(p for p in self.providers if Keys((p,), self.known).usable(now) == provider)
        self.known.blocked[_name(limited)] = now + (error.retry_after or KEY_BLOCK)
        return any(self.known.blocked.get(_name(p), now) <= now for p in self.providers)


def _name(provider: Provider) -> Hashable:
    """What a provider is known by: its value, so that it is known again in the next call, or itself if it has none."""
    try:
        hash(provider)
    except TypeError:
        return id(provider)
    return provider
