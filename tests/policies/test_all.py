from fanout.events import Delta, End, Status
from fanout.policies.all import All
from tests.policies.standings import Stood


def test_nobody_loses_and_nobody_wins() -> None:
    lanes = [Stood(Status.FINISHED, place=1), Stood()]
    assert not All().losers(0, Delta("x"), lanes)
    assert not All().losers(0, End(Status.FINISHED), lanes)
    assert All().winner(lanes) is None
    assert All().pace == 0
