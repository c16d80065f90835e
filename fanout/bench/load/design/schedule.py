"""The times of a load's requests: by a number of streams, by a rate, or from a trace.

A closed loop has a fixed number of streams, each of which sends its next request when the one before has ended. An open
loop plans its starts beforehand and keeps to them, whatever the answers do. Times are seconds after the load's start.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from math import sqrt
from random import Random
from typing import Literal

from attrs import field, frozen

from fanout.errors import UsageError

Arrival = Literal["constant", "poisson", "gamma"]

STREAMS = 512
"""The most requests of an open loop in flight in one lane, where the user sets no bound."""


@frozen
class Closed:
    """A closed loop of streams a lane. They begin evenly over `ramp` seconds: at one instant they would collide."""

    streams: int
    ramp: float = 0.0

    @property
    def label(self) -> str:
        """The load in a few words."""
        return f"c={self.streams}"

    def beginning(self, stream: int) -> float:
        """The time of this stream's first request."""
        return self.ramp * stream / self.streams


@frozen
class Open:
    """An open loop of requests a second a lane. At most `streams` are in flight; the others wait, and that counts.

    The gaps between arrivals are constant, exponential (poisson), or gamma distributed with `burstiness` as the shape:
    1 is poisson, less comes in bursts, more is more even. Over the first `ramp` seconds the rate rises from 0.
    """

    rate: float
    arrival: Arrival = "poisson"
    burstiness: float = 1.0
    ramp: float = 0.0
    seed: int = 0
    streams: int = STREAMS

    @property
    def label(self) -> str:
        """The load in a few words."""
        return f"{self.rate:g}/s"

    def times(self) -> Iterator[float]:
        """The planned starts, without end."""
        random = Random(self.seed)  # noqa: S311  # an experiment's plan, not a secret
        due = 0.0  # in requests
        for number in count():
            yield self._time(due)
            if self.arrival == "constant":
                due = number + 1.0
            else:
                shape = 1.0 if self.arrival == "poisson" else self.burstiness
                due += random.gammavariate(shape, 1 / shape)

    def _time(self, due: float) -> float:
        """The time at which so many requests are due: the inverse of the integral of the rate."""
        rising = self.rate * self.ramp / 2
        return sqrt(2 * due * self.ramp / self.rate) if due < rising else self.ramp + (due - rising) / self.rate


@frozen
class Replay:
    """An open loop with the times of a trace, `speedup` times as fast."""

    at: Sequence[float] = field(repr=False)
    speedup: float = 1.0
    streams: int = STREAMS

    @property
    def label(self) -> str:
        """The load in a few words."""
        return f"trace x{self.speedup:g}"

    def times(self) -> Iterator[float]:
        """The planned starts."""
        return (at / self.speedup for at in self.at)


Schedule = Closed | Open | Replay


def make_schedules(
    concurrency: Sequence[int],
    rates: Sequence[float],
    trace: Sequence[float] | None,
    *,
    arrival: Arrival = "poisson",
    burstiness: float = 1.0,
    ramp: float = 0.0,
    speedup: float = 1.0,
    seed: int = 0,
) -> list[Schedule]:
    """Makes one schedule for every step of a sweep. Raises UsageError for settings that contradict each other.

    With rates or a trace, the one number in `concurrency` bounds what is in flight.
    """
    if rates and trace is not None:
        raise UsageError("--rate and --trace both say when requests start; choose one")
    if arrival != "gamma" and burstiness != 1.0:
        raise UsageError(f"--burstiness is for --arrival gamma, not {arrival}")
    if trace is None and speedup != 1.0:
        raise UsageError("--speedup is for --trace FILE")
    if not rates and trace is None:
        return [Closed(streams, ramp) for streams in concurrency or (1,)]
    if len(concurrency) > 1:
        raise UsageError("with --rate or --trace, -c is one number: how many requests may be in flight in a lane")
    streams = concurrency[0] if concurrency else STREAMS
    if trace is not None:
        if ramp:
            raise UsageError("a trace has its own times: --ramp is for -c and --rate")
        return [Replay(trace, speedup, streams)]
    return [Open(rate, arrival, burstiness, ramp, seed, streams) for rate in rates]
