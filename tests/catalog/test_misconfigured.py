"""A mistake of the environment or a file about one lane ends that lane, and no other."""

from pathlib import Path

import pytest
from trio.testing import MockClock

import fanout
from fanout import ConfigurationError, Misconfigured, UsageError
from fanout.catalog import LaneSpec, find
from fanout.catalog.config import Config, load
from tests.words import memory, said, words


def configured(directory: Path, text: str) -> Config:
    (directory / "fanout.toml").write_text(text, "utf-8")
    return load(directory / "none", directory)


async def test_a_lane_whose_variable_is_not_set_fails_alone(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    run = await fanout.ask("?", [*words("a"), "azure/gpt-4o"], transport=memory(a=said("x")))
    assert run.winner and run.winner.lane == "a"
    error = run["azure/gpt-4o"].error
    assert isinstance(error, Misconfigured)
    assert "Set AZURE_OPENAI_ENDPOINT" in str(error)
    with pytest.raises(ConfigurationError, match="Set AZURE_OPENAI_ENDPOINT"):
        find("azure/gpt-4o")


@pytest.mark.parametrize("url", ["ftp://x", "http://user:pw@x/v1", "https://:y:z"])
async def test_an_address_in_the_environment_that_cannot_be_ends_its_lane_and_one_that_was_typed_the_run(
    url: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    run = await fanout.ask("?", [*words("a"), "openai/m"], transport=memory(a=said("x")))
    assert run.winner and run.winner.lane == "a"
    assert isinstance(run["openai/m"].error, Misconfigured)
    with pytest.raises(UsageError) as caught:
        await fanout.ask("?", [*words("a"), f"openai/m?base_url={url}"], transport=memory(a=said("x")))
    assert not isinstance(caught.value, ConfigurationError)


async def test_a_lane_of_a_file_that_is_wrong_fails_alone_also_in_a_group(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    config = configured(
        tmp_path,
        '[lanes.bad]\nspec = "opnai/m"\n[lanes.good]\nspec = "openai/m"\nbase_url = "https://a.example.org/v1"\n'
        '[groups.both]\npolicy = "race"\nlanes = ["bad", "good"]\n',
    )
    for plan in (["bad", "good"], "both"):
        run = await fanout.ask("?", plan, transport=memory(), config=config, retries=0)
        assert isinstance(run["bad"].error, Misconfigured)
        assert "did you mean openai" in str(run["bad"].error)
        assert not isinstance(run["good"].error, Misconfigured)
    with pytest.raises(UsageError, match="did you mean openai"):
        await fanout.ask("?", ["opnai/m", "good"], transport=memory(), config=config)


async def test_a_table_with_a_mistyped_key_fails_its_lane_and_not_those_beside_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    config = configured(
        tmp_path,
        '[lanes.bad]\nspec = "openai/m"\nfrist = 5\n[lanes.on_bad]\nspec = "bad"\n[lanes.unused]\nspec = 5\n'
        '[lanes.hot]\nspec = "openai/m"\ntemperature = "hot"\n[groups.odd]\npolicy = "race"\nlanes = "bad"\n'
        '[groups.g]\npolicy = "race"\nlanes = ["bad", "odd"]\n',
    )
    plan = fanout.Race(*words("a"), "bad", "on_bad", "hot", "g")
    run = await fanout.ask("?", plan, transport=memory(a=said("x")), config=config)
    assert run.winner and run.winner.lane == "a"
    said_of = {answer.lane: str(answer.error) for answer in run.answers}
    assert "did you mean 'first'?" in said_of["bad"] and "did you mean 'first'?" in said_of["on_bad"]
    assert "temperature: this should be a number" in said_of["hot"]
    assert "groups['odd'].lanes: this should be a list of texts" in said_of["odd"]
    assert not any("unused" in sentence for sentence in said_of.values())


@pytest.mark.parametrize(
    "options", [{"max_tokens": -1}, {"temperature": "hot"}, {"top_p": float("nan")}, {"seed": 1.5}]
)
async def test_options_in_python_are_checked_as_in_a_spec(options: dict[str, object]) -> None:
    wrong = fanout.Options(**options)  # type: ignore[arg-type]  # as a program without a type checker
    name = next(iter(options))
    for prompt, settings in (("?", wrong), (fanout.Prompt.of("?").with_options(wrong), None)):
        with pytest.raises(UsageError, match=f"{name} takes"):
            await fanout.ask(prompt, [*words("a")], transport=memory(a=said("x")), options=settings)
    (lane,) = words("a")
    with pytest.raises(UsageError, match=f"{name} takes"):
        await fanout.ask("?", [LaneSpec("a", lane, options=wrong)], transport=memory(a=said("x")))
