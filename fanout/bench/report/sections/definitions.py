"""What every figure of the page means."""

from fanout.bench.analysis.metrics import CHARACTERS_PER_TOKEN, STALL_FACTOR, STALL_SECONDS
from fanout.bench.report.markup import Markup, tag
from fanout.bench.report.sections import layout
from fanout.bench.report.sections.view import NAMES

DEFINITIONS = {
    "connect": (
        NAMES["connect"],
        "Name, route and TLS of a new connection, apart from all other figures unless --fresh-connections counts it.",
    ),
    "ttfb": (NAMES["ttfb"], "From the request's last byte sent to the first byte of the reply."),
    "ttft": (
        NAMES["ttft"],
        "Time to first token: to the first piece that holds content or reasoning. Empty pieces do not count.",
    ),
    "ttfo": (NAMES["ttfo"], "Time to first output: the same without reasoning."),
    "ttst": (NAMES["ttst"], "Time to the second token."),
    "e2e": (NAMES["e2e"], "To the last piece of content; what a service sends after it does not count."),
    "response": (
        NAMES["response"],
        "The same from the planned start: in an open loop the wait before sending belongs to it.",
    ),
    "gap": (
        NAMES["gap"],
        "Between two pieces of one answer; all gaps of all requests together, not means of requests.",
    ),
    "itl": (
        NAMES["itl"],
        "Inter-token latency of a request: first to last piece, over the tokens after the first piece's.",
    ),
    "tpot": (NAMES["tpot"], "Time per output token: first to last piece, over all tokens but one."),
    "ntpot": (NAMES["ntpot"], "Normalised time per output token: end to end over all tokens."),
    "stall": ("stall", f"A gap longer than both {STALL_FACTOR:g} median gaps and {STALL_SECONDS * 1000:g} ms."),
    "speed": (
        NAMES["speed"],
        "Tokens after the first piece's, over the time from the first piece to the end of the reply.",
    ),
    "tps_user": (NAMES["tps_user"], "Tokens a second as one reader sees them: 1 over ITL."),
    "tps_total": (
        "tok/s",
        "Tokens of all finished requests of a lane, over the time from its first start to its last end.",
    ),
    "characters": (
        NAMES["characters"],
        "Characters over end to end: the same unit for all models, whatever their tokens are.",
    ),
    "bytes": (NAMES["bytes"], "The same in bytes of UTF-8."),
    "tokens": (
        "tokens",
        f"As the service counts them, with reasoning; ~ marks estimates of {CHARACTERS_PER_TOKEN} characters each.",
    ),
    "failure": ("failed", "Requests that came to no complete answer; infinitely long in percentiles, 0 in speeds."),
    "goodput": ("goodput", "Requests a second that met every objective; a failed one met none."),
    "percentile": (
        "p50, p90, p95, p99",
        "What so many per cent of requests do not exceed, failures among them.",
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
    "p": ("p", "How likely so large a difference is between equal lanes, corrected for all pairs (Holm)."),
    "stamps": (
        "time stamps",
        "kernel: when the bytes reached this machine, however busy fanout was; user: when fanout saw them.",
    ),
    "coalesced": ("coalesced", "Pieces whose segments the kernel merged: their stamp may be too late."),
    "unpeeked": ("unpeeked", "Pieces without a kernel stamp in a run that asked for them."),
    "late": ("late", "How much later than the kernel fanout saw a piece."),
}
"""A word and what it means, by the name that links use."""


def definitions() -> Markup:
    """The section."""
    rows = [
        tag("div", tag("dt", word, id=f"def-{key}"), tag("dd", meaning)) for key, (word, meaning) in DEFINITIONS.items()
    ]
    return layout.section("definitions", "Definitions", tag("dl", rows))
