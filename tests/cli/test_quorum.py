import pytest

from tests.cli.command import fanout
from tests.servers.openai import open_server

pytestmark = pytest.mark.slow


async def test_the_first_answers_are_enough() -> None:
    async with open_server() as server:
        lanes = [server.lane("a", n=1), server.lane("b", ttft=30), server.lane("c", ttft=0.3, n=2)]
        done = await fanout("quorum", "-q", "--k", "2", "-m", ",".join(lanes), "hi")
    assert (done.code, done.out) == (0, "w0 \n\nw0 w1 \n")


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
