"""Sentences that a reader should know before believing a run."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise

from fanout.bench.analysis.lane import LaneSummary
from fanout.bench.analysis.metrics import counts, sending_order
from fanout.bench.analysis.verdict import percent
from fanout.bench.records.record import Record

DRIFT_P = 0.01
DRIFT_CHANGE = 0.05
"""A drift is told if its p is below DRIFT_P and the median changed by more than this share."""

LEAST_WORTH = 0.5
"""The share of requests that must be worth independent ones."""

LENGTH_RATIO = 1.5
"""Lanes whose answers differ more in length are not compared to the end."""

MOST_CACHED = 0.05
"""The share of prompt tokens out of a service's cache that is not told."""


def of_lane(lane: LaneSummary) -> Iterator[str]:
    """Doubts about one lane at one level."""
    drift = lane.drift
    if drift and drift.p < DRIFT_P and abs(drift.change) > DRIFT_CHANGE:
        way = "more" if drift.change > 0 else "less"
        share = percent(abs(drift.change))
        yield f"{lane.name} took {share} {way} time in the second half of the run than in the first"
    if lane.independent is not None and lane.independent < LEAST_WORTH * lane.requests:
        yield (
            f"{lane.name}: its {lane.requests} requests depend on one another and are worth {lane.independent:.0f}: "
            "its intervals are too narrow"
        )
    if lane.cancelled:
        yield f"{lane.name}: requests that were cancelled and are left out: {lane.cancelled}"
    if lane.requests and not lane.trust.trusted:
        yield f"{lane.name}: its times are not to be trusted to a hundredth: {lane.trust.reason}"
    if lane.cached_share is not None and lane.cached_share > MOST_CACHED:
        yield f"{lane.name}: {percent(lane.cached_share)} of the prompt tokens came out of the service's cache"


def of_lanes(lanes: Mapping[str, LaneSummary]) -> Iterator[str]:
    """Doubts about comparing lanes."""
    for first, second in combinations(lanes.values(), 2):
        lengths = sorted((lane.tokens / lane.finished, lane.name) for lane in (first, second) if lane.finished)
        if len(lengths) == 2 and lengths[1][0] > LENGTH_RATIO * lengths[0][0]:
            (few, short), (many, long) = lengths
            yield (
                f"{long} answers at greater length than {short} ({many:.0f} and {few:.0f} tokens): "
                "compare them per token, not to the end"
            )


def of_method(records: Sequence[Record], *, fresh_connections: bool, ignore_eos: bool) -> Iterator[str]:
    """Doubts about how the requests were made."""
    if fresh_connections:
        yield "every request opened a connection of its own, and the time for that is in all times"
    if not ignore_eos:
        return
    ended: dict[str, list[bool]] = defaultdict(list)
    for record in filter(counts, records):
        if record.finished and record.finish_reason is not None:
            ended[record.lane].append(record.finish_reason != "length")
    for lane, early in ended.items():
        if any(early):
            yield (
                f"{lane}: {sum(early)} of {len(early)} answers ended before their bound: "
                "its service does not heed ignore_eos"
            )


def of_order(records: Sequence[Record]) -> Iterator[str]:
    """Doubts about the order in which requests were sent."""
    kept = sorted(filter(counts, records), key=sending_order)
    if any(_one_after_the_other(group) for group in _by_level(kept)):
        yield "the lanes were asked one after the other: a difference may be one of the hour, not of the lanes"
    if kept and not any(record.intended is not None for record in kept):
        yield "closed loop: service time, not response time; a slow answer delays the next request and hides its wait"


def _by_level(records: Sequence[Record]) -> list[list[Record]]:
    found: dict[float | None, list[Record]] = defaultdict(list)
    for record in records:
        found[record.level].append(record)
    return list(found.values())


def _one_after_the_other(records: Sequence[Record]) -> bool:
    """True if each lane's requests all came before the next lane's, though there were several of each."""
    runs = sum(former.lane != later.lane for former, later in pairwise(records)) + 1
    lanes = len({record.lane for record in records})
    return runs == lanes > 1 and len(records) > 2 * lanes
