"""A lane is asked once more when no other is left, wherever in a nested plan it stands."""

from urllib.parse import urlsplit

from trio.testing import MockClock

from fanout import Fallback, Race
from fanout.transports.memory import MemoryTransport
from tests.words import said, watch, words

BAD, GOOD = '{"age":"3"}', '{"age":3}'


async def test_the_nearest_lane_of_a_nested_plan_is_asked_again(autojump_clock: MockClock) -> None:
    scripts = {"a": iter([said("prose")]), "b": iter([said(BAD), said(GOOD)]), "c": iter([said("[]")])}
    transport = MemoryTransport(lambda request: next(scripts[urlsplit(request.url).hostname or ""]))
    seen = await watch(Race(Fallback(*words("a", "b")), *words("c")), transport, schema="age: int", reask=1)
    assert seen.run.winner
    assert (seen.run.winner.lane, seen.run.winner.value) == ("b#2", {"age": 3})
