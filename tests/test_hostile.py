"""One lane never hurts another: hostile services beside a good one, whatever they send, by either transport.

FANOUT_HOSTILE=1 plays every body to every wire, which takes a quarter of an hour; else each body has one wire.
"""

import os
from collections.abc import Iterator
from itertools import product
from statistics import median

import pytest

from tests.again import again
from tests.hostile import Harm, measure
from tests.servers.hostile import CASES, open_hostile

pytestmark = pytest.mark.slow

STALL = 0.03
"""Seconds of the processor between two looks at the sockets, at most; an ordinary answer has 8 ms."""

STALL_OF_EIGHT = 0.06
DELAY = 0.025
"""Seconds that the good lane may take for longer than its service: 5 % of its half second."""

MEMORY = 32 << 20
LATE = 0.1
TOTAL = 1.0
WIRES = ("openai", "anthropic", "gemini", "ollama", "cohere", "responses")
TRANSPORTS = ("curl", "httpx")

_OWN = {
    "cites": "anthropic",
    "cites-one-by-one": "anthropic",
    "cites-gemini": "gemini",
    "array-pairs": "gemini",
    "array-commas": "gemini",
    "array-brackets": "gemini",
    "array-quotes": "gemini",
    "array-escapes": "gemini",
    "array-choices": "gemini",
    "bare-objects": "ollama",
    "object-lines": "ollama",
    "blank-json-lines": "ollama",
    "choices": "openai",
    "choices-small": "openai",
    "dicts": "openai",
    "roles": "openai",
    "tokens": "openai",
    "other-tokens": "openai",
    "bidi": "openai",
    "long-line": "openai",
}
"""The wire to which a body means something."""

ALL = (
    list(product(CASES, WIRES))
    if os.environ.get("FANOUT_HOSTILE")
    else [(case, _OWN.get(case, WIRES[number % len(WIRES)])) for number, case in enumerate(CASES)]
)


@pytest.fixture(scope="module")
def urls() -> Iterator[tuple[str, str]]:
    """The hostile services' URL, and the good one's, which has a process of its own."""
    with open_hostile() as bad, open_hostile() as good:
        yield bad, good


async def harm(
    urls: tuple[str, str], case: str, wire: str, transport: str, number: int = 1, stall: float = STALL
) -> Harm:
    """The median of up to three runs: more than one only where one is not within the bounds."""
    found: list[Harm] = []
    while len(found) < 3:
        found.append(await measure(*urls, case, wire, transport, number, TOTAL))
        worst = found[-1]
        if worst.stall <= stall and worst.good <= DELAY and worst.memory <= number * MEMORY and worst.late <= LATE:
            break
    return Harm(
        median(one.stall for one in found),
        median(one.good for one in found),
        int(median(one.memory for one in found)),
        found[-1].ends,
        median(one.late for one in found),
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("case", "wire"), ALL)
@again
async def test_a_hostile_lane_disturbs_no_other(urls: tuple[str, str], case: str, wire: str, transport: str) -> None:
    found = await harm(urls, case, wire, transport)
    assert found.stall <= STALL, found
    assert found.good <= DELAY, found
    assert found.memory <= MEMORY, found
    assert found.late <= LATE, found
    assert all(end.split()[0] in ("finished", "failed", "timed_out") for end in found.ends), found
    assert "internal" not in found.ends[0], found


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("case", ["comments", "choices", "empty-members", "tiny-events", "tokens", "bomb"])
@again
async def test_eight_hostile_lanes_disturb_no_other(urls: tuple[str, str], case: str, transport: str) -> None:
    found = await harm(urls, case, "openai", transport, 8, STALL_OF_EIGHT)
    assert found.stall <= STALL_OF_EIGHT, found
    assert found.memory <= 8 * MEMORY, found
    assert found.late <= LATE, found
