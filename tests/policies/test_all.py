from fanout.events import Delta, End, Status
from fanout.policies.all import All
from tests.policies.standings import Stood


def test_nobody_loses_and_nobody_wins() -> None:
    lanes = [Stood(Status.FINISHED, place=1), Stood()]
    assert All().losers(0, Delta("x"), lanes) == ()
    assert All().losers(0, End(Status.FINISHED), lanes) == ()
    assert All().winner(lanes) is None
    assert All().pace == 0


def test_all_that_run_for_their_own_sake_are_tried_twice_more_and_nobody_is_asked_who_has_lost() -> None:
    assert (All.retries, All.chooses, All.heeds) == (2, False, frozenset())
