"""Runs made up for tests, of lanes that behave as services do: by seed, without a clock or a network."""

from collections.abc import Iterator, Sequence
from random import Random

from attrs import frozen

from fanout.bench.records.record import Record
from fanout.events import Status

EVIL = (
    '<img src="http://127.0.0.1:9/x" onerror="alert(1)"><script>alert(2)</script>\x00\x1b[31m\ud800\u202e'
    "</code></pre></table>&amp; rate limit reached for this model: 30 requests a minute. " + "wait " * 100
)
"""Messages that a service may send in place of a decent one."""


@frozen
class Kind:
    """The behaviour of a lane: seconds to the first piece and between pieces, and shares of requests or of pieces."""

    name: str
    first: float
    gap: float
    spread: float = 0.3
    pieces: int = 60
    tokens: int = 1
    thought: int = 0
    failing: float = 0.0
    stalling: float = 0.0
    counted: bool = True
    kernel: bool = True
    price: float | None = None
    capacity: float = 1000.0
    """Requests at once that it serves without delay."""


KINDS = (
    Kind("groq/llama-3.3-70b", 0.21, 0.004, pieces=90, price=0.6e-6),
    Kind("openai/gpt-5-mini", 0.52, 0.012, thought=12, failing=0.03, price=2e-6),
    Kind("anthropic/claude-haiku-4.5", 0.61, 0.035, tokens=4, pieces=22, stalling=0.004, price=5e-6),
    Kind("local", 0.09, 0.028, spread=0.15, counted=False, kernel=False, pieces=50),
)


def run(blocks: int, kinds: Sequence[Kind] = KINDS, *, seed: int = 1, at_once: int = 4) -> Iterator[Record]:
    """A closed loop: every block's prompt goes to every lane, `at_once` blocks at a time."""
    random = Random(seed)
    free = [0.0] * at_once
    for block in range(blocks):
        slot = min(range(at_once), key=free.__getitem__)
        hard = random.lognormvariate(0, 0.2)
        for place, kind in enumerate(random.sample(kinds, len(kinds))):
            record = request(kind, block, random, sent=free[slot], place=place, hard=hard, warm=False)
            free[slot] += record.ended + 0.001
            yield record


def swept(levels: Sequence[int], each: int, kinds: Sequence[Kind] = KINDS[:3], *, seed: int = 2) -> Iterator[Record]:
    """A sweep over so many requests under way; lanes slow down beyond their capacity."""
    random, start, block = Random(seed), 0.0, 0
    for level in levels:
        free, begun = [start] * level, block
        for block in range(begun, begun + each):
            slot = min(range(level), key=free.__getitem__)
            for place, kind in enumerate(kinds):
                slow = max(1.0, level * len(kinds) / kind.capacity)
                record = request(kind, block, random, sent=free[slot], place=place, slow=slow, level=float(level))
                free[slot] += record.ended + 0.001
                yield record
        start, block = max(free), block + 1


def request(
    kind: Kind,
    block: int,
    random: Random,
    *,
    sent: float,
    place: int = 0,
    hard: float = 1.0,
    slow: float = 1.0,
    level: float | None = None,
    warm: bool = False,
) -> Record:
    """One request of this kind; `hard` and `slow` lengthen its times."""
    first = kind.first * hard * slow * random.lognormvariate(0, kind.spread)
    times = [first]
    for _ in range(kind.thought + round(kind.pieces * random.uniform(0.7, 1.2)) - 1):
        stall = random.uniform(0.3, 1.5) if random.random() < kind.stalling else 0.0
        times.append(times[-1] + kind.gap * slow * random.lognormvariate(0, 0.4) + stall)
    sizes = [random.randint(2, 7) * kind.tokens for _ in times]
    failed = random.random() < kind.failing
    if failed:
        cut = random.choice([0, 0, len(times) // 3])
        times, sizes = times[:cut], sizes[:cut]
    timed_out = failed and not times and random.random() < 0.4
    output = len(times) * kind.tokens
    return Record(
        lane=kind.name,
        block=block,
        status=Status.TIMED_OUT if timed_out else Status.FAILED if failed else Status.FINISHED,
        sent=sent,
        ended=5.0 if timed_out else (times[-1] + 0.002 if times else 0.3 * first),
        place=place,
        first_byte=None if failed and not times else first * 0.8,
        times=tuple(times),
        kinds=("r" * kind.thought + "d" * len(times))[: len(times)],
        sizes=tuple(sizes),
        size=sum(sizes),
        input=40,
        output=output if kind.counted and not failed else None,
        reasoning=kind.thought * kind.tokens if kind.thought else None,
        finish_reason=None if failed else "stop",
        error="timeout" if timed_out else "rate_limited" if failed else None,
        http_status=429 if failed and not timed_out else None,
        message="no first token within 5 s" if timed_out else EVIL if failed else None,
        limit=5.0 if timed_out else None,
        connect=0.03 if block < 4 else None,
        tls=0.05 if block < 4 else None,
        server={"total": times[-1] * 0.95} if kind.kernel and times else {},
        cost=None if kind.price is None else kind.price * output,
        kernel=len(times) if kind.kernel else 0,
        lateness=0.0004 if kind.kernel and times else None,
        warmup=warm,
        level=level,
    )
