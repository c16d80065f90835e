"""Tool loops over two turns and more: what only its service may have back reaches it unchanged, and nobody else."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import permutations
from typing import Any

import pytest
from attrs import evolve, frozen

import fanout
from fanout import Answer, History, Message, Options, Prompt, Run
from fanout.credentials.secret import Secret
from fanout.errors import InvalidRequest
from fanout.events import Status
from fanout.prompt import ToolUse
from fanout.providers.anthropic import Anthropic
from fanout.providers.gemini import UNSIGNED, Gemini
from fanout.providers.ollama import Ollama
from fanout.providers.openai import OpenAI
from fanout.providers.responses import Responses
from tests.servers import anthropic, gemini, ollama, responses, signing

TOOLS = tuple(
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("add", "now")
)
ASKED = Prompt.of("1+1, and the time?").with_options(Options(tools=TOOLS))

Lane = Callable[..., Any]


def block(index: int, *deltas: Mapping[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """A block of Anthropic's, with its deltas by their types."""
    events = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    begun = {"type": "content_block_start", "index": index, "content_block": fields}
    return [begun, *events, {"type": "content_block_stop", "index": index}]


def thinking(index: int, signature: str, *words: str) -> list[dict[str, Any]]:
    deltas = [{"type": "thinking_delta", "thinking": word} for word in words]
    halves = [{"type": "signature_delta", "signature": half} for half in (signature[:3], signature[3:])]
    return block(index, *deltas, *halves, type="thinking", thinking="", signature="")


def call(index: int, call_id: str, name: str) -> list[dict[str, Any]]:
    return block(
        index, {"type": "input_json_delta", "partial_json": ""}, type="tool_use", id=call_id, name=name, input={}
    )


def said(index: int, *words: str) -> list[dict[str, Any]]:
    return block(index, *({"type": "text_delta", "text": word} for word in words), type="text", text="")


def stopped(reason: str) -> list[dict[str, Any]]:
    return [{"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {}}, {"type": "message_stop"}]


THOUGHTS = [
    [
        *thinking(0, "c2lnbmVk/+==", "Ünd ", "so. 🎈"),
        *block(1, type="redacted_thinking", data="cmVkYWN0ZWQ/+=="),
        *said(2, "Let ", "me see."),
        *thinking(3, "YWdhaW4/+=="),  # newer models show nothing of a thought
        *said(4, "\n\n"),
        *call(5, "toolu_a", "add"),
        *thinking(6, "YmV0d2Vlbg/+==", "And now?"),
        *call(7, "toolu_b", "now"),
        *stopped("tool_use"),
    ],
    [*thinking(0, "dGhpcmQ/+==", "Once more"), *call(1, "toolu_c", "now"), *stopped("tool_use")],
    [*thinking(0, "ZW5k/+==", "Good."), *said(1, "done"), *stopped("end_turn")],
]


def whole_message(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The same answer, not streamed."""
    reason = events[-2]["delta"]["stop_reason"]
    return {"type": "message", "content": anthropic.blocks_of(events), "stop_reason": reason, "usage": {}}


REASONING: list[list[dict[str, Any]]] = [
    [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Let me see."}],
            "encrypted_content": "Z0FBQUFB/+==",
            "status": None,
        },
        {
            "type": "message",
            "id": "msg_1",
            "phase": "commentary",
            "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
        },
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "Z0FBQUFC/+==", "content": None},
        {"type": "function_call", "id": "fc_1", "call_id": "call_a", "name": "add", "arguments": "{}"},
        {"type": "function_call", "id": "fc_2", "call_id": "call_b", "name": "now", "arguments": "{}"},
    ],
    [
        {"type": "reasoning", "id": "rs_3", "summary": [], "encrypted_content": "Z0FBQUFD/+=="},
        {"type": "function_call", "id": "fc_3", "call_id": "call_c", "name": "now", "arguments": "{}"},
    ],
    [
        {"type": "reasoning", "id": "rs_4", "summary": [], "encrypted_content": "Z0FBQUFE/+=="},
        {
            "type": "message",
            "id": "msg_2",
            "phase": "final_answer",
            "content": [{"type": "output_text", "text": "done", "annotations": []}],
        },
    ],
]


def whole_response(output: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"object": "response", "id": "resp_1", "status": "completed", "output": list(output)}


def streamed_response(output: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for place, item in enumerate(output):
        begun = {**item, "encrypted_content": "YmVndW4="} if item["type"] == "reasoning" else item
        events.append({"type": "response.output_item.added", "output_index": place, "item": begun})
        for part in item.get("content") or ():
            delta = {"output_index": place, "item_id": item["id"], "content_index": 0, "delta": part["text"]}
            events.append({"type": "response.output_text.delta", **delta})
        events.append({"type": "response.output_item.done", "output_index": place, "item": item})
    return [*events, {"type": "response.completed", "response": whole_response(output)}]


@frozen
class Wire:
    """A server that is strict about what comes back, and lanes that ask it, each with a model of its own."""

    open: Callable[[], AbstractAsyncContextManager[tuple[Any, Lane]]]
    model: str
    rounds: int = 3

    @property
    def other(self) -> str:
        """Another model of the same service."""
        return f"{self.model}@other" if self.rounds == 2 else f"{self.model}-other"


@asynccontextmanager
async def open_anthropic(*, whole: bool) -> AsyncGenerator[tuple[Any, Lane]]:
    answers = [whole_message(events) if whole else events for events in THOUGHTS]
    async with anthropic.open_server() as server:
        server.events, server.later = answers[0], answers[1:]

        def lane(model: str, **fields: Any) -> Any:
            return Anthropic(model, base_url=server.url, key=Secret(anthropic.KEY), **fields)

        yield server, lane


@asynccontextmanager
async def open_responses(*, whole: bool) -> AsyncGenerator[tuple[Any, Lane]]:
    answers = [whole_response(output) if whole else streamed_response(output) for output in REASONING]
    async with responses.open_server() as server:
        server.events, server.later = answers[0], answers[1:]

        def lane(model: str, **fields: Any) -> Any:
            given = {"encrypted": True, **fields}
            return Responses(model, base_url=server.base_url, key=Secret(responses.KEY), **given)

        yield server, lane


@asynccontextmanager
async def open_gemini() -> AsyncGenerator[tuple[Any, Lane]]:
    async with gemini.open_server() as server:
        yield server, lambda model: Gemini(model, base_url=f"{server.url}/v1beta", key=Secret(gemini.KEY))


@asynccontextmanager
async def open_chat() -> AsyncGenerator[tuple[Any, Lane]]:
    async with signing.open_server() as server:

        def lane(model: str) -> Any:
            reasoning = "tool turns" if model.startswith("deepseek") else "none"
            return OpenAI(model, base_url=f"{server.url}/v1", key=Secret("k"), reasoning=reasoning)  # type: ignore[arg-type]

        yield server, lane


WIRES = {
    "anthropic": Wire(lambda: open_anthropic(whole=False), "claude-x"),
    "anthropic, whole": Wire(lambda: open_anthropic(whole=True), "claude-x"),
    "responses": Wire(lambda: open_responses(whole=False), "gpt-x"),
    "responses, whole": Wire(lambda: open_responses(whole=True), "gpt-x"),
    "gemini": Wire(open_gemini, "gemini-3-x"),
    "gemini, array": Wire(open_gemini, "gemini-3-array"),
    **{
        f"chat, {name}": Wire(open_chat, name, 2)
        for kind in ("openrouter", "deepseek", "gemini")
        for name in (kind, f"{kind}-whole")
    },
}
each_wire = pytest.mark.parametrize("wire", [pytest.param(wire, id=name) for name, wire in WIRES.items()])


def results(answer: Answer) -> list[Message]:
    return [Message("tool", "2", tool_call_id=use.id) for use in answer.tool_calls]


def again(history: History | None) -> History:
    """A history that was kept as JSON meanwhile."""
    assert history is not None
    return History.from_json(json.loads(json.dumps(history.to_json())))


async def go_on(run: Run, *lanes: Any) -> Run:
    """The next round: every tool is answered, lane by lane as the conversation has it."""
    assert run.winner is not None, [answer.error for answer in run.answers]
    prompt = Prompt(tuple(results(run.winner))).with_options(ASKED.options)
    return await fanout.ask(prompt, list(lanes), conversation=again(run.conversation))


@each_wire
async def test_a_tool_loop_and_the_next_turn_go_on_with_what_the_service_must_have_back(wire: Wire) -> None:
    async with wire.open() as (_, lane):
        run = await fanout.ask(ASKED, [lane(wire.model)])
        assert [len(answer.tool_calls) for answer in run.answers] == [2]
        for _ in range(wire.rounds - 1):
            run = await go_on(run, lane(wire.model))
        assert run.winner is not None, [answer.error for answer in run.answers]
        assert (run.winner.text, run.winner.finish_reason) == ("done", "stop")
        more = await fanout.ask(
            Prompt.of("And again?").with_options(ASKED.options),
            [lane(wire.model)],
            conversation=again(run.conversation),
        )
        assert [answer.status for answer in more.answers] == [Status.FINISHED], more.answers[0].error


@each_wire
async def test_messages_that_the_caller_keeps_go_on_as_well(wire: Wire) -> None:
    async with wire.open() as (_, lane):
        messages = list(ASKED.messages)
        for _ in range(wire.rounds):
            answer = await fanout.race(Prompt(tuple(messages), ASKED.options), [lane(wire.model)])
            messages += [answer.message, *results(answer)]
        assert answer.text == "done"


@each_wire
async def test_another_model_of_the_same_service_gets_nothing_of_it(wire: Wire) -> None:
    async with wire.open() as (_, lane):
        run = await fanout.ask(ASKED, [lane(wire.model)])
        run = await go_on(run, evolve(lane(wire.other), name="other"))
        assert [answer.status for answer in run.answers] == [Status.FINISHED], run.answers[0].error


@each_wire
async def test_two_lanes_that_go_on_from_one_conversation_get_their_own_and_no_other(wire: Wire) -> None:
    async with wire.open() as (_, lane):
        lanes = [evolve(lane(wire.model), name="a"), evolve(lane(wire.other), name="b")]
        run = await fanout.ask(ASKED, fanout.All(*lanes))
        assert [answer.status for answer in run.answers] == [Status.FINISHED] * 2
        assert run.conversation is not None
        opaque = [turns.messages[-1].opaque for turns in run.conversation.lanes.values()]
        assert [mark and mark["model"] for mark in opaque] == [wire.model, wire.other]
        prompt = Prompt(tuple(results(run.answers[0]))).with_options(ASKED.options)
        both = await fanout.ask(prompt, fanout.All(*lanes), conversation=again(run.conversation))
        assert [answer.status for answer in both.answers] == [Status.FINISHED] * 2, both.answers


def changed(history: History, *, opaque: Callable[[Any], Any]) -> History:
    """The same conversation with something else in the place of what is opaque in the last message."""
    turns = next(iter(history.lanes.values()))
    last = turns.messages[-1]
    other = evolve(turns, messages=(*turns.messages[:-1], evolve(last, opaque=opaque(last.opaque))))
    return History(dict.fromkeys(history.lanes, other), other)


@pytest.mark.parametrize(
    "name", ["anthropic", "responses", "gemini", "chat, openrouter", "chat, gemini", "anthropic, whole"]
)
async def test_a_changed_signature_is_refused(name: str) -> None:
    """It shows that the servers of the tests above would have told."""

    def change(opaque: Any) -> Any:
        return json.loads(json.dumps(opaque).replace("/+==", "/+=A"))

    async with WIRES[name].open() as (_, lane):
        run = await fanout.ask(ASKED, [lane(WIRES[name].model)])
        assert run.conversation is not None and run.winner is not None
        prompt = Prompt(tuple(results(run.winner))).with_options(ASKED.options)
        conversation = changed(run.conversation, opaque=change)
        refused = await fanout.ask(prompt, [lane(WIRES[name].model)], conversation=conversation)
        assert isinstance(refused.answers[0].error, InvalidRequest)


@pytest.mark.parametrize("name", ["anthropic", "chat, openrouter", "chat, gemini", "anthropic, whole"])
async def test_a_missing_signature_is_refused(name: str) -> None:
    async with WIRES[name].open() as (_, lane):
        run = await fanout.ask(ASKED, [lane(WIRES[name].model)])
        assert run.conversation is not None and run.winner is not None
        prompt = Prompt(tuple(results(run.winner))).with_options(ASKED.options)
        conversation = changed(run.conversation, opaque=lambda _: None)
        refused = await fanout.ask(prompt, [lane(WIRES[name].model)], conversation=conversation)
        assert isinstance(refused.answers[0].error, InvalidRequest)


async def test_anthropic_gets_its_blocks_in_their_order() -> None:
    async with WIRES["anthropic"].open() as (server, lane):
        await go_on(await fanout.ask(ASKED, [lane("claude-x")]), lane("claude-x"))
        content = json.loads(server.taken[-1].body)["messages"][1]["content"]
        assert content == [
            {"type": "thinking", "thinking": "Ünd so. 🎈", "signature": "c2lnbmVk/+=="},
            {"type": "redacted_thinking", "data": "cmVkYWN0ZWQ/+=="},
            {"type": "text", "text": "Let me see."},
            {"type": "thinking", "thinking": "", "signature": "YWdhaW4/+=="},
            {"type": "tool_use", "id": "toolu_a", "name": "add", "input": {}},
            {"type": "thinking", "thinking": "And now?", "signature": "YmV0d2Vlbg/+=="},
            {"type": "tool_use", "id": "toolu_b", "name": "now", "input": {}},
        ]


async def test_a_loop_that_another_service_began_goes_on_without_thinking() -> None:
    options = evolve(ASKED.options, reasoning_tokens=1024)
    use = ToolUse("call_1", "add", "{}")
    foreign = Prompt(
        (Message("user", "1+1?"), Message("assistant", "", tool_uses=(use,)), Message("tool", "2", (), (), "call_1"))
    )
    async with WIRES["anthropic"].open() as (server, lane):
        answer = await fanout.race(foreign.with_options(options), [lane("claude-x")])
        assert answer.status is Status.FINISHED
        assert "thinking" not in json.loads(server.taken[-1].body)
        run = await fanout.ask(evolve(ASKED, options=options), [lane("claude-x")])
        assert run.winner is not None
        asked = Prompt(tuple(results(run.winner)), options)
        more = await fanout.ask(asked, [lane("claude-x")], conversation=again(run.conversation))
        assert more.answers[0].status is Status.FINISHED
        assert json.loads(server.taken[-1].body)["thinking"] == {"type": "enabled", "budget_tokens": 1024}


async def test_thoughts_stay_here_where_thinking_is_off() -> None:
    async with WIRES["anthropic"].open() as (_, lane):
        run = await fanout.ask(ASKED, [lane("claude-x")])
        assert run.winner is not None
        asked = Prompt(tuple(results(run.winner)), evolve(ASKED.options, reasoning_tokens=0))
        more = await fanout.ask(asked, [lane("claude-x")], conversation=again(run.conversation))
        assert more.answers[0].status is Status.FINISHED, more.answers[0].error


async def test_gemini_gets_each_signature_on_its_part_and_a_stand_in_only_from_others() -> None:
    async with WIRES["gemini"].open() as (server, lane):
        run = await go_on(await fanout.ask(ASKED, [lane("gemini-3-x")]), lane("gemini-3-x"))
        parts = json.loads(server.requests[-1].body)["contents"][1]["parts"]
        assert parts == [
            *gemini.STEPS[0][1:4],
            {**gemini.STEPS[0][4], "functionCall": {"id": "call_0", **gemini.STEPS[0][4]["functionCall"]}},
            {"functionCall": {"id": "call_1", **gemini.STEPS[0][5]["functionCall"]}},
        ]
        await go_on(run, evolve(lane("gemini-3-other"), name="other"))
        contents = json.loads(server.requests[-1].body)["contents"]
        signatures = {part.get("thoughtSignature") for content in contents for part in content["parts"]}
        assert signatures == {None, UNSIGNED}


async def test_responses_gets_its_items_as_they_were() -> None:
    async with WIRES["responses"].open() as (server, lane):
        await go_on(await fanout.ask(ASKED, [lane("gpt-x")]), lane("gpt-x"))
        items = json.loads(server.taken[-1].body)["input"][1:6]
        first, message, second, *calls = REASONING[0]
        nothing = {"status", "content"}
        assert [items[0], items[2]] == [
            {name: value for name, value in item.items() if name not in nothing} for item in (first, second)
        ]
        assert items[1] == {**message, "role": "assistant", "status": "completed"}
        assert items[3:] == calls


async def test_encrypted_reasoning_is_asked_for_where_there_is_some() -> None:
    async with WIRES["responses"].open() as (server, lane):
        run = await fanout.ask(ASKED, [lane("gpt-4-x")])
        assert [answer.status for answer in run.answers] == [Status.FINISHED]  # in the form without
        run = await go_on(await fanout.ask(ASKED, [lane("gpt-x", encrypted=False)]), lane("gpt-x", encrypted=False))
        assert [answer.status for answer in run.answers] == [Status.FINISHED]
        assert "reasoning" not in {item.get("type") for item in json.loads(server.taken[-1].body)["input"]}


async def test_an_ollama_model_gets_its_thoughts_back_and_no_other() -> None:
    lines = (
        {"model": "stream", "message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
        {
            "model": "stream",
            "message": {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add"}}]},
        },
        {"model": "stream", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"},
    )
    async with ollama.open_server() as server:
        server.lines = lines
        lane = Ollama("stream", base_url=server.url)
        run = await fanout.ask(ASKED, [lane])
        await go_on(run, lane)
        assert json.loads(server.requests[-1].body)["messages"][1]["thinking"] == "hm"
        await go_on(run, evolve(lane, name="other", model="other"))
        assert "thinking" not in json.loads(server.requests[-1].body)["messages"][1]


async def test_a_conversation_that_goes_from_service_to_service_keeps_its_calls_alone() -> None:
    async with AsyncExitStack() as stack:
        lanes = []
        for name in ("anthropic", "responses", "gemini", "chat, openrouter"):
            _, lane = await stack.enter_async_context(WIRES[name].open())
            lanes.append(lane(WIRES[name].model))
        for first, other in permutations(lanes, 2):
            more = await go_on(await fanout.ask(ASKED, [first]), other)
            assert more.answers[0].status is Status.FINISHED, more.answers[0].error
