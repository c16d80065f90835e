"""Chat services that want back what they thought, and refuse anything else; the model's name selects which.

`openrouter` has lists of reasoning, with a signature and an encrypted part; `deepseek` the reasoning of a turn with
tool calls, in words; `gemini` signatures on its calls, in Google's form for Chat Completions. With `-whole` behind its
name a model does not stream; what stands after `@` is of no meaning, and makes it another model. Each calls two tools
at once, and answers `done` when it has their results.
"""

import json
from collections.abc import Iterator
from typing import Any

from attrs import define, field

from tests.servers.closing import ClosingServer, Reply
from tests.servers.http import Received

CALLS = ("call_a", "call_b")
SIGNATURE = {"google": {"thought_signature": "c2ln/+=="}}
DETAILS = [
    {
        "type": "reasoning.text",
        "text": "Let me see. Ünd",
        "signature": "RXQ4/+==",
        "format": "anthropic-claude-v1",
        "index": 0,
    },
    {"type": "reasoning.encrypted", "data": "Z0FB/+==", "id": "rs_1", "format": "openai-responses-v1", "index": 1},
]
PIECES = [
    [{"type": "reasoning.text", "text": "Let me", "format": "anthropic-claude-v1", "index": 0}],
    [{"type": "reasoning.text", "text": " see. Ünd", "format": "anthropic-claude-v1", "index": 0}],
    [{"type": "reasoning.text", "signature": "RXQ4/+==", "format": "anthropic-claude-v1", "index": 0}, DETAILS[1]],
]
THOUGHT = "Let me see."


@define(eq=False)
class SigningServer(ClosingServer):
    """The running server, and the models that it has answered with tool calls."""

    called: set[str] = field(factory=set)

    def answer(self, request: Received) -> Reply:
        """Returns the answer to a request."""
        body = json.loads(request.body)
        name, _, way = body["model"].partition("@")[0].partition("-")
        if wrong := next(self._faults(name, body), None):
            return 400, "application/json", [json.dumps({"error": {"message": wrong, "code": 400}}).encode()]
        is_done = body["messages"][-1]["role"] == "tool"
        deltas = [{"content": "done"}] if is_done else _deltas(name, is_whole=way == "whole")
        if not is_done:
            self.called.add(body["model"])
        reason = "stop" if is_done else "tool_calls"
        if way == "whole":
            [message] = deltas
            choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
            return 200, "application/json", [json.dumps({"model": name, "choices": [choice]}).encode()]
        chunks = [{"index": 0, "delta": delta} for delta in deltas] + [
            {"index": 0, "delta": {}, "finish_reason": reason}
        ]
        events = [b"data: " + json.dumps({"model": name, "choices": [one]}).encode() + b"\n\n" for one in chunks]
        return 200, "text/event-stream", [*events, b"data: [DONE]\n\n"]

    def _faults(self, name: str, body: dict[str, Any]) -> Iterator[str]:
        """Yields what the service would not take, in its words."""
        for message in body["messages"]:
            extra = message.keys() & {"reasoning_details", "reasoning_content"}
            calls = message.get("tool_calls", [])
            if body["model"] not in self.called:
                if extra or any("extra_content" in call for call in calls):
                    yield "Invalid `signature` in `thinking` block: it is another model's"
            elif name == "openrouter" and calls and message.get("reasoning_details") != DETAILS:
                yield "Invalid `signature` in `thinking` block"
            elif name == "deepseek" and calls and message.get("reasoning_content") != THOUGHT:
                yield "The `reasoning_content` in the thinking mode must be passed back to the API."
            elif name == "gemini" and calls and [c.get("extra_content") for c in calls] != [SIGNATURE, None]:
                yield "Function call is missing a thought_signature in functionCall parts."


def _deltas(name: str, *, is_whole: bool) -> list[dict[str, Any]]:
    """The answer that calls the tools: in pieces, or as one message."""
    calls = [
        {"index": place, "id": call_id, "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
        for place, call_id in enumerate(CALLS)
    ]
    if name == "gemini":
        calls = [{"extra_content": SIGNATURE, **calls[0]}, calls[1]]
        return [{"tool_calls": calls}] if is_whole else [{"tool_calls": [call]} for call in calls]
    if name == "deepseek":
        if is_whole:
            return [{"reasoning_content": THOUGHT, "content": "", "tool_calls": calls}]
        return [*({"reasoning_content": word} for word in ("Let ", "me ", "see.")), {"tool_calls": calls}]
    if is_whole:
        return [{"reasoning": DETAILS[0]["text"], "reasoning_details": DETAILS, "content": "", "tool_calls": calls}]
    thoughts = [{"reasoning": piece[0].get("text"), "reasoning_details": piece, "content": ""} for piece in PIECES]
    return [*thoughts, *({"tool_calls": [call]} for call in calls)]


open_server = SigningServer.open
