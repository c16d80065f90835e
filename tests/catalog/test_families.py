import pytest

from fanout import catalog
from fanout.catalog.families import find_lanes
from fanout.errors import UsageError


@pytest.mark.parametrize(
    ("model", "first"),
    [
        ("gpt-5-mini", "openai/gpt-5-mini"),
        ("o3", "openai/o3"),
        ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("gemini-2.5-flash", "gemini/gemini-2.5-flash"),
        ("llama3:8b", "ollama/llama3:8b"),
        ("Mixtral-8x7B", "ollama/Mixtral-8x7B"),
        ("codestral-2508", "mistral/codestral-2508"),
    ],
)
def test_a_model_without_its_provider_is_answered_with_who_serves_it(model: str, first: str) -> None:
    assert find_lanes(model)[0] == first
    with pytest.raises(UsageError, match=f"which provider.* write {first} or openrouter/|{first} or "):
        catalog.find(model)


@pytest.mark.parametrize("name", ["mine", "claude", "fast-2", "gptx-4", ""])
def test_what_is_no_known_model_is_none(name: str) -> None:
    assert find_lanes(name) == []


def test_every_lane_that_is_proposed_names_a_provider_that_there_is() -> None:
    known = {entry.name for entry in catalog.providers()}
    for model in ("gpt-5", "claude-4", "gemini-2", "grok-4", "mistral-1", "deepseek-r1", "command-a-1", "sonar-1"):
        assert {lane.partition("/")[0] for lane in find_lanes(model)} <= known
    for model in ("kimi-k2", "qwen-3", "minimax-m1", "phi-4"):
        assert {lane.partition("/")[0] for lane in find_lanes(model)} <= known
