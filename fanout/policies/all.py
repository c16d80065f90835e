"""All: every lane runs to its end, and nobody wins or loses."""

from collections.abc import Collection, Sequence
from typing import ClassVar

from fanout.abc import Policy, Standing
from fanout.events import Event


class All(Policy):
    """Runs every lane to its end: to compare, to measure, to choose later."""

    retries: ClassVar[int] = 2
    chooses: ClassVar[bool] = False
    heeds = frozenset[type]()

    def losers(self, lane: int, event: Event, lanes: Sequence[Standing]) -> Collection[int]:
        """Nobody."""
        return ()

    def winner(self, lanes: Sequence[Standing]) -> int | None:
        """Nobody: to run all is not to choose."""
        return None
