"""The metrics of one request, each a row of METRICS: docs/metrics.md is tested against that table.

All times of a request count from t0, the moment when it is handed to the kernel. A new metric is a row here, with its
function, and one in docs/metrics.md: tables, conditions, objectives, JSON and the report take it from here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from math import inf
from statistics import median
from typing import Literal

from attrs import Factory, field, frozen

from fanout.bench.records.record import Record
from fanout.errors import UsageError
from fanout.events import Status

STALL_FACTOR = 5.0
STALL_SECONDS = 0.25
"""A gap is a stall when it is longer than both STALL_FACTOR typical gaps and STALL_SECONDS."""

CHARACTERS_PER_TOKEN = 4
"""The estimate, where the service counts no tokens."""

SECONDS = "s"

ALL_TOKENS = "all tok/s"
"""The name, in every table, of the tokens a second of all requests of a lane together: its `tps_total`."""


@frozen
class Measurement:
    """One request with what its metrics need; `measurement[name]` is one of them, or None where it does not exist.

    `tokens` are output tokens, reasoning among them; `estimated` says that the service did not count them. `shown` are
    those that came in pieces, `first` of them in the first piece. `gaps` are the seconds between two pieces of content.
    """

    record: Record = field(repr=False)
    tokens: int
    estimated: bool
    shown: int
    first: float
    gaps: tuple[float, ...]

    def __getitem__(self, metric: str) -> float | None:
        of = METRICS[metric].of
        assert of is not None, f"{metric} is no metric of one request"
        return of(self)

    @property
    def streamed(self) -> bool:
        """True if content came in pieces that have times of their own."""
        return self.record.streamed and bool(self.record.times)

    @property
    def spread(self) -> float | None:
        """Seconds from the first piece to the last."""
        times = self.record.times
        return times[-1] - times[0] if self.record.streamed and len(times) > 1 else None

    @property
    def reasoning_share(self) -> float | None:
        """The share of reasoning among the tokens, if the service counts it."""
        return None if self.record.reasoning is None else _over(self.record.reasoning, self.tokens)


Measurements = Sequence[Measurement]
"""The requests that count, in the order of sending."""


@frozen
class Metric:
    """A metric: its name, unit and direction, its definition, and the function that computes it.

    `name` stands for it in JSON, in conditions and in objectives; `label` in the report's tables and `short` in a
    terminal's. `unit` is s, or something a second. `of` computes it for one request, in that unit; gaps have none: they
    are pooled over requests. A request that did not finish counts as infinitely long, and as 0 where higher is better.

    `without` says how an objective takes a finished request that does not have it: as a `miss`, as no miss (`pass`), or
    by its `end`, because an answer without streaming shows its first token there. `to_end` says that it lasts until the
    answer's end, so that one that timed out took at least as long. `verdict` are the words for a comparison, after
    "less time" and as a noun.
    """

    name: str
    label: str
    unit: str
    better: Literal["lower", "higher"]
    definition: str
    of: Callable[[Measurement], float | None] | None
    short: str = field(default=Factory(lambda self: self.label, takes_self=True))
    without: Literal["miss", "pass", "end"] = "miss"
    to_end: bool = False
    verdict: tuple[str, str] | None = None


def _ttft(request: Measurement) -> float | None:
    return request.record.times[0] if request.streamed else None


def _ttfo(request: Measurement) -> float | None:
    if not request.streamed:
        return None
    pieces = zip(request.record.times, request.record.kinds, strict=True)
    return next((at for at, kind in pieces if kind != "r"), None)


def _ttst(request: Measurement) -> float | None:
    if not request.streamed:
        return None
    times = request.record.times
    if request.first >= 1.5:
        return times[0]
    return times[1] if len(times) > 1 else None


def _e2e(request: Measurement) -> float | None:
    return request.record.times[-1] if request.record.times else None


def _response(request: Measurement) -> float | None:
    end, record = _e2e(request), request.record
    waited = 0.0 if record.intended is None else record.sent - record.intended  # a closed loop plans no starts
    return None if end is None else end + waited


def _itl(request: Measurement) -> float | None:
    return _over(request.spread, request.shown - request.first)


def _speed(request: Measurement) -> float | None:
    if request.spread is None or request.shown <= request.first:
        return None
    return _over(request.shown - request.first, request.record.ended - request.record.times[0])


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "ttfb", "TTFB", SECONDS, "lower",
            "Time to the first byte of the response.",
            lambda request: request.record.first_byte,
            without="end",
        ),
        Metric(
            "ttft", "TTFT", SECONDS, "lower",
            "Time to first token: to the first piece of content, which is text, reasoning, a refusal, a tool call or a "
            "file. Role chunks, empty chunks and comments are none.",
            _ttft,
            without="end",
            verdict=("to first token", "time to first token"),
        ),
        Metric(
            "ttfo", "TTFO", SECONDS, "lower",
            "Time to first output: to the first piece of content that is no reasoning.",
            _ttfo,
            without="end",
        ),
        Metric(
            "ttst", "TTST", SECONDS, "lower",
            "Time to the second token: to the first piece if that held at least one and a half, else to the second.",
            _ttst,
            without="end",
        ),
        Metric(
            "e2e", "end to end", SECONDS, "lower",
            "To the last piece of content; a finish or usage chunk that comes later is not in it.",
            _e2e,
            short="e2e",
            to_end=True,
            verdict=("to the end of the answer", "time to the end of the answer"),
        ),
        Metric(
            "response", "response", SECONDS, "lower",
            "End to end, and the wait from the planned start to the real one: the time that users of an open loop see.",
            _response,
            to_end=True,
            verdict=("to the end of the answer", "time to the end of the answer, with the wait to be sent"),
        ),
        Metric(
            "itl", "ITL", SECONDS, "lower",
            "Inter-token latency: from the first piece to the last, over n - n1; n output tokens, n1 of them in the "
            "first piece.",
            _itl,
            without="pass",
            verdict=("per token", "time per token"),
        ),
        Metric(
            "tpot", "TPOT", SECONDS, "lower",
            "Time per output token: from the first piece to the last, over n - 1.",
            lambda request: _over(request.spread, request.shown - 1),
            without="pass",
        ),
        Metric(
            "ntpot", "NTPOT", SECONDS, "lower",
            "Normalised time per output token: end to end over n.",
            lambda request: _over(_e2e(request), request.shown),
        ),
        Metric(
            "tps_user", "tok/s/user", "tok/s", "higher",
            "Tokens a second as one reader sees them: 1 over ITL.",
            lambda request: _over(1.0, _itl(request)),
        ),
        Metric(
            "speed", "speed", "tok/s", "higher",
            "Tokens after the first piece's (n - n1), over the time from the first piece to the end of the stream, as "
            "Artificial Analysis has it.",
            _speed,
        ),
        Metric(
            "characters", "characters/s", "char/s", "higher",
            "Characters of content over end to end: the same unit for all models, whatever their tokens are.",
            lambda request: _over(sum(request.record.sizes), _e2e(request)),
        ),
        Metric(
            "bytes", "bytes/s", "B/s", "higher",
            "Bytes of content in UTF-8 over end to end.",
            lambda request: _over(request.record.size, _e2e(request)),
        ),
        Metric(
            "gap", "gap", SECONDS, "lower",
            "Between two pieces of content of one answer. Percentiles are of all gaps of all requests, not of means.",
            None,
        ),
    )
}  # fmt: skip
"""All metrics by name, in the order in which JSON and files have them."""


LATENCIES = tuple(name for name, metric in METRICS.items() if metric.better == "lower" and metric.of)
"""The metrics of one request of which lower values are better."""

SPEEDS = tuple(name for name, metric in METRICS.items() if metric.better == "higher")
"""The metrics of one request of which higher values are better."""


def measure(record: Record) -> Measurement:
    """Measures a request, whatever became of it: what did arrive of a failed one is measured too."""
    count, estimated = tokens(record)
    shown = _count_shown(record, count)
    streamed = record.streamed and bool(record.times)
    gaps = tuple(later - earlier for earlier, later in pairwise(record.times)) if streamed else ()
    return Measurement(record, count, estimated, shown, _tokens_of_first_piece(record, shown), gaps)


def measure_all(records: Iterable[Record]) -> Measurements:
    """Measures the requests that count, in the order of sending."""
    return [measure(record) for record in sorted(filter(counts, records), key=sending_order)]


def counts(record: Record) -> bool:
    """True if the request is in the figures: it was no warm-up, and ran to an end of its own."""
    return not (record.warmup or record.race or record.status is Status.CANCELLED)


def sending_order(record: Record) -> tuple[float, int, int, str]:
    """A key that sorts records in the order of sending, also those that were sent together."""
    return record.sent, record.block, record.place, record.lane


def tokens(record: Record) -> tuple[int, bool]:
    """The output tokens: the service's count, else an estimate from the characters; and True for an estimate."""
    if record.output is not None:
        return record.output, False
    return -(-sum(record.sizes) // CHARACTERS_PER_TOKEN), True


def _count_shown(record: Record, count: int) -> int:
    """The tokens that came in pieces: reasoning that is counted but not shown took its time before the first piece."""
    hidden = record.reasoning if record.reasoning and "r" not in record.kinds else 0
    return max(0, count - hidden)


def _tokens_of_first_piece(record: Record, count: int) -> float:
    """The tokens that the first piece held, at least 1: a piece is not assumed to be one token.

    Services do not tell. So it is an even share where the first piece is about as long as the others, else its share of
    the characters: a service that bundles tokens often sends the first one alone.
    """
    if count <= len(record.times) or not (characters := sum(record.sizes)):
        return 1.0
    first = record.sizes[0]
    if 0.5 <= first / (median(record.sizes) or 1) <= 2:
        return count / len(record.sizes)
    return max(1.0, count * first / characters)


def _over(part: float | None, whole: float | None) -> float | None:
    return None if part is None or whole is None or whole <= 0 else part / whole


def stalls(gaps: Sequence[float], typical: float) -> tuple[int, float]:
    """Counts the stalls among the gaps, and their seconds; `typical` is the median gap of the lane."""
    least = max(STALL_FACTOR * typical, STALL_SECONDS)
    long = [gap for gap in gaps if gap > least]
    return len(long), sum(long)


def parse_objectives(text: str) -> dict[str, float]:
    """Reads service level objectives in milliseconds, such as `ttft:500 itl:50`. Returns seconds by metric.

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
    """True if the request finished within every limit, in seconds by metric."""
    return record.finished and within(measure(record), limits)


def within(finished: Measurement, limits: Mapping[str, float]) -> bool:
    """True if a request that finished is within every limit."""
    for name, limit in limits.items():
        metric = METRICS[name]
        value = finished[name]
        if value is None and metric.without == "end":
            value = _e2e(finished)
        if value is None and metric.without != "pass":
            return False
        if value is not None and value > limit:
            return False
    return True
