from typing import Any

import pytest

from fanout.catalog.config import Config, GroupTable, LaneTable
from fanout.errors import UsageError
from fanout.gateway.dialects import chat, messages_read
from fanout.gateway.names import Unfit, find_plan, lanes_of
from fanout.policies.fallback import Fallback
from fanout.policies.fastest import Fastest
from fanout.policies.hedge import Hedge
from fanout.policies.quorum import Quorum
from fanout.policies.race import Race

CONFIG = Config(
    {"here": LaneTable("openai/x?base_url=http://127.0.0.1:9/v1&key_env=")},
    {"quick": GroupTable("race", ["here", "local"]), "every": GroupTable("all", ["here", "local"])},
)


def asked(model: str, **more: Any) -> Any:
    return chat.read({"model": model, "messages": [{"role": "user", "content": "Hi"}], **more})


@pytest.mark.parametrize(
    ("model", "kind", "names"),
    [
        ("local", Race, ["local"]),
        ("here?temperature=0.5", Race, ["here"]),
        ("quick", Race, ["here", "local"]),
        ("race:here,local", Race, ["here", "local"]),
        ("hedge:here,local@800ms", Hedge, ["here", "local"]),
        ("fallback:here, local", Fallback, ["here", "local"]),
        ("fastest:here,local", Fastest, ["here", "local"]),
        ("fastest:here,local@p95", Fastest, ["here", "local"]),
        ("quorum:here,local@2", Quorum, ["here", "local"]),
        ("fallback:quick,local", Fallback, ["here", "local", "local"]),
    ],
)
def test_a_name_is_a_plan(model: str, kind: type, names: list[str]) -> None:
    plan = find_plan(asked(model), CONFIG)
    assert type(plan) is kind
    assert [lane.name for lane in lanes_of(plan)] == names


def test_a_hedge_has_its_delay_and_a_stream_is_won_by_the_first_token() -> None:
    assert find_plan(asked("hedge:here,local@800ms"), CONFIG).pace == 0.8
    assert find_plan(asked("hedge:here,local@p95"), CONFIG).percentile == 0.95
    assert find_plan(asked("quick", stream=True), CONFIG).heeds != find_plan(asked("quick"), CONFIG).heeds


def test_spare_models_are_a_fallback_and_a_comma_list_is_a_race_if_it_says_so() -> None:
    spare = find_plan(asked("here", models=["here", "local"]), CONFIG)
    assert type(spare) is Fallback
    assert [lane.name for lane in lanes_of(spare)] == ["here", "local"]
    assert type(find_plan(asked("here,local", fastest_response=True), CONFIG)) is Race


@pytest.mark.parametrize(
    ("model", "word"),
    [
        ("nobody", "no provider, lane or group"),
        ("every", "takes one"),
        ("all:here,local", "takes one"),
        ("here,local", "fastest_response"),
        ("race:", "needs lanes"),
        ("hedge:here,local", "@800ms"),
        ("hedge:here,local@soon", "after"),
        ("quorum:here,local@9", "between 1"),
        ("race:" + ",".join(["here"] * 33), "32 lanes"),
        ("here?max_token=5", "client may not set"),
        ("x" * 5000, "4096 characters"),
    ],
)
def test_what_cannot_be_is_said(model: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        find_plan(asked(model), CONFIG)


def test_fields_of_one_wire_go_to_it_and_make_other_lanes_fail_unless_they_are_advice() -> None:
    both = "race:here,anthropic/m"
    (chat_lane, claude) = lanes_of(find_plan(asked(both, top_k=5), CONFIG))
    assert chat_lane.options.body == {"top_k": 5}
    assert isinstance(claude.provider, Unfit)
    tool = {"type": "function", "function": {"name": "f"}}
    (chat_lane, claude) = lanes_of(find_plan(asked(both, tools=[tool], parallel_tool_calls=False), CONFIG))
    assert chat_lane.options.body == {"parallel_tool_calls": False}
    assert not isinstance(claude.provider, Unfit)


def test_the_betas_of_anthropics_clients_go_to_its_own_lanes() -> None:
    body = {"model": "race:here,anthropic/m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    (_, claude) = lanes_of(find_plan(messages_read.read(body, ("new-feature",)), CONFIG))
    assert claude.provider.betas == ("new-feature",)  # type: ignore[attr-defined]
