"""The services that the examples of the documentation ask: always the same words, each service at its own pace.

One server speaks four wires, told apart by the path: OpenAI's chat completions and Responses, which draws a picture,
Anthropic's Messages and Ollama's chat. The model `broke` of the first answers 402. A prompt with tools is answered with
a call of the first of them, one with a schema with JSON. `Voices.hurry` divides all times, so that tests need not wait.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import trio
from attrs import define, field, frozen

from tests.servers.events import text_of
from tests.servers.http import Received, answer_all, chunk, play, respond_json, running

SKY = {
    "openai": (
        "Sunlight is a blend of all colours. Air scatters the short blue waves more than the long red waves: "
        "blue reaches us from every part of the sky."
    ),
    "anthropic": (
        "The air scatters blue light about four times as strongly as red light. This is Rayleigh scattering: its "
        "strength falls with the fourth power of the wavelength. So blue comes from all directions, and at dusk, when "
        "light takes a long way through the air, red is what is left."
    ),
    "ollama": "Because molecules of air scatter blue light more than red.",
}
"""Each wire's answer, unless the prompt asks for another."""

BRIEF = {
    "openai": "Air scatters blue light more than red.",
    "anthropic": "Air scatters blue light about four times as strongly as red light.",
    "ollama": "Molecules of air scatter blue light more.",
}
"""Each wire's answer where it is asked to be brief."""

OTHERS = {
    "dusk": "At dusk light takes a long way through the air, and red is what is left.",
    "photo": "It shows a whale, seen from the side.",
    "notes": "Three people met; they will meet again on Friday.",
    "celsius": "It is 18 degrees and windy in Bergen.",
}
"""The answers in their place where the last message has this word."""


@frozen
class Pace:
    """The time to the first piece and between two, in seconds."""

    ttft: float
    gap: float


PACES = {
    "openai": Pace(0.4, 0.05),
    "responses": Pace(0.4, 0.05),
    "anthropic": Pace(0.25, 0.075),
    "ollama": Pace(0.6, 0.08),
}


@define(eq=False)
class Voices:
    """The running server: its address, how much faster it is than its paces, and what it was asked."""

    url: str = ""
    hurry: float = 1.0
    asked: list[Received] = field(factory=list)
    connections: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """The variables that move the providers to this server, and their keys."""
        return {
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "ANTHROPIC_BASE_URL": self.url,
            "OLLAMA_HOST": self.url,
            "OPENAI_API_KEY": "sk-of-the-example",
            "ANTHROPIC_API_KEY": "sk-ant-of-the-example",
        }

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection, with all its requests, until the client hangs up."""

        async def answer(request: Received) -> bytes | None:
            self.asked.append(request)
            return await play(stream, partial(self._answer, stream, request))

        self.connections += 1
        await answer_all(stream, answer)

    async def _answer(self, stream: trio.SocketStream, request: Received) -> bool:
        if request.method == "GET":
            await respond_json(stream, 200, {"object": "list", "data": [{"id": "gpt-5-mini"}, {"id": "gpt-5"}]})
            return True
        wire = next((w for w, path in _PATHS.items() if request.target.endswith(path)), "openai")
        body = json.loads(request.body)
        pace = PACES[wire]
        await trio.sleep(pace.ttft / self.hurry)
        if body["model"] == "broke":
            await respond_json(stream, 402, {"error": {"message": "Insufficient credits"}})
            return True
        kind = "application/x-ndjson" if wire == "ollama" else "text/event-stream"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        await stream.send_all(head.encode())
        for number, piece in enumerate(_WIRES[wire](body, _reply(wire, body))):
            if number > 1:
                await trio.sleep(pace.gap / self.hurry)
            await stream.send_all(chunk(piece))
        await stream.send_all(chunk(b""))
        return True


def open_voices(hurry: float = 1.0) -> AbstractAsyncContextManager[Voices]:
    """Serves on a free port of 127.0.0.1 until the block ends."""
    return running(Voices(hurry=hurry))


def _reply(wire: str, body: Mapping[str, Any]) -> str:
    if wire == "responses":
        return ""
    last = json.dumps(body["messages"][-1])
    if "say which is the best one" in json.dumps(body):
        best = re.findall(r"answer (\w) begins(?:(?!answer).)*four times", last)
        return json.dumps({"best": best[0] if best else "A", "why": "It says how much."})
    if "response_format" in body or "format" in body or body.get("output_config"):
        return '{"city": "Bergen", "celsius": 18}'
    usual = BRIEF if "brief" in json.dumps(body) else SKY
    return next((text for word, text in OTHERS.items() if word in last), usual[wire])


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)


def _openai(body: Mapping[str, Any], text: str) -> Iterator[bytes]:
    words = _words(text)

    def piece(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": body["model"], "choices": [choice]}
        return _data(value)

    yield piece({"role": "assistant", "content": ""})
    if body.get("tools") and body["messages"][-1]["role"] == "user":
        function = {"name": body["tools"][0]["function"]["name"], "arguments": '{"city": "Bergen"}'}
        yield piece({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]})
        yield piece({}, "tool_calls")
    else:
        yield from (piece({"content": word}) for word in words)
        yield piece({}, "stop")
    yield _data({"choices": [], "usage": {"prompt_tokens": 13, "completion_tokens": len(words)}})
    yield b"data: [DONE]\n\n"


def _responses(body: Mapping[str, Any], text: str) -> Iterator[bytes]:
    picture = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "output_format": "png"}
    item = {**picture, "result": b64encode(_PNG).decode()}
    yield text_of({"type": "response.output_item.done", "output_index": 0, "item": item})
    usage = {"input_tokens": 11, "output_tokens": 200}
    response = {"id": "resp_1", "model": body["model"], "status": "completed", "output": [item], "usage": usage}
    yield text_of({"type": "response.completed", "response": response})


def _anthropic(body: Mapping[str, Any], text: str) -> Iterator[bytes]:
    words = _words(text)
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": []}
    yield text_of({"type": "message_start", "message": {**start, "usage": {"input_tokens": 14, "output_tokens": 1}}})
    block = {"type": "text", "text": ""}
    yield text_of({"type": "content_block_start", "index": 0, "content_block": block})
    for word in words:
        delta = {"type": "text_delta", "text": word}
        yield text_of({"type": "content_block_delta", "index": 0, "delta": delta})
    yield text_of({"type": "content_block_stop", "index": 0})
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    yield text_of({"type": "message_delta", "delta": stop, "usage": {"output_tokens": len(words)}})
    yield text_of({"type": "message_stop"})


def _ollama(body: Mapping[str, Any], text: str) -> Iterator[bytes]:
    words = _words(text)
    for word in ("", *words):
        message = {"role": "assistant", "content": word}
        yield json.dumps({"model": body["model"], "message": message, "done": False}).encode() + b"\n"
    counts = {"done": True, "done_reason": "stop", "prompt_eval_count": 12, "eval_count": len(words)}
    last = {"model": body["model"], "message": {"role": "assistant", "content": ""}, **counts}
    yield json.dumps(last).encode() + b"\n"


_WIRES = {"openai": _openai, "responses": _responses, "anthropic": _anthropic, "ollama": _ollama}
_PATHS = {"responses": "/v1/responses", "anthropic": "/v1/messages", "ollama": "/api/chat"}
_PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f"
    b"\0\5\0\1\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82"
)


def _data(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"
