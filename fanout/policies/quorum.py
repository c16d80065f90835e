"""Quorum: the first k good answers are enough, and the rest are stopped."""

from collections.abc import Collection, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Unpack

from fanout.abc import Accept, OnLose, Policy, Standing
from fanout.errors import UsageError
from fanout.events import End, Event, Status
from fanout.policies.race import has_answer

if TYPE_CHECKING:
    from fanout.schema import Form


class Quorum(Policy):
    """Good once `k` lanes have finished with an answer that `accept` takes; lost as soon as k cannot be reached."""

    def __init__(
        self,
        *lanes: Any,
        k: int,
        accept: Accept | None = None,
        deadline: float = inf,
        on_lose: OnLose | None = None,
        **form: Unpack["Form"],
    ) -> None:
        super().__init__(*lanes, deadline=deadline, on_lose=on_lose, **form)
        if not 1 <= k <= len(lanes):
            raise UsageError(f"k must be between 1 and the number of lanes, {len(lanes)}, not {k!r}")
        self.heeds = frozenset({End})
        self.k = k
        self.accept = accept or has_answer

    def losers(self, lane: int, event: Event, lanes: Sequence[Standing]) -> Collection[int]:
        """The unfinished once k are good; everybody once k are out of reach; a refused lane itself."""
        if not isinstance(event, End):
            return ()
        refused = event.status is Status.FINISHED and not lanes[lane].good
        in_play = [i for i, s in enumerate(lanes) if not s.lost and s.status in (None, Status.FINISHED)]
        if refused:
            in_play.remove(lane)
        if len(in_play) < self.k:
            return range(len(lanes))
        good = [i for i in in_play if lanes[i].good]
        if len(good) >= self.k:
            return [i for i in range(len(lanes)) if i not in good]
        return (lane,) if refused else ()

    def winner(self, lanes: Sequence[Standing]) -> int | None:
        """The first of the k good lanes; nobody before there are k."""
        return super().winner(lanes) if sum(lane.good for lane in lanes) >= self.k else None
