"""Fastest: the lane that has been the fastest lately is asked first, the others when it fails or is late."""

from math import inf
from typing import Any

from fanout.abc import Accept, OnLose
from fanout.errors import UsageError
from fanout.policies.hedge import BUDGET, FALLBACK, Hedge
from fanout.policies.race import On


class Fastest(Hedge):
    """A Fallback that begins with the lane whose first content has come soonest lately, for a prompt of that size.

    That is the median of its last requests. With the probability `explore` another lane goes first, so that one which
    gets faster is found; and as long as less than 20 requests to some lane are known, such a lane goes first every
    other time, unless `explore` is 0. With `after`, in seconds or as p95, it hedges too. Only the order of the starts
    is learnt: answers are in the order of the plan.
    """

    def __init__(
        self,
        *lanes: Any,
        explore: float = 0.05,
        after: float | str = inf,
        fallback: float = FALLBACK,
        budget: float = BUDGET,
        on: On = "finish",
        accept: Accept | None = None,
        reasoning: bool = False,
        deadline: float = inf,
        on_lose: OnLose | None = None,
    ) -> None:
        super().__init__(
            *lanes,
            after=after,
            fallback=fallback,
            budget=budget,
            on=on,
            accept=accept,
            reasoning=reasoning,
            deadline=deadline,
            on_lose=on_lose,
        )
        if isinstance(explore, bool) or not isinstance(explore, int | float) or not 0 <= explore <= 1:
            raise UsageError(f"explore must be a probability from 0 to 1, not {explore!r}")
        self.explore = explore
