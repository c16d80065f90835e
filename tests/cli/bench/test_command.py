"""The command of a run: enough to do it again, and nothing that is secret."""

import pytest

from fanout.cli.bench import bench
from fanout.cli.bench.command import describe_command


def told(*arguments: str) -> str:
    context = bench.make_context("bench", list(arguments))
    return describe_command(context)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "fanout bench"),
        (["-mlocal", "-n5", "-q", "--aa"], "fanout bench -m local -n 5 -q --aa"),
        (["--num-prompts=7", "-m", "a", "--model", "b"], "fanout bench -n 7 -m a -m b"),
        (["-n", "1", "-n", "2"], "fanout bench -n 2"),
        (["-o", "seed", "0", "--assert", "failures < 1%"], "fanout bench -o seed 0 --assert 'failures < 1%'"),
        (["-c", "1,2", "-t", "500ms", "--out", "~/x"], "fanout bench -c 1,2 -t 500ms --out '~/x'"),
        (["-q", "compare", "a", "b"], "fanout bench -q"),
    ],
)  # fmt: skip
def test_it_can_be_done_again(arguments: list[str], command: str) -> None:
    assert told(*arguments) == command


@pytest.mark.parametrize(
    "arguments",
    [
        ["-s", "s3cret"],
        ["-ss3cret"],
        ["-qss3cret"],
        ["--system", "s3cret"],
        ["--system=s3cret"],
        ["-o", "body.metadata", '{"a": "s3cret"}'],
        ["-o", "base_url", "https://u:s3cret@h/v1"],
        ["-m", "openai/x?body.user=s3cret&temperature=0"],
        ["-m", "local,openai/x?body%2Euser=s3cret,groq/y?base_url=https://h/v1?key=s3cret"],
        ["-m", "openai/x?base_url=https%3A%2F%2Fu%3As3cret%40h%2Fv1"],
        ["-m", "openai/x?proxy=http://u:s3cret@proxy:3128"],
        ["-o", "proxy", "socks5h://u:s3cret@proxy:1080"],
        ["-m", "openai/x?base_url=https://s3cret@[h/v1"],
    ],
)
def test_what_is_secret_is_left_out(arguments: list[str]) -> None:
    command = told(*arguments, "-n", "3")
    assert "s3cret" not in command
    assert "…" in command
    assert command.endswith(" -n 3")


def test_the_rest_of_a_lane_stays() -> None:
    lane = "mine=openai/x?temperature=0&body.user=s3cret&base_url=https://u:p@h:1/v1?k=v&key_env="
    assert told("-m", lane) == (
        "fanout bench -m 'mine=openai/x?temperature=0&body.user=…&base_url=https://…@h:1/v1?…&key_env='"
    )
    assert told("-m", "openai/x?base_url=https://h/v1") == "fanout bench -m 'openai/x?base_url=https://h/v1'"
