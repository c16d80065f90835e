from typing import Any

import pytest

from fanout.errors import UsageError
from fanout.events import End, Status
from fanout.policies.best import Best
from tests.policies.standings import Stood

GOOD, RUNNING = Status.FINISHED, None


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"enough": 0}, "enough must be between 1 and the number of lanes, 3, not 0"),
        ({"enough": 4}, "enough must be between 1"),
        ({"enough": True}, "enough must be between 1"),
        ({"grace": -1}, "grace must be a number of seconds"),
        ({"grace": float("nan")}, "grace must be a number of seconds"),
        ({"grace": "1s"}, "grace must be a number of seconds"),
        ({"max_candidate_chars": 10}, "max_candidate_chars must be 100 or more"),
        ({"criteria": 7}, "criteria takes a text"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_with_what_it_may_be(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Best(*"abc", judge="d", **setting)


@pytest.mark.parametrize(("lanes", "enough"), [("a", 2), ("ab", 2), ("abc", 2), ("abcd", 3), ("abcdefghi", 8)])
def test_all_but_one_are_enough_and_two_at_least(lanes: str, enough: int) -> None:
    assert Best(*lanes, judge="d").enough == enough


def test_the_grace_is_a_share_of_the_time_so_far_and_half_a_second_at_least() -> None:
    best = Best(*"abc", judge="d")
    assert best.wait(1, 99) is None
    assert best.wait(2, 1) == 0.5
    assert best.wait(2, 10) == 2
    assert Best(*"abc", judge="d", grace=0).wait(2, 10) == 0


def test_nobody_loses_or_wins_before_the_judge_has_spoken_but_one_whose_answer_is_refused() -> None:
    best = Best(*"ab", judge="d")
    lanes = [Stood(GOOD, place=1), Stood(GOOD, place=2, accepted=False)]
    assert not best.losers(0, End(GOOD), lanes)
    assert best.losers(1, End(GOOD), lanes) == (1,)
    assert best.winner(lanes) is None


def test_the_judge_is_asked_by_the_plan_and_is_none_of_its_lanes() -> None:
    best = Best(*"ab", judge="d")
    assert (best.lanes, best.plans) == (("a", "b"), ("a", "b", "d"))
