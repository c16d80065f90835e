"""A wish holds what can be."""

from typing import Any

import pytest

from fanout.bench.load.wish import RunWish
from fanout.errors import UsageError

ODD = (float("nan"), float("inf"), -1, 0, 1e-320, 1e300)


def test_a_wish_of_nothing_is_the_usual_one() -> None:
    wish = RunWish()
    assert (wish.lanes, wish.requests, wish.prompts, wish.max_tokens) == ((), None, "builtin:short", 128)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"lanes": "local"}, "lanes: a list is wanted"),
        ({"asserts": "failures < 1%"}, "asserts: a list is wanted"),
        ({"requests": 0}, "requests: 0 is not a number from 1"),
        ({"concurrency": [1, 0]}, "concurrency: 0 "),
        ({"warmup": -1}, "warmup: -1 "),
        ({"max_tokens": 10**30}, "max_tokens"),
        *(({"duration": odd}, f"duration: {odd} ") for odd in ODD),
        *(({"timeout": odd}, f"timeout: {odd} ") for odd in ODD),
        *(({"rate": [odd]}, f"rate: {odd} ") for odd in ODD),
        *(({"burstiness": odd}, f"burstiness: {odd} ") for odd in ODD),
        *(({"speedup": odd}, f"speedup: {odd} ") for odd in ODD),
        *(({"max_cost": odd}, f"max_cost: {odd} ") for odd in ODD),
        *(({"until_ci": odd}, f"until_ci: {odd} ") for odd in ODD),
        *(({"ramp": odd}, f"ramp: {odd} ") for odd in ODD if odd not in (0, 1e-320)),
        ({"arrival": "steady"}, "arrival: 'steady' is none of constant, poisson, gamma"),
        ({"order": "random"}, "order: 'random' is none of interleave, sequential"),
        ({"cache": "cold"}, "cache: 'cold' is none of unique, warm"),
    ],
)
def test_what_cannot_be_is_a_usage_error_that_names_the_field(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as raised:
        RunWish(**wrong)
    assert words in str(raised.value)
