"""Plans with a judge on the embedded model: three lanes and a judge in one small process, end to end."""

import os
from pathlib import Path

import pytest

import fanout
from fanout import Best, Fuse, Options

RUNS = int(os.environ.get("FANOUT_JUDGE_RUNS", "1"))
LANES = [f"l{seed}=local?seed={seed}&temperature=0.9" for seed in (1, 2, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Best, Fuse])
async def test_there_is_an_answer_and_every_token_is_counted_once(kind: type[Best] | type[Fuse], model: Path) -> None:
    async with fanout.open_transport() as transport:
        for _ in range(RUNS):
            plan = kind(*LANES, judge="local?max_tokens=60")
            run = await fanout.ask("Name one colour.", plan, transport=transport, options=Options(max_tokens=20))
            assert run.winner and run.winner.text
            counted = sum(answer.tokens for answer in run.answers)
            assert counted == run.winner.tokens + run.overhead.tokens + run.wasted.tokens
