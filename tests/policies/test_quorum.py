from typing import Any

import pytest

from fanout.answers import Answer
from fanout.errors import UsageError
from fanout.events import Delta, End, Status
from fanout.policies.quorum import Quorum
from tests.policies.standings import Stood

GOOD, BAD, RUNNING = Status.FINISHED, Status.FAILED, None


def standing(*statuses: Status | None) -> list[Stood]:
    return [Stood(status, place=place) for place, status in enumerate(statuses, 1)]


def test_nothing_is_decided_before_k_are_good() -> None:
    assert not Quorum(*"abc", k=2).losers(0, End(GOOD), standing(GOOD, RUNNING, RUNNING))
    assert not Quorum(*"abc", k=2).losers(0, Delta("x"), standing(RUNNING, RUNNING, RUNNING))


def test_the_kth_good_answer_makes_the_unfinished_lose() -> None:
    lanes = standing(GOOD, RUNNING, GOOD)
    assert Quorum(*"abc", k=2).losers(2, End(GOOD), lanes) == [1]
    assert Quorum(*"abc", k=2).winner(lanes) == 0


def test_all_lose_as_soon_as_k_are_out_of_reach() -> None:
    assert list(Quorum(*"abc", k=2).losers(1, End(BAD), standing(GOOD, BAD, RUNNING))) == []
    assert list(Quorum(*"abc", k=2).losers(2, End(BAD), standing(GOOD, BAD, BAD))) == [0, 1, 2]


def test_a_refused_answer_does_not_count_towards_k() -> None:
    quorum = Quorum(*"abc", k=2)
    lanes = standing(GOOD, GOOD, RUNNING)
    lanes[1].accepted = False
    assert quorum.losers(1, End(GOOD), lanes) == (1,)
    lanes[1].lost = True
    lanes[2].status = GOOD
    assert quorum.losers(2, End(GOOD), lanes) == [1]
    assert quorum.winner(lanes) == 0


@pytest.mark.parametrize("k", [0, 4])
def test_k_must_be_reachable(k: int) -> None:
    with pytest.raises(UsageError, match="between 1 and the number of lanes, 3"):
        Quorum(*"abc", k=k)


def test_an_empty_answer_is_refused_without_being_told() -> None:
    accept: Any = Quorum(*"ab", k=1).accept
    assert [accept(Answer("a", text=text)) for text in ("", "x")] == [False, True]


def test_a_lane_that_has_lost_cannot_help_to_k() -> None:
    lanes = standing(BAD, RUNNING, RUNNING)
    lanes[1].lost = True
    assert list(Quorum(*"abc", k=2).losers(0, End(BAD), lanes)) == [0, 1, 2]
