"""Open connections and what calls learn through them: keys that rest, budgets, bounds, the memory of services."""

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit

import trio
from attrs import define, evolve, field, frozen

from fanout import catalog
from fanout.abc import Login, Observer, Policy, Provider, Receiver, Request, Transport
from fanout.engine.keys import Known
from fanout.engine.retry import RANDOM, Budget
from fanout.errors import UsageError
from fanout.learning import kept as kept_memory
from fanout.learning.latencies import Key, Measure
from fanout.learning.memory import Memory
from fanout.learning.pacing import Fixed, Learnt, Pacer, Sorted
from fanout.login.stored import StoredLogins

_log = logging.getLogger("fanout")


@define(eq=False)
class Connections:
    """Open connections and what they have learnt: a Transport that many calls may share.

    `budgets` say how much repeating a service still gets, `known` which keys rest and what a service does not take, and
    `limiters` how many lanes of one name or server may run at once, `login` gets credentials for services that people
    log in to.
    `memory` is what the lanes have taught of their services; None: nothing is learnt, and nobody is spared for it.
    `observer` is told of all lanes and runs. `home` is the run of Trio that they belong to, if only one can use them.
    """

    transport: Transport
    budgets: dict[str, Budget] = field(factory=dict)
    known: Known = field(factory=Known)
    limiters: dict[str, trio.CapacityLimiter] = field(factory=dict)
    login: Login | None = None
    observer: Observer | None = None
    memory: Memory | None = field(factory=Memory)
    home: trio.lowlevel.TrioToken | None = None

    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        """Sends `request` and tells `receiver` of the response."""
        await self.transport.exchange(request, receiver, connect)

    def by_proxy_of(self, lane: catalog.LaneSpec) -> Transport:
        """These connections as the lane takes them: by way of its own proxy, if it has one."""
        return self if lane.proxy is None else _ByProxy(self, lane)

    def budget(self, provider: Provider) -> Budget:
        """The budget for repeating requests to the service behind this provider."""
        return self.budgets.setdefault(f"{provider.name} {provider.base_url}", Budget())

    def login_for(self, provider: Provider) -> Login | None:
        """The source of other credentials for this provider, if they can help it."""
        if not provider.takes_login:
            return None
        if self.login is None:
            self.login = StoredLogins()
        return self.login

    def pacer(self, policy: Policy, measure: Measure, keys: Sequence[Key], before: Sequence[int]) -> Pacer:
        """The pacer of a group whose lanes are these services; `before` are the characters of their conversations."""
        pacer: Pacer = Fixed(policy.pace)
        if self.memory is None:
            return pacer
        if policy.percentile is not None:
            budget = self.memory.hedge_budget(keys[0], policy.budget)
            pacer = Learnt(self.memory.latencies, policy.percentile, policy.pace, budget, keys, measure, before)
        if policy.explore is not None:
            pacer = Sorted(pacer, self.memory.latencies, keys, policy.explore, RANDOM)
        return pacer

    def limiter(self, name: str, bound: int | None) -> trio.CapacityLimiter | None:
        """The bound of all that run under this name at once, if there is one."""
        return None if bound is None else self.limiters.setdefault(name, trio.CapacityLimiter(bound))

    def server_limiter(self, lane: catalog.LaneSpec) -> trio.CapacityLimiter | None:
        """The bound of all lanes of this lane's server, if there is one."""
        if lane.server_concurrency is None:
            return None
        server = urlsplit(lane.provider.base_url)
        return self.limiter(f"{server.scheme}://{server.netloc}", lane.server_concurrency)


@asynccontextmanager
async def open_memory(*, kept: bool) -> AsyncGenerator[Memory]:
    """Opens a memory of services, for as long as connections are shared; `kept`, it is that of earlier runs and later.

    It is kept in a thread, as another process may hold the lock; if that fails, nothing else does. Raises UsageError.
    """
    memory = kept_memory.load(trio.current_time()) if kept else Memory()
    try:
        yield memory
    finally:
        if kept:
            with trio.CancelScope(shield=True):
                try:
                    await trio.to_thread.run_sync(kept_memory.save, memory, trio.current_time())
                except UsageError as error:
                    _log.info("what was learnt is not kept: %s", error)


class Keeper(Protocol):
    """Keeps connections open for all calls of a Trio run."""

    async def connections(self, name: str | None) -> Connections:
        """Returns the connections by the transport of this name. Raises UsageError."""
        ...


KEEPER: trio.lowlevel.RunVar[Keeper | None] = trio.lowlevel.RunVar("keeper", None)
"""Opens the connections of calls that bring none; without it each call opens its own, and closes them at its end."""


@frozen
class _ByProxy(Transport):
    """The connections of a lane with a proxy of its own: every request of the lane goes by way of it."""

    transport: Transport
    lane: catalog.LaneSpec

    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        """Sends `request` as Transport says."""
        await self.transport.exchange(evolve(request, proxy=self.lane.proxy), receiver, connect)


def find_key(provider: Provider) -> Key:
    """Returns the name under which a provider's service is remembered."""
    return Key(provider.name, provider.base_url.partition("?")[0], provider.model)  # a query may hold a key
