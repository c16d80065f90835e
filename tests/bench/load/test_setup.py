"""The prompt of a lane in a block."""

from fanout.bench.load.design.workload import Item, Workload
from fanout.bench.load.setup import Limits, Setup
from fanout.prompt import Prompt


def setup(salt: str | None, max_tokens: int | None = None) -> Setup:
    workload = Workload("made up", [Item(Prompt.of("Why?")), Item(Prompt.of("What for?"), max_tokens=5)])
    return Setup(lanes=(), workload=workload, limits=Limits(), salt=salt, max_tokens=max_tokens)


def text(prompt: Prompt) -> str:
    return prompt.messages[-1].text


def test_with_a_salt_no_lane_and_no_block_has_the_prompt_of_another() -> None:
    made = setup("s")
    texts = [text(made.prompt(lane, block, 0)) for lane in "ab" for block in range(3)]
    assert len(set(texts)) == 6
    assert all(one.endswith(" Why?") for one in texts)
    assert texts == [text(setup("s").prompt(lane, block, 0)) for lane in "ab" for block in range(3)]
    assert texts[0] != text(setup("t").prompt("a", 0, 0))


def test_without_a_salt_prompts_are_as_they_are_and_begin_again() -> None:
    made = setup(None)
    assert [text(made.prompt("a", block, block)) for block in range(3)] == ["Why?", "What for?", "Why?"]


def test_the_prompt_s_own_bound_goes_before_the_load_s() -> None:
    made = setup(None, max_tokens=9)
    assert [made.prompt("a", 0, number).options.max_tokens for number in (0, 1)] == [9, 5]
