"""fanout best."""

import json

import pytest

from tests.cli.command import fanout
from tests.servers.openai import open_server

pytestmark = pytest.mark.slow

A = json.dumps({"best": "A", "why": "so"})


async def test_the_winners_text_is_printed_and_the_verdict_told() -> None:
    async with open_server() as server:
        lanes = [server.lane("a", say="one"), server.lane("b", say="two", ttft=0.1)]
        done = await fanout("best", "-m", ",".join(lanes), "--judge", server.lane("d", say=A), "hi")
    assert done.code == 0
    assert done.out in ("one\n", "two\n")
    winner = "a" if done.out == "one\n" else "b"
    assert f"judge takes {winner} (A of 2): so" in done.err
    assert "beside the answer: 1 tok, 5 tok of prompts" in done.err
    assert "wasted: 1 tok, 5 tok of prompts" in done.err


async def test_the_judge_is_a_lane_in_json() -> None:
    async with open_server() as server:
        lanes = [server.lane("a", say="one"), server.lane("b", say="two", ttft=0.1)]
        judge = server.lane("d", say="\x1b[31mNeither")
        done = await fanout("best", "--json", "--swap", "-m", ",".join(lanes), "--judge", judge, "hi")
        told = await fanout("best", "-m", ",".join(lanes), "--judge", judge, "hi")
    run = json.loads(done.out)
    assert [answer["lane"] for answer in run["answers"]] == ["a", "b", "judge", "judge#2"]
    assert run["winner"] == "a"
    assert [verdict["error"]["kind"] for verdict in run["verdicts"]] == ["refused", "refused"]
    assert told.code == 0
    assert "judge failed:" in told.err and "\x1b[31m" not in told.err


async def test_a_judge_must_be_named_and_be_one_that_there_is() -> None:
    none = await fanout("best", "-m", "local", "hi")
    assert (none.code, "--judge" in none.err) == (2, True)
    unknown = await fanout("best", "-m", "local,local", "--judge", "nobody", "hi")
    assert unknown.code == 2
    assert "nobody" in unknown.err


async def test_enough_and_grace_are_for_lanes_that_hang() -> None:
    async with open_server() as server:
        lanes = [server.lane("a", say="one"), server.lane("b", hang=0)]
        options = ["--enough", "1", "--grace", "100ms", "-m", ",".join(lanes), "--judge", server.lane("d", say=A)]
        done = await fanout("best", "-q", *options, "hi")
    assert (done.code, done.out) == (0, "one\n")
