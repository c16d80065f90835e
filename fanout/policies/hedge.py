"""Hedge: the next lane starts when the one before has been silent for a while; the first good one wins.

After Dean and Barroso, "The Tail at Scale" (CACM 56(2), 2013): a second request, sent only when the first is late,
cuts the tail for a few per cent of extra load.
"""

from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from fanout.abc import Accept, OnLose
from fanout.errors import UsageError
from fanout.policies.race import On, Race
from fanout.settings import percentile

if TYPE_CHECKING:
    from fanout.schema import Form

AFTER = 0.8
"""Seconds that a lane has before the next one starts, where nobody says otherwise."""

FALLBACK = 1.0
"""Seconds that a lane has of which too little is known, where the delay is learnt."""

BUDGET = 0.05
"""Hedges a request, where the delay is learnt: what p95 costs by itself."""


class Hedge(Race):
    """A Race whose next lane starts when the running ones have said nothing for `after` seconds, or one fails.

    `after="p95"` starts it once the running one is later than 95 of 100 of its own last requests were, with prompts of
    that size; below 20 of them, after `fallback` seconds. Of such requests at most `budget` each are hedged, and 10
    more; infinity is no bound. A start after a failure is no hedge. A lane that only thinks has said nothing, unless
    `reasoning=True`, or `on="first_thought"`, lets thoughts count.
    """

    retries: ClassVar[int] = 0

    def __init__(
        self,
        *lanes: Any,
        after: float | str = AFTER,
        fallback: float = FALLBACK,
        budget: float = BUDGET,
        on: On = "finish",
        accept: Accept | None = None,
        reasoning: bool = False,
        deadline: float = inf,
        on_lose: OnLose | None = None,
        **form: Unpack["Form"],
    ) -> None:
        super().__init__(*lanes, on=on, accept=accept, reasoning=reasoning, deadline=deadline, on_lose=on_lose, **form)
        self.budget = _check("budget", budget, "a number of hedges a request, 0 or more")
        fallback = _check("fallback", fallback, "a number of seconds, 0 or more")
        if isinstance(after, str):
            try:
                self.percentile, self.pace = percentile(after), fallback
            except ValueError as error:
                raise UsageError(f"after: {error}") from None
        else:
            self.pace = _check("after", after, "a number of seconds, 0 or more, or a percentile such as p95")


def _check(name: str, value: float, words: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise UsageError(f"{name} must be {words}, not {value!r}")
    return value
