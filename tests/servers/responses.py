"""A server of OpenAI's Responses that takes nothing but what the service documents, and answers a scripted stream."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, field

from tests.servers.events import Refusal, check, check_fields, respond, respond_events
from tests.servers.http import Received, read_request, serve

KEY = "sk-loopback"
MODELS = ["gpt-x", "gpt-y"]

_OPTIONS = (
    "instructions max_output_tokens temperature top_p reasoning tools tool_choice text store previous_response_id"
)
_PARTS = {
    "input_text": ("type text", ""),
    "input_image": ("type detail image_url", ""),
    "input_file": ("type", "filename file_data file_url"),
    "input_audio": ("type input_audio", ""),
}


@define(eq=False)
class ResponsesServer:
    """The running server: the base URL for a provider, what it answers, and the requests it took."""

    events: Sequence[Mapping[str, Any]]
    base_url: str = ""
    taken: list[Received] = field(factory=list)

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection, with all its requests."""
        while request := await read_request(stream):
            try:
                await self.answer(stream, request)
            except Refusal as refusal:
                error = {"message": str(refusal), "type": "invalid_request_error", "param": None, "code": None}
                await respond(stream, refusal.status, {"error": error})

    async def answer(self, stream: trio.SocketStream, request: Received) -> None:
        """One request."""
        check(request.headers.get("authorization") == f"Bearer {KEY}", "Incorrect API key provided", 401)
        if (request.method, request.target) == ("GET", "/v1/models"):
            rows = [{"id": name, "object": "model"} for name in MODELS]
            await respond(stream, 200, {"object": "list", "data": rows})
            return
        known = (request.method, request.target) == ("POST", "/v1/responses")
        check(known, f"Invalid URL ({request.method} {request.target})", 404)
        check_request(request)
        self.taken.append(request)
        await respond_events(stream, self.events)


@asynccontextmanager
async def open_server(*events: Mapping[str, Any]) -> AsyncGenerator[ResponsesServer]:
    """Serves on a free port of 127.0.0.1 until the block ends; answers `events` to every request that is right."""
    server = ResponsesServer(events)
    async with serve(server.handle) as url:
        server.base_url = f"{url}/v1"
        yield server


def check_request(request: Received) -> None:
    """Refuses a request that the service would not take."""
    check(request.headers.get("content-type") == "application/json", "the content type must be application/json")
    body = check_fields(json.loads(request.body), "model input stream", _OPTIONS)
    check(body["stream"] is True, "only streams are served here")
    check(body["input"], "the input is empty")
    calls: set[str] = set()
    customs: set[str] = set()
    for item in [{"role": "user", "content": body["input"]}] if isinstance(body["input"], str) else body["input"]:
        _check_item(item, calls, customs)
    for tool in body.get("tools", ()):
        if tool["type"] == "function":
            check_fields(tool, "type name parameters strict", "description", "a tool")
        elif tool["type"] == "custom":
            check_fields(tool, "type name", "description format", "a tool")
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, str):
        check(choice in ("auto", "none", "required"), f"Invalid value: {choice!r}")
    else:
        check_fields(choice, "type name", "", "tool_choice")
    if "reasoning" in body:
        check_fields(body["reasoning"], "", "effort summary", "reasoning")
    if "text" in body:
        check_fields(body["text"]["format"], "type name schema", "strict description", "text.format")


def _check_item(item: Mapping[str, Any], calls: set[str], customs: set[str]) -> None:
    kind = item.get("type", "message")
    if kind == "message":
        check_fields(item, "role content", "type", "a message")
        check(item["role"] in ("user", "assistant", "system", "developer"), f"Invalid value: {item['role']!r}")
        _check_content(item["content"], item["role"])
    elif kind == "function_call":
        check_fields(item, "type call_id name arguments", "id status", "a function call")
        calls.add(item["call_id"])
    elif kind == "custom_tool_call":
        check_fields(item, "type call_id name input", "id status", "a custom tool call")
        customs.add(item["call_id"])
    elif kind == "custom_tool_call_output":
        check_fields(item, "type call_id output", "id status", "a custom tool call's output")
        missing = "No tool call found for custom tool call output with call_id {}."
        check(item["call_id"] in customs, missing.format(item["call_id"]))
        _check_content(item["output"], "user")
    elif kind == "function_call_output":
        check_fields(item, "type call_id output", "id status", "a function call's output")
        check(item["call_id"] in calls, f"No tool call found for function call output with call_id {item['call_id']}.")
        _check_content(item["output"], "user")
    else:
        check(kind == "item_reference", f"Invalid value: {kind!r}")


def _check_content(content: Any, role: str) -> None:
    if isinstance(content, str):
        return
    check(role != "assistant", "an assistant's content has no input parts")
    for part in content:
        check(part.get("type") in _PARTS, f"Invalid value: {part.get('type')!r}")
        check_fields(part, *_PARTS[part["type"]], "a part")
        if part["type"] == "input_image":
            check(part["image_url"].startswith(("https://", "data:image/")), "Invalid image URL")
        if "file_data" in part:
            check(part["file_data"].startswith("data:") and "filename" in part, "a file needs a name and a data URI")
