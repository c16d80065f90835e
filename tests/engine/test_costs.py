"""The costs of lanes: what they are, what they may be, and that many are looked up a portion at a time."""

from typing import Any

import trio
from attrs import evolve

from fanout.answers import Answer
from fanout.engine import costs
from fanout.engine.attempt import Attempt
from fanout.engine.group import Group
from fanout.events import Usage
from fanout.policies.all import All
from fanout.transports.memory import MemoryTransport
from tests.words import Words


def attempt(name: str) -> Attempt:
    return Attempt(name, Words(name), MemoryTransport({}))


def priced(**more: Any) -> Answer:
    return Answer("a", provider="openai", model="gpt-5-mini", usage=Usage(input=1_000_000, output=1000), **more)


def test_an_answer_gets_its_cost_and_no_other_where_it_was_not_cut_off() -> None:
    answer = costs.price(attempt("a"), priced())
    assert answer.cost is not None and answer.cost > 0
    assert answer.cost_high in (None, answer.cost)


def test_what_has_no_price_costs_nobody_knows_what() -> None:
    answer = costs.price(attempt("a"), evolve(priced(), model="a model of nobody"))
    assert (answer.cost, answer.cost_high) == (None, None)


async def test_the_prices_of_many_lanes_are_looked_up_with_looks_at_the_sockets_between() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    lanes = [attempt(f"lane{number}") for number in range(4 * costs.PRICED)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await trio.lowlevel.checkpoint()
        before = turns
        await costs.look_up_prices(Group("all", All(*lanes), lanes, "cancel"))
        assert turns - before >= 3
        nursery.cancel_scope.cancel()
