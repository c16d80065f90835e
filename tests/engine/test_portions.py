import trio
import trio.lowlevel

from fanout.engine.portions import Portions, start
from tests.steps import watched

MANY = 100
PORTION = 8


async def test_tasks_that_come_at_once_go_through_in_portions_and_in_order() -> None:
    portions = Portions()
    came: list[int] = []
    order: list[int] = []
    turns: dict[int, int] = {}
    turn = 0

    async def start(number: int) -> None:
        came.append(number)
        await portions.take_turn()
        order.append(number)
        turns[turn] = turns.get(turn, 0) + 1

    async with trio.open_nursery() as nursery:
        for number in range(MANY):
            nursery.start_soon(start, number)
        while len(order) < MANY:
            await trio.lowlevel.checkpoint()
            turn += 1
    assert sorted(order) == list(range(MANY))
    portion_of = {number: index // PORTION for index, number in enumerate(came)}  # in one, Trio chooses the order
    assert [portion_of[number] for number in order] == [index // PORTION for index in range(MANY)]
    assert max(turns.values()) <= 2 * PORTION  # a turn of this task may see the end of one portion and the next


async def test_few_go_through_at_once() -> None:
    portions = Portions()
    async with watched() as steps:
        for _ in range(PORTION):
            await portions.take_turn()
    assert steps.count <= 2


async def test_a_task_that_is_cancelled_while_it_waits_takes_no_place() -> None:
    portions = Portions()
    done = 0

    async def start() -> None:
        nonlocal done
        await portions.take_turn()
        done += 1

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            for _ in range(PORTION):
                await portions.take_turn()
            scope.cancel()
            await start()
        assert scope.cancelled_caught
        for _ in range(MANY):
            nursery.start_soon(start)
    assert done == MANY


async def test_all_lanes_of_one_loop_share_their_portions() -> None:
    turns: dict[int, int] = {}
    turn = 0

    async def count(step: int) -> None:
        turns[turn] = turns.get(turn, 0) + step

    async with trio.open_nursery() as nursery:
        for _ in range(MANY):
            nursery.start_soon(start, count, 1)
        while sum(turns.values()) < MANY:
            await trio.lowlevel.checkpoint()
            turn += 1
    assert max(turns.values()) <= 2 * PORTION
