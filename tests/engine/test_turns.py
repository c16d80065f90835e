"""The conversations that a run leaves: of every lane that answered, and of no judge."""

import pytest
from trio.testing import MockClock

import fanout
from fanout import All, Best, Fuse
from tests.words import memory, said, words


async def test_every_lane_that_answered_goes_on_from_its_own_words(autojump_clock: MockClock) -> None:
    transport = memory(a=said("one"), b=[0.1, b"!no"], c=said("two"))
    run = await fanout.ask("?", All(*words("a", "b", "c")), transport=transport, retries=0)
    assert run.conversation
    assert {name: turns.messages[-1].text for name, turns in run.conversation.lanes.items()} == {"a": "one", "c": "two"}


@pytest.mark.parametrize(("kind", "usual", "lanes"), [(Best, "one", ["a", "b"]), (Fuse, "d", [])])
async def test_a_judge_has_no_conversation_and_after_a_fusion_all_go_on_from_it(
    kind: type[Best] | type[Fuse], usual: str, lanes: list[str], autojump_clock: MockClock
) -> None:
    transport = memory(a=said("one"), b=said("two", first=0.2), d=said("d"))
    run = await fanout.ask("?", kind(*words("a", "b"), judge=words("d")[0]), transport=transport)
    assert run.conversation and run.conversation.usual
    assert [message.text for message in run.conversation.usual.messages] == ["?", usual]
    assert [*run.conversation.lanes] == lanes
