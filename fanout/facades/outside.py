"""A running fan-out, or a stream, as it is seen from outside of fanout's thread; the facades add the iteration."""

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from fanout import api
from fanout.answers import Answer, Run
from fanout.errors import AllLanesFailed
from fanout.events import Tagged
from fanout.facades.bridge import Block, Crossing, Wake

Item = TypeVar("Item")
Got_co = TypeVar("Got_co", covariant=True)
Inner = TypeVar("Inner", bound="Batches[Any]")


class Batches(Protocol[Got_co]):
    """Whatever gives its items in batches, within Trio."""

    async def take(self) -> Sequence[Got_co]:
        """Waits for items, and takes all that are there. Raises StopAsyncIteration after the last."""
        ...


class Outside(Generic[Inner, Item]):
    """A Trio iterable that a block in fanout's thread holds open, and whose items cross."""

    def __init__(self, manager: AbstractAsyncContextManager[Inner], wake: Wake, context: Context | None = None) -> None:
        self.block: Block[Inner] = Block(manager, wake, self._carry, context)
        self._home = self.block.call.home
        self._crossing: Crossing[Item] = Crossing(self._home, wake)
        self._at_hand: deque[Item] = deque()

    async def _carry(self, inner: Inner) -> None:
        await self._crossing.carry(inner.take)

    def _is_ready(self) -> bool:
        """True if `_take` need not wait."""
        return self._crossing.is_ready() or self.block.call.over

    def _take(self) -> bool:
        """Takes the items that have come; False at the end. Raises what the iteration, or the block, ends with."""
        over = self.block.call.over
        batch = self._crossing.take()
        if batch:
            self._at_hand.extend(batch)
            return True
        if batch is None and self._crossing.failure is not None:
            raise self._crossing.failure
        if over and self.block.call.error is not None:
            raise self.block.call.error
        return batch is not None and not over

    @property
    def _inner(self) -> Inner:
        return self.block.values[0]


class OutsideStream(Outside[api.Stream, str]):
    """The names of a stream. They are asked for in its thread, which takes a moment."""

    @property
    def lane(self) -> str | None:
        """The name of the lane whose text it is, None before that is certain."""
        return self._home.ask(lambda: self._inner.lane)

    @property
    def run(self) -> Run:
        """The run so far; complete, and with its cost, once the iteration has ended."""
        return self._home.ask(lambda: self._inner.run)


class OutsideFanout(Outside[api.Fanout, Tagged]):
    """The names of a fan-out. What changes while it runs is asked for in its thread, which takes a moment."""

    def __repr__(self) -> str:
        return self._home.ask(partial(repr, self._inner))

    def _repr_html_(self) -> str:
        return self.run._repr_html_()

    @property
    def started(self) -> float:
        """The time in fanout's thread at which the prompt was put, from which every `at` counts."""
        return self._inner.started

    @property
    def lanes(self) -> list[str]:
        """The names of all lanes, in the order of the plan."""
        return self._home.ask(lambda: self._inner.lanes)

    @property
    def winner(self) -> Answer | None:
        """The answer that the plan chose, if it has."""
        return self._home.ask(lambda: self._inner.winner)

    @property
    def run(self) -> Run:
        """The run so far; complete, and with its cost, once the iteration has ended."""
        return self._home.ask(lambda: self._inner.run)

    @property
    def settled(self) -> Answer | None:
        """The answer so far of the only lane that has not lost: the winner's, from the verdict on; else None."""
        return self._home.ask(lambda: self._inner.settled)

    @property
    def failure(self) -> AllLanesFailed | None:
        """Every lane's error, if the fan-out is over and gave no answer."""
        return self._home.ask(lambda: self._inner.failure)

    def cancel(self, lane: str | None = None) -> None:
        """Ends one lane, which to its policy is a failure; without a name all of them, and starts no other."""
        self._home.soon(partial(self._inner.cancel, lane))
