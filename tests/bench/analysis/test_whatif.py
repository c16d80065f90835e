from itertools import accumulate
from math import inf, nextafter
from random import Random
from typing import Any

import pytest
from trio.testing import MockClock

import fanout
from fanout.bench.analysis.whatif import (
    SimulatedPolicy,
    alternatives,
    cost_so_far,
    play,
    recommend,
    replay,
    silences,
    tokens_made,
)
from fanout.bench.records.record import Record
from fanout.errors import UsageError
from fanout.events import Status
from fanout.policies.race import On
from tests.bench.answers import answer, failure, timeout
from tests.words import memory, watch, words

FAST, SLOW = answer("fast", first=0.2, pieces=11), answer("slow", first=0.5, pieces=51)
"""End after 0.4 and after 1.5 s."""


def test_one_lane_alone_is_what_it_was() -> None:
    outcome = play([SLOW], pace=0)
    assert (outcome.first, outcome.winner) == (0.5, 0)
    assert outcome.total == pytest.approx(1.5)


def test_a_race_is_over_when_the_first_has_finished() -> None:
    outcome = play([SLOW, FAST], pace=0)
    assert (outcome.winner, outcome.asked) == (1, (0.0, 0.0))
    assert outcome.total == pytest.approx(0.4)


def test_a_hedge_asks_the_next_lane_after_a_silence() -> None:
    outcome = play([SLOW, FAST], pace=0.3)
    assert outcome.asked == (0.0, 0.3)
    assert outcome.winner == 1
    assert outcome.total == pytest.approx(0.7)


def test_a_hedge_asks_nobody_while_the_first_lane_speaks() -> None:
    outcome = play([SLOW, FAST], pace=0.6)
    assert outcome.asked == (0.0,)
    assert outcome.winner == 0
    assert outcome.total == pytest.approx(1.5)


def test_a_hedge_comes_to_the_rescue_of_a_lane_that_stalls_in_the_middle() -> None:
    stalling = answer("a", pieces=6, times=(0.2, 0.22, 0.24, 3.0, 3.02, 3.04), ended=3.04)
    outcome = play([stalling, FAST], pace=0.5)
    assert outcome.asked == pytest.approx((0.0, 0.74))
    assert outcome.total == pytest.approx(1.14)


def test_the_third_lane_waits_for_the_silence_of_both() -> None:
    silent, late = timeout("a", ended=9.0), answer("b", first=0.4, pieces=2, gap=5.0)
    outcome = play([silent, late, FAST], pace=0.5)
    assert outcome.asked == pytest.approx((0.0, 0.5, 1.4))


def test_a_failure_starts_the_next_lane_at_once() -> None:
    outcome = play([failure(ended=0.1), FAST], pace=inf)
    assert outcome.asked == (0.0, 0.1)
    assert outcome.winner == 1
    assert outcome.total == pytest.approx(0.5)
    assert play([failure(ended=0.1), FAST], pace=0.3).asked == (0.0, 0.1)


def test_a_finished_answer_without_anything_in_it_is_a_failure() -> None:
    empty = answer(pieces=2, kinds="rr")
    assert play([empty, FAST], pace=inf).winner == 1


def test_where_all_fail_there_is_no_end() -> None:
    outcome = play([failure(ended=0.1), failure(ended=0.2), timeout(ended=1.0)], pace=inf)
    assert (outcome.winner, outcome.first, outcome.total) == (None, inf, inf)
    assert outcome.asked == pytest.approx((0.0, 0.1, 0.3))


def test_on_the_first_token_a_winner_that_fails_later_is_not_replaced() -> None:
    breaking = failure("a", ended=1.0, times=(0.1, 0.2), kinds="dd", sizes=(4, 4))
    assert play([breaking, SLOW], pace=0, on="first_token").total == inf
    assert play([breaking, SLOW], pace=0).winner == 1


def test_on_the_first_token_a_refusal_does_not_win() -> None:
    refusing = answer("a", pieces=4, kinds="nnnn")
    assert play([refusing, SLOW], pace=0, on="first_token").winner == 1


# The replay against the engine


def lane(random: Random, name: str) -> tuple[list[Any], Record]:
    """A script that a service in memory plays, and the record of the same."""
    waits = [random.choice([0.1, 0.5, 2.0]) * random.uniform(0.5, 1.5) for _ in range(random.randint(1, 6))]
    fails = random.random() < 0.3
    times = tuple(accumulate(waits))
    script: list[Any] = [step for wait in waits for step in (wait, b"word")]
    end = random.uniform(0.01, 1.0)
    script += [end, b"!broken" if fails else b"."]
    status = Status.FAILED if fails else Status.FINISHED
    return script, answer(name, pieces=len(waits), times=times, ended=times[-1] + end, status=status)


@pytest.mark.slow
@pytest.mark.parametrize("on", ["finish", "first_token"])
async def test_the_replay_does_what_the_engine_does(on: On, autojump_clock: MockClock) -> None:
    for seed in range(500):
        await compare_with_engine(seed, on)


async def compare_with_engine(seed: int, on: On) -> None:
    random = Random(seed)
    names = ["a", "b", "c"][: random.randint(2, 3)]
    lanes = {name: lane(random, name) for name in names}
    pace = random.choice([0.0, 0.2, 0.7, 1.7, inf])
    plan = fanout.Hedge(*words(*names), after=pace, on=on)
    seen = await watch(plan, memory(**{name: script for name, (script, _) in lanes.items()}))
    outcome = play([record for _, record in lanes.values()], pace, on)
    started = [start for name in names if (start := seen.start_at(name)) is not None and asked(seen.of(name))]
    assert outcome.asked == pytest.approx(started), seed
    winner = seen.run.winner
    if winner is None or winner.status is not Status.FINISHED:
        assert outcome.total == inf, seed
    else:
        assert outcome.winner == names.index(winner.lane), seed
        assert outcome.total == pytest.approx(seen.end_at(winner.lane)), seed


def asked(events: list[Any]) -> bool:
    """True if the lane got as far as a request: one that was never started has an End only."""
    return len(events) > 1


# Tokens and money


def test_a_cancelled_lane_has_made_the_tokens_that_had_come() -> None:
    record = answer(first=0.2, gap=0.1, pieces=10)
    assert tokens_made(record, 0.1) == 0
    assert tokens_made(record, nextafter(0.4, 1)) == 3
    assert tokens_made(record, 99) == 10
    assert tokens_made(failure(), 99) == 0


def test_hidden_reasoning_is_made_before_the_first_piece() -> None:
    record = answer(first=4.0, pieces=10, output=110, reasoning=100)
    assert tokens_made(record, 1.0) == pytest.approx(25)
    assert tokens_made(record, 4.0) == pytest.approx(101)
    assert tokens_made(record, 9.0) == 110


def test_a_cancelled_lane_costs_its_prompt_and_its_share_of_the_rest() -> None:
    record = answer(first=0.2, gap=0.1, pieces=10, cost=0.012, prompt_cost=0.002)
    assert cost_so_far(record, 0.1) == pytest.approx(0.002)
    assert cost_so_far(record, nextafter(0.4, 1)) == pytest.approx(0.002 + 0.003)
    assert cost_so_far(record, 99) == pytest.approx(0.012)
    assert cost_so_far(answer(), 0.1) is None


# Runs


def run(blocks: int = 200, seed: int = 1, **more: Any) -> list[Record]:
    """Lane a is quick but for a tenth of its requests, lane b a little slower and steady."""
    random, records = Random(seed), []
    for block in range(blocks):
        slow = 20.0 if random.random() < 0.1 else 1.0
        records.append(answer("a", block, first=0.2 * slow * random.lognormvariate(0, 0.1), cost=0.01, **more))
        records.append(answer("b", block, first=0.3 * random.lognormvariate(0, 0.1), cost=0.01, **more))
    return records


def test_a_hedge_at_p95_starts_a_second_lane_for_a_twentieth() -> None:
    found = alternatives(run(), ["a", "b"])
    assert [what.policy.name for what in found] == ["alone", "alone", "race", "fallback", "hedge", "hedge", "hedge"]
    assert [what.requests for what in found[4:]] == pytest.approx([0.5, 0.1, 0.05], abs=0.011)
    assert [what.requests for what in found[:4]] == [0, 0, 1, 0]
    assert all(what.n == 200 for what in found)


def test_a_hedge_cuts_the_tail_for_less_than_a_race_costs() -> None:
    alone, _, race, fallback, hedge, *_ = alternatives(run(), ["a", "b"])
    tails = [what.total["p95"].estimate or 0 for what in (alone, race, hedge)]
    assert tails[0] > 4
    assert max(tails[1:]) < 2.2
    assert fallback.total == alone.total
    assert (alone.cost or 0) < (hedge.cost or 0) < (race.cost or 0) < 0.02
    assert (alone.wasted, fallback.wasted) == (0, 0)
    assert 0 < hedge.wasted < race.wasted < 64
    assert race.tokens == pytest.approx(64 + race.wasted)


def test_the_recommended_delay_keeps_to_its_budget_and_helps() -> None:
    found = recommend(run(), ["a", "b"], budget=0.12)
    assert found is not None
    assert found.policy.name == "hedge"
    assert 0.2 < found.policy.pace < 1.5
    assert found.requests <= 0.125
    assert (found.total["p95"].estimate or 9) < 3


def test_no_delay_is_recommended_where_none_helps() -> None:
    steady = [answer(name, block) for block in range(200) for name in "ab"]
    assert recommend(steady, ["a", "b"]) is None
    assert recommend(run(30), ["a", "b"]) is None
    assert recommend(run(), ["a"]) is None


def test_a_fallback_saves_the_failed_requests_and_only_those() -> None:
    records = [failure("a", block, 0.1) if block % 10 == 0 else answer("a", block) for block in range(100)]
    records += [answer("b", block) for block in range(100)]
    alone, fallback = replay(records, SimulatedPolicy(("a",))), replay(records, SimulatedPolicy(("a", "b"), inf))
    assert (alone.failed, fallback.failed) == (0.1, 0)
    assert fallback.requests == pytest.approx(0.1)
    assert alone.total["p95"].estimate == inf
    assert fallback.total["p95"].estimate == pytest.approx(1.56)


def test_money_is_unknown_as_soon_as_one_price_is() -> None:
    records = [*run(40)[:-1], answer("b", 39)]
    assert replay(records, SimulatedPolicy(("a",))).cost == pytest.approx(0.01)
    assert replay(records, SimulatedPolicy(("a", "b"))).cost is None


def test_only_prompts_that_all_lanes_got_are_replayed() -> None:
    records = [
        answer("a", 0),
        answer("a", 1),
        answer("b", 1),
        answer("b", 2),
        answer("a", 3, warmup=True),
        answer("b", 3),
    ]
    records += [answer("a", 4, race=True), answer("b", 4), answer("a", 5, status=Status.CANCELLED), answer("b", 5)]
    assert replay(records, SimulatedPolicy(("a", "b"))).n == 1
    with pytest.raises(UsageError, match="nothing to replay"):
        replay(records, SimulatedPolicy(("a", "c")))


def test_blocks_of_two_levels_are_two() -> None:
    records = [answer(name, 0, level=level) for name in "ab" for level in (1.0, 8.0)]
    assert replay(records, SimulatedPolicy(("a", "b"))).n == 2


def test_a_silence_is_the_longest_wait_of_a_request_its_first_and_its_last_among_them() -> None:
    records = [answer(first=0.5), answer(first=0.1, ended=9.0), answer(first=0.1, gap=0.3), failure()]
    assert silences(records) == pytest.approx([0.3, 0.5, 9.0 - (0.1 + 63 * 0.02)])
