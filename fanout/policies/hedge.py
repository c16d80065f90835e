"""Hedge: the next lane starts when the one before has been silent for a while; the first good one wins.

After Dean and Barroso, "The Tail at Scale" (CACM 56(2), 2013): a second request, sent only when the first is late,
cuts the tail for a few per cent of extra load.
"""

from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from fanout.abc import Accept, OnLose
from fanout.errors import UsageError
from fanout.policies.race import On, Race

if TYPE_CHECKING:
    from fanout.schema import Form

AFTER = 0.8
"""Seconds that a lane has before the next one starts, where nobody says otherwise."""


class Hedge(Race):
    """A Race whose next lane starts when the running ones have said nothing for `after` seconds, or one fails.

    A lane that only thinks has said nothing, unless `reasoning=True`, or `on="first_thought"`, lets thoughts count.
    """

    retries: ClassVar[int] = 0

    def __init__(
        self,
        *lanes: Any,
        after: float = AFTER,
        on: On = "finish",
        accept: Accept | None = None,
        reasoning: bool = False,
        deadline: float = inf,
        on_lose: OnLose | None = None,
        **form: Unpack["Form"],
    ) -> None:
        super().__init__(*lanes, on=on, accept=accept, reasoning=reasoning, deadline=deadline, on_lose=on_lose, **form)
        if isinstance(after, bool) or not isinstance(after, int | float) or not after >= 0:
            raise UsageError(f"after must be a number of seconds, 0 or more, not {after!r}")
        self.pace = after
