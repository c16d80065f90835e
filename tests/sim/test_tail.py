"""The law of the tail: requests of a hundred shards, each hedged, against the closed form of their distribution.

After Dean and Barroso, "The Tail at Scale" (CACM 56(2), 2013), with the figures of Dean's talk at Berkeley (26 March
2012). The distribution of a shard is fitted to the row without backups; the hedged rows are predictions.
"""

import os
from itertools import pairwise
from math import exp, log
from random import Random
from statistics import fmean

import pytest
from trio.testing import MockClock

import fanout
from fanout import All, Hedge
from fanout.abc import Request
from fanout.sim.latencies import quantile_of
from fanout.transports.memory import MemoryTransport, Script
from tests.words import Words

SHARDS = 100
REQUESTS = int(os.environ.get("FANOUT_TAIL_REQUESTS") or 200)
"""Requests in the ordinary run; 2,000 take some minutes."""

KNOTS = [
    (2.0, 1.0),
    (5.0, 0.5),
    (10.0, 0.02),
    (16.0, 1 - 0.70 ** (1 / SHARDS)),
    (24.0, 1 - 0.95 ** (1 / SHARDS)),
    (52.0, 1 - 0.99 ** (1 / SHARDS)),
    (994.0, 1 - 0.999 ** (1 / SHARDS)),
    (140_000.0, 1 - 0.99989 ** (1 / SHARDS)),
]
"""Milliseconds, and the share of shards that take longer; between them -ln of it is linear in the log of the time."""


def survive(t: float) -> float:
    """The share of shards that take longer than `t` milliseconds."""
    for (t0, s0), (t1, s1) in pairwise(KNOTS):
        if t0 <= t < t1:
            y0, y1 = -log(s0), -log(s1)
            return exp(-(y0 + (y1 - y0) * (log(t) - log(t0)) / (log(t1) - log(t0))))
    return 1.0 if t < KNOTS[0][0] else 0.0


def draw(random: Random) -> float:
    """A shard's time in milliseconds."""
    y = -log(1 - random.random())
    for (t0, s0), (t1, s1) in pairwise(KNOTS):
        y0, y1 = -log(s0), -log(s1)
        if y0 <= y < y1:
            return exp(log(t0) + (log(t1) - log(t0)) * (y - y0) / (y1 - y0))
    return KNOTS[-1][0]


def predict(share: float, after: float) -> float:
    """The quantile of a request in milliseconds, by bisection of the closed form."""
    low, high = log(1.0), log(150_000.0)
    for _ in range(60):
        middle = (low + high) / 2
        t = exp(middle)
        slow = survive(t) * (survive(t - after) if t > after else 1.0)
        low, high = (middle, high) if (1 - slow) ** SHARDS < share else (low, middle)
    return exp(low)


def test_the_closed_form_has_the_published_figures() -> None:
    assert [predict(share, 1e9) for share in (0.95, 0.99, 0.999)] == pytest.approx([24, 52, 994], rel=0.001)
    assert [predict(share, 10) for share in (0.5, 0.95, 0.99)] == pytest.approx([12.63, 16.38, 18.15], rel=0.001)
    assert survive(10) == pytest.approx(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("after", [10.0, 50.0] if REQUESTS > 200 else [10.0])
async def test_hedged_shards_have_the_tail_of_the_closed_form(after: float, autojump_clock: MockClock) -> None:
    random = Random(1)

    def find(_: Request) -> Script:
        return [draw(random) / 1000, b"x ."]

    transport = MemoryTransport(find)
    plan = All(*(Hedge(Words(f"a{n}"), Words(f"b{n}"), after=after / 1000) for n in range(SHARDS)))
    times, asked = [], 0
    for _ in range(REQUESTS):
        run = await fanout.ask("?", plan, transport=transport)
        times.append(1000 * run.elapsed)
        asked += len(transport.exchanges)
        transport.exchanges.clear()
    times.sort()
    wide = (200 / REQUESTS) ** 0.5  # the tolerances are some standard errors of 200 requests
    for share, off in ((0.5, 0.04), (0.95, 0.08), (0.99, 0.25)):
        assert quantile_of(times, share) == pytest.approx(predict(share, after), rel=off * wide + 0.01)
    extra = asked / (SHARDS * REQUESTS) - 1
    assert extra == pytest.approx(survive(after), rel=0.2 * wide if after == 10 else 2.0)
    if after == 10:
        assert fmean(times) == pytest.approx(12.76, rel=0.05 * wide)
