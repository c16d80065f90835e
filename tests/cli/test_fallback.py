import pytest

from tests.cli.command import fanout
from tests.servers.openai import open_server

pytestmark = pytest.mark.slow


async def test_the_next_lane_is_asked_only_after_a_failure() -> None:
    async with open_server() as server:
        bad, good, unused = server.lane("bad", status=400), server.lane("good", n=1), server.lane("unused", n=2)
        done = await fanout("fallback", "-m", bad, "-m", good, "-m", unused, "hi")
        assert (done.code, done.out) == (0, "w0 \n")
        assert len(server.served) == 2
    assert "bad     failed" in done.err
