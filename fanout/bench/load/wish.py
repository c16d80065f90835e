"""A benchmark as its user asks for it."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, get_args

from attrs import Attribute, field, frozen

from fanout.bench.load.design.order import Order
from fanout.bench.load.design.schedule import Arrival
from fanout.errors import UsageError

Cache = Literal["unique", "warm"]

MOST_SECONDS = 30 * 86400.0
"""The longest time that may be asked for."""

LEAST_SECONDS = 1e-9
"""The shortest time that a run, or a request, may take."""

MOST_COUNTED = 10**9
"""The most requests, streams and tokens that may be asked for."""

RATES = (1e-4, 1e6)
"""The slowest and the fastest rate, in requests a second."""

PRECISIONS = (1e-6, 1.0)
"""The narrowest and the widest precision that a run may stop at."""

BURSTINESS = (0.01, 1000.0)
SPEEDUPS = (1e-3, 1e6)
DOLLARS = (1e-9, 1e9)

_Check = Callable[[Any, "Attribute[Any]", Any], None]


def _within(least: float, most: float) -> _Check:
    """Refuses numbers outside these bounds, and nan; None is no number."""

    def check(_wish: Any, attribute: "Attribute[Any]", value: float | None) -> None:
        if value is not None and not least <= value <= most:
            raise UsageError(f"{attribute.name}: {value!r} is not a number from {least:g} to {most:g}")

    return check


def _each_within(least: float, most: float) -> _Check:
    check_one = _within(least, most)

    def check(wish: Any, attribute: "Attribute[Any]", values: Sequence[float]) -> None:
        for value in values:
            check_one(wish, attribute, value)

    return check


def _one_of(choices: Collection[str]) -> _Check:
    def check(_wish: Any, attribute: "Attribute[Any]", value: str) -> None:
        if value not in choices:
            raise UsageError(f"{attribute.name}: {value!r} is none of {', '.join(choices)}")

    return check


def _is_list(_wish: Any, attribute: "Attribute[Any]", value: object) -> None:
    if isinstance(value, str):
        raise UsageError(f"{attribute.name}: a list is wanted, not the string {value!r:.80}")


def _no_input() -> bytes:
    raise UsageError("prompts='-' needs `read_stdin`, which returns what it stands for")


@frozen(kw_only=True)
class RunWish:
    """Everything a benchmark can be asked for. Raises UsageError for values out of range; None leaves it open.

    `lanes` are specs like those of `fanout.race`; without one, the embedded model. `options` are (key, value) pairs of
    all of them, as in a spec. `prompts` is a list of them or names a source (see `workload.load_prompts`); `read_stdin`
    returns what `-` stands for. `trace` is a file with the times of requests, replayed `speedup` times as fast.

    A run ends after `requests` prompts a lane, after `duration` seconds of sending, or when the interval of every
    lane's median TTFT is within the share `until_ci` of it, at each load; and when more than `max_cost` US dollars
    might be spent. `concurrency` and `rate` (requests a second) may list several loads; `arrival` says how the requests
    of a rate are spread, with `burstiness` as the shape of gamma. A load is reached over `ramp` seconds. Before it,
    each stream sends `warmup` requests that are recorded and not counted.

    `max_tokens` bounds answers where neither prompt nor lane does; with `ignore_eos` services are asked for exactly
    that. A request takes `timeout` seconds at most, and waits as long for a stream in an open loop. With the `cache`
    "unique" a mark makes every prompt new to its service. `order` puts each prompt to all lanes in one block, or asks
    one lane after the other. With `fresh_connections` each request opens a connection, and its time counts. `aa`
    measures the first lane twice. `baseline` is the lane that all others are compared with.

    `slo` holds objectives, such as "ttft:500 itl:50" in milliseconds. `asserts` are conditions, such as
    "p95(ttft) < 800ms": see `PlannedRun.failures`. `transport` is curl or httpx. `seed` is that of everything random.
    """

    lanes: Sequence[str] = field(default=(), validator=_is_list)
    options: Sequence[tuple[str, str]] = ()
    requests: int | None = field(default=None, validator=_within(1, MOST_COUNTED))
    duration: float | None = field(default=None, validator=_within(LEAST_SECONDS, MOST_SECONDS))
    until_ci: float | None = field(default=None, validator=_within(*PRECISIONS))
    max_cost: float | None = field(default=None, validator=_within(*DOLLARS))
    concurrency: Sequence[int] = field(default=(), validator=_each_within(1, MOST_COUNTED))
    rate: Sequence[float] = field(default=(), validator=_each_within(*RATES))
    arrival: Arrival = field(default="poisson", validator=_one_of(get_args(Arrival)))
    burstiness: float = field(default=1.0, validator=_within(*BURSTINESS))
    ramp: float | None = field(default=None, validator=_within(0, MOST_SECONDS))
    trace: str | None = None
    speedup: float = field(default=1.0, validator=_within(*SPEEDUPS))
    prompts: str | Sequence[str] = "builtin:short"
    read_stdin: Callable[[], bytes] = field(default=_no_input, repr=False)
    system: str | None = None
    max_tokens: int = field(default=128, validator=_within(1, MOST_COUNTED))
    ignore_eos: bool = False
    warmup: int = field(default=2, validator=_within(0, MOST_COUNTED))
    timeout: float = field(default=120.0, validator=_within(LEAST_SECONDS, MOST_SECONDS))
    slo: str = ""
    order: Order = field(default="interleave", validator=_one_of(get_args(Order)))
    cache: Cache = field(default="unique", validator=_one_of(get_args(Cache)))
    fresh_connections: bool = False
    seed: int = 0
    aa: bool = False
    baseline: str | None = None
    asserts: Sequence[str] = field(default=(), validator=_is_list)
    transport: str | None = None
