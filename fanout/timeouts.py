"""A lane's clocks as its user sets them."""

from typing import Self

from attrs import evolve, fields, frozen


@frozen
class Timeouts:
    """A lane's clocks, in seconds; None leaves a clock at its default, infinity switches it off.

    `connect` bounds the way to a usable connection (5), `first` the time from the lane's start to its first content
    (30), `idle` the silence between two pieces of content (30), `total` the whole lane (600). Comments, pings, role
    chunks and usage are not content. `min_tps` is the least tokens per second, over five seconds (0: off).
    """

    connect: float | None = None
    first: float | None = None
    idle: float | None = None
    total: float | None = None
    min_tps: float | None = None

    def over(self, base: Self) -> Self:
        """These clocks, and those of `base` where these say nothing."""
        given = {a.name: v for a in fields(type(self)) if (v := getattr(self, a.name)) is not None}
        return evolve(base, **given) if given else base


DEFAULTS = Timeouts(connect=5.0, first=30.0, idle=30.0, total=600.0, min_tps=0.0)
