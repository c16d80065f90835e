"""fanout fuse."""

import json

import pytest

from tests.cli.command import fanout
from tests.servers.openai import open_server

pytestmark = pytest.mark.slow


async def test_the_judges_words_are_the_answer() -> None:
    async with open_server() as server:
        lanes = [server.lane("a", say="one"), server.lane("b", say="two")]
        judge = server.lane("d", n=2)
        done = await fanout("fuse", "-m", ",".join(lanes), "--judge", judge, "hi")
        told = await fanout("fuse", "--json", "-m", ",".join(lanes), "--judge", judge, "hi")
    assert (done.code, done.out) == (0, "w0 w1 \n")
    assert "* judge" in " ".join(done.err.split())
    assert json.loads(told.out)["winner"] == "judge"


async def test_where_the_judge_breaks_off_the_first_answer_follows() -> None:
    async with open_server() as server:
        lanes = [server.lane("a", say="one"), server.lane("b", say="two", ttft=0.2)]
        done = await fanout("fuse", "-m", ",".join(lanes), "--judge", server.lane("d", n=3, cut=1), "hi")
    assert (done.code, done.out) in [(0, "w0 \none\n"), (0, "one\n")]  # by whether its beginning came apart
    assert "judge failed" in done.err


async def test_an_analysis_that_fails_is_told_and_the_answer_comes_all_the_same() -> None:
    async with open_server() as server:
        lanes = [server.lane("a", say="one"), server.lane("b", say="two")]
        analysis = await fanout("fuse", "--analysis", "-m", ",".join(lanes), "--judge", server.lane("d", n=2), "hi")
    assert (analysis.code, analysis.out) == (0, "w0 w1 \n")
    assert "judge failed: its answer was not accepted: the judge's analysis is no JSON object" in analysis.err
