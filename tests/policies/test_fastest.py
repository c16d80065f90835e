from math import inf
from typing import Any

import pytest

from fanout.errors import UsageError
from fanout.policies.fastest import Fastest


def test_it_falls_back_unless_it_is_told_to_hedge() -> None:
    assert (Fastest("a", "b").pace, Fastest("a", "b").percentile) == (inf, None)
    assert Fastest("a", "b", after=0.5).pace == 0.5
    assert Fastest("a", "b", after="p95").percentile == 0.95
    assert Fastest.retries == 0


@pytest.mark.parametrize("explore", [-0.1, 1.1, float("nan"), True, "much"])
def test_explore_is_a_probability(explore: Any) -> None:
    with pytest.raises(UsageError, match="explore"):
        Fastest("a", "b", explore=explore)
