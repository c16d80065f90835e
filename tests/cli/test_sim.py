"""fanout sim: worlds from seeds, policies on lanes of a file, and mistakes in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fanout.engine.channel import Channel
from fanout.engine.retry import Retries
from tests.cli.command import Done

Call = Callable[..., Done]

LANES = '[lanes.a]\nfirst = { p50 = "400ms", p95 = "1.2s" }\npieces = 2\n[lanes.b]\nfirst = "700ms"\npieces = 2\n'


def test_one_seed_is_one_line_and_its_log_is_the_same_again(call: Call) -> None:
    done = call("sim", "--seed", "3")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("seed 3: every law holds (")
    first, second = (call("sim", "--seed", "3", "--log").out for _ in range(2))
    assert first == second
    assert first.startswith("seed 3")


def test_several_seeds_end_with_a_summary(call: Call) -> None:
    lines = call("sim", "--seeds", "5-9").out.splitlines()
    assert lines[0].startswith("5 worlds from seed 5 on (")
    assert lines[1:] == ["every law holds"]
    made_up = call("sim", "--count", "2").out.splitlines()
    assert made_up[-1].startswith("again: fanout sim --seed ")
    assert call("sim", "--minutes", "0.001", "--seed", "1").code == 0


def test_a_plan_gives_each_world_its_shape(call: Call) -> None:
    done = call("sim", "--seed", "1", "--log", "--plan", "race(a, fallback(b, c))")
    plan = next(line for line in done.out.splitlines() if line.startswith("call 0"))
    assert plan.startswith("call 0: race(")
    assert "fallback(" in plan


def test_the_result_as_json(call: Call) -> None:
    result = json.loads(call("sim", "--seeds", "1-3", "--policy", "quorum", "--json").out)
    assert (result["first"], result["seeds"], result["failures"]) == (1, 3, [])


def test_a_broken_law_is_told_with_the_command_that_repeats_it(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Retries.__init__
    monkeypatch.setattr(Retries, "__init__", lambda self, a, b, allowed, c: made(self, a, b, allowed + 9, c))
    done = call("sim", "--seeds", "0-40", "--policy", "fallback")
    assert done.code == 1
    broken, again = (next(line for line in done.out.splitlines() if word in line) for word in ("broken:", "again:"))
    seed = broken.removeprefix("seed ").partition(":")[0]
    assert again.strip() == f"again: fanout sim --seed {seed} --plan 'fallback' --log"
    repeated = call("sim", "--seed", seed, "--plan", "fallback", "--json")
    assert repeated.code == 1
    assert json.loads(repeated.out)["failures"][0]["excerpt"]


@pytest.mark.internal
def test_an_engine_that_breaks_altogether_is_a_broken_law_and_no_traceback(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Channel, "put")
    done = call("sim", "--seed", "2")
    assert done.code == 1
    assert "Traceback" not in done.out + done.err


def test_policies_are_compared_on_the_lanes_of_a_file(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(LANES)
    done = call("sim", "--lanes", str(file), "--count", "20", "--policy", "hedge:p95", "--plan", "race(a, b)")
    head, *rows, last = done.out.splitlines()
    assert head.split()[:3] == ["policy", "first", "p50"]
    assert [row.split("  ")[0] for row in rows] == ["hedge:p95", "race(a, b)"]
    assert last.startswith("20 requests each")
    result = json.loads(call("sim", "--lanes", str(file), "--count", "5", "--json").out)
    assert [policy["policy"] for policy in result["policies"]] == ["race", "hedge:p95", "fallback"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "9-1"], "write two numbers"),
        (["--seeds", "x"], "write two numbers"),
        (["--seeds", "1-2", "--seed", "1"], "leave out"),
        (["--policy", "rase"], "did you mean race"),
        (["--policy", "race", "--policy", "hedge"], "with --lanes"),
        (["--policy", "hedge:p95"], "with --lanes"),
        (["--on", "first_token"], "with --lanes"),
        (["--lanes", "nowhere.toml"], "No such file"),
        (["--lanes", "nowhere.toml", "--seeds", "1-2"], "drawn worlds"),
        (["--lanes", "nowhere.toml", "--log"], "drawn worlds"),
        (["--minutes", "0"], "minutes"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], words: str, call: Call) -> None:
    done = call("sim", *arguments)
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1
