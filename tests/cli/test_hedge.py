import pytest

from tests.cli.command import fanout
from tests.servers.openai import open_server

pytestmark = pytest.mark.slow


async def test_a_slow_lane_is_helped_by_the_next() -> None:
    async with open_server() as server:
        slow, next_one = server.lane("slow", ttft=30), server.lane("next", say="Blue.")
        done = await fanout("hedge", "-q", "--after", "300ms", "-m", slow, "-m", next_one, "hi")
        assert done.out == "Blue.\n"
        assert server.of(next_one).at - server.of(slow).at >= 0.1


async def test_a_quick_lane_needs_no_help() -> None:
    async with open_server() as server:
        done = await fanout("hedge", "-q", "--after", "5", "-m", server.lane("a", n=1), "-m", server.lane("b"), "hi")
        assert done.out == "w0 \n"
        assert len(server.served) == 1
