"""Our own slowness is charged to no service: a busy handler, a slow `accept`. A stopped process: `test_stopped.py`.

FANOUT_SLOWNESS=100 plays each kind so often. `python -m tests.test_slowness RUNS [plain|tls] [curl|httpx]` counts what
became of the lanes in so many runs of each kind.
"""

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import fanout
from fanout import All, Hedge, Race, Status, Timeouts
from fanout.abc import Policy, Transport
from fanout.events import Started
from fanout.transports.curl import CurlTransport
from fanout.transports.httpx import HttpxTransport
from tests.again import again
from tests.servers.apart import open_apart
from tests.transports.tls import Certificate, make_certificate

BUSY = 0.4
"""Seconds that the caller's code keeps the loop."""

LANES = 8

RUNS = int(os.environ.get("FANOUT_SLOWNESS", "1"))

Real = type[CurlTransport] | type[HttpxTransport]


@contextmanager
def services(tls: bool) -> Iterator[tuple[str, str | None]]:
    """A service, and the file of authorities that know it."""
    with ExitStack() as stack:
        certificate: Certificate | None = None
        if tls:
            certificate = make_certificate(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        url = stack.enter_context(open_apart(certificate))
        yield url, None if certificate is None else str(certificate.path)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def lanes(url: str, number: int = LANES) -> list[str]:
    return [f"l{i}=openai/words?base_url={url}&key_env=" for i in range(number)]


async def run(
    plan: Policy, transport: Transport, busy: Callable[[Any], bool], seconds: float = BUSY, **timeouts: float
) -> fanout.Run:
    """Runs a plan whose caller is busy for so many seconds after each event for which `busy` says so."""
    async with fanout.open_fanout("?", plan, retries=0, transport=transport, timeouts=Timeouts(**timeouts)) as running:
        async for tagged in running:
            if busy(tagged):
                time.sleep(seconds)  # noqa: ASYNC251  # as a caller's code does
    return running.run


def once(after: float) -> Callable[[Any], bool]:
    """Busy once, after so many seconds."""
    left = [True]
    return lambda tagged: tagged.at >= after and bool(left) and left.pop()


def count(run: fanout.Run) -> Counter[str]:
    """Counts the lanes by what became of them."""
    return Counter(f"{a.status} {getattr(a.error, 'clock', '') or ''}".strip() for a in run.answers)


async def busy_handler(url: str, transport: Transport, **clock: float) -> Counter[str]:
    return count(await run(All(*lanes(url)), transport, once(0.3), **clock))


async def busy_at_the_start(url: str, transport: Transport, **clock: float) -> Counter[str]:
    return count(await run(All(*lanes(url, 3)), transport, lambda t: isinstance(t.event, Started), **clock))


async def slow_accept(url: str, transport: Transport) -> Counter[str]:
    """An accept that takes none of eight answers, one after the other."""

    def accept(_: fanout.Answer) -> bool:
        time.sleep(BUSY)
        return False

    return count(await run(Race(*lanes(url), accept=accept), transport, lambda _: False, idle=0.25))


async def hedged(url: str, transport: Transport) -> Counter[str]:
    made = await run(Hedge(*lanes(url, 2), after=0.25), transport, once(0.3))
    return Counter("finished" if made["l1"].elapsed is None else "hedged" for _ in range(1))


KINDS: dict[str, Callable[[str, Transport], Any]] = {
    "idle 0.25 s, a busy handler": partial(busy_handler, idle=0.25),
    "total 2 s, a handler busy for longer": partial(busy_handler, seconds=2.0, total=2.0),
    "first 0.25 s, busy at each start": partial(busy_at_the_start, first=0.25),
    "connect 0.3 s, busy at each start": partial(busy_at_the_start, connect=0.3),
    "idle 0.25 s, a slow accept": slow_accept,
    "a hedge after 0.25 s, a busy handler": hedged,
}


async def play(kind: str, runs: int, url: str, authorities: str | None, real: Real) -> Counter[str]:
    """Counts what became of the lanes in so many runs."""
    seen: Counter[str] = Counter()
    async with real(ca_file=authorities) as transport:
        for _ in range(runs):
            seen += await KINDS[kind](url, transport)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("real", [CurlTransport, HttpxTransport])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("kind", KINDS)
@again
def test_no_lane_ends_and_no_hedge_starts_because_we_are_busy(kind: str, tls: bool, real: Real) -> None:
    with services(tls) as (url, authorities):
        assert set(trio.run(play, kind, RUNS, url, authorities, real)) == {Status.FINISHED}


def main(arguments: list[str]) -> None:
    """Counts."""
    reals: dict[str, Real] = {"curl": CurlTransport, "httpx": HttpxTransport}
    for tls in [
        name == "tls" for name in ("plain", "tls") if not {"plain", "tls"} & set(arguments) or name in arguments
    ]:
        for name, real in reals.items():
            if {"curl", "httpx"} & set(arguments) and name not in arguments:
                continue
            with services(tls) as (url, authorities):
                for kind in KINDS:
                    seen = trio.run(play, kind, int(arguments[0]), url, authorities, real)
                    say(f"{'tls' if tls else 'plain'}, {name}, {kind}: {dict(seen)}")


if __name__ == "__main__":
    main(sys.argv[1:])
