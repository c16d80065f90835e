"""Counts of requests, lanes and tokens, as Prometheus reads them. No label comes from a client."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import define, field

from fanout.abc import Observed
from fanout.answers import Run
from fanout.events import Status

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Seconds at which the buckets of times end."""


@define
class Times:
    """A histogram of times in seconds."""

    counts: list[int] = field(factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Counts one time."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def lines(self, name: str, labels: str = "") -> Iterator[str]:
        """Yields its lines; `labels` are further ones, each with a comma behind it."""
        seen = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            seen += count
            yield f'{name}_bucket{{{labels}le="{bound}"}} {seen}'
        own = f"{{{labels.rstrip(',')}}}" if labels else ""
        yield f"{name}_sum{own} {self.total:.6f}"
        yield f"{name}_count{own} {seen}"


class Metrics:
    """Counts what happens; it is the observer of the gateway's connections."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._times: dict[str, Times] = {}
        self._first = Times()
        self._lanes: Counter[tuple[str, str]] = Counter()
        self._tokens: Counter[str] = Counter()

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Counts a request that has been answered; `path` is that of a route. 499: its client left."""
        self._requests[path, status] += 1
        self._times.setdefault(path, Times()).add(seconds)

    def lane_started(self, lane: Observed, at: float, /) -> None:
        """Does nothing."""

    def lane_ended(self, lane: Observed, at: float, /) -> None:
        """Counts a lane by its provider and the way in which it ended."""
        status = lane.answer.status
        self._lanes[lane.provider.name, str(status or "running")] += 1

    def run_ended(self, run: Run, lanes: Sequence[Observed], at: float, /) -> None:
        """Counts the tokens of a run, and the time to the winner's first content."""
        for answer in run.answers:
            if answer.usage is not None and answer.status is Status.FINISHED:
                self._tokens["input"] += answer.usage.input or 0
                self._tokens["output"] += answer.usage.output or 0
        self._tokens["wasted"] += run.wasted.tokens
        if run.winner is not None and run.winner.ttft is not None:
            self._first.add(run.winner.ttft)

    def text(self, gauges: Mapping[str, int], circuits: Iterable[tuple[str, str]] = ()) -> str:
        """Returns all counts, and `gauges` by their names, in Prometheus's text format.

        `circuits` are the providers and states of those that are not closed; no model, whose name may be a client's.
        """
        return "\n".join([*self._lines(gauges), *_circuit_lines(circuits), ""])

    def _lines(self, gauges: Mapping[str, int]) -> Iterator[str]:
        yield "# TYPE fanout_requests_total counter"
        for (path, status), count in sorted(self._requests.items()):
            yield f'fanout_requests_total{{path="{path}",status="{status}"}} {count}'
        yield "# TYPE fanout_request_seconds histogram"
        for path, times in sorted(self._times.items()):
            yield from times.lines("fanout_request_seconds", f'path="{path}",')
        yield "# TYPE fanout_first_content_seconds histogram"
        yield from self._first.lines("fanout_first_content_seconds")
        yield "# TYPE fanout_lanes_total counter"
        for (provider, ended), count in sorted(self._lanes.items()):
            yield f'fanout_lanes_total{{provider="{provider}",status="{ended}"}} {count}'
        yield "# TYPE fanout_tokens_total counter"
        for kind, count in sorted(self._tokens.items()):
            yield f'fanout_tokens_total{{kind="{kind}"}} {count}'
        for name, value in gauges.items():
            yield f"# TYPE fanout_{name} gauge"
            yield f"fanout_{name} {value}"


def _circuit_lines(circuits: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield "# TYPE fanout_circuits gauge"
    for (provider, state), count in sorted(Counter(circuits).items()):
        yield f'fanout_circuits{{provider="{provider}",state="{state}"}} {count}'
