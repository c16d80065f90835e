from math import inf

from fanout.events import End, Status
from fanout.policies.fallback import Fallback
from tests.policies.standings import Stood


def test_a_fallback_is_a_race_that_only_a_failure_moves_on() -> None:
    fallback = Fallback("a", "b")
    assert fallback.pace == inf
    assert fallback.retries == 0
    assert list(fallback.losers(0, End(Status.FINISHED), [Stood(Status.FINISHED), Stood()])) == [1]
    assert not fallback.losers(0, End(Status.FAILED), [Stood(Status.FAILED), Stood()])
