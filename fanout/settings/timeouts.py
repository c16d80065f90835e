"""A lane's clocks as its user sets them."""

from typing import Self

from attrs import define, evolve, frozen

from fanout.settings import CLOCK, RATE, check_arguments, setting, settings_of, usual_of


@check_arguments("clock")
@frozen
class Timeouts:
    """A lane's clocks, in seconds; None leaves a clock at its usual time, infinity switches it off.

    `connect` bounds the way to a usable connection, `first` the time from the lane's start to its first content, `idle`
    the silence between two pieces of content, `total` the whole lane. Comments, pings, role chunks and usage are not
    content. Where nobody sets `first`, the first bytes of an answer move it once, since a model may think without a
    word; and a lane that is the only one left is not cut off by it, but its answer has a note. `min_tps` is the least
    tokens per second, over five seconds (0: off).
    """

    connect: float | None = setting(CLOCK, usual=5.0, help="Longest time to a connection.")
    first: float | None = setting(CLOCK, usual=60.0, help="Longest time to a lane's first content.")
    idle: float | None = setting(CLOCK, usual=30.0, help="Longest silence between two pieces of content.")
    total: float | None = setting(CLOCK, usual=600.0, also="timeout", help="Longest time for a whole lane.")
    min_tps: float | None = setting(RATE, usual=0.0, help="Least tokens a second.")

    def over(self, base: Self) -> Self:
        """These clocks, and those of `base` where these say nothing."""
        names = settings_of(type(self))
        given = {name: v for name in names if (v := getattr(self, name)) is not None}
        if not given:
            return base
        return self if len(given) == len(names) else evolve(base, **given)


DEFAULTS = Timeouts(**usual_of(Timeouts))


LATE = 0.03
"""Seconds by which a clock may ring late before that counts as our own slowness: no step of the loop takes as long."""


STOPPED = 1.0
"""Seconds by which a clock rings late where the process was stopped, or as good as that, and not just busy."""


def forgive(late: float, setting: float) -> float:
    """Returns how many seconds more a clock that was set to `setting` has from now on, where it rings so late.

    Those by which we are late, because nobody knows when it was that we were not there. A stop may have begun when the
    clock did: after it, the clock begins anew. A service that is silent from now on never has more than that.
    """
    if late < LATE:
        return 0.0
    return setting if late >= STOPPED else min(late, setting)


@define
class Leniency:
    """Gives back the time by which we were late, so that no service pays for it; a few `times` only."""

    times: int = 3

    def pardon(self, late: float, setting: float) -> float:
        """Returns the seconds that `forgive` says, or none."""
        if late < LATE or not self.times:
            return 0.0
        self.times -= 1
        return forgive(late, setting)
