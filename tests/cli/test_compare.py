import json

import pytest

from tests.cli.command import fanout
from tests.servers.openai import open_server

pytestmark = pytest.mark.slow


async def test_every_answer_is_printed_under_its_name_as_it_comes() -> None:
    async with open_server() as server:
        lanes = [server.lane("a", ttft=0.3, say="Blue."), server.lane("b", n=2), server.lane("c", status=400)]
        done = await fanout("compare", "-m", ",".join(lanes), "hi")
    assert (done.code, done.out) == (0, "[b] w0 w1 \n[a] Blue.\n")
    assert "c  failed" in done.err


async def test_some_failures_count_only_when_strict() -> None:
    async with open_server() as server:
        lanes = ["-m", server.lane("a"), "-m", server.lane("b", status=400)]
        assert (await fanout("compare", "--strict", *lanes, "hi")).code == 3


async def test_all_failures_are_one() -> None:
    async with open_server() as server:
        assert (await fanout("compare", "--strict", "-m", server.lane("b", status=400), "hi")).code == 1


async def test_as_json_all_answers_are_there_in_the_order_of_the_lanes() -> None:
    async with open_server() as server:
        done = await fanout("compare", "--json", "-m", server.lane("a", ttft=0.2), "-m", server.lane("b"), "hi")
    run = json.loads(done.out)
    assert [(answer["lane"], answer["text"]) for answer in run["answers"]] == [("a", "w0 w1 w2 "), ("b", "w0 w1 w2 ")]
    assert run["winner"] is None


async def test_a_deadline_leaves_the_answers_that_came_in_time() -> None:
    async with open_server() as server:
        lanes = ["-m", server.lane("a", say="Blue."), "-m", server.lane("b", ttft=30)]
        done = await fanout("compare", "--deadline", "1", *lanes, "hi")
    assert (done.code, done.out) == (0, "[a] Blue.\n")
