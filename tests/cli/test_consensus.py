"""fanout consensus."""

import json

import pytest

from tests.cli.command import fanout
from tests.servers.openai import open_server

pytestmark = pytest.mark.slow

A = json.dumps({"best": "A", "why": "so"})


async def test_the_answer_of_most_lanes_wins_and_the_votes_are_told() -> None:
    async with open_server() as server:
        lanes = [server.lane("a", say="Yes"), server.lane("b", say="no"), server.lane("c", say="yes.", ttft=0.2)]
        done = await fanout("consensus", "-m", ",".join(lanes), "hi")
    assert (done.code, done.out) == (0, "Yes\n")
    assert "votes: 2 for yes (a, c), 1 for no (b)" in done.err


async def test_a_tie_says_so_or_goes_to_a_judge() -> None:
    async with open_server() as server:
        lanes = [server.lane("a", say="yes"), server.lane("b", say="no", ttft=0.1)]
        done = await fanout("consensus", "-m", ",".join(lanes), "hi")
        judged = await fanout("consensus", "-q", "-m", ",".join(lanes), "--judge", server.lane("d", say=A), "hi")
    assert (done.code, done.out) == (1, "")
    assert "the lanes did not agree: 1 for yes (a), 1 for no (b)" in done.err
    assert judged.out in ("yes\n", "no\n")


async def test_a_field_is_voted_on_and_a_wave_asks_no_more_than_it_needs() -> None:
    async with open_server() as server:
        lanes = [server.lane(name, say=json.dumps({"answer": 7})) for name in "abcde"]
        done = await fanout("consensus", "--json", "--key", "answer", "--wave", "3", "-m", ",".join(lanes), "hi")
    run = json.loads(done.out)
    assert (done.code, [*run["votes"]]) == (0, ["7"])
    assert [answer["status"] for answer in run["answers"]] == ["finished"] * 3 + ["not_started"] * 2
