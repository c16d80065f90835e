import json

import pytest

from tests.cli.command import fanout
from tests.servers.openai import open_server

pytestmark = pytest.mark.slow


async def test_the_first_answer_goes_to_stdout_and_the_rest_to_stderr() -> None:
    async with open_server() as server:
        fast, slow = server.lane("fast", say="Blue."), server.lane("slow", ttft=30)
        done = await fanout("race", "-m", slow, "-m", fast, "Why?")
    assert (done.code, done.out) == (0, "Blue.\n")
    assert "*  fast  finished" in done.err
    assert "   slow  cancelled" in done.err


async def test_lanes_may_come_as_a_list_and_the_prompt_through_a_pipe() -> None:
    async with open_server() as server:
        lanes = ",".join([server.lane("a", say="Blue."), server.lane("b", ttft=30)])
        done = await fanout(
            "race", "-q", "-s", "Be brief.", "-o", "seed", "7", "-m", lanes, "Sum up:", stdin=b"a text\n"
        )
        body = json.loads(server.served[0].request.body)
    assert (done.code, done.out, done.err) == (0, "Blue.\n", "")
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Sum up:\n\na text"},
    ]
    assert body["seed"] == 7


async def test_on_the_first_token_the_lane_that_begins_first_wins() -> None:
    async with open_server() as server:
        early, short = server.lane("early", n=3, gap=0.3), server.lane("short", ttft=0.4, say="x")
        by_token = await fanout("race", "-q", "--on", "first_token", "-m", early, "-m", short, "hi")
        by_finish = await fanout("race", "-q", "-m", early, "-m", short, "hi")
    assert (by_token.out, by_finish.out) == ("w0 w1 w2 \n", "x\n")


async def test_when_all_lanes_fail_each_says_why_and_what_to_do() -> None:
    async with open_server() as server:
        bad = server.lane("bad", status=429, retry=60)
        done = await fanout("race", "--retries", "0", "-m", bad, "-m", "groq/x", "hi")
    assert (done.code, done.out) == (1, "")
    first, *lines = done.err.splitlines()
    assert first == "fanout: no lane answered"
    assert lines[0].startswith("  bad: rate_limit (429): ")
    assert lines[0].endswith("try again in 60 s")
    assert lines[1].startswith("  groq/x: auth: ")
    assert "GROQ_API_KEY" in lines[1]
    assert len(lines) == 2


async def test_a_host_that_cannot_be_reached_is_named_with_the_reason() -> None:
    done = await fanout("race", "--retries", "0", "-m", "openai/x?base_url=http://127.0.0.1:1/v1&key_env=", "hi")
    assert done.code == 1
    assert "127.0.0.1" in done.err
    assert "refused" in done.err


async def test_a_deadline_for_all_has_its_own_code() -> None:
    async with open_server() as server:
        done = await fanout("race", "--deadline", "300ms", "-m", server.lane("a", ttft=30), "hi")
    assert (done.code, done.out) == (124, "")
    assert "deadline" in done.err


async def test_a_clock_of_one_lane_names_its_option() -> None:
    async with open_server() as server:
        done = await fanout("race", "--retries", "0", "--first", "300ms", "-m", server.lane("a", ttft=30), "hi")
    assert done.code == 1
    assert "--first" in done.err


async def test_strict_counts_a_lane_that_failed_even_if_another_won() -> None:
    async with open_server() as server:
        lanes = ["-m", server.lane("bad", status=400), "-m", server.lane("good", ttft=0.2, say="Blue.")]
        done = await fanout("race", "--strict", *lanes, "hi")
        assert (done.code, done.out) == (3, "Blue.\n")
        assert (await fanout("race", *lanes, "hi")).code == 0


async def test_losers_may_be_kept() -> None:
    async with open_server() as server:
        lanes = ["-m", server.lane("a", n=1), "-m", server.lane("b", n=3, gap=0.1)]
        done = await fanout("race", "--json", "--on-lose", "keep", *lanes, "hi")
    run = json.loads(done.out)
    assert [answer["status"] for answer in run["answers"]] == ["finished", "finished"]
    assert run["wasted"]["tokens"] == 3
