"""Fallback: the next lane starts only when the one before has failed."""

from math import inf
from typing import ClassVar

from fanout.policies.race import Race


class Fallback(Race):
    """A Race in which a lane starts only after a failure of the one before: in order, one at a time."""

    pace = inf
    retries: ClassVar[int] = 0
