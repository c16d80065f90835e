import json

import pytest

from tests.cli.command import fanout
from tests.servers.openai import open_server

pytestmark = pytest.mark.slow


async def test_the_first_answers_are_enough() -> None:
    async with open_server() as server:
        lanes = [server.lane("a", n=1), server.lane("b", ttft=30), server.lane("c", ttft=0.3, n=2)]
        done = await fanout("quorum", "-q", "--k", "2", "-m", ",".join(lanes), "hi")
    assert (done.code, done.out) == (0, "w0 \n\nw0 w1 \n")


async def test_an_answer_that_came_after_the_verdict_is_kept_running_but_not_shown() -> None:
    async with open_server() as server:
        lanes = [server.lane("a", n=1), server.lane("b", ttft=0.6, n=3), server.lane("c", ttft=0.3, n=2)]
        done = await fanout("quorum", "-q", "--k", "2", "--on-lose", "keep", "-m", ",".join(lanes), "hi")
        told = await fanout("quorum", "--json", "--k", "2", "--on-lose", "keep", "-m", ",".join(lanes), "hi")
    assert (done.code, done.out) == (0, "w0 \n\nw0 w1 \n")
    run = json.loads(told.out)
    assert run["kept"] == ["a", "c"]
    assert [answer["status"] for answer in run["answers"]] == ["finished"] * 3


async def test_each_answer_stands_under_its_name() -> None:
    async with open_server() as server:
        done = await fanout("quorum", "--k", "1", "-m", server.lane("a", n=1), "-m", server.lane("b", ttft=30), "hi")
    assert (done.code, done.out) == (0, "[a] w0 \n")


async def test_too_few_answers_are_none() -> None:
    async with open_server() as server:
        lanes = ["-m", server.lane("a", n=1), "-m", server.lane("b", head=0.3, status=400)]
        done = await fanout("quorum", "--k", "2", *lanes, "hi")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("fanout: too few lanes answered\n")
    assert "b: invalid_request (400)" in done.err


async def test_one_answer_of_two_by_the_deadline_is_too_few() -> None:
    async with open_server() as server:
        lanes = ["-m", server.lane("a", n=1), "-m", server.lane("b", ttft=30)]
        done = await fanout("quorum", "--k", "2", "--deadline", "1s", *lanes, "hi")
    assert (done.code, done.out) == (124, "")
    assert done.err.startswith("fanout: too few lanes answered\n")
