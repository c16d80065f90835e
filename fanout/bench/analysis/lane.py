"""One lane at one level of load, summed up."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from statistics import median

from attrs import frozen

from fanout.bench.analysis.figures import Figure, Measured, Stamps, Trust, all_figures, typical
from fanout.bench.analysis.metrics import measure, stalls, tokens, within
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
"""What of ours is put beside a service's own timing of that name."""


@frozen
class Errors:
    """Requests that ended with one kind of error, and the message of the first."""

    kind: str
    count: int
    sample: str


@frozen
class Timing:
    """One of the service's own timings beside ours: medians in seconds over the requests that carry it.

    What ours is more is the network and us.
    """

    name: str
    server: float
    ours: float | None
    metric: str | None
    n: int


@frozen
class Lane:
    """One lane at one level of load. `requests` counts those neither warm-up nor cancelled; shares are of them.

    `figures` by metric: those of `metrics.LATENCIES` and `SPEEDS`, and `gap`. `seconds` is from the first request's
    start to the last one's end; `rate` (requests a second), `tps_total` (output tokens a second), `goodput` (requests a
    second within all objectives) and `token_goodput` are of finished requests over that time; the last two, and the
    share `attained`, are None without objectives. `tokens` are of finished requests, `wasted` those of the others.
    `cost` is of all requests, in US dollars. `independent` is how many independent requests these are worth.
    """

    name: str
    requests: int
    finished: int
    failed: int
    timed_out: int
    cancelled: int
    warmup: int
    failure_share: Interval
    errors: tuple[Errors, ...]
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
    server: tuple[Timing, ...]
    trust: Trust
    independent: float | None
    drift: Drift | None
    cached_share: float | None = None


def counts(record: Record) -> bool:
    """Whether the request is counted: it was no warm-up, and ran to an end of its own."""
    return not (record.warmup or record.race or record.status is Status.CANCELLED)


def sending(record: Record) -> tuple[float, int, int, str]:
    """What sorts records in the order of sending, also those that were sent together."""
    return record.sent, record.block, record.place, record.lane


def measured(records: Iterable[Record]) -> Measured:
    """The requests that are counted, in the order of sending, with their figures."""
    kept = sorted(filter(counts, records), key=sending)
    return [(record, measure(record)) for record in kept]


def sum_up(name: str, records: Sequence[Record], pairs: Measured, limits: Mapping[str, float], seed: int) -> Lane:
    """Sums up the records of one lane at one level; `pairs` are those that count, from `measured`."""
    kept = [record for record, _ in pairs]
    finished = [record for record in kept if record.finished]
    good = [record for record, figures in pairs if record.finished and within(figures, limits)]
    stamps = Stamps.of(kept)
    main = main_metric(pairs)
    gaps = [gap for _, figures in pairs for gap in figures.gaps]
    stalled, stall_seconds = stalls(gaps, median(gaps)) if gaps else (0, 0.0)
    seconds = max((r.sent + r.ended for r in kept), default=0.0) - min((r.sent for r in kept), default=0.0)
    cost = _total(record.cost for record in kept if record.finished or record.cost is not None)
    return Lane(
        name=name,
        requests=len(kept),
        finished=len(finished),
        failed=sum(record.status is Status.FAILED for record in kept),
        timed_out=sum(record.status is Status.TIMED_OUT for record in kept),
        cancelled=sum(record.status is Status.CANCELLED and not record.warmup for record in records),
        warmup=sum(record.warmup for record in records),
        failure_share=share_interval(len(kept) - len(finished), len(kept)),
        errors=_errors(kept),
        figures=all_figures(pairs, stamps, seed),
        seconds=seconds,
        rate=_over(len(finished), seconds),
        tps_total=_over(_made(finished), seconds),
        goodput=_over(len(good), seconds) if limits else None,
        token_goodput=_over(_made(good), seconds) if limits else None,
        attained=share_interval(len(good), len(kept)) if limits else None,
        tokens=_made(finished),
        estimated=any(figures.estimated for _, figures in pairs),
        reasoning_share=_over(sum(record.reasoning or 0 for record in finished), _made(finished))
        if any(record.reasoning is not None for record in finished)
        else None,
        wasted=_made(record for record in records if not (record.finished or record.race)),
        cost=cost,
        cost_per_1k=None if cost is None else _over(1000 * cost, len(kept)),
        stalls=stalled,
        stall_seconds=stall_seconds,
        connect=_median(record.connect for record in kept),
        tls=_median(record.tls for record in kept),
        server=_timings(pairs),
        trust=stamps.trust(typical(pairs, main)),
        independent=effective_size(_values(pairs, main)) if kept else None,
        drift=drift(_values([pair for pair in pairs if pair[0].finished], main)),
        cached_share=_over(_total(r.cached for r in finished), _total(r.input for r in finished)),
    )


def main_metric(pairs: Measured) -> str:
    """What the lane is judged by: ttft, or e2e where nothing is streamed."""
    return "ttft" if any(figures.ttft is not None for _, figures in pairs) else "e2e"


def _values(pairs: Measured, metric: str) -> list[float]:
    """The metric in the order of sending, +inf for a request that did not finish."""
    return [
        value if record.finished else inf
        for record, figures in pairs
        if (value := getattr(figures, metric)) is not None or not record.finished
    ]


def _errors(records: Sequence[Record]) -> tuple[Errors, ...]:
    """By kind, the commonest first; a timeout is named with its clock."""
    kinds = [(_kind(record), record.message or "") for record in records if not record.finished]
    counted = Counter(kind for kind, _ in kinds)
    samples = dict(reversed(kinds))
    return tuple(Errors(kind, count, samples[kind]) for kind, count in counted.most_common())


def _kind(record: Record) -> str:
    kind = record.error or record.status.value
    return f"{kind} ({record.clock})" if record.clock else kind


def _timings(pairs: Measured) -> tuple[Timing, ...]:
    names = dict.fromkeys(name for record, _ in pairs for name in record.server)
    found = []
    for name in names:
        carrying = [pair for pair in pairs if name in pair[0].server]
        metric = SERVER_TIMINGS.get(name)
        own = typical(carrying, metric) if metric else None
        server = median(record.server[name] for record, _ in carrying)
        found.append(Timing(name, server, own, metric, len(carrying)))
    return tuple(found)


def _made(records: Iterable[Record]) -> int:
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
