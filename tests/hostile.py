"""A hostile lane beside a good one, and how much it disturbs: measured by the processor's time, as in steps.py."""

import gc
import time
from contextlib import suppress
from pathlib import Path

import trio
from attrs import define, field

import fanout
from fanout import All, Timeouts
from fanout.transports.choice import choose_transport

GOOD = "good=openai/m?base_url={url}/good&key_env="


@define(eq=False)
class Turns(trio.abc.Instrument):
    """The longest time between two looks at the sockets and clocks, in seconds of the processor."""

    longest: float = 0.0
    _cpu: float = field(factory=time.thread_time, init=False)

    def after_io_wait(self, timeout: float) -> None:
        self._cpu = time.thread_time()

    def before_io_wait(self, timeout: float) -> None:
        self.longest = max(self.longest, time.thread_time() - self._cpu)


@define
class Harm:
    """The longest stall, and what the good lane took for longer than its service did, in seconds; the most memory, in
    bytes; the ends of the bad lanes, and by how much the last was late, in seconds.
    """

    stall: float
    good: float
    memory: int
    ends: list[str]
    late: float


def lane_of(wire: str, url: str, case: str, name: str) -> str:
    return f"{name}={wire}/m?base_url={url}/{case}&key_env="


async def measure(
    url: str, good_url: str, case: str, wire: str, transport: str, number: int = 1, total: float = 3.0
) -> Harm:
    """Runs so many hostile lanes beside a good one, with a clock of `total` seconds."""
    async with choose_transport(transport) as carrier:
        await fanout.ask(
            "?", All(lane_of("openai", good_url, "brief", "a")), transport=carrier
        )  # what is loaded at first use
        await fanout.ask("?", All(lane_of(wire, url, "error", "a")), transport=carrier, retries=0)
        await fanout.ask("?", All(lane_of(wire, url, f"make/{case}", "a")), transport=carrier, retries=0)
        gc.collect()
        gc.freeze()
        before = peak(reset=True)
        turns = Turns()
        trio.lowlevel.add_instrument(turns)
        bad = [lane_of(wire, url, case, f"b{i}") for i in range(number)]
        try:
            run = await fanout.ask(
                "?",
                All(GOOD.format(url=good_url), *bad),
                transport=carrier,
                retries=0,
                timeouts=Timeouts(total=total, idle=60, first=60),
            )
        finally:
            trio.lowlevel.remove_instrument(turns)
            gc.unfreeze()
        memory = peak() - before
    good, *others = run.answers
    assert good.status == "finished", good.error
    assert good.elapsed
    late = max((answer.elapsed or 0) for answer in others) - total
    return Harm(
        turns.longest,
        good.elapsed - float(good.text.split()[-1]),
        memory,
        [f"{a.status} {a.error.kind if a.error else ''} {a.error or ''}"[:110] for a in others],
        late,
    )


def peak(*, reset: bool = False) -> int:
    """The most memory that this process has had since the last reset, in bytes; 0 where that is not known."""
    with suppress(OSError):
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0
