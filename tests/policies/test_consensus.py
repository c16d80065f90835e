import os
from collections import Counter
from math import comb
from random import Random
from typing import Any

import pytest

from fanout.answers import Answer
from fanout.errors import Refused, UsageError
from fanout.events import Delta, End, Status
from fanout.policies.consensus import Consensus, Stop, compute_lead
from tests.policies.standings import Stood

RUNS = int(os.environ.get("FANOUT_CONSENSUS_RUNS", "2000"))
"""Random votes; 100,000 take five minutes."""

GOOD, BAD, RUNNING = Status.FINISHED, Status.FAILED, None


def vote(plan: Consensus, texts: list[str], order: list[int]) -> tuple[int | None, int, list[Stood]]:
    """Ends the lanes in this order until it is decided; returns the winner, how many had to end, and all standings."""
    lanes = [Stood() for _ in texts]
    for place, index in enumerate(order, 1):
        lanes[index].status, lanes[index].place, lanes[index].text = GOOD, place, texts[index]
        for loser in plan.losers(index, End(GOOD), lanes):
            lanes[loser].lost = True
        if plan.winner(lanes) is not None:
            break
    return plan.winner(lanes), sum(lane.status is not None for lane in lanes), lanes


def draw(random: Random, lanes: int, right: float) -> list[str]:
    return ["right" if random.random() < right else f"wrong {random.randint(1, 4)}" for _ in range(lanes)]


def full_vote(texts: list[str]) -> str | None:
    first, *others = Counter(texts).most_common(2)
    return None if others and others[0][1] == first[1] else first[0]


def test_what_cannot_be_caught_is_the_winner_of_the_full_vote() -> None:
    random = Random(1)
    for run in range(RUNS):
        lanes = random.randint(1, 9)
        texts = draw(random, lanes, random.choice([0.9, 0.7, 0.5, 0.2]))
        order = random.sample(range(lanes), lanes)
        plan = Consensus(*range(lanes), wave=random.choice([None, 1, min(2, lanes)]))
        winner, _, stood = vote(plan, texts, order)
        assert (None if winner is None else texts[winner]) == full_vote(texts), (run, texts, order)
        assert all(lane.good == (lane.text == texts[winner]) for lane in stood if winner is not None and lane.status)


TABLE: list[tuple[int, Stop, tuple[float, float, float]]] = [
    (3, "caught", (2.19, 2.49, 2.69)),
    (5, "caught", (3.33, 4.01, 4.53)),
    (9, "caught", (5.55, 6.77, 7.91)),
    (15, "caught", (8.84, 10.7, 12.7)),
    (3, "likely", (3, 3, 3)),
    (5, "likely", (4.35, 4.76, 4.94)),
    (9, "likely", (5.24, 7.38, 8.57)),
    (15, "likely", (5.32, 9.10, 13.1)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("lanes", "stop", "expected"), TABLE)
def test_so_many_lanes_have_to_end_as_a_simulation_says(
    lanes: int, stop: Stop, expected: tuple[float, float, float]
) -> None:
    for right, mean in zip((0.9, 0.7, 0.5), expected, strict=True):
        random = Random(lanes)
        plan, runs = Consensus(*range(lanes), stop=stop), max(RUNS, 2000)
        ended = [vote(plan, draw(random, lanes, right), [*range(lanes)])[1] for _ in range(runs)]
        slack = 0.02 + 2 / runs**0.5  # of chance
        assert sum(ended) / runs == pytest.approx(mean, rel=slack), (right, lanes)


def test_the_posterior_is_that_of_adaptive_consistency() -> None:
    assert compute_lead(3, 0) == pytest.approx(0.9375)
    assert compute_lead(4, 0) == pytest.approx(0.96875)
    for most in range(12):
        for next_most in range(most + 1):
            n = most + next_most + 1  # the Beta distribution's tail, integrated by its binomial sum
            expected = sum(comb(n, k) for k in range(most + 1)) / 2**n
            assert compute_lead(most, next_most) == pytest.approx(expected)
    assert compute_lead(5000, 4000) == 1


def standing(*texts: str | None) -> list[Stood]:
    return [Stood(GOOD, place=i, text=text) if text else Stood() for i, text in enumerate(texts, 1)]


def test_a_leader_that_cannot_be_caught_makes_all_others_lose() -> None:
    lanes = standing("x", "y", "x", "x", None)
    assert Consensus(*range(5)).losers(3, End(GOOD), lanes) == [1, 4]
    assert Consensus(*range(5)).winner(lanes) == 0
    assert not Consensus(*range(5)).losers(2, Delta("x"), lanes)


def test_a_tie_has_no_winner_and_nobody_loses() -> None:
    lanes = standing("x", "y")
    assert not Consensus(*range(2)).losers(1, End(GOOD), lanes)
    assert Consensus(*range(2)).winner(lanes) is None


def test_the_first_answer_with_so_many_votes_wins() -> None:
    plan = Consensus(*range(9), agree=2)
    lanes = standing("y", "x", "x", *[None] * 6)
    assert plan.winner(lanes) == 1
    assert plan.losers(2, End(GOOD), lanes) == [0, *range(3, 9)]


def test_those_that_run_lose_when_too_few_can_agree_and_the_others_are_kept() -> None:
    plan = Consensus(*range(4), agree=3)
    lanes = standing("x", "y", None, None)
    assert not plan.losers(1, End(GOOD), lanes)
    lanes = standing("x", "y", "z", None)
    assert plan.losers(2, End(GOOD), lanes) == [3]
    assert plan.winner(lanes) is None


def test_failed_lanes_do_not_vote() -> None:
    lanes = standing("x", None, None)
    lanes[1].status, lanes[1].place = BAD, 2
    assert Consensus(*range(3)).winner(lanes) is None
    lanes[2].status, lanes[2].place = BAD, 3
    assert Consensus(*range(3)).winner(lanes) == 0


@pytest.mark.parametrize(
    ("texts", "started", "needed"),
    [
        ([None] * 5, 1, True),
        ([None] * 5, 2, True),
        ([None] * 5, 3, False),
        (["x", "x", None, None, None], 3, False),
        (["x", "y", None, None, None], 3, True),
        (["x", "y", None, None, None], 4, False),
    ],
)
def test_the_next_lane_is_needed_when_those_that_run_cannot_decide(
    texts: list[str | None], started: int, needed: bool
) -> None:
    assert Consensus(*range(5), wave=3).needs_next(standing(*texts), started) is needed


def test_a_wave_that_cannot_decide_alone_is_no_bound() -> None:
    plan = Consensus(*range(9), wave=3)
    assert [plan.needs_next(standing(*[None] * 9), started) for started in (3, 4, 5)] == [True, True, False]
    likely = Consensus(*range(9), wave=1, stop="likely")
    assert [likely.needs_next(standing(*[None] * 9), started) for started in (1, 3, 4)] == [True, True, False]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris.", "  paris"),
        ("New  York\n", "new york"),
        ('{"a": 1, "b": [1.0]}', '{"b":[1],"a":1}'),
        ('```json\n{"a": 1}\n```', '{"a":1}'),
        ("STRASSE", "straße"),
    ],
)
def test_the_same_answer_has_the_same_key(one: str, other: str) -> None:
    plan = Consensus("a")
    assert plan.find_key(Answer("a", text=one)) == plan.find_key(Answer("b", text=other))


@pytest.mark.parametrize(("one", "other"), [("Paris", "Pari s"), ("1.5", "15"), ('{"a": 1}', '{"a": "1"}')])
def test_other_answers_have_other_keys(one: str, other: str) -> None:
    plan = Consensus("a")
    assert plan.find_key(Answer("a", text=one)) != plan.find_key(Answer("b", text=other))


def test_a_value_or_a_field_or_a_function_is_the_key() -> None:
    answer = Answer("a", text="x", value={"answer": 42.0, "why": "so"})
    assert Consensus("a").find_key(answer) == '{"answer":42,"why":"so"}'
    assert Consensus("a", key="answer").find_key(answer) == "42"
    assert Consensus("a", key="answer").find_key(Answer("a", text='{"answer": "Paris. "}')) == "paris"
    assert Consensus("a", key=lambda answer: [answer.text]).find_key(answer) == '["x"]'


def fail(_: Answer) -> Any:
    raise ZeroDivisionError("no")


@pytest.mark.parametrize("key", [fail, lambda _: None, "missing"])
def test_an_answer_without_a_key_is_refused(key: Any) -> None:
    plan = Consensus("a", key=key)
    with pytest.raises(Refused, match="no key for its vote"):
        assert plan.accept and plan.accept(Answer("a", text="x"))


def test_votes_count_who_lost_too_and_the_most_come_first() -> None:
    lanes = standing("y", "x", "x", None)
    lanes[0].lost = True
    assert [*Consensus(*range(4)).tally(lanes).items()] == [("x", [1, 2]), ("y", [0])]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"agree": 0}, "agree must be between 1 and the number of lanes, 2"),
        ({"wave": 3}, "wave must be between 1"),
        ({"stop": "early"}, "stop must be caught or likely, not 'early'"),
        ({"key": 7}, "key takes the name of a field or a function"),
        ({"or_judge": ""}, "a judge is missing"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Consensus("a", "b", **setting)


def test_an_empty_answer_is_no_vote_where_a_function_would_have_a_key_for_it() -> None:
    plan = Consensus("a", "b", "c", key=lambda answer: len(answer.text))
    lanes = [Stood(GOOD, place=1, text="", accepted=False), Stood(GOOD, place=2, text="x"), Stood(BAD, place=3)]
    assert plan.tally(lanes) == {"1": [1]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ('{"a": "caf\u00e9"}', '{"a": "cafe\u0301"}'),
        ("1", "1.0"),
        ("[1]", "```json\n[1]\n```"),
        ('{"a": 1}', '```\n{"a": 1.0}\n```'),
    ],
)
def test_what_is_written_in_two_ways_is_one_answer(one: str, other: str) -> None:
    plan = Consensus("a")
    assert plan.find_key(Answer("a", text=one)) == plan.find_key(Answer("a", text=other))


@pytest.mark.parametrize("key", [lambda _: object(), lambda _: nested(100_000)], ids=["object", "deep"])
def test_a_function_whose_key_says_nothing_is_a_refusal(key: Any) -> None:
    with pytest.raises(Refused, match="no key for its vote"):
        Consensus("a", key=key).find_key(Answer("a", text="x"))


def nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def test_a_key_can_be_written_on_any_wire() -> None:
    assert Consensus("a").find_key(Answer("a", text='{"a": "\\ud800"}')).encode() == b'{"a":"\\ud800"}'
