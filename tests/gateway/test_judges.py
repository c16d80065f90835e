"""Plans with a judge as models of the gateway: by name, by group, and as clients of OpenRouter and LiteLLM ask."""

import json
import re
from typing import Any

import pytest

from fanout.catalog.config import Config, GroupTable, LaneTable
from fanout.errors import UsageError
from fanout.gateway import answering
from fanout.gateway.dialects import chat, messages_read, responses_read
from fanout.gateway.names import Unfit, find_plan, lanes_of
from fanout.policies.best import Best
from fanout.policies.consensus import Consensus
from fanout.policies.fuse import Fuse
from tests.gateway.serving import asking, config_of, post, serving
from tests.servers.openai import open_server

A = json.dumps({"best": "A"})
CONFIG = Config(
    {"here": LaneTable("openai/x?base_url=http://127.0.0.1:9/v1&key_env=")},
    {"finest": GroupTable("best", ["here", "local"], judge="here")},
)


def asked(model: str, **more: Any) -> Any:
    return chat.read({"model": model, "messages": [{"role": "user", "content": "Hi"}], **more})


@pytest.mark.parametrize(
    ("model", "kind", "judge"),
    [
        ("best:here,local->local", Best, "local"),
        ("fuse:here,local -> here", Fuse, "here"),
        ("consensus:here,local,local", Consensus, None),
        ("consensus:here,local->here", Consensus, "here"),
        ("finest", Best, "here"),
    ],
)
def test_a_name_is_a_plan_with_a_judge(model: str, kind: type, judge: str | None) -> None:
    plan: Any = find_plan(asked(model), CONFIG)
    assert type(plan).__name__ == kind.__name__
    assert (plan.judge.name if plan.judge else None) == judge
    assert [lane.name for lane in lanes_of(plan)][:2] == ["here", "local"]


@pytest.mark.parametrize(
    ("model", "word"),
    [
        ("best:here,local", "does not say who judges; write best:a,b,c->d"),
        ("fuse:here,local->", "does not say who judges"),
        ("best:->here", "needs lanes"),
        ("best:here,local->here?key_env=X", "client may not set"),
        ("best:here,local->nobody", "no provider, lane or group"),
    ],
)
def test_what_cannot_be_is_said(model: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        find_plan(asked(model), CONFIG)


OPENROUTER = {"plugins": [{"id": "fusion", "analysis_models": ["here", "local"], "model": "local"}]}
LITELLM = {"fusion": {"models": ["here", "local"], "judge": {"model": "local", "criteria": "short"}}}


@pytest.mark.parametrize(("more", "criteria"), [(OPENROUTER, None), (LITELLM, "short")])
def test_a_fusion_may_be_asked_for_apart_from_the_name_in_every_dialect(
    more: dict[str, Any], criteria: str | None
) -> None:
    said = [{"role": "user", "content": "Hi"}]
    bodies: list[Any] = [
        chat.read({"model": "m", "messages": said, **more}),
        messages_read.read({"model": "m", "messages": said, "max_tokens": 5, **more}),
        responses_read.read({"model": "m", "input": "Hi", **more}),
    ]
    for one in bodies:
        plan = find_plan(one, CONFIG)
        assert isinstance(plan, Fuse)
        assert ([lane.name for lane in plan.lanes], plan.judge.name) == (["here", "local"], "local")
        assert plan.criteria == criteria


def test_a_fusion_that_names_no_judge_is_written_by_the_model() -> None:
    plan = find_plan(asked("here", plugins=[{"id": "fusion", "analysis_models": ["local", "here"]}]), CONFIG)
    assert isinstance(plan, Fuse) and plan.judge.name == "here"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"plugins": [{"id": "web"}]}, "plugins"),
        ({"plugins": {"id": "fusion"}}, "plugins"),
        ({"plugins": [{"id": "fusion"}]}, "plugins[0].analysis_models"),
        ({"plugins": [{"id": "fusion", "analysis_models": [7]}]}, "plugins[0].analysis_models"),
        ({"plugins": [{"id": "fusion", "analysis_models": "here"}]}, "plugins[0].analysis_models"),
        ({"plugins": [{"id": "fusion", "analysis_models": ["here"], "model": 0}]}, "plugins[0].model"),
        ({"plugins": ["fusion"]}, "plugins"),
        ({"fusion": {}}, "fusion.models"),
        ({"fusion": True}, "fusion"),
        ({"fusion": []}, "fusion"),
        ({"fusion": {"models": []}}, "fusion.models"),
        ({"fusion": {"models": {"here": 1}}}, "fusion.models"),
        ({"fusion": {"models": ["here"], "judge": "local"}}, "fusion.judge"),
        ({"fusion": {"models": ["here"], "judge": 0}}, "fusion.judge"),
        ({"fusion": {"models": ["here"], "judge": []}}, "fusion.judge"),
        ({"fusion": {"models": ["here"], "judge": {"model": 7}}}, "fusion.judge.model"),
        ({"fusion": {"models": ["here"], "judge": {"criteria": False}}}, "fusion.judge.criteria"),
        ({"fusion": {"models": ["here"], "judge": {"mode": "x"}}}, "fusion.judge takes"),
        ({"fusion": {"models": ["here"], "mode": "x"}}, "fusion takes"),
        ({"fusion": {"models": ["here"] * 40}}, "models"),
        ({"fusion": {"models": ["here?base_url=http://other"]}}, "base_url"),
    ],
    ids=str,
)
def test_a_fusion_that_cannot_be_is_refused_by_the_name_of_its_field(more: dict[str, Any], field: str) -> None:
    with pytest.raises(UsageError, match=re.escape(field)):
        find_plan(asked("here", **more), CONFIG)


def test_fields_of_one_wire_bind_who_writes_the_answer_and_not_who_chooses() -> None:
    fused: Any = find_plan(asked("fuse:here,here->anthropic/m", top_k=5), CONFIG)
    assert isinstance(fused.judge.provider, Unfit)
    chosen: Any = find_plan(asked("best:here,here->anthropic/m", top_k=5), CONFIG)
    assert not isinstance(chosen.judge.provider, Unfit)
    assert chosen.lanes[0].options.body == {"top_k": 5}


async def test_of_the_best_nothing_is_sent_but_signs_of_life_until_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "PATIENCE", 0.05)
    async with open_server() as upstream:
        lanes = {"a": upstream.lane("a", n=40, gap=0.01), "b": upstream.lane("b", say="other", ttft=0.3)}
        lanes["d"] = upstream.lane("d", say=A, ttft=0.2)
        async with serving(config_of(lanes)) as served:
            answered = await post(served, "/v1/chat/completions", asking("best:a,b->d", stream=True))
    assert answered.status == 200
    before, _, after = answered.body.partition(b"data: ")
    assert before.count(b": keep-alive") >= 4
    text = "".join(e["choices"][0]["delta"].get("content") or "" for e in answered.events if e != "[DONE]")
    assert text in ("".join(f"w{i} " for i in range(40)), "other")
    assert b"best" not in after


async def test_a_fusion_streams_the_judges_words_as_they_come() -> None:
    async with open_server() as upstream:
        lanes = {"a": upstream.lane("a", say="one"), "b": upstream.lane("b", say="two")}
        lanes["d"] = upstream.lane("d", n=5, gap=0.05)
        async with serving(config_of(lanes)) as served:
            answered = await post(served, "/v1/chat/completions", asking("fuse:a,b->d", stream=True))
            whole = await post(
                served, "/v1/chat/completions", asking("m", fusion={"models": ["a", "b"], "judge": {"model": "d"}})
            )
    texts = [e["choices"][0]["delta"].get("content") for e in answered.events if e != "[DONE]"]
    assert [text for text in texts if text] == [f"w{i} " for i in range(5)]
    assert answered.headers["x-fanout-winner"] == "judge"
    assert whole.json["choices"][0]["message"]["content"] == "w0 w1 w2 w3 w4 "
    assert whole.json["fanout"]["overhead"]["tokens"] == 2
    assert whole.json["fanout"]["wasted"]["tokens"] == 0


async def test_a_fusion_that_breaks_off_has_no_clean_end_and_one_that_never_began_is_the_first_answer() -> None:
    async with open_server() as upstream:
        lanes = {"a": upstream.lane("a", say="one"), "b": upstream.lane("b", say="two", ttft=0.1)}
        lanes |= {"cut": upstream.lane("cut", n=5, cut=2), "bad": upstream.lane("bad", status=400)}
        async with serving(config_of(lanes)) as served:
            broken = await post(served, "/v1/chat/completions", asking("fuse:a,b->cut", stream=True))
            first = await post(served, "/v1/chat/completions", asking("fuse:a,b->bad", stream=True))
    assert b"[DONE]" not in broken.body and b"w1" in broken.body
    assert b"one" in first.body and b"[DONE]" in first.body


async def test_a_vote_is_told_with_its_answer_and_a_tie_with_an_error() -> None:
    async with open_server() as upstream:
        lanes = {name: upstream.lane(name, say=word) for name, word in (("a", "yes"), ("b", "Yes."), ("c", "no"))}
        async with serving(config_of(lanes)) as served:
            agreed = await post(served, "/v1/chat/completions", asking("consensus:a,b"))
            tie = await post(served, "/v1/chat/completions", asking("consensus:a,c"))
    assert agreed.json["fanout"]["votes"]["yes"] in (["a", "b"], ["b", "a"])
    assert tie.status >= 400
    assert "did not agree" in tie.json["error"]["message"]
