"""The meaning of every figure of the page."""

from collections.abc import Mapping

from fanout.bench.analysis.metrics import ALL_TOKENS, CHARACTERS_PER_TOKEN, METRICS, STALL_FACTOR, STALL_SECONDS
from fanout.bench.report.markup import Markup, tag
from fanout.bench.report.sections import layout

DEFINITIONS: Mapping[str, tuple[str, str]] = {
    **{name: (metric.label, metric.definition) for name, metric in METRICS.items()},
    "connect": (
        "connect",
        "Name, route and TLS of a new connection, apart from all other figures unless --fresh-connections counts it.",
    ),
    "stall": ("stall", f"A gap longer than both {STALL_FACTOR:g} median gaps and {STALL_SECONDS * 1000:g} ms."),
    "tps_total": (
        ALL_TOKENS,
        "Tokens of all finished requests of a lane, over the time from its first start to its last end.",
    ),
    "tokens": (
        "tokens",
        f"As the service counts them, with reasoning; ~ marks estimates of {CHARACTERS_PER_TOKEN} characters each.",
    ),
    "failure": ("failed", "Requests that came to no complete answer; infinitely long in percentiles, 0 in speeds."),
    "goodput": ("goodput", "Requests a second that met every objective; a failed one met none."),
    "percentile": (
        "p50, p90, p95, p99",
        "The value that so many per cent of requests do not exceed, failures among them.",
    ),
    "interval": (
        "95 % interval",
        "Between two of the values themselves, whatever their distribution is. p50 needs 6 requests, p99 368.",
    ),
    "policy": (
        "race, hedge, fallback",
        "A race starts all lanes at once, a hedge the next one after so long a silence, a fallback after a failure.",
    ),
    "knee": ("knee", "The load with the most throughput for its latency: the largest ratio of the two (Kleinrock)."),
    "wins": ("wins", "The share of prompts on which the first lane was better; a failure loses, ties count half."),
    "p": ("p", "The probability of so large a difference between equal lanes, corrected for all pairs (Holm)."),
    "stamps": (
        "time stamps",
        "kernel: when the bytes reached this machine, however busy fanout was; user: when fanout saw them.",
    ),
    "coalesced": ("coalesced", "Pieces whose segments the kernel merged: their stamp may be too late."),
    "unpeeked": ("unpeeked", "Pieces without a kernel stamp in a run that asked for them."),
    "late": ("late", "The time from the kernel's stamp of a piece until fanout saw it."),
}
"""A word and its meaning, by the name that links use."""


def definitions() -> Markup:
    """The section."""
    rows = [
        tag("div", tag("dt", word, id=f"def-{key}"), tag("dd", meaning)) for key, (word, meaning) in DEFINITIONS.items()
    ]
    return layout.section("definitions", "Definitions", tag("dl", rows))
