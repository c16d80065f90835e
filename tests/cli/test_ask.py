from pathlib import Path

import pytest

from tests.cli.command import fanout
from tests.servers.openai import open_server

pytestmark = pytest.mark.slow


def configure(directory: Path, text: str) -> dict[str, str]:
    """Writes a user's configuration, and returns the environment in which it is found."""
    (directory / "fanout").mkdir()
    (directory / "fanout" / "fanout.toml").write_text(text)
    return {"XDG_CONFIG_HOME": str(directory)}


async def test_a_group_of_the_configuration_is_asked_by_its_name(tmp_path: Path) -> None:
    async with open_server() as server:
        where = f'base_url = "{server.url}/v1"\nkey_env = ""'
        env = configure(
            tmp_path,
            f"""
            [lanes.fast]
            spec = "openai/say=Blue.;ttft=0.2"
            {where}
            [lanes.slow]
            spec = "openai/ttft=30"
            {where}
            [groups.quick]
            policy = "race"
            lanes = ["slow", "fast"]
            [groups.both]
            policy = "all"
            lanes = ["fast", "fast"]
            """,
        )
        quick = await fanout("ask", "quick", "Why?", env=env)
        lane = await fanout("ask", "fast", "-q", "Why?", env=env)
        nested = await fanout("fallback", "-q", "-m", "quick", "Why?", env=env)
        both = await fanout("ask", "both", "Why?", env=env)
    assert (quick.code, quick.out) == (0, "Blue.\n")
    assert "slow  cancelled" in quick.err
    assert lane.out == nested.out == "Blue.\n"
    assert sorted(both.out.splitlines()) == ["[fast#2] Blue.", "[fast] Blue."]


async def test_a_name_that_is_not_there_is_a_mistake_with_the_nearest(tmp_path: Path) -> None:
    env = configure(tmp_path, '[groups.quick]\npolicy = "race"\nlanes = ["local"]')
    done = await fanout("ask", "quik", "Why?", env=env)
    assert (done.code, done.out) == (2, "")
    assert done.err == "fanout: there is no group or lane 'quik'; did you mean quick? (fanout ask --help)\n"


async def test_a_name_like_none_is_answered_with_those_there_are_and_their_file(tmp_path: Path) -> None:
    env = configure(tmp_path, '[lanes.fast]\nspec = "local"\n[groups.quick]\npolicy = "race"\nlanes = ["fast"]')
    done = await fanout("ask", "nosuch", "Why?", env=env)
    file = tmp_path / "fanout" / "fanout.toml"
    assert (done.code, done.out) == (2, "")
    assert f"there is no group or lane 'nosuch'; {file} has groups quick; lanes fast" in done.err


async def test_a_mistake_in_the_file_is_named_with_its_place(tmp_path: Path) -> None:
    env = configure(tmp_path, '[groups.quick]\npolicy = "race"\nlane = ["local"]')
    done = await fanout("ask", "quick", "Why?", env=env)
    assert done.code == 2
    assert "fanout: groups['quick']: there is no key 'lane'; did you mean 'lanes'?" in done.err
    assert str(tmp_path / "fanout" / "fanout.toml") in done.err


async def test_ask_takes_one_name_and_no_lanes() -> None:
    done = await fanout("ask", "quick", "-m", "local", "Why?")
    assert done.code == 2
    assert "fanout race -m takes several" in done.err


async def test_the_help_of_ask_has_no_option_that_it_refuses() -> None:
    done = await fanout("ask", "--help")
    assert "--system" in done.out and "--model" not in done.out
