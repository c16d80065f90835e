import json

import pytest

from fanout import Fallback, Options, Prompt
from fanout.answers import Answer
from fanout.errors import ServerError
from fanout.policies.fuse import ANALYSIS, Fuse

ANSWERS = [Answer(name, text=f"text of {name}") for name in "ab"]


def test_the_answer_is_asked_for_with_the_options_of_the_prompt() -> None:
    hearing = Fuse(*"ab", judge="d").open_hearing()
    asked = hearing.ask(Prompt.of("?").with_options(Options(max_tokens=9, schema={"type": "object"})), ANSWERS)
    assert hearing.writer == 0
    assert (asked[0].options.max_tokens, asked[0].options.schema) == (9, {"type": "object"})


def test_an_analysis_comes_first_and_its_labels_become_names() -> None:
    hearing = Fuse(*"ab", judge="d", analysis=True).open_hearing()
    asked = hearing.ask(Prompt.of("?").with_options(Options(max_tokens=9)), ANSWERS)
    assert [*asked] == [0] and asked[0].options.schema == ANALYSIS and asked[0].options.max_tokens is None
    lanes = hearing.name_lanes(hearing.order)
    found = {
        "contradictions": [{"topic": "t", "stances": [{"model": "A", "stance": "s"}]}],
        "partial_coverage": [{"models": ["A", "B", "Z"], "point": "A"}],
    }
    then = hearing.take(0, Answer("judge", text=json.dumps(found)), None)
    assert [*then] == [1] == [hearing.writer]
    assert hearing.analysis == {
        "contradictions": [{"topic": "t", "stances": [{"model": lanes["A"], "stance": "s"}]}],
        "partial_coverage": [{"models": [lanes["A"], lanes["B"], "Z"], "point": "A"}],
    }
    assert json.dumps(found) in then[1].messages[1].text
    hearing.take(1, Answer("judge#2", text="x"), None)
    assert (hearing.over, hearing.verdicts) == (True, [])


def test_the_answer_is_written_without_an_analysis_that_failed() -> None:
    hearing = Fuse(*"ab", judge="d", analysis=True).open_hearing()
    hearing.ask(Prompt.of("?"), ANSWERS)
    then = hearing.take(0, Answer("judge"), ServerError("gone"))
    assert "analysis" not in then[1].messages[1].text
    assert hearing.analysis is None


@pytest.mark.parametrize("text", ["", "prose", "[]", '{"other": 1}'])
def test_what_is_no_analysis_is_refused(text: str) -> None:
    hearing = Fuse(*"ab", judge="d", analysis=True).open_hearing()
    accept = hearing.plans[0].accept
    assert accept is not None
    with pytest.raises(ValueError, match="analysis is no JSON object"):
        accept(Answer("judge", text=text))


def test_one_judges_words_count_from_the_first_on_and_a_fallbacks_when_one_has_won() -> None:
    alone = Fuse(*"ab", judge="d").open_hearing().plans[0]
    assert len(alone.heeds or ()) > 1
    plan = Fuse(*"ab", judge=Fallback("d", "e")).open_hearing().plans[0]
    assert isinstance(plan, Fallback) and len(plan.heeds or ()) == 1
