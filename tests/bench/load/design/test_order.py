from collections import Counter

import pytest

from fanout.bench.load.design.order import interleave


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_lane_is_in_every_block_once_and_in_every_place_as_often(count: int) -> None:
    lanes = [f"lane {index}" for index in range(count)]
    orders = interleave(lanes, 4 * count, seed=1)
    assert len(orders) == 4 * count
    assert all(sorted(order) == lanes for order in orders)
    for place in range(count):
        assert set(Counter(order[place] for order in orders).values()) == {4}


def test_the_last_square_may_be_cut() -> None:
    assert len(interleave(["a", "b", "c"], 7, seed=1)) == 7
    assert interleave(["a", "b"], 0, seed=1) == []


def test_the_seed_decides() -> None:
    lanes = ["a", "b", "c"]
    assert interleave(lanes, 30, seed=1) == interleave(lanes, 30, seed=1)
    assert interleave(lanes, 30, seed=1) != interleave(lanes, 30, seed=2)


def test_no_lane_follows_another_much_more_often_than_the_other_way_round() -> None:
    orders = interleave(["a", "b", "c"], 600, seed=3)
    first = sum(order.index("a") < order.index("b") for order in orders)
    assert 260 <= first <= 340
