import pytest
from trio.testing import MockClock

import fanout
from fanout.abc import Head
from fanout.chats.unusable import Unusable
from fanout.connections import Connections
from fanout.errors import LoginRequired
from fanout.events import LoginNeeded
from fanout.policies.all import All
from fanout.prompt import Prompt
from tests.words import memory, said, watch, words

NEEDED = LoginRequired("the file is damaged", command="fanout login huggingchat")
BROKEN = Unusable("huggingchat", "org/m", "https://chat.example.org", NEEDED)


def test_whatever_it_is_asked_it_says_why_not() -> None:
    for ask in (
        lambda: BROKEN.request(Prompt.of("?")),
        lambda: next(BROKEN.flow(Prompt.of("?"))),
        BROKEN.models_request,
        lambda: BROKEN.read(Head(200)),
    ):
        with pytest.raises(LoginRequired, match="the file is damaged") as caught:
            ask()
        assert caught.value.command == "fanout login huggingchat"


async def test_its_lane_ends_at_once_and_stops_no_other(autojump_clock: MockClock) -> None:
    seen = await watch(All(BROKEN, *words("a")), memory(a=said("x", first=1)))
    broken, well = seen.run.answers
    assert isinstance(broken.error, LoginRequired)
    assert (broken.status, broken.elapsed, well.text) == ("failed", 0, "x")
    assert [t.event for t in seen.events if isinstance(t.event, LoginNeeded)] == [
        LoginNeeded("fanout login huggingchat")
    ]


async def test_no_login_is_tried_over_a_file_that_cannot_be_read(autojump_clock: MockClock) -> None:
    assert Connections(memory()).login_for(BROKEN) is None
    (answer,) = await fanout.gather("?", BROKEN, transport=memory(), retries=3)
    assert isinstance(answer.error, LoginRequired)
