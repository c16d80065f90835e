"""The order in which a block's requests are sent, so that drift and position hit all lanes alike."""

from collections.abc import Sequence
from random import Random
from typing import Literal

Order = Literal["interleave", "sequential"]
"""Each prompt to all lanes in one block, or one lane after the other."""


def interleave(lanes: Sequence[str], blocks: int, seed: int) -> list[tuple[str, ...]]:
    """Returns, for every block, all lanes in the order in which they get its prompt.

    The orders are the rows of Latin squares: in as many blocks as there are lanes, each lane is first once, second
    once, and so on. Each square is shuffled anew, by `seed`.
    """
    random = Random(seed)  # noqa: S311  # an experiment's plan, not a secret
    orders: list[tuple[str, ...]] = []
    while len(orders) < blocks:
        names = random.sample(lanes, len(lanes))
        orders += random.sample([tuple(names[i:] + names[:i]) for i in range(len(names))], len(names))
    return orders[:blocks]
