"""A service that speaks three wires, and says the same by each: a text, a tool call, reasoning before it."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, field

from tests.servers.http import Received, answer_all, running

PIECES = ("The sky ", "is ", "blue.")
ARGUMENTS = ('{"city":', ' "Ulm"}')


@define(eq=False)
class Upstream:
    """The running service. `asked` are the requests, each with its wire; `tool` is called unless a result is there.

    With `thinks` there is reasoning before all else, with a signature where the wire has one. The wire that is `slow`
    waits for half a second.
    """

    url: str = ""
    tool: str | None = None
    thinks: bool = False
    slow: str | None = None
    asked: list[tuple[str, Any]] = field(factory=list)

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection, with all its requests."""

        async def answer(request: Received) -> bytes:
            body = json.loads(request.body)
            wire = {"/v1/chat/completions": "chat", "/v1/messages": "messages"}.get(request.target, "responses")
            self.asked.append((wire, body))
            if wire == self.slow:
                await trio.sleep(0.5)
            calls = self.tool is not None and '"rain"' not in json.dumps(body)
            events = {"chat": self._chat, "messages": self._messages, "responses": self._responses}[wire](calls)
            head = "HTTP/1.1 200 .\r\ncontent-type: text/event-stream\r\n"
            await stream.send_all(f"{head}content-length: {len(events)}\r\n\r\n".encode() + events)
            return b""

        await answer_all(stream, answer)

    def _chat(self, calls: bool) -> bytes:
        deltas: list[Any] = [{"reasoning_content": "Hm."}] if self.thinks else []
        if calls:
            begun = {"index": 0, "id": "call_a", "type": "function", "function": {"name": self.tool, "arguments": ""}}
            deltas += [{"tool_calls": [begun]}]
            deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in ARGUMENTS]
        else:
            deltas += [{"content": piece} for piece in PIECES]
        chunks: list[Any] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        finish = "tool_calls" if calls else "stop"
        usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
        chunks += [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}, {"choices": [], "usage": usage}]
        return _data({"id": "1", "model": "m", **chunk} for chunk in chunks) + b"data: [DONE]\n\n"

    def _messages(self, calls: bool) -> bytes:
        usage = {"input_tokens": 5, "output_tokens": 1}
        events: list[Any] = [{"type": "message_start", "message": {"id": "1", "model": "m", "usage": usage}}]
        index = 0
        if self.thinks:
            deltas = [
                {"type": "thinking_delta", "thinking": "Hm."},
                {"type": "signature_delta", "signature": "c2lnbmF0dXJl"},
            ]
            events += _block(0, {"type": "thinking", "thinking": "", "signature": ""}, deltas)
            index = 1
        if calls:
            begun: Any = {"type": "tool_use", "id": "toolu_1", "name": self.tool, "input": {}}
            events += _block(index, begun, [{"type": "input_json_delta", "partial_json": piece} for piece in ARGUMENTS])
        else:
            deltas = [{"type": "text_delta", "text": piece} for piece in PIECES]
            events += _block(index, {"type": "text", "text": ""}, deltas)
        reason = {"stop_reason": "tool_use" if calls else "end_turn"}
        events += [{"type": "message_delta", "delta": reason, "usage": {"output_tokens": 4}}, {"type": "message_stop"}]
        return _data(events)

    def _responses(self, calls: bool) -> bytes:
        output: list[Any] = []
        if self.thinks:
            thought = [{"type": "summary_text", "text": "Hm."}]
            output.append({"type": "reasoning", "id": "rs", "summary": thought, "encrypted_content": "c2VjcmV0"})
        if calls:
            said = {"call_id": "call_r", "name": self.tool, "arguments": "".join(ARGUMENTS)}
            output.append({"type": "function_call", "id": "fc", **said})
        else:
            text = {"type": "output_text", "text": "".join(PIECES), "annotations": []}
            output.append({"type": "message", "id": "msg", "role": "assistant", "content": [text]})
        usage = {"input_tokens": 5, "output_tokens": 4, "total_tokens": 9}
        response = {"id": "r", "model": "m", "status": "completed", "output": output, "usage": usage}
        return _data([{"type": "response.completed", "sequence_number": 0, "response": response}])


def _block(index: int, begun: Any, deltas: list[Any]) -> list[Any]:
    events = [{"type": "content_block_start", "index": index, "content_block": begun}]
    events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [*events, {"type": "content_block_stop", "index": index}]


def _data(values: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)


@asynccontextmanager
async def open_upstream() -> AsyncGenerator[Upstream]:
    """Serves on a free port of 127.0.0.1 until the block ends."""
    async with running(Upstream()) as upstream:
        yield upstream
