"""A group that asks once more: the lane whose answer came nearest to the schema, when no other lane is left."""

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

import trio

from fanout.abc import OnLose, Policy
from fanout.engine.attempt import Attempt
from fanout.engine.group import Group
from fanout.engine.judging import Again, find_nearest
from fanout.engine.seats import Compound
from fanout.learning.pacing import Pacer
from fanout.prompt import Prompt

if TYPE_CHECKING:
    from fanout.schema import Schema


class ReaskingGroup(Group):
    """A Group that is not over before one refused answer has had a second chance, in a lane of its own."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        lanes: Sequence[Attempt | Compound],
        on_lose: OnLose,
        schema: "Schema | None",
        again: Again,
        pacer: Pacer | None = None,
    ) -> None:
        super().__init__(name, policy, lanes, on_lose, schema, pacer)
        self._again: Again | None = again
        self._until = inf

    async def run(self, prompt: Prompt, until: float) -> None:
        """Runs the lanes until all have ended, as a Group does."""
        self._until = min(until, trio.current_time() + self._policy.deadline)
        await super().run(prompt, until)

    def _end_if_over(self, at: float) -> None:
        if self.over or self._open or not self._ask_again():
            super()._end_if_over(at)

    def _ask_again(self) -> bool:
        again, self._again = self._again, None
        if again is None or self._nursery is None or self._cancelling or self.winner is not None:
            return False
        nearest = find_nearest(seat.judgement for _, seat, _ in self.places())
        if nearest is None or trio.current_time() >= self._until:
            return False
        lane, prompt = again(nearest.lane), nearest.correct()
        self._add_seat(lane, nearest.schema).started = True
        self._open += 1
        self._nursery.start_soon(lane.run, prompt, self._until, name=lane.name)
        return True
