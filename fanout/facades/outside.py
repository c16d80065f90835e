"""A running fan-out as it is seen from outside of fanout's thread; the facades add the iteration."""

from collections import deque
from contextlib import AbstractAsyncContextManager
from functools import partial

from fanout import api
from fanout.answers import Answer, Run
from fanout.errors import AllLanesFailed
from fanout.events import Tagged
from fanout.facades.bridge import Block, Crossing, Wake


class Outside:
    """The names of a fan-out. What changes while it runs is asked for in its thread, which takes a moment."""

    def __init__(self, manager: AbstractAsyncContextManager[api.Fanout], wake: Wake) -> None:
        self.block: Block[api.Fanout] = Block(manager, wake, self._carry)
        self._home = self.block.call.home
        self._crossing: Crossing[Tagged] = Crossing(self._home, wake)
        self._at_hand: deque[Tagged] = deque()

    async def _carry(self, fanout: api.Fanout) -> None:
        await self._crossing.carry(fanout.take)
        self._crossing.close()

    def _is_ready(self) -> bool:
        """True if `_take` need not wait."""
        return self._crossing.is_ready() or self.block.call.over

    def _take(self) -> bool:
        """Takes the events that have come; False at the end. Raises what the fan-out has broken off with."""
        over = self.block.call.over
        batch = self._crossing.take()
        if batch:
            self._at_hand.extend(batch)
            return True
        if over and self.block.call.error is not None:
            raise self.block.call.error
        return batch is not None and not over

    @property
    def _fanout(self) -> api.Fanout:
        return self.block.values[0]

    def __repr__(self) -> str:
        return self._home.ask(partial(repr, self._fanout))

    def _repr_html_(self) -> str:
        return self.run._repr_html_()

    @property
    def started(self) -> float:
        """The time in fanout's thread at which the prompt was put, from which every `at` counts."""
        return self._fanout.started

    @property
    def lanes(self) -> list[str]:
        """The names of all lanes, in the order of the plan."""
        return self._home.ask(lambda: self._fanout.lanes)

    @property
    def winner(self) -> Answer | None:
        """The answer that the plan chose, if it has."""
        return self._home.ask(lambda: self._fanout.winner)

    @property
    def run(self) -> Run:
        """The run so far; complete, and with its cost, once the iteration has ended."""
        return self._home.ask(lambda: self._fanout.run)

    @property
    def failure(self) -> AllLanesFailed | None:
        """Every lane's error, if the fan-out is over and gave no answer."""
        return self._home.ask(lambda: self._fanout.failure)

    def cancel(self, lane: str) -> None:
        """Ends one lane; to its policy that is a failure."""
        self._home.soon(partial(self._fanout.cancel, lane))
