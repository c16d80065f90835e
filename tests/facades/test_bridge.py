"""The bridge: calls in the other thread, and items that cross with a bound on what waits."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from fanout.facades.bridge import LIMIT, Block, Call, Crossing
from fanout.facades.home import find_home


class Consumer:
    """The other side of a crossing, in a thread without a loop; it counts how often it is woken."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.flag = threading.Event()
        self.wakes = 0
        self.crossing: Crossing[int] = Crossing(find_home(), self.wake, limit)

    def wake(self) -> None:
        self.wakes += 1
        self.flag.set()

    def take(self) -> Sequence[int] | None:
        while not self.crossing.is_ready():
            self.flag.clear()
            self.crossing.awaited = True
            if not self.crossing.is_ready():
                self.flag.wait()
        return self.crossing.take()


class Producer:
    """Makes numbers, `batch` at a time, with a checkpoint before each batch."""

    def __init__(self, count: int, batch: int = 1) -> None:
        self.made = 0
        self.count = count
        self.batch = batch

    async def take(self) -> Sequence[int]:
        await trio.lowlevel.checkpoint()
        if self.made == self.count:
            raise StopAsyncIteration
        self.made += self.batch
        return range(self.made - self.batch, self.made)


def start(consumer: Consumer, producer: Producer) -> Call[None]:
    call = Call(partial(consumer.crossing.carry, producer.take), lambda: None)
    call.start()
    return call


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_all_items_cross_in_their_order(batch: int) -> None:
    consumer, producer = Consumer(), Producer(batch * 300, batch)
    start(consumer, producer)
    got: list[int] = []
    while (items := consumer.take()) is not None:
        got += items
    assert got == list(range(batch * 300))


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 2, 7])
@pytest.mark.parametrize("batch", [1, 3])
def test_neither_side_misses_that_the_other_waits(batch: int, limit: int) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        consumer, producer = Consumer(limit), Producer(3000 * batch, batch)
        start(consumer, producer)
        count = 0
        while (items := consumer.take()) is not None:
            count += len(items)
        assert count == 3000 * batch
    finally:
        sys.setswitchinterval(before)


def settle() -> None:
    """Waits until the producer has done what it can."""
    for _ in range(5):
        find_home().ask(lambda: None)
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 16])
def test_a_consumer_that_pauses_stops_the_producer_and_starts_it_again(batch: int) -> None:
    consumer, producer = Consumer(), Producer(1_000_000 // batch * batch, batch)
    call = start(consumer, producer)
    settle()
    assert producer.made == LIMIT
    while producer.made == LIMIT:
        assert consumer.take()
        settle()
    assert LIMIT < producer.made <= LIMIT * 2
    paused_at = producer.made
    settle()
    assert producer.made == paused_at
    call.cancel()


def test_a_burst_wakes_the_consumer_once() -> None:
    consumer, producer = Consumer(), Producer(LIMIT // 2)
    taken: list[int] = []

    def consume() -> None:
        while (items := consumer.take()) is not None:
            taken.extend(items)

    thread = threading.Thread(target=consume)
    thread.start()
    time.sleep(0.02)  # it waits
    find_home().ask(lambda: start(consumer, producer))
    thread.join()
    assert len(taken) == LIMIT // 2
    assert consumer.wakes <= LIMIT // 4


def test_a_call_that_is_cancelled_before_it_starts_is_over() -> None:
    over = threading.Event()
    call: Call[None] = Call(trio.sleep_forever, over.set)
    call.cancel()
    assert over.wait(1)
    call.start()
    find_home().ask(lambda: None)
    assert call.over
    assert find_home().ask(lambda: find_home().running) == 0


def test_a_block_is_open_until_it_is_left() -> None:
    woken = threading.Event()

    @asynccontextmanager
    async def manager() -> AsyncGenerator[int]:
        await trio.lowlevel.checkpoint()
        yield 3

    block = Block(manager(), woken.set)
    block.call.start()
    assert woken.wait(1)
    assert (block.values, block.call.over) == ([3], False)
    woken.clear()
    block.leave()
    assert woken.wait(1)
    assert (block.call.over, block.call.error) == (True, None)


def test_a_result_keeps_neither_exception_nor_frames() -> None:
    async def fail() -> None:
        raise ValueError("mine")

    over = threading.Event()
    call = Call(fail, over.set)
    call.start()
    assert over.wait(1)
    with pytest.raises(ValueError, match="mine"):
        call.result()
    assert call.error is None


def test_the_consumer_may_be_a_loop() -> None:
    async def main() -> int:
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(event.set)

        crossing: Crossing[int] = Crossing(find_home(), wake)
        producer = Producer(5000)

        Call(partial(crossing.carry, producer.take), lambda: None).start()
        total = 0
        while True:
            event.clear()
            crossing.awaited = True
            if not crossing.is_ready():
                await event.wait()
            if (items := crossing.take()) is None:
                return total
            total += len(items)

    assert asyncio.run(main()) == 5000
