"""What one request comes to, under the names and definitions of docs/metrics.md."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf
from statistics import median

from attrs import frozen

from fanout.bench.records.record import Record
from fanout.errors import UsageError

LATENCIES = ("ttfb", "ttft", "ttfo", "ttst", "e2e", "response", "itl", "tpot", "ntpot")
"""Metrics of one request in seconds: less is better, and a request that did not finish counts as infinitely long."""

SPEEDS = ("tps_user", "speed", "characters", "bytes")
"""Metrics of one request in units a second: more is better, and a request that did not finish counts as 0."""

STALL_FACTOR = 5.0
STALL_SECONDS = 0.25
"""A gap is a stall when it is longer than both STALL_FACTOR typical gaps and STALL_SECONDS."""

CHARACTERS_PER_TOKEN = 4
"""Of an estimate, where the service counts no tokens."""


@frozen
class Metrics:
    """One request's figures, in seconds or units a second; None where the figure does not exist.

    `tokens` are output tokens, reasoning among them; `estimated` says that nobody counted them.
    """

    ttfb: float | None
    ttft: float | None
    ttfo: float | None
    ttst: float | None
    e2e: float | None
    response: float | None
    gaps: tuple[float, ...]
    itl: float | None
    tpot: float | None
    ntpot: float | None
    tps_user: float | None
    speed: float | None
    characters: float | None
    bytes: float | None
    tokens: int
    estimated: bool
    reasoning_share: float | None


def measure(record: Record) -> Metrics:
    """The request's figures, whatever became of it: what did arrive of a failed one is measured too."""
    times = record.times
    count, estimated = tokens(record)
    seen = _visible(record, count)
    head = _tokens_of_first_piece(record, seen)
    streamed = record.streamed and bool(times)
    e2e = times[-1] if times else None
    spread = times[-1] - times[0] if streamed and len(times) > 1 else None
    itl = _over(spread, seen - head)
    return Metrics(
        ttfb=record.first_byte,
        ttft=times[0] if streamed else None,
        ttfo=next((at for at, kind in zip(times, record.kinds, strict=True) if kind != "r"), None)
        if streamed
        else None,
        ttst=_second_token(times, head) if streamed else None,
        e2e=e2e,
        response=None if e2e is None else e2e + _waited(record),
        gaps=tuple(later - earlier for earlier, later in pairwise(times)) if streamed else (),
        itl=itl,
        tpot=_over(spread, seen - 1),
        ntpot=_over(e2e, seen),
        tps_user=_over(1.0, itl),
        speed=_over(seen - head, record.ended - times[0]) if spread is not None and seen > head else None,
        characters=_over(sum(record.sizes), e2e),
        bytes=_over(record.size, e2e),
        tokens=count,
        estimated=estimated,
        reasoning_share=None if record.reasoning is None else _over(record.reasoning, count),
    )


def tokens(record: Record) -> tuple[int, bool]:
    """The output tokens: the service's count, else an estimate from the characters; and whether it is an estimate."""
    if record.output is not None:
        return record.output, False
    return -(-sum(record.sizes) // CHARACTERS_PER_TOKEN), True


def _visible(record: Record, count: int) -> int:
    """The tokens that came: reasoning that is counted but not shown took its time before the first piece."""
    hidden = record.reasoning if record.reasoning and "r" not in record.kinds else 0
    return max(0, count - hidden)


def _tokens_of_first_piece(record: Record, count: int) -> float:
    """How many tokens the first piece held, at least 1: a piece is not assumed to be one token.

    Nobody tells; so it is an even share where the first piece is about as long as the others, else its share of the
    characters: a service that bundles tokens often sends the first one alone.
    """
    if count <= len(record.times) or not (characters := sum(record.sizes)):
        return 1.0
    first = record.sizes[0]
    if 0.5 <= first / (median(record.sizes) or 1) <= 2:
        return count / len(record.sizes)
    return max(1.0, count * first / characters)


def _second_token(times: Sequence[float], head: float) -> float | None:
    if head >= 1.5:
        return times[0]
    return times[1] if len(times) > 1 else None


def _waited(record: Record) -> float:
    """Seconds between the planned start and the real one; 0 in a closed loop, which plans none."""
    return 0.0 if record.intended is None else record.sent - record.intended


def _over(part: float | None, whole: float | None) -> float | None:
    return None if part is None or whole is None or whole <= 0 else part / whole


def stalls(gaps: Sequence[float], typical: float) -> tuple[int, float]:
    """How many of the gaps are stalls, and their seconds; `typical` is the median gap of the lane."""
    least = max(STALL_FACTOR * typical, STALL_SECONDS)
    long = [gap for gap in gaps if gap > least]
    return len(long), sum(long)


def parse_objectives(text: str) -> dict[str, float]:
    """Service level objectives as people write them, in milliseconds: `ttft:500 itl:50`; in seconds by metric.

    Raises UsageError for a metric that is no latency, and for a limit that is no positive number.
    """
    limits = {}
    for item in text.replace(",", " ").split():
        name, _, milliseconds = item.partition(":")
        if name not in LATENCIES:
            raise UsageError(f"an objective is for one of {', '.join(LATENCIES)}, not {name!r}")
        try:
            limits[name] = float(milliseconds) / 1000
        except ValueError:
            raise UsageError(f"{item}: an objective is written NAME:MILLISECONDS, such as ttft:500") from None
        if not 0 < limits[name] < inf:
            raise UsageError(f"{item}: an objective is a positive number of milliseconds")
    return limits


def meets(record: Record, limits: Mapping[str, float]) -> bool:
    """Whether the request finished within every limit.

    One without streaming shows its first token at its end. One too short to have a time per token does not miss it.
    """
    return record.finished and within(measure(record), limits)


def within(figures: Metrics, limits: Mapping[str, float]) -> bool:
    """Whether the figures of a request that finished are within every limit."""
    for name, limit in limits.items():
        value = getattr(figures, name)
        if value is None and name in ("ttft", "ttfo", "ttst", "ttfb"):
            value = figures.e2e
        if value is None and name not in ("itl", "tpot"):
            return False
        if value is not None and value > limit:
            return False
    return True
