"""The forms of one service that a lane may use: one for each key, and what it has learnt to leave out."""

from collections.abc import Hashable
from typing import TypeVar

from attrs import define, field, frozen

from fanout.abc import Provider
from fanout.errors import ProviderError, QuotaError, RateLimited

KEY_BLOCK = 60.0
"""Seconds that a limited key is not used, if the service did not say how long."""

SHORTEST_BLOCK = 0.001
"""Seconds that a limited key is not used at least: if it may be used again at once, another is tried first."""

FORMS = 8
"""Changes of form that one lane makes at most: a provider that always had another would be asked for ever."""

MOST = 256
"""Keys and forms that are remembered; the oldest are forgotten, which costs a lane another refusal."""


@define
class Known:
    """What is known of services' keys and tastes, for all who share connections.

    `blocked` says until when (a Trio time) a key is of no use, `forms` which form of a provider the service takes.
    """

    blocked: dict[Hashable, float] = field(factory=dict, repr=False)
    forms: dict[Hashable, Provider] = field(factory=dict, repr=False)


@define
class Keys:
    """The same provider with each of its keys, for one lane.

    The first key that is not blocked is used: to change it without need would defeat the service's prompt cache. The
    lane goes on to each other key once, and after that waits between its tries like a lane with one key.
    """

    providers: tuple[Provider, ...]
    known: Known = field(factory=Known)
    _key_changes: int = field(default=0, init=False)
    _form_changes: int = field(default=0, init=False)

    def usable(self, now: float) -> Provider:
        """The first provider whose key is not blocked, or the one that is soonest free; in the form that is taken."""
        chosen = self.providers[0]
        if len(self.providers) > 1:
            chosen = min(self.providers, key=lambda p: max(0.0, self.known.blocked.get(_name(p), now) - now))
        return self._forms(chosen)[-1]

    def change(self, provider: Provider, error: ProviderError, now: float) -> bool:
        """Learns from a failure of `provider`; whether there is another form or key to try now."""
        form = provider.adapted(error)
        if form is not None and self._form_changes < FORMS and self._learns(provider, form):
            self._form_changes += 1
            return True
        if len(self.providers) == 1 or not isinstance(error, RateLimited | QuotaError):
            return False
        limited = next((p for p in self.providers if provider in self._forms(p)), None)
        if limited is None:
            return False
        wait = KEY_BLOCK if error.retry_after is None else max(SHORTEST_BLOCK, error.retry_after)
        _remember(self.known.blocked, _name(limited), now + wait)
        free = any(self.known.blocked.get(_name(p), now) <= now for p in self.providers)
        if not free or self._key_changes >= len(self.providers) - 1:
            return False
        self._key_changes += 1
        return True

    def _forms(self, provider: Provider) -> list[Provider]:
        """A provider and what has taken its place, one after the other: the last is the form that the service takes."""
        forms = [provider]
        while (form := self.known.forms.get(_name(forms[-1]))) is not None:
            forms.append(form)
        return forms

    def _learns(self, provider: Provider, form: Provider) -> bool:
        """Whether the service may take another form than `provider`: this one, or one that another lane has found."""
        if form != provider and _name(form) not in self.known.forms:  # never back to one that was refused
            _remember(self.known.forms, _name(provider), form)
            return True
        return self._forms(provider)[-1] != provider


@frozen(eq=False)
class _Itself:
    """The name of a provider that cannot be hashed: it alone. It is kept, so that no other can have its address."""

    provider: Provider

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.provider is self.provider

    def __hash__(self) -> int:
        return id(self.provider)


def _name(provider: Provider) -> Hashable:
    """What a provider is known by: its value, so that it is known again in the next call, or itself if it has none."""
    try:
        hash(provider)
    except TypeError:
        return _Itself(provider)
    return provider


V = TypeVar("V")


def _remember(table: dict[Hashable, V], name: Hashable, value: V) -> None:
    table.pop(name, None)
    table[name] = value
    if len(table) > MOST:
        del table[next(iter(table))]
