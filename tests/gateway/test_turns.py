"""The turns of an agent before services that give their calls no ids, or ids that are not unique."""

from base64 import b64decode
from typing import Any

import pytest
from attrs import evolve

from fanout.catalog.config import Config, GroupTable, LaneTable
from fanout.events import Delta, End
from fanout.gateway import turns
from fanout.gateway.affinity import Turn
from fanout.gateway.dialects import chat
from fanout.gateway.dialects.sealed import hash_of
from fanout.gateway.names import find_plan, lanes_of
from fanout.policies.fallback import Fallback
from fanout.prompt import ToolUse
from tests.gateway.gemini_upstream import GeminiUpstream
from tests.gateway.serving import Served, post, serving
from tests.servers.http import running

LOOK = {"type": "object", "properties": {"turn": {"type": "integer"}}}


def signatures(body: Any) -> list[tuple[int, str]]:
    """The turn that each call in a request to Gemini names, and its signature."""
    parts = [part for content in body["contents"] for part in content["parts"] if "functionCall" in part]
    return [(part["functionCall"]["args"]["turn"], b64decode(part["thoughtSignature"]).decode()) for part in parts]


async def ask_chat(served: Served, messages: list[Any], *, stream: bool) -> list[Any]:
    """Asks by Chat Completions, and returns the messages with the call and a result."""
    tools = [{"type": "function", "function": {"name": "look", "parameters": LOOK}}]
    body = {"model": "g", "messages": messages, "tools": tools, "stream": stream}
    answered = await post(served, "/v1/chat/completions", body)
    if stream:
        deltas = [event["choices"][0]["delta"] for event in answered.events if event != "[DONE]"]
        pieces = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
        arguments = "".join(piece["function"]["arguments"] for piece in pieces)
        calls = [{**pieces[0], "function": {"name": "look", "arguments": arguments}}]
    else:
        calls = answered.json["choices"][0]["message"]["tool_calls"]
    result = {"role": "tool", "tool_call_id": calls[0]["id"], "content": "42"}
    return [*messages, {"role": "assistant", "content": None, "tool_calls": calls}, result]


async def ask_messages(served: Served, messages: list[Any], *, drop: bool) -> list[Any]:
    """Asks by Messages; with `drop` the client forgets the blocks that hold signatures."""
    tools = [{"name": "look", "input_schema": LOOK}]
    answered = await post(
        served, "/v1/messages", {"model": "g", "max_tokens": 50, "messages": messages, "tools": tools}
    )
    blocks = [block for block in answered.json["content"] if not drop or block["type"] == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": blocks[-1]["id"], "content": "42"}
    return [*messages, {"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_calls_without_ids_keep_their_own_signatures_in_all_conversations(stream: bool, in_pieces: bool) -> None:
    async with running(GeminiUpstream(in_pieces=in_pieces)) as upstream:
        config = Config({"g": LaneTable(f"gemini/g?base_url={upstream.url}/v1beta")}, {})
        async with serving(config) as served:
            mine: list[Any] = [{"role": "user", "content": "mine"}]
            yours: list[Any] = [{"role": "user", "content": "yours"}]
            for _ in range(2):
                mine = await ask_chat(served, mine, stream=stream)
                yours = await ask_chat(served, yours, stream=stream)
            await ask_chat(served, mine, stream=stream)
            assert signatures(upstream.asked[-1]) == [(1, "signature 1"), (3, "signature 3")]
            ids = [message["tool_call_id"] for message in [*mine, *yours] if message["role"] == "tool"]
            assert len(set(ids)) == 4


@pytest.mark.parametrize("drop", [False, True])
async def test_a_client_with_a_place_for_signatures_gets_each_with_its_call(drop: bool) -> None:
    async with running(GeminiUpstream()) as upstream:
        config = Config({"g": LaneTable(f"gemini/g?base_url={upstream.url}/v1beta")}, {})
        async with serving(config) as served:
            messages: list[Any] = [{"role": "user", "content": "go"}]
            for _ in range(3):
                messages = await ask_messages(served, messages, drop=drop)
            assert signatures(upstream.asked[-1]) == [(1, "signature 1"), (2, "signature 2")]


CONFIG = Config({name: LaneTable(f"gemini/{name}?base_url=http://127.0.0.1:1/v1beta") for name in "ab"}, {})


def asking_after(name: str, arguments: str) -> Any:
    """A request that ends with the result of the call `c`."""
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ]
    return chat.read({"model": "race:a,b", "messages": messages})


@pytest.mark.parametrize(
    ("name", "arguments", "known"),
    [("f", '{"x": 1}', True), ("f", '{"x":1}', True), ("f", '{"x":2}', False), ("g", '{"x":1}', False)],
)
def test_a_call_that_only_shares_an_id_is_not_taken_for_the_one_remembered(
    name: str, arguments: str, known: bool
) -> None:
    asked = asking_after(name, arguments)
    plan = find_plan(asked, CONFIG)
    opaque = {**next(lanes_of(plan)).provider.maker, "parts": []}
    turn = Turn("b", "thought", opaque, (ToolUse("c", "f", '{"x":1}'),))
    restored = turns.restore(asked, plan, lambda _: turn)
    assert (restored.prompt.messages[1].opaque == opaque) is known
    assert (turns.stay(plan, asked, lambda _: turn) is not plan) is known


@pytest.mark.parametrize("spare", [None, "c"])
def test_the_turn_after_a_call_keeps_the_settings_of_its_group(spare: str | None) -> None:
    table = GroupTable("race", ["a", "b"], on="finish", deadline=5.0, on_lose="keep")
    lanes = {name: LaneTable(f"gemini/{name}?base_url=http://127.0.0.1:1/v1beta") for name in "abc"}
    asked = evolve(asking_after("f", "{}"), model="g", models=(spare,) if spare else (), stream=True)
    plan = find_plan(asked, Config(lanes, {"g": table}))
    stayed = turns.stay(plan, asked, lambda _: Turn("b", calls=(ToolUse("c", "f", "{}"),)))
    assert [lane.name for lane in lanes_of(stayed)] == ["b", "a", *([spare] if spare else [])]
    if spare:
        assert stayed.heeds is not None
        assert Delta in stayed.heeds  # between the group and the spare the first token decides, as before
    group = stayed.lanes[0] if spare else stayed
    assert isinstance(group, Fallback)
    assert (group.deadline, group.on_lose, group.heeds) == (5.0, "keep", frozenset({End}))


def test_the_turn_after_a_call_of_a_quorum_is_judged_by_whole_answers_too() -> None:
    asked = evolve(asking_after("f", "{}"), model="quorum:a,b@2", stream=True)
    stayed = turns.stay(find_plan(asked, CONFIG), asked, lambda _: Turn("b", calls=(ToolUse("c", "f", "{}"),)))
    assert stayed.heeds == frozenset({End})


def test_what_a_client_sends_back_counts_more_than_what_is_remembered() -> None:
    asked = asking_after("f", "{}")
    plan = find_plan(asked, CONFIG)
    maker = next(lanes_of(plan)).provider.maker
    first, call, result = asked.prompt.messages
    sent = {**maker, "service": hash_of(maker["service"]), "parts": [{"call": "c", "data": {"its": "own"}}]}
    asked = evolve(asked, prompt=evolve(asked.prompt, messages=(first, evolve(call, opaque=sent), result)))
    turn = Turn("a", "", {**maker, "parts": []}, (ToolUse("c", "f", "{}"),))
    restored = turns.restore(asked, plan, lambda _: turn).prompt.messages[1].opaque
    assert restored is not None
    assert restored["parts"] == sent["parts"]
    assert restored["service"] == maker["service"]
