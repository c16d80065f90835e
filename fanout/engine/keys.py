"""Chooses the key or login, and the form of the request, that a lane shows its service next."""

import logging
from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

from attrs import define, evolve, field, frozen

from fanout.abc import Login, Provider
from fanout.credentials import Credentials
from fanout.errors import AuthError, LoginRequired, ProviderError, QuotaError, RateLimited
from fanout.errors.parsing import parsing

_log = logging.getLogger("fanout")

KEY_BLOCK = 60.0
"""Seconds that a limited key is not used, if the service did not say how long."""

REFUSED_BLOCK = 600.0
"""Seconds that a key is not used which the service refused: it may have been put back, or paid for."""

SHORTEST_BLOCK = 0.001
"""Seconds that a limited key is not used at least: if it may be used again at once, another is tried first."""

FORMS = 8
"""Changes of form that one lane makes at most: a provider that always had another would be asked for ever."""

MAX_REMEMBERED = 256
"""Keys and forms that are remembered; the oldest are forgotten, which costs a lane another refusal."""


@define
class Known:
    """Knowledge of services' keys and tastes, for all who share connections.

    `blocked` says until when (a Trio time) a key is of no use, `forms` which form of a provider the service takes.
    """

    blocked: dict[Hashable, float] = field(factory=dict, repr=False)
    forms: dict[Hashable, Provider] = field(factory=dict, repr=False)
    refused: set[Hashable] = field(factory=set, repr=False)
    """The blocked keys that the service did not take at all."""
    turns: dict[Hashable, int] = field(factory=dict, repr=False)
    """The requests so far with keys in rotation, by the first of the keys."""


@define
class Keys:
    """The same provider with each of its keys, for one lane; `login` gets credentials where people log in.

    The first key that is not blocked is used: to change it without need would defeat the service's prompt cache. Where
    the keys `rotate`, each is used in its turn, by all lanes together, and one that is blocked is passed over. The lane
    goes on to each other key once, and after that waits between its tries like a lane with one key.
    """

    providers: tuple[Provider, ...]
    known: Known = field(factory=Known)
    login: Login | None = None
    rotate: bool = False
    _key_changes: int = field(default=0, init=False)
    _form_changes: int = field(default=0, init=False)
    notes: list[str] = field(factory=list, init=False)
    """Findings about keys on the way, a sentence each."""
    _rest: ProviderError | None = field(default=None, init=False)

    def usable(self, now: float) -> Provider:
        """Chooses the first provider whose key is not blocked, or the soonest free; in the form that is taken."""
        chosen = self.providers[0]
        if len(self.providers) > 1:
            chosen = min(self._in_turn(), key=lambda p: max(0.0, self.known.blocked.get(_name(p), now) - now))
        return self._forms(chosen)[-1]

    def _in_turn(self) -> Sequence[Provider]:
        if not self.rotate:
            return self.providers
        name = _name(self.providers[0])
        turn = self.known.turns.get(name, 0)
        _remember(self.known.turns, name, turn + 1)
        first = turn % len(self.providers)
        return (*self.providers[first:], *self.providers[:first])

    def check_rest(self, now: float) -> ProviderError | None:
        """Returns the error of a lane all of whose keys rest: nothing is sent then. None if one may be used."""
        untils = [self.known.blocked.get(_name(provider), now) for provider in self.providers]
        if len(self.providers) == 1 or min(untils) <= now:
            return None
        wait = min(untils) - now
        words = f"all {len(untils)} keys rest; the first may be used again in {wait:.3g} s"
        refused = all(_name(provider) in self.known.refused for provider in self.providers)
        self._rest = AuthError(f"{words}; the service refused them") if refused else RateLimited(words)
        self._rest.retry_after = wait
        return self._rest

    def learn(self, provider: Provider, error: ProviderError, now: float) -> bool:
        """Learns from a failure of `provider`. True if that leaves another form or key to try at once.

        Raises ProviderError if the provider's own code fails.
        """
        if error is self._rest:  # the service has not been asked
            return False
        with parsing():
            form = provider.adapted(error)
        if form is not None and self._form_changes < FORMS and self._learn_form(provider, form):
            self._form_changes += 1
            _log.debug("%s: takes another form of the request after %s", provider.name, error.kind)
            return True
        refused = isinstance(error, AuthError) and not isinstance(error, LoginRequired)
        if len(self.providers) == 1 or not (refused or isinstance(error, RateLimited | QuotaError)):
            return False
        limited = next((p for p in self.providers if provider in self._forms(p)), None)
        if limited is None:
            return False
        usual = REFUSED_BLOCK if refused else KEY_BLOCK
        wait = usual if error.retry_after is None else max(SHORTEST_BLOCK, error.retry_after)
        _remember(self.known.blocked, _name(limited), now + wait)
        number, count = self.providers.index(limited) + 1, len(self.providers)
        self.known.refused.discard(_name(limited))
        if refused:
            self.known.refused.add(_name(limited))
            self.notes.append(f"key {number} of {count} was refused ({error.status or error.kind})")
        _log.debug("%s: key %d of %d rests for %g s after %s", provider.name, number, count, wait, error.kind)
        free = any(self.known.blocked.get(_name(p), now) <= now for p in self.providers)
        if not free or self._key_changes >= len(self.providers) - 1:
            return False
        self._key_changes += 1
        return True

    async def log_in(self, refused: Provider, needed: LoginRequired) -> ProviderError | None:
        """Goes on with other credentials than those of `refused`, whose error was `needed`. May wait for a person.

        Returns None then; or why it cannot, which is `needed` again if there are no others.
        """
        provider: Any = refused
        try:
            with parsing():
                found = await self.login.renew(refused, refused.credentials) if self.login else None
                if found is None:
                    return needed
                self.providers = (evolve(provider, credentials=found),)
        except ProviderError as error:
            return error
        _log.debug("%s: goes on with other credentials", refused.name)
        return None

    async def keep(self, renewed: Credentials) -> None:
        """Stores credentials that the service renewed. Raises ProviderError."""
        if self.login is not None:
            await self.login.keep(renewed)

    def _forms(self, provider: Provider) -> list[Provider]:
        """A provider and what has taken its place, one after the other: the last is the form that the service takes."""
        forms = [provider]
        while (form := self.known.forms.get(_name(forms[-1]))) is not None:
            forms.append(form)
        return forms

    def _learn_form(self, provider: Provider, form: Provider) -> bool:
        """Remembers `form` for `provider`. True if the service may take it, or one that another lane has found."""
        if form != provider and _name(form) not in self.known.forms:  # never back to one that was refused
            _remember(self.known.forms, _name(provider), form)
            return True
        return self._forms(provider)[-1] != provider


@frozen(eq=False)
class _Itself:
    """Names a provider that cannot be hashed: it alone. It is kept, so that no other can have its address."""

    provider: Provider

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.provider is self.provider

    def __hash__(self) -> int:
        return id(self.provider)


def _name(provider: Provider) -> Hashable:
    """Names a provider by its value, so that it is known again in the next call, or by itself if it has no hash."""
    try:
        hash(provider)
    except TypeError:
        return _Itself(provider)
    return provider


V = TypeVar("V")


def _remember(table: dict[Hashable, V], name: Hashable, value: V) -> None:
    table.pop(name, None)
    table[name] = value
    if len(table) > MAX_REMEMBERED:
        del table[next(iter(table))]
