"""A path below a home that nobody has, given to every verb that takes one."""

from collections.abc import Callable

import pytest

from tests.cli.command import Done, fanout


@pytest.mark.parametrize(
    "arguments",
    [
        ("race", "-f", "~nosuch/q"),
        ("race", "--save-files", "~nosuch/q", "hi"),
        ("bench", "--out", "~nosuch/q"),
        ("bench", "--prompts", "~nosuch/q"),
        ("bench", "report", "~nosuch/q"),
        ("auth", "import", "huggingchat", "--file", "~nosuch/q"),
        ("log", "export", "--out", "~nosuch/q"),
    ],
    ids=" ".join,
)
def test_every_verb_says_so_in_a_line(call: Callable[..., Done], arguments: tuple[str, ...]) -> None:
    done = call(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("fanout: ~nosuch/q: there is no such home directory")
    assert done.err.count("\n") == 1


@pytest.mark.slow
async def test_a_model_in_a_home_that_nobody_has_is_named_where_its_lanes_fail() -> None:
    done = await fanout("race", "hi", env={"FANOUT_MODEL": "~nosuch/q"})
    assert done.code == 1
    assert "~nosuch/q" in done.err
