"""A server of OpenAI's Responses that takes nothing but what the service documents, and answers a scripted stream."""

import json
from collections.abc import Mapping
from typing import Any

from tests.servers.events import EventServer, Refusal, check, check_fields
from tests.servers.http import Received

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


class ResponsesServer(EventServer):
    """The running server."""

    @property
    def base_url(self) -> str:
        """The base URL for a provider."""
        return f"{self.url}/v1"

    def error(self, refusal: Refusal) -> Any:
        """The refusal in the service's form."""
        return {"error": {"message": str(refusal), "type": "invalid_request_error", "param": None, "code": None}}

    def check(self, request: Received) -> Any:
        """Raises Refusal for a wrong request; returns the list of models, or None for the stream."""
        check(request.headers.get("authorization") == f"Bearer {KEY}", "Incorrect API key provided", 401)
        if (request.method, request.target) == ("GET", "/v1/models"):
            return {"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]}
        known = (request.method, request.target) == ("POST", "/v1/responses")
        check(known, f"Invalid URL ({request.method} {request.target})", 404)
        check_request(request)
        return None


open_server = ResponsesServer.open


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
