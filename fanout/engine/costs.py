"""The costs of the lanes of a run, and the most that they may be."""

import trio
from attrs import evolve

from fanout.answers import Answer
from fanout.answers.prices import bound_cost, cost
from fanout.engine.attempt import Attempt
from fanout.engine.group import Group
from fanout.engine.staged import Staged

PRICED = 64
"""Lanes whose prices are looked up between two looks at the sockets, which takes some milliseconds."""


def price(attempt: Attempt, answer: Answer) -> Answer:
    """Returns a lane's answer with its cost, and the most that it may cost."""
    low = cost(answer)
    limit = attempt.prompt.options.max_tokens if attempt.prompt else None
    most = attempt.count_most(answer.tokens, limit) if low else None
    return evolve(answer, cost=low, cost_high=bound_cost(answer, low, most))


async def look_up_prices(group: Group | Staged) -> None:
    """Looks up the prices of many lanes a portion at a time: `Fanout.run` finds them then, in one short step."""
    attempts = [attempt for attempt, _ in group.attempts()]
    for number, attempt in enumerate(attempts if len(attempts) > PRICED else ()):
        if number % PRICED == 0:
            await trio.lowlevel.checkpoint()
        cost(attempt.answer)
