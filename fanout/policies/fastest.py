"""Fastest: the lane that has been the fastest lately is asked first, the others when it fails or is late."""

from math import inf
from typing import Any, TypedDict, Unpack

from fanout.abc import Accept, OnLose
from fanout.errors import UsageError
from fanout.policies.hedge import Hedge
from fanout.policies.race import On


class HedgeSettings(TypedDict, total=False):
    """The other settings of a Hedge."""

    fallback: float
    budget: float
    on: On
    accept: Accept | None
    reasoning: bool
    deadline: float
    on_lose: OnLose | None


class Fastest(Hedge):
    """A Fallback that begins with the lane whose first content has come soonest lately, for a prompt of that size.

    That is the median of its last requests. With the probability `explore` another lane goes first, so that one which
    gets faster is found; and as long as less than 20 requests to some lane are known, such a lane goes first every
    other time, unless `explore` is 0. With `after`, in seconds or as p95, it hedges too. Only the order of the starts
    is learnt: answers are in the order of the plan. `settings` are those of a Hedge.
    """

    def __init__(
        self, *lanes: Any, explore: float = 0.05, after: float | str = inf, **settings: Unpack[HedgeSettings]
    ) -> None:
        super().__init__(*lanes, after=after, **settings)
        if isinstance(explore, bool) or not isinstance(explore, int | float) or not 0 <= explore <= 1:
            raise UsageError(f"explore must be a probability from 0 to 1, not {explore!r}")
        self.explore = explore
