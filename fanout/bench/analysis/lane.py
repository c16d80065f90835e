"""One lane at one level of load, summed up."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from statistics import median

from attrs import frozen

from fanout.bench.analysis.figures import Figure, Stamps, Trust, all_figures, typical
from fanout.bench.analysis.metrics import Measurements, stalls, tokens, within
from fanout.bench.analysis.statistics import Drift, Interval, drift, effective_size, share_interval
from fanout.bench.records.record import Record
from fanout.events import Status

SERVER_TIMINGS: Mapping[str, str] = {
    "prompt": "ttft",
    "token": "itl",
    "total": "e2e",
    "openai-processing-ms": "ttfb",
    "x-envoy-upstream-service-time": "ttfb",
}
"""The metrics that are put beside a service's own timing of that name."""


@frozen
class ErrorCount:
    """Requests that ended with one kind of error, and the message of the first."""

    kind: str
    count: int
    sample: str


@frozen
class ServerTiming:
    """One of the service's own timings beside ours: medians in seconds over the requests that carry it.

    The difference is the network and this client.
    """

    name: str
    server: float
    ours: float | None
    metric: str | None
    n: int


@frozen
class LaneSummary:
    """One lane at one level of load. `requests` counts those neither warm-up nor cancelled; shares are of them.

    `figures` has one for each of METRICS. `seconds` is from the first request's start to the last one's end; `rate`
    (requests a second), `tps_total` (output tokens a second), `goodput` (requests a second within all objectives) and
    `token_goodput` are of finished requests over that time; the last two, and the share `attained`, are None without
    objectives. `tokens` are of finished requests, `wasted` those of the others. `cost` is of all requests, in US
    dollars. `independent` is the number of independent requests that these are worth.
    """

    name: str
    requests: int
    finished: int
    failed: int
    timed_out: int
    cancelled: int
    warmup: int
    failure_share: Interval
    errors: tuple[ErrorCount, ...]
    figures: Mapping[str, Figure]
    seconds: float
    rate: float | None
    tps_total: float | None
    goodput: float | None
    token_goodput: float | None
    attained: Interval | None
    tokens: int
    estimated: bool
    reasoning_share: float | None
    wasted: int
    cost: float | None
    cost_per_1k: float | None
    stalls: int
    stall_seconds: float
    connect: float | None
    tls: float | None
    server: tuple[ServerTiming, ...]
    trust: Trust
    independent: float | None
    drift: Drift | None
    cached_share: float | None = None


def sum_up_lane(
    name: str, records: Sequence[Record], measured: Measurements, limits: Mapping[str, float], seed: int
) -> LaneSummary:
    """Sums up the records of one lane at one level; `measured` are those that count, from `measure_all`."""
    kept = [request.record for request in measured]
    finished = [record for record in kept if record.finished]
    good = [request.record for request in measured if request.record.finished and within(request, limits)]
    stamps = Stamps.of(kept)
    main = main_metric(measured)
    gaps = [gap for request in measured for gap in request.gaps]
    stalled, stall_seconds = stalls(gaps, median(gaps)) if gaps else (0, 0.0)
    seconds = max((r.sent + r.ended for r in kept), default=0.0) - min((r.sent for r in kept), default=0.0)
    cost = _total(record.cost for record in kept if record.finished or record.cost is not None)
    return LaneSummary(
        name=name,
        requests=len(kept),
        finished=len(finished),
        failed=sum(record.status is Status.FAILED for record in kept),
        timed_out=sum(record.status is Status.TIMED_OUT for record in kept),
        cancelled=sum(record.status is Status.CANCELLED and not record.warmup for record in records),
        warmup=sum(record.warmup for record in records),
        failure_share=share_interval(len(kept) - len(finished), len(kept)),
        errors=_errors(kept),
        figures=all_figures(measured, stamps, seed),
        seconds=seconds,
        rate=_over(len(finished), seconds),
        tps_total=_over(_sum_tokens(finished), seconds),
        goodput=_over(len(good), seconds) if limits else None,
        token_goodput=_over(_sum_tokens(good), seconds) if limits else None,
        attained=share_interval(len(good), len(kept)) if limits else None,
        tokens=_sum_tokens(finished),
        estimated=any(request.estimated for request in measured),
        reasoning_share=_over(sum(record.reasoning or 0 for record in finished), _sum_tokens(finished))
        if any(record.reasoning is not None for record in finished)
        else None,
        wasted=_sum_tokens(record for record in records if not (record.finished or record.race)),
        cost=cost,
        cost_per_1k=None if cost is None else _over(1000 * cost, len(kept)),
        stalls=stalled,
        stall_seconds=stall_seconds,
        connect=_median(record.connect for record in kept),
        tls=_median(record.tls for record in kept),
        server=_timings(measured),
        trust=stamps.trust(typical(measured, main)),
        independent=effective_size(_values(measured, main)) if kept else None,
        drift=drift(_values([request for request in measured if request.record.finished], main)),
        cached_share=_over(_total(r.cached for r in finished), _total(r.input for r in finished)),
    )


def main_metric(measured: Measurements) -> str:
    """The metric that the lane is judged by: ttft, or e2e where nothing is streamed."""
    return "ttft" if any(request["ttft"] is not None for request in measured) else "e2e"


def _values(measured: Measurements, metric: str) -> list[float]:
    """The metric in the order of sending, +inf for a request that did not finish."""
    return [
        inf if value is None or not request.record.finished else value
        for request in measured
        if (value := request[metric]) is not None or not request.record.finished
    ]


def _errors(records: Sequence[Record]) -> tuple[ErrorCount, ...]:
    """Counts errors by kind, the commonest first; a timeout is named with its clock."""
    kinds = [(_kind(record), record.message or "") for record in records if not record.finished]
    counted = Counter(kind for kind, _ in kinds)
    samples = dict(reversed(kinds))
    return tuple(ErrorCount(kind, count, samples[kind]) for kind, count in counted.most_common())


def _kind(record: Record) -> str:
    kind = record.error or record.status.value
    return f"{kind} ({record.clock})" if record.clock else kind


def _timings(measured: Measurements) -> tuple[ServerTiming, ...]:
    names = dict.fromkeys(name for request in measured for name in request.record.server)
    found = []
    for name in names:
        carrying = [request for request in measured if name in request.record.server]
        metric = SERVER_TIMINGS.get(name)
        own = typical(carrying, metric) if metric else None
        server = median(request.record.server[name] for request in carrying)
        found.append(ServerTiming(name, server, own, metric, len(carrying)))
    return tuple(found)


def _sum_tokens(records: Iterable[Record]) -> int:
    return sum(tokens(record)[0] for record in records)


def _total(values: Iterable[float | None]) -> float | None:
    """The sum, or None where any is unknown, or there is none."""
    known = list(values)
    return None if None in known or not known else sum(value for value in known if value is not None)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _over(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole or whole < 0 else part / whole
