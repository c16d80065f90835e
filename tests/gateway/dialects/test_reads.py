"""The requests that clients send, in the forms in which they really come."""

from typing import Any

import pytest

from fanout.errors import UsageError
from fanout.gateway.dialects import chat, completions, messages_read, responses_read
from fanout.prompt import Message, ToolUse

CLAUDE_CODE: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 32000,
    "stream": True,
    "temperature": 1,
    "metadata": {"user_id": "u"},
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "system": [
        {"type": "text", "text": "You are a coder."},
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
    ],
    "tools": [
        {
            "name": "Bash",
            "description": "Runs",
            "input_schema": {"type": "object"},
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "List", "cache_control": {"type": "ephemeral"}}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "", "signature": "abc"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "a b"}]},
                {"type": "text", "text": "<reminder>"},
            ],
        },
    ],
}

CODEX: dict[str, Any] = {
    "model": "gpt",
    "instructions": "You are a coder.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Rules."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "List"}]},
        {"type": "reasoning", "id": "rs", "summary": [], "content": None, "encrypted_content": "gAAA"},
        {"type": "function_call", "name": "shell", "arguments": '{"command":["ls"]}', "call_id": "call_1"},
        {
            "type": "custom_tool_call",
            "name": "apply_patch",
            "input": "*** Begin",
            "call_id": "call_2",
            "status": "completed",
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "a b"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"},
    ],
    "tools": [
        {"type": "function", "name": "shell", "description": "Runs", "strict": False, "parameters": {"type": "object"}},
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "Edits",
            "format": {"type": "grammar", "syntax": "lark"},
        },
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "session",
    "text": {"verbosity": "low"},
}


def test_claude_codes_request_is_read() -> None:
    asked = messages_read.read(CLAUDE_CODE, ("interleaved-thinking-2025-05-14",))
    assert asked.stream
    assert asked.prompt.messages[:3] == (
        Message("system", "You are a coder."),
        Message("system", "Be brief."),
        Message("user", "List"),
    )
    assert asked.prompt.messages[3].tool_uses == (ToolUse("toolu_1", "Bash", '{"command":"ls"}'),)
    assert asked.prompt.messages[4:] == (
        Message("tool", "a b", tool_call_id="toolu_1"),
        Message("user", "<reminder>"),
    )
    assert asked.prompt.options.reasoning == "high"
    assert asked.prompt.options.tools[0]["function"]["name"] == "Bash"
    assert asked.own["cache_control"] == {"type": "ephemeral"}
    assert set(asked.own) - asked.advice == set()  # so that any lane can be asked
    assert asked.answers_call is None


def test_codex_request_is_read() -> None:
    asked = responses_read.read(CODEX)
    roles = [message.role for message in asked.prompt.messages]
    assert roles == ["system", "developer", "user", "assistant", "tool", "tool"]
    assert asked.prompt.messages[3].tool_uses == (
        ToolUse("call_1", "shell", '{"command":["ls"]}'),
        ToolUse("call_2", "apply_patch", "*** Begin"),
    )
    assert asked.answers_call == "call_2"
    assert responses_read.custom_names(CODEX) == {"apply_patch"}
    assert asked.own["reasoning"] == {"effort": "medium", "summary": "auto"}


def test_what_open_webui_and_langchain_add_is_taken() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "n": 1,
        "logprobs": False,
        "user": "u",
        "metadata": {},
        "max_tokens": 10,
        "max_completion_tokens": None,
        "stream_options": {"include_usage": True},
    }
    asked = chat.read(body)
    assert asked.own == {}
    assert asked.counted
    assert asked.prompt.options.max_tokens == 10


CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
RESPONSES = {"model": "m", "input": "Hi"}
MESSAGES = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("read", "body", "word"),
    [
        (chat.read, {**CHAT, "n": 2}, "n is not"),
        (chat.read, {**CHAT, "logprobs": True}, "logprobs"),
        (chat.read, {**CHAT, "temprature": 1}, "temperature"),
        (chat.read, {**CHAT, "temperature": "hot"}, "temperature must be a number"),
        (chat.read, {**CHAT, "temperature": True}, "temperature"),
        (chat.read, {**CHAT, "messages": []}, "empty"),
        (chat.read, {**CHAT, "messages": "Hi"}, "messages must be a list"),
        (chat.read, {**CHAT, "messages": [{"role": "robot", "content": ""}]}, "role"),
        (chat.read, {**CHAT, "response_format": {"type": "xml"}}, "response_format"),
        (chat.read, {**CHAT, "max_tokens": 1 << 70}, "max_tokens"),
        (chat.read, {"messages": CHAT["messages"]}, "model is missing"),
        (responses_read.read, {**RESPONSES, "previous_response_id": "resp_1"}, "previous_response_id"),
        (responses_read.read, {**RESPONSES, "background": True}, "background"),
        (responses_read.read, {**RESPONSES, "conversation": "c"}, "conversation"),
        (responses_read.read, {**RESPONSES, "input": [{"type": "item_reference", "id": "x"}]}, "item of the input"),
        (responses_read.read, {**RESPONSES, "text": {"format": {"type": "xml"}}}, "text.format"),
        (messages_read.read, {**MESSAGES, "max_tokens": None}, "max_tokens is missing"),
        (messages_read.read, {**MESSAGES, "thinking": {"type": "sometimes"}}, "thinking"),
        (messages_read.read, {**MESSAGES, "messages": [{"role": "user", "content": [{"type": "video"}]}]}, "block"),
        (messages_read.read, {**MESSAGES, "tool_choice": {"type": "maybe"}}, "tool_choice"),
        (completions.read, {"model": "m", "prompt": ["a", "b"]}, "one text"),
        (completions.read, {"model": "m", "prompt": "a", "suffix": "b"}, "suffix"),
    ],
)
def test_what_is_wrong_is_named(read: Any, body: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        read(body)


def test_results_of_tools_are_messages_of_their_own_and_errors_are_marked() -> None:
    blocks = [
        {"type": "tool_result", "tool_use_id": "a", "content": "no", "is_error": True},
        {"type": "tool_result", "tool_use_id": "b"},
    ]
    asked = messages_read.read({**MESSAGES, "messages": [{"role": "user", "content": blocks}]})
    assert asked.prompt.messages == (
        Message("tool", "[error] no", tool_call_id="a"),
        Message("tool", "", tool_call_id="b"),
    )
    assert asked.answers_call == "b"
