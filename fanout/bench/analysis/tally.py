"""A lane's figures while the load goes on, in as little memory as a picture and a stop rule need."""

from array import array
from bisect import insort
from math import inf

from attrs import define, field

from fanout.bench.analysis.metrics import tokens
from fanout.bench.analysis.statistics import half_width
from fanout.bench.records.record import Record
from fanout.events import Status


@define
class Tally:
    """One lane at one level of load. `waiting` are due but have no stream yet; `ttfts` are sorted, inf for failures.

    `busy` are the seconds in which something was in flight: a lane that waits for its turn is not slow.
    """

    in_flight: int = 0
    waiting: int = 0
    done: int = 0
    errors: int = 0
    tokens: int = 0
    estimated: bool = False
    cost: float = 0.0
    busy: float = 0.0
    since: float = 0.0
    ttfts: "array[float]" = field(factory=lambda: array("d"))
    _looked: tuple[int, float] = (0, inf)

    def begin(self, now: float) -> None:
        """Counts a request that is sent."""
        if not self.in_flight:
            self.since = now
        self.in_flight += 1

    def end(self, now: float) -> None:
        """Counts a request out that is over."""
        self.in_flight -= 1
        if not self.in_flight:
            self.busy += now - self.since

    def add(self, record: Record) -> None:
        """Counts a request that has ended."""
        if record.status is Status.CANCELLED:
            return
        count, estimated = tokens(record)
        self.done += 1
        self.errors += not record.finished
        self.tokens += count
        self.estimated |= estimated and count > 0
        insort(self.ttfts, inf if not record.finished else record.times[0] if record.times else record.ended)

    @property
    def ttft(self) -> float | None:
        """The median time to first token in seconds; None without requests, inf if half of them failed."""
        return self.ttfts[len(self.ttfts) // 2] if self.ttfts else None

    def rate(self, now: float) -> float | None:
        """Tokens a second, over all streams of the lane, of the requests that have ended."""
        busy = self.busy + (now - self.since if self.in_flight else 0.0)
        return self.tokens / busy if busy and self.tokens else None

    @property
    def precision(self) -> float:
        """Half the width of the interval of the median TTFT, over that median: inf while there is none.

        It is computed anew after each twentieth more of requests, because that takes milliseconds where there are many.
        """
        counted, width = self._looked
        if self.done > counted * 1.05:
            width = half_width(self.ttfts)
            self._looked = (self.done, width)
        return width
