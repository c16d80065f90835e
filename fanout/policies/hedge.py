"""Hedge: the next lane starts when the one before has been silent for a while; the first good one wins.

After Dean and Barroso, "The Tail at Scale" (CACM 56(2), 2013): a second request, sent only when the first is late,
cuts the tail for a few per cent of extra load.
"""

from math import inf
from typing import Any, ClassVar

from fanout.abc import Accept, OnLose
from fanout.errors import UsageError
from fanout.policies.race import On, Race


class Hedge(Race):
    """A Race whose next lane starts when the running ones have said nothing for `after` seconds, or one fails.

    A lane that thinks has said something, unless the race is for the first token without `reasoning`.
    """

    retries: ClassVar[int] = 0

    def __init__(
        self,
        *lanes: Any,
        after: float,
        on: On = "finish",
        accept: Accept | None = None,
        reasoning: bool = False,
        deadline: float = inf,
        on_lose: OnLose | None = None,
    ) -> None:
        super().__init__(*lanes, on=on, accept=accept, reasoning=reasoning, deadline=deadline, on_lose=on_lose)
        if not after >= 0:
            raise UsageError(f"after must be a number of seconds, 0 or more, not {after!r}")
        self.pace = after
