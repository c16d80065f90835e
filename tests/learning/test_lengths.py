import json

import pytest

from fanout.learning.latencies import Key
from fanout.learning.lengths import MOST, Lengths

KEY = Key("a", "", None)


def test_an_answer_is_expected_to_be_as_long_as_others_were() -> None:
    lengths = Lengths()
    assert lengths.expected(KEY) is None
    for tokens in (100, 300):
        lengths.saw(KEY, tokens)
    assert lengths.expected(KEY) == 200
    for _ in range(200):
        lengths.saw(KEY, 50)
    assert lengths.expected(KEY) == 50


def test_json_brings_them_back_and_two_processes_keep_what_each_has_learnt() -> None:
    mine, theirs = Lengths(), Lengths()
    mine.saw(KEY, 100)
    theirs.saw(Key("b", "", "m"), 7)
    kept = Lengths.from_json(json.loads(json.dumps(theirs.to_json())))
    kept.add_fresh(mine)
    assert (kept.expected(KEY), kept.expected(Key("b", "", "m"))) == (100, 7)


@pytest.mark.parametrize("row", [None, 5, {}, {"provider": 1, "base_url": "", "model": None, "tokens": 1, "n": 1}])
def test_what_is_no_length_is_left_out(row: object) -> None:
    assert Lengths.from_json([row]).to_json() == []
    assert Lengths.from_json(row).to_json() == []


def test_the_service_that_was_used_least_lately_is_forgotten() -> None:
    lengths = Lengths()
    for number in range(MOST + 1):
        lengths.saw(Key("a", "", str(number)), 1)
    assert lengths.expected(Key("a", "", "0")) is None
