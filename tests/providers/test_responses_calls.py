import json
from typing import Any

import pytest

import fanout
from fanout.abc import Head
from fanout.answers import Answer, Fold
from fanout.credentials.secret import Secret
from fanout.events import ToolCall
from fanout.prompt import Message, Options, Prompt, ToolUse
from fanout.providers.responses import Responses
from fanout.providers.responses_calls import custom_tools
from tests.servers.responses import KEY, open_server

SHELL = {"type": "custom", "name": "sh", "description": "Runs a command."}
CUSTOM = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "sh"}
DONE = {"type": "response.completed", "response": {"status": "completed", "output": []}}


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


def done(item: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return event("output_item.done", item=item, **fields)


def read(*events: dict[str, Any], asked: dict[str, Any] | None = None) -> Answer:
    provider = Responses("m", key=Secret(KEY))
    head = Head(200, {"content-type": "text/event-stream"})
    request = provider.request(Prompt.of("Hi").with_options(Options(body=asked or {})))
    reader = provider.read(head, None if asked is None else request)
    fold = Fold("a")
    for value in (*events, DONE):
        fold.add(reader.feed(b"data: " + json.dumps(value).encode() + b"\n\n"), 0.0)
    fold.add(reader.close(), 0.0)
    return fold.answer


def test_a_custom_tool_has_a_text_and_no_json() -> None:
    for text in ("ls -l", "", "null", "{"):
        answer = read(
            event("output_item.added", output_index=0, item={**CUSTOM, "input": ""}),
            event("custom_tool_call_input.delta", output_index=0, item_id="ctc_1", delta=text[:2]),
            done({**CUSTOM, "input": text}, output_index=0),
        )
        assert answer.tool_calls == (ToolUse("call_1", "sh", text),), text
        assert answer.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (None, ["sh"]),
        ({"tools": [SHELL]}, ["sh"]),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [SHELL]}]}, ["sh"]),
        ({"prompt": {"id": "pmpt_1"}}, ["sh"]),
        ({"tools": [{"type": "x_search"}]}, []),
        ({"tools": [{**SHELL, "name": "other"}]}, []),
        ({}, []),
    ],
)
def test_a_custom_tool_that_nobody_asked_for_is_the_services_own(asked: Any, names: list[str]) -> None:
    """xAI tells its search on X so, and the answer comes in the same response."""
    answer = read(
        event("output_item.added", output_index=0, item={**CUSTOM, "input": ""}),
        event("custom_tool_call_input.delta", output_index=0, item_id="ctc_1", delta="{}"),
        event("custom_tool_call_input.done", output_index=0, item_id="ctc_1", input="{}"),
        done({**CUSTOM, "input": "{}"}, output_index=0),
        event("output_text.delta", output_index=1, item_id="msg_1", content_index=0, delta="Found."),
        asked=asked,
    )
    assert [call.name for call in answer.tool_calls] == names
    assert (answer.text, answer.finish_reason) == ("Found.", "tool_calls" if names else "stop")
    assert not answer.notes


ACTION = {"type": "exec", "command": ["ls"], "env": {}}


@pytest.mark.parametrize(
    ("item", "name", "arguments"),
    [
        ({"type": "local_shell_call", "call_id": "c", "action": ACTION}, "local_shell", ACTION),
        ({"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}}, "shell", {"commands": ["ls"]}),
        (
            {"type": "shell_call", "call_id": "c", "action": {}, "environment": {"type": "local"}},
            "shell",
            {},
        ),
        ({"type": "shell_call", "call_id": "c", "action": None, "environment": None}, "shell", {}),
        (
            {"type": "apply_patch_call", "call_id": "c", "operation": {"type": "delete_file", "path": "a"}},
            "apply_patch",
            {"type": "delete_file", "path": "a"},
        ),
        ({"type": "computer_call", "call_id": "c", "action": {"type": "wait"}}, "computer", {"type": "wait"}),
        ({"type": "computer_call", "call_id": "c", "actions": [{"type": "wait"}]}, "computer", [{"type": "wait"}]),
        (
            {"type": "tool_search_call", "call_id": "c", "execution": "client", "arguments": {"goal": "x"}},
            "tool_search",
            {"goal": "x"},
        ),
        (
            {"type": "mcp_approval_request", "id": "mcpr_1", "name": "search", "arguments": '{"q":1}'},
            "search",
            {"q": 1},
        ),
        ({"type": "mcp_approval_request", "call_id": "c", "name": "search", "arguments": ""}, "search", {}),
    ],
)
@pytest.mark.parametrize("told", ["done", "twice", "output", "beginning"])
def test_what_the_caller_must_do_is_a_tool_call(item: dict[str, Any], name: str, arguments: Any, told: str) -> None:
    events = {
        "done": [event("output_item.added", output_index=0, item={**item, "status": "in_progress"}), done(item)],
        "twice": [done(item), event("completed", response={"status": "completed", "output": [item]})],
        "output": [event("completed", response={"status": "completed", "output": [item]})],
        "beginning": [event("output_item.added", output_index=0, item=item)],
    }
    answer = read(*events[told])
    (call,) = answer.tool_calls
    assert (call.id, call.name, json.loads(call.arguments)) == (item.get("call_id", "mcpr_1"), name, arguments)
    assert (answer.finish_reason, answer.notes) == ("tool_calls", ())


@pytest.mark.parametrize(
    ("item", "note"),
    [
        ({"type": "mcp_approval_request", "id": "it_1", "name": "search"}, "mcp_approval_request without an id"),
        ({"type": "shell_call", "id": "sh_1", "action": {}}, "shell_call without an id"),
        ({"type": "hologram", "id": "h_1"}, "not known: hologram"),
        ({"type": "mcp_list_tools", "id": "m_1", "tools": []}, "nothing but mcp_list_tools"),
        (
            {"type": "shell_call", "call_id": "c", "action": {}, "environment": {"type": "container_reference"}},
            "nothing but shell_call",
        ),
        ({"type": "tool_search_call", "call_id": None, "execution": "server"}, "nothing but tool_search_call"),
    ],
)
def test_what_nobody_can_answer_is_no_call_and_is_told(item: dict[str, Any], note: str) -> None:
    answer = read(done(item, output_index=0))
    assert (answer.tool_calls, answer.finish_reason) == ((), "stop")
    assert any(note in text for text in answer.notes), answer.notes


@pytest.mark.parametrize(
    "kind",
    [
        *("web_search_call", "file_search_call", "code_interpreter_call", "mcp_call", "mcp_list_tools", "compaction"),
        *("reasoning", "shell_call_output", "program", "program_output", "additional_tools", "x_search_call"),
    ],
)
def test_what_the_service_did_itself_is_not_even_worth_a_note(kind: str) -> None:
    text = event("output_text.delta", output_index=1, item_id="msg_1", content_index=0, delta="Found.")
    answer = read(done({"type": kind, "id": "x_1", "name": "f", "call_id": "c"}, output_index=0), text)
    assert (answer.text, answer.tool_calls, answer.notes) == ("Found.", (), ())


def test_safety_checks_are_told() -> None:
    checks = [{"id": "sc_1", "code": "malicious_instructions"}]
    item = {"type": "computer_call", "call_id": "c", "action": {"type": "wait"}, "pending_safety_checks": checks}
    (note,) = read(done(item)).notes
    assert "the call c" in note and "malicious_instructions" in note


def function(arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": arguments, **fields}


def piece(text: str, kind: str = "delta", **fields: Any) -> dict[str, Any]:
    name = "delta" if kind == "delta" else "arguments"
    return event(f"function_call_arguments.{kind}", **{"item_id": "fc_1", name: text, **fields})


def test_arguments_that_differ_are_kept_as_they_came() -> None:
    answer = read(done(function("")), piece('{"x":1}'), piece('{"x":2}', "done"), piece('{"x":3}', "done"))
    assert [call.arguments for call in answer.tool_calls] == ['{"x":1}']
    (note,) = answer.notes
    assert "the call of f with other arguments" in note


def test_arguments_that_differ_in_spaces_are_the_same() -> None:
    answer = read(done(function("")), piece('{"x":1}'), done(function('{ "x": 1 }')))
    assert [call.arguments for call in answer.tool_calls] == ['{"x":1}']
    assert not answer.notes


def test_arguments_without_a_call_wait_for_its_name() -> None:
    early = (piece('{"x":'), piece("1}"))
    assert read(*early, done(function('{"x":1}'))).tool_calls == (ToolUse("call_1", "f", '{"x":1}'),)
    assert read(*early, done(function(None))).tool_calls == (ToolUse("call_1", "f", '{"x":1}'),)
    answer = read(*early)
    assert answer.tool_calls == ()
    assert "arguments came for a call that has no name" in answer.notes


def test_the_id_of_a_call_may_come_with_its_end() -> None:
    begun = event("output_item.added", item={"type": "function_call", "id": "fc_1", "name": "f"})
    assert read(begun, done(function("{}"))).tool_calls == (ToolUse("call_1", "f", "{}"),)
    assert read(begun).tool_calls == (ToolUse("fc_1", "f", "{}"),)
    nameless = {"type": "function_call", "name": "f", "arguments": "{}"}
    assert read(done(nameless, output_index=3)).tool_calls == (ToolUse("call_3", "f", "{}"),)


def test_a_place_that_is_taken_is_not_given_twice() -> None:
    rows = [function("{}", id=f"fc_{name}", call_id=name) for name in "abc"]
    answer = read(done(rows[0], output_index=1), done(rows[1], output_index=1), done(rows[2]))
    assert sorted(call.id for call in answer.tool_calls) == ["a", "b", "c"]


def test_a_call_that_is_cut_off_has_no_arguments_of_its_own() -> None:
    reader = Responses("m").read(Head(200, {"content-type": "text/event-stream"}))
    begun = event("output_item.added", output_index=0, item=function(""))
    events = reader.feed(b"data: " + json.dumps(begun).encode() + b"\n\n") + reader.close()
    assert [event for event in events if isinstance(event, ToolCall)] == [ToolCall(0, "call_1", "f", "")]


def test_the_names_of_custom_tools_are_found_in_every_form() -> None:
    tools = [SHELL, {"type": "custom", "custom": {"name": "py"}}, {"type": "function", "name": "f"}, 7, {"tools": 7}]
    assert custom_tools(tools) == {"sh", "py"}
    assert custom_tools(None) == set()


async def test_a_custom_call_is_answered_as_one() -> None:
    """The service takes neither its call nor its result for those of a function."""
    call = {**CUSTOM, "input": "ls"}
    tool = {"type": "custom", "custom": {"name": "sh", "description": "Runs a command."}}
    options = Options(tools=(tool,), tool_choice={"type": "custom", "custom": {"name": "sh"}})
    question = Prompt.of("Which files?").with_options(options)
    async with open_server(done(call, output_index=0), {**DONE, "response": {"status": "completed"}}) as server:
        lane = Responses("m", base_url=server.base_url, key=Secret(KEY))
        first = await fanout.race(question, [lane])
        assert first.tool_calls == (ToolUse("call_1", "sh", "ls"),)
        asked = Message("assistant", "", tool_uses=first.tool_calls)
        result = Message("tool", "a.txt", tool_call_id="call_1")
        await fanout.race(Prompt((*question.messages, asked, result), options), [lane])
    sent = [json.loads(request.body) for request in server.taken]
    assert sent[0]["tools"] == [SHELL]
    assert sent[0]["tool_choice"] == {"type": "custom", "name": "sh"}
    assert sent[1]["input"][1:] == [
        {"type": "custom_tool_call", "call_id": "call_1", "name": "sh", "input": "ls"},
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": "a.txt"},
    ]


async def test_the_lane_knows_what_it_asked_for() -> None:
    events = [done({**CUSTOM, "name": "x_keyword_search", "input": "{}"}, output_index=0)]
    events += [event("output_text.delta", output_index=1, item_id="m", content_index=0, delta="Found.")]
    async with open_server(*events, {**DONE, "response": {"status": "completed"}}) as server:
        answer = await fanout.race("Hi", [Responses("m", base_url=server.base_url, key=Secret(KEY))])
    assert (answer.text, answer.tool_calls, answer.finish_reason) == ("Found.", (), "stop")
