"""Measures how long tasks keep the processor to themselves, so that other programs on the machine do not count.

The wall clock would count them: a step of a tenth of a millisecond takes ten where the system runs something else in
the middle of it. So a step's length is the time of the processor that its thread got. A step that waits (a blocking
read, `time.sleep`) gets none of it, and is found by the system's own count of the waits: a thread that waits gives the
processor away, one that is put aside has it taken away. Only of a step that gave it away does the wall clock count.
"""

import gc
import resource
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
from attrs import define, field

_THREAD: int | None = getattr(resource, "RUSAGE_THREAD", None)
"""Only Linux counts the waits of one thread; elsewhere steps that wait are not found."""


@define(eq=False)
class Steps(trio.abc.Instrument):
    """The longest step of any task, in seconds, from when it is made; `whose` says of which task, and how."""

    longest: float = 0.0
    whose: str = ""
    count: int = 0
    _cpu: float = field(factory=time.thread_time, init=False)
    _wall: float = field(factory=time.perf_counter, init=False)
    _waits: int = field(factory=lambda: _waits(), init=False)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._waits, self._wall, self._cpu = _waits(), time.perf_counter(), time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took, passed = time.thread_time() - self._cpu, time.perf_counter() - self._wall
        waited = _waits() > self._waits
        self.count += 1
        if (length := passed if waited else took) > self.longest:
            self.longest, self.whose = length, f"{task.name} {'waited' if waited else 'computed'}"


def _waits() -> int:
    return 0 if _THREAD is None else resource.getrusage(_THREAD).ru_nvcsw


@asynccontextmanager
async def watched() -> AsyncGenerator[Steps]:
    """Measures every step of every task in the block. The garbage collector rests: it would look at all of pytest."""
    gc.collect()
    gc.disable()
    steps = Steps()  # not before: the collection above is in the middle of a step
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)
        gc.enable()
