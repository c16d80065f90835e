"""A process that is stopped (SIGSTOP) and goes on charges no service with it, whichever phase its lanes are in.

FANOUT_STOPS says how many stops of 40 s there are, 26 at a time; else there is one of 4 s for each kind. What they came
to is printed: `pytest -s`.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from attrs import frozen

import fanout
from fanout import All, Answer, Hedge, Status, Timeouts
from fanout.abc import Policy
from fanout.transports.curl import CurlTransport
from fanout.transports.httpx import HttpxTransport
from tests.again import again
from tests.servers.phases import PHASE, open_service
from tests.transports.tls import Certificate, make_certificate

RUNS = int(os.environ.get("FANOUT_STOPS", "0"))
STOP = 40.0 if RUNS else 4.0
"""Seconds; all clocks are shorter."""

AT_A_TIME = 26
"""Processes; those that are stopped take nothing."""

CLOCKS = Timeouts(connect=1.25 * PHASE, first=1.5 * PHASE, idle=0.5 * PHASE)
REALS = {"curl": CurlTransport, "httpx": HttpxTransport}


@frozen
class Kind:
    """One kind of stop: over TLS or plain, with which transport, and whether the service is `paused` too."""

    tls: bool
    transport: str
    paused: bool


def make_plan(quick: str, slow: str, paused: bool) -> Policy:
    """Makes lanes for each phase, named after it. `total` is promised: it needs a service that goes on.

    Without TLS only the third connection is slow, whose request to connect the kernel drops. It repeats that after 31 s
    and then after 63: where the service is stopped too, that is no matter of our clocks.
    """

    def lane(name: str, model: str, url: str = quick, clocks: str = "") -> str:
        return f"{name}=openai/{model}?base_url={url}&key_env={clocks}"

    total = "" if paused else f"&total={1.75 * PHASE:g}"
    return All(
        *(lane(f"middle{i}", "words", clocks=total) for i in range(3)),
        *(lane(f"first{i}", "late") for i in range(2)),
        *(lane(f"pause{i}", f"again-{i}") for i in range(2)),
        *(lane(f"connect{i}", "at-once", slow) for i in range(2 if paused and slow.startswith("http:") else 3)),
        lane("silent", "silent"),
        Hedge(lane("hedged", "late"), lane("hedge", "late"), after=1.25 * PHASE),
    )


def is_in_phase(answer: Answer) -> bool:
    """True if a lane is where it is to be stopped."""
    if answer.lane == "hedge":
        return answer.elapsed is None
    if answer.status is not None:
        return False
    return (answer.ttft is not None) == answer.lane.startswith("middle")


def tell_fate(answer: Answer) -> str:
    """Returns what became of a lane, for which clock."""
    clock = getattr(answer.error, "clock", "") or (answer.error.kind if answer.error else "")
    if answer.lane == "hedge" and answer.elapsed is None:
        return "hedge: not asked"
    return f"{answer.lane.rstrip('0123456789')}: {answer.status} {clock}".strip()


def run_lanes(transport: str, quick: str, slow: str, authorities: str, paused: str) -> None:
    """Is the process that is stopped: says when all its lanes are in their phases, and then what became of them."""

    async def main() -> None:
        plan = make_plan(quick, slow, bool(paused))
        async with (
            REALS[transport](ca_file=authorities or None) as real,
            fanout.open_fanout("?", plan, transport=real, timeouts=CLOCKS, retries=1) as running,
        ):
            await trio.sleep(PHASE / 4)
            sys.stdout.write("stop me\n" if all(map(is_in_phase, running.run.answers)) else "too late\n")
            sys.stdout.flush()
            async for _ in running:
                pass
        sys.stdout.write("\n".join(map(tell_fate, running.run.answers)) + "\n")

    trio.run(main)


def stop(kind: Kind, number: int, certificate: Certificate) -> Counter[str]:
    """Stops a process, and perhaps its service, in the middle of all, and returns what became of the lanes."""
    time.sleep(number % AT_A_TIME / 4)  # to start them all at once would be the stress of another test
    while True:
        with open_service(certificate if kind.tls else None) as service:
            authorities = str(certificate.path) if kind.tls else ""
            addresses = (service.quick, service.slow, authorities, "paused" if kind.paused else "")
            command = [sys.executable, "-m", "tests.test_stopped", kind.transport, *addresses]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
                assert child.stdout
                if child.stdout.readline() != "stop me\n":  # the machine was so busy that some lanes were further
                    child.kill()
                    continue
                pids = [child.pid, service.pid] if kind.paused else [child.pid]
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                time.sleep(STOP)
                for pid in pids[:: 1 if number % 2 else -1]:
                    os.kill(pid, signal.SIGCONT)
                    time.sleep(0.1)
                return Counter(child.stdout.read().splitlines())


def expect(kind: Kind) -> Counter[str]:
    """Returns what has to become of the lanes of a run."""
    fates = {"middle": 3, "first": 2, "pause": 2, "connect": 3 if kind.tls or not kind.paused else 2, "hedged": 1}
    expected = Counter({f"{name}: {Status.FINISHED}": number for name, number in fates.items()})
    return expected + Counter({f"silent: {Status.TIMED_OUT} first": 1, "hedge: not asked": 1})


@pytest.fixture(scope="module")
def certificate() -> Iterator[Certificate]:
    with TemporaryDirectory() as folder:
        yield make_certificate(Path(folder))


@pytest.mark.slow
@pytest.mark.parametrize("transport", REALS)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@again
def test_no_lane_ends_because_the_process_was_stopped(tls: bool, transport: str, certificate: Certificate) -> None:
    kinds = [Kind(tls, transport, paused) for paused in (False, True)]
    runs = kinds * max(1, RUNS // 8)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        found = list(pool.map(stop, runs, range(len(runs)), [certificate] * len(runs)))
    for kind in kinds:
        seen = sum((one for other, one in zip(runs, found, strict=True) if other == kind), Counter[str]())
        print(kind, runs.count(kind), dict(seen))  # noqa: T201  # for who measures
    assert [(kind, one) for kind, one in zip(runs, found, strict=True) if one != expect(kind)] == []


if __name__ == "__main__":
    run_lanes(*sys.argv[1:])
