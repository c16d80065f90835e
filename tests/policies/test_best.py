import json

from fanout import Options, Prompt
from fanout.answers import Answer
from fanout.errors import ServerError
from fanout.policies.best import Best

ANSWERS = [Answer(name, text=f"text of {name}") for name in "abc"]


def says(label: str) -> Answer:
    return Answer("judge", text=json.dumps({"best": label, "why": "so"}))


def test_the_judge_sees_every_answer_and_no_name() -> None:
    hearing = Best(*"abc", judge="d").open_hearing()
    asked = hearing.ask(Prompt.of("?"), ANSWERS)
    [prompt] = asked.values()
    assert all(answer.text in prompt.messages[1].text for answer in ANSWERS)
    assert prompt.options.schema and prompt.options.schema["properties"]["best"]["enum"] == ["A", "B", "C"]
    assert prompt.options.max_tokens is None


def test_orders_differ_from_run_to_run_and_a_seed_fixes_them() -> None:
    def order(seed: int | None) -> tuple[str, ...]:
        hearing = Best(*"abc", judge="d").open_hearing()
        hearing.ask(Prompt.of("?").with_options(Options(seed=seed)), ANSWERS)
        return tuple(hearing.name_lanes(hearing.orders[0]).values())

    assert len({order(None) for _ in range(200)}) == 6
    assert len({order(7) for _ in range(20)}) == 1


def test_the_verdict_names_the_lane_behind_the_label() -> None:
    hearing = Best(*"abc", judge="d").open_hearing()
    hearing.ask(Prompt.of("?"), ANSWERS)
    assert hearing.take(0, says("B"), None) == {}
    [verdict] = hearing.verdicts
    assert verdict.best == verdict.labels["B"] == ANSWERS[hearing.best or 0].lane


def test_of_two_verdicts_that_differ_the_one_that_finished_first_wins() -> None:
    for seed in range(50):
        hearing = Best(*"abc", judge="d", swap=True).open_hearing()
        hearing.ask(Prompt.of("?").with_options(Options(seed=seed)), ANSWERS)
        assert [hearing.over for judge in (1, 0) if hearing.take(judge, says("A"), None) == {}] == [False, True]
        assert hearing.orders[1] == hearing.orders[0][::-1]
        assert hearing.best == min(hearing.orders[0][0], hearing.orders[0][-1])


def test_a_judge_that_fails_names_nobody() -> None:
    hearing = Best(*"abc", judge="d").open_hearing()
    hearing.ask(Prompt.of("?"), ANSWERS)
    hearing.take(0, Answer("judge"), ServerError("gone"))
    assert hearing.best is None and hearing.over
    assert [str(verdict.error) for verdict in hearing.verdicts] == ["server: gone"]
