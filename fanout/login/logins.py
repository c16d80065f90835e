"""The logins of a run: whoever needs one waits for the same one, also in another process."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal, TypeVar

import trio
from attrs import define, field

from fanout.abc import Login, Provider
from fanout.credentials import Credentials
from fanout.errors import AuthError, LoginRequired, ProviderError, UsageError
from fanout.login import store
from fanout.login.services import SERVICES, Site, normalise
from fanout.storage.folder import Busy, take_lock

Obtain = Callable[[Site, str], Awaitable[Credentials]]
"""Logs a person in to a site at a base URL. Raises ProviderError if that comes to nothing."""

Confirm = Callable[[Site, str], Awaitable[bool]]
"""Asks a person whether to log in now."""

LoginPolicy = Literal["never", "ask", "auto"]
"""The leave of a lane to start a login: never, after asking, or at once."""

LOOK = 0.1
"""Seconds between two looks at whether another process has finished its login."""

SHORT_LOOK = 0.01
"""Seconds between two looks at whether another process has changed the store, which takes milliseconds."""


@define
class _Flight:
    """The login to one service at one base URL, of which there is one at a time."""

    lock: trio.Lock = field(factory=trio.Lock)
    failures: int = 0
    failure: ProviderError | None = None


class Logins(Login):
    """Credentials from the store or, if `policy` allows, from a login by `obtain`.

    With the policy `ask`, `confirm` is asked first; without it the answer is no.
    """

    def __init__(
        self, policy: LoginPolicy = "never", obtain: Obtain | None = None, confirm: Confirm | None = None
    ) -> None:
        self._policy = policy
        self._obtain = obtain
        self._confirm = confirm
        self._flights: dict[tuple[str, str], _Flight] = {}

    async def renew(self, provider: Provider, refused: Credentials | None) -> Credentials | None:
        """Other credentials than those that were `refused` (None: there were none), or None if there are none to get.

        The refused ones are deleted if they are still the stored ones. With the policy `never` only the store is
        asked; otherwise this may wait for a person, and for a login that somebody else has begun. If that one fails,
        so does this. Raises ProviderError when a login was tried and failed, or the store cannot be used.
        """
        base_url = provider.base_url
        if not base_url:
            return None
        site = SERVICES.get(provider.name)
        flight = self._flights.setdefault((provider.name, normalise(base_url)), _Flight())
        failures = flight.failures
        look = partial(_other, provider.name, base_url, refused)
        found = await _store(look)
        if found or not site or not self._obtain or self._policy == "never":
            return found
        async with flight.lock:
            if flight.failures > failures and flight.failure:
                raise _like(flight.failure)
            async with _alone(provider.name, base_url):
                return await _store(look) or await self._login(site, base_url, flight)

    async def _login(self, site: Site, base_url: str, flight: _Flight) -> Credentials | None:
        """Logs in and stores the result. What fails here fails for all who wait."""
        assert self._obtain is not None
        try:
            if self._policy == "ask" and not (self._confirm and await self._confirm(site, base_url)):
                raise LoginRequired("nobody agreed to log in now", command=site.command(base_url))
            credentials = await self._obtain(site, base_url)
        except ProviderError as error:
            flight.failures += 1
            flight.failure = _like(error)
            raise
        await _store(partial(store.save, credentials, wait=False))
        return credentials

    async def keep(self, credentials: Credentials) -> None:
        """Stores credentials that a service renewed, if they are of the account that is stored.

        Another account, or another value of the same cookie, is not stored: without a login it is no login. Raises
        AuthError if they cannot be stored.
        """
        await _store(partial(store.refresh, credentials, wait=False))


def _like(error: ProviderError) -> ProviderError:
    """Copies an error, into which each lane writes its name. `copy` would call the class with the message alone."""
    twin = type(error).__new__(type(error), *error.args)
    vars(twin).update(vars(error))
    return twin


T = TypeVar("T")


async def _store(work: Callable[[], T]) -> T:
    """Works with the store in a thread, which does not wait for other processes: that could not be cancelled.

    Raises AuthError where the store cannot be used.
    """
    while True:
        try:
            return await trio.to_thread.run_sync(work)
        except Busy:
            await trio.sleep(SHORT_LOOK)
        except UsageError as error:
            raise AuthError(str(error)) from None


def _other(provider: str, base_url: str, refused: Credentials | None) -> Credentials | None:
    """Returns other stored credentials, or None. Deletes the refused ones if they are still stored."""
    if refused is not None:
        store.delete_if(refused, wait=False)
    found = store.load(provider, base_url)
    return None if found and refused and found.account == refused.account else found


@asynccontextmanager
async def _alone(provider: str, base_url: str) -> AsyncGenerator[None]:
    """Waits until no other process logs in to this service, and keeps them from it."""
    descriptor = await _store(partial(store.open_login_file, provider, base_url))
    try:
        while not take_lock(descriptor, wait=False):  # noqa: ASYNC110  # no event says so, and a wait in a thread is not cancelled
            await trio.sleep(LOOK)
        yield
    finally:
        os.close(descriptor)
