"""The time of the processor that something takes, for tests of how it grows with what came."""

import gc
import time
from collections.abc import Callable


def seconds_of(work: Callable[[], object]) -> float:
    """Only the work's own: the garbage collector rests, as it would look at all of pytest, the more the later."""
    gc.collect()
    gc.disable()
    try:
        began = time.process_time()
        work()
        return time.process_time() - began
    finally:
        gc.enable()


def is_linear(work: Callable[[int], object], count: int) -> bool:
    """Four times as much costs about four times as much, not sixteen; the best of three, as others use the machine."""
    return any(seconds_of(lambda: work(4 * count)) <= 6 * max(seconds_of(lambda: work(count)), 0.01) for _ in range(3))
