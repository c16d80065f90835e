import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fanout.engine.channel import Channel
from fanout.events import Delta, Event, Tagged


def deltas(*texts: str) -> list[Event]:
    return [Delta(text) for text in texts]


async def test_everything_put_before_the_close_comes_out_in_order_and_tagged() -> None:
    channel = Channel(zero=100.0)
    channel.put("a", deltas("x", "y"), 101.0)
    channel.put("b", deltas("z"), 102.5)
    channel.close()
    assert [tagged async for tagged in channel] == [
        Tagged("a", 1.0, Delta("x")),
        Tagged("a", 1.0, Delta("y")),
        Tagged("b", 2.5, Delta("z")),
    ]


async def test_a_parked_consumer_is_woken_once_for_all_that_is_put_before_it_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    channel = Channel()
    wakes: list[int] = []

    async def consume() -> None:
        while True:
            try:
                await channel.__anext__()
            except StopAsyncIteration:
                return
            wakes.append(1 + len(channel._at_hand))
            channel._at_hand.clear()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        for lane in "abc":
            channel.put(lane, deltas("1"), 0.0)
        await wait_all_tasks_blocked()
        channel.put("a", deltas("2"), 0.0)
        await wait_all_tasks_blocked()
        channel.close()
    assert wakes == [3, 1]


async def test_a_cancelled_consumer_leaves_the_channel_usable() -> None:
    channel = Channel()
    with trio.move_on_after(0) as scope:
        await channel.__anext__()
    assert scope.cancelled_caught
    channel.put("a", deltas("x"), 0.0)
    assert (await channel.__anext__()).event == Delta("x")


async def test_a_second_consumer_is_refused() -> None:
    channel = Channel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.__anext__)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="one consumer"):
            await channel.__anext__()
        nursery.cancel_scope.cancel()


async def test_taking_what_is_at_hand_still_makes_a_checkpoint_a_batch() -> None:
    channel = Channel()
    channel.put("a", deltas("x"), 0.0)
    with trio.testing.assert_checkpoints():
        await channel.__anext__()


async def test_a_closed_channel_stays_at_its_end() -> None:
    channel = Channel()
    channel.close()
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await channel.__anext__()


async def test_a_second_consumer_is_refused_also_while_there_is_something_at_hand() -> None:
    channel = Channel()
    channel.put("a", deltas("x"), 0.0)
    refused = []

    async def consume() -> None:
        try:
            await channel.__anext__()
        except trio.BusyResourceError:
            refused.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        nursery.start_soon(consume)
    assert refused == [True]


async def test_a_channel_shows_what_waits_in_it() -> None:
    channel = Channel()
    assert repr(channel) == "<Channel open, 0 events wait>"
    channel.put("a", deltas("x", "y", "z"), 0.0)
    assert await channel.__anext__() == Tagged("a", 0.0, Delta("x"))
    channel.put("a", deltas("!"), 0.0)
    channel.close()
    assert repr(channel) == "<Channel closed, 3 events wait>"


async def test_a_read_without_events_ends_nothing() -> None:
    channel = Channel()
    channel.put("a", [], 0.0)
    channel.put("a", [], 0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_put_later, channel)
        assert (await channel.__anext__()).event == Delta("x")


async def _put_later(channel: Channel) -> None:
    await wait_all_tasks_blocked()
    channel.put("a", [], 0.0)
    await wait_all_tasks_blocked()
    channel.put("a", deltas("x"), 0.0)


async def test_all_that_is_at_hand_is_taken_at_once_and_then_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    channel = Channel()
    channel.put("a", deltas("x", "y"), 0.0)
    assert [tagged.event for tagged in await channel.take()] == deltas("x", "y")
    with trio.move_on_after(1):
        await channel.take()
    assert trio.current_time() == 1
    channel.put("a", deltas("z", "w"), 0.0)
    assert (await channel.__anext__()).event == Delta("z")
    assert [tagged.event for tagged in await channel.take()] == deltas("w")
    channel.close()
    with pytest.raises(StopAsyncIteration):
        await channel.take()
