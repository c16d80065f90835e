"""The laws hold on worlds drawn from seeds, the same seed gives the same log, and planted faults are found."""

import os
import subprocess
import sys
import time
from random import Random
from typing import Any

import pytest
import trio

from fanout.engine import retry
from fanout.sim.check import check_seed, check_world
from fanout.sim.draw import draw_world
from fanout.sim.judged import add_judges
from fanout.sim.log import lines
from fanout.sim.play import play
from fanout.sim.sweep import make_up_seed
from fanout.sim.world import Node
from tests.sim.faults import FAULTS

FOUND_WITHIN = 1000
"""Seeds within which a planted fault must be found."""


def check(seed: int) -> None:
    verdict = check_seed(seed)
    if verdict.broken:
        excerpt = "\n".join(verdict.excerpt())
        pytest.fail(f"{verdict.broken[0]}\n{excerpt}\nagain: fanout sim --seed {seed} --log", pytrace=False)


@pytest.mark.slow
def test_every_law_holds_in_the_worlds_of_the_first_seeds() -> None:
    for seed in range(200):
        check(seed)


@pytest.mark.slow
def test_every_law_holds_in_worlds_that_nobody_has_seen() -> None:
    """Runs for FANOUT_SIM_SECONDS, in continuous integration a minute; FANOUT_SIM_SEED begins with a seed again.

    The model errs about one world in 15,000, where several things happen in one moment. That is told, and no failure;
    a fault of the engine shows in many more.
    """
    first = int(os.environ.get("FANOUT_SIM_SEED") or make_up_seed())
    seconds = float(os.environ.get("FANOUT_SIM_SECONDS") or (60 if os.environ.get("CI") else 2))
    sys.stdout.write(f"FANOUT_SIM_SEED={first}\n")
    until, seed, different = time.monotonic() + seconds, first, []
    while time.monotonic() < until:
        if (verdict := check_seed(seed)).differs:
            different.append(f"{verdict.broken[0]}\nagain: fanout sim --seed {seed} --log\n")
        elif verdict.broken:
            check(seed)
        seed += 1
    sys.stdout.write("".join(different))
    assert len(different) <= 2 + (seed - first) / 5000, "".join(different)


@pytest.mark.slow
def test_every_law_holds_where_lanes_vote_and_judges_choose_or_write() -> None:
    for seed in range(300):
        verdict = check_world(add_judges(draw_world(seed), share=1.0))
        assert not verdict.broken, f"{seed}: {verdict.broken[0]}"


def test_votes_and_judges_of_all_kinds_are_drawn() -> None:
    worlds = [add_judges(draw_world(seed), share=1.0) for seed in range(300)]
    plans = [call.plan for world in worlds for call in world.calls]
    assert {plan.policy for plan in plans} > {"consensus", "best", "fuse"}
    judges = [plan.judge for plan in plans if plan.judge is not None]
    assert {judge.policy for judge in judges if isinstance(judge, Node)} > {"race", "fallback", "quorum", "best"}
    assert {plan.questions for plan in plans} == {0, 1, 2}


SCRIPT = """
from fanout.sim.draw import draw_world
from fanout.sim.log import lines
from fanout.sim.play import play
for seed in range(40):
    print("\\n".join(lines(play(draw_world(seed)))))
"""


@pytest.mark.slow
def test_the_same_seed_gives_the_same_log_in_any_process() -> None:
    logs = set()
    for number in ("1", "2", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": number, "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, env=environment, check=True)
        logs.add(done.stdout)
    mine = "".join(f"{line}\n" for seed in range(40) for line in lines(play(draw_world(seed))))
    assert logs == {mine.encode()}


def test_other_seeds_give_other_worlds_of_all_kinds() -> None:
    worlds = [draw_world(seed) for seed in range(300)]
    calls = [call for world in worlds for call in world.calls]
    assert len({str(call.plan) for call in calls}) > 150
    assert {call.plan.policy for call in calls} == {"race", "hedge", "fallback", "quorum", "all"}
    assert {call.user.way for call in calls} == {"open", "take", "ask", "gather", "race", "stream"}
    assert {act.what for call in calls for act in call.user.acts} == {"leave", "raise", "cut", "cancel", "stop"}
    leaves = [leaf for call in calls for leaf in call.plan.leaves()]
    replies = [reply for leaf in leaves for reply in leaf.replies]
    assert {leaf.wire for leaf in leaves} == {"openai", "anthropic", "gemini", "ollama"}
    assert {reply.ending for reply in replies} == {"close", "hang", "reset", "refuse"}
    assert {leaf.keys for leaf in leaves} == {1, 3}
    assert any(world.tied for world in worlds)


def test_a_played_world_leaves_trio_and_our_jitter_as_they_were() -> None:
    core: Any = trio._core._run
    before = core._ALLOW_DETERMINISTIC_SCHEDULING, core._r.getstate(), retry.RANDOM.getstate()
    play(draw_world(3))
    assert (core._ALLOW_DETERMINISTIC_SCHEDULING, core._r.getstate(), retry.RANDOM.getstate()) == before
    assert isinstance(core._r, Random)  # the private names that the order of tasks is seeded by


@pytest.mark.slow
@pytest.mark.internal
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[name](monkeypatch)
    found = next((seed for seed in range(FOUND_WITHIN) if check_seed(seed).broken), None)
    assert found is not None
    verdict = check_seed(found)
    assert verdict.broken
    assert verdict.excerpt()
    monkeypatch.undo()
    check(found)  # it is the fault that was found, and nothing else
