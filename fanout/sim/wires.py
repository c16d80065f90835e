"""Pieces of an answer as the bytes of real wires, for services that are made up. Pure."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Piece = tuple[str, str]
"""Its kind (text, thought, tool, refusal, ping, finish, done, broken) and its words."""

Wire = Callable[[Sequence[Piece]], Iterator[bytes]]


def _data(value: Mapping[str, Any], end: bytes = b"\n\n") -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + end


def _named(value: Mapping[str, Any]) -> bytes:
    return f"event: {value['type']}\n".encode() + _data(value)


def lay_out_chat(pieces: Sequence[Piece]) -> Iterator[bytes]:
    """Lays pieces out as Chat Completions; the finish reason stands apart from the end mark, the usage between them."""

    def chunk(finish: str | None = None, **delta: Any) -> bytes:
        return _data({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    for number, (kind, words) in enumerate(pieces):
        match kind:
            case "text":
                yield chunk(content=words)
            case "thought":
                yield chunk(reasoning_content=words)
            case "refusal":
                yield chunk(refusal=words)
            case "tool":
                call = {"index": number, "id": f"t{number}", "type": "function"}
                yield chunk(tool_calls=[{**call, "function": {"name": "f", "arguments": json.dumps({"a": words})}}])
            case "ping":
                yield b": ping\n\n"
            case "finish":
                yield chunk("stop")
            case "done":
                counts = {"prompt_tokens": 7, "completion_tokens": len(pieces)}
                yield _data({"choices": [], "usage": counts}) + b"data: [DONE]\n\n"
            case "broken":
                yield _data({"error": {"message": words, "code": 500}})


def lay_out_messages(pieces: Sequence[Piece]) -> Iterator[bytes]:
    """Lays pieces out as Anthropic's Messages."""
    counts = {"input_tokens": 7, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": counts}
    lead = _named({"type": "message_start", "message": message})
    for index, (kind, words) in enumerate(pieces):
        match kind:
            case "text" | "refusal":
                block: dict[str, Any] = {"type": "text", "text": ""}
                delta = {"type": "text_delta", "text": words}
            case "thought":
                block = {"type": "thinking", "thinking": "", "signature": ""}
                delta = {"type": "thinking_delta", "thinking": words}
            case "tool":
                block = {"type": "tool_use", "id": f"t{index}", "name": "f", "input": {}}
                delta = {"type": "input_json_delta", "partial_json": json.dumps({"a": words})}
            case _:
                yield lead + _OTHER_MESSAGES[kind]
                lead = b""
                continue
        begin = _named({"type": "content_block_start", "index": index, "content_block": block})
        piece = _named({"type": "content_block_delta", "index": index, "delta": delta})
        yield lead + begin + piece + _named({"type": "content_block_stop", "index": index})
        lead = b""


_STOP = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
_OTHER_MESSAGES = {
    "ping": _named({"type": "ping"}),
    "finish": _named(_STOP),
    "done": _named({"type": "message_stop"}),
    "broken": _named({"type": "error", "error": {"type": "api_error", "message": "broken"}}),
}


def lay_out_gemini(pieces: Sequence[Piece]) -> Iterator[bytes]:
    """Lays pieces out as Gemini's events, whose end mark is the finish reason."""
    for kind, words in pieces:
        match kind:
            case "text" | "refusal":
                parts: list[dict[str, Any]] = [{"text": words}]
            case "thought":
                parts = [{"text": words, "thought": True}]
            case "tool":
                parts = [{"functionCall": {"name": "f", "args": {"a": words}}}]
            case "ping":
                yield b": ping\r\n\r\n"
                continue
            case "broken":
                yield _data({"error": {"code": 500, "message": words, "status": "INTERNAL"}}, b"\r\n\r\n")
                continue
            case _:
                parts = []
        candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": parts}}
        if kind == "finish":
            candidate["finishReason"] = "STOP"
        if kind != "done":
            yield _data({"candidates": [candidate]}, b"\r\n\r\n")
        else:
            counts = {"promptTokenCount": 7, "candidatesTokenCount": len(pieces)}
            yield _data({"usageMetadata": counts}, b"\r\n\r\n")


def lay_out_ollama(pieces: Sequence[Piece]) -> Iterator[bytes]:
    """Lays pieces out as Ollama's lines, whose last holds the finish reason, the end mark and the counts."""
    for kind, words in pieces:
        match kind:
            case "text" | "refusal":
                message: dict[str, Any] = {"content": words}
            case "thought":
                message = {"content": "", "thinking": words}
            case "tool":
                message = {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": words}}}]}
            case "broken":
                yield json.dumps({"error": words}).encode() + b"\n"
                continue
            case "finish":
                continue
            case _:
                message = {"content": ""}
        line: dict[str, Any] = {"model": "m", "message": {"role": "assistant", **message}, "done": kind == "done"}
        if kind == "done":
            line |= {"done_reason": "stop", "prompt_eval_count": 7, "eval_count": len(pieces)}
        yield json.dumps(line, ensure_ascii=False).encode() + b"\n"


WIRES: Mapping[str, tuple[Wire, str, str]] = {
    "openai": (lay_out_chat, "/v1", "text/event-stream"),
    "anthropic": (lay_out_messages, "", "text/event-stream"),
    "gemini": (lay_out_gemini, "/v1beta", "text/event-stream"),
    "ollama": (lay_out_ollama, "", "application/x-ndjson"),
}
"""Each provider's layout, what its base URL ends with, and its media type."""

ODD = (
    b"",
    b"<html><body>502 Bad Gateway</body></html>",
    b"data: {]\n\n",
    b"null",
    b'{"error": "no"}\n',
    b"data: [DONE]\n\n",
    b"\xff\xfe\x00",
    b'{"choices": [{"message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}]}',
    b'{"message": {"role": "assistant", "content": "whole"}, "done": true}\n',
    b"data: 7\n\ndata: []\n\n",
)
"""Replies that no wire has, or another."""

REFUSALS: Mapping[int, bytes] = {
    400: b'{"error": {"message": "no"}}',
    401: b'{"error": {"message": "bad key"}}',
    402: b'{"error": {"message": "no money"}}',
    404: b'{"error": {"message": "no such model"}}',
    408: b"",
    429: b'{"error": {"message": "slow down"}}',
    500: b'{"error": {"message": "broken"}}',
    503: b"<html>busy</html>",
    529: b'{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}',
    302: b"",
}
"""Statuses of refusals, and a body for each."""
