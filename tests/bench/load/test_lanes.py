"""The lanes of a load."""

import pytest
from attrs import evolve

from fanout.bench.load.lanes import ask_full_length, prepare_lanes, price
from fanout.catalog import LaneSpec, find
from fanout.errors import UsageError
from tests.words import Words


def test_lanes_have_different_names_one_key_and_no_retries() -> None:
    spare = LaneSpec("a", Words("a"), retries=4, spares=(Words("a"),))
    lanes = prepare_lanes([spare, spare, LaneSpec("b", Words("b"))], twice=True)
    assert [lane.name for lane in lanes] == ["a", "a#2", "b", "a-again"]
    assert {(lane.retries, lane.spares) for lane in lanes} == {(0, ())}
    with pytest.raises(UsageError, match="-m"):
        prepare_lanes([])


def test_prices_are_a_service_s_and_not_those_of_a_server_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    service = find("openai/gpt-4o-mini")
    here = find("openai/gpt-4o-mini?base_url=http://127.0.0.1:9/v1")
    assert (price(service, 1000, 1000) or 0) > 0
    assert price(here, 1000, 1000) is None
    assert price(find("local"), 1000, 1000) == 0
    assert price(evolve(service, provider=Words("a", "m")), 1000, 1000) is None


def test_tokens_that_no_service_can_mean_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    lane = find("openai/gpt-4o-mini")
    assert price(lane, 10, 10**30) is None
    assert (price(lane, 10**30, 10) or 0) == price(lane, 0, 10)


def test_lanes_are_asked_for_answers_of_the_full_length_where_their_wire_can_say_so() -> None:
    lanes = [find("a=openai/m?base_url=https://h/v1&key_env=&body.top_k=1"), find("local?body.ignore_eos=false")]
    assert [dict(lane.options.body) for lane in ask_full_length(lanes)] == [
        {"ignore_eos": True, "top_k": 1},
        {"ignore_eos": False},
    ]
    with pytest.raises(UsageError, match=r"--ignore-eos: b, ollama/m: only servers of .* --max-tokens alone"):
        ask_full_length([lanes[0], LaneSpec("b", Words("b")), find("ollama/m")])
