"""A server of OpenAI's Responses that takes nothing but what the service documents, and answers a scripted stream."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field

from tests.servers.events import EventServer, Refusal, check, check_fields
from tests.servers.http import Received

KEY = "sk-loopback"
MODELS = ["gpt-x", "gpt-y"]

_OPTIONS = (
    "instructions max_output_tokens temperature top_p reasoning tools tool_choice text store include "
    "previous_response_id"
)
_ENCRYPTED = "reasoning.encrypted_content"
_PARTS = {
    "input_text": ("type text", ""),
    "input_image": ("type detail image_url", ""),
    "input_file": ("type", "filename file_data file_url"),
    "input_audio": ("type input_audio", ""),
}


@define(eq=False)
class ResponsesServer(EventServer):
    """The running server. It keeps the items of its answers, each by its model, and knows them again.

    Models whose name begins with gpt-4 do not reason. Encrypted reasoning is given to those who ask for it.
    """

    issued: list[tuple[str, list[dict[str, Any]]]] = field(factory=list)

    def choose(self, request: Received) -> Sequence[Mapping[str, Any]] | Mapping[str, Any]:
        """Returns the answer, whose items may come back."""
        body = json.loads(request.body)
        answer = super().choose(request)
        if _ENCRYPTED not in body.get("include", ()):
            answer = json.loads(json.dumps(answer), object_hook=_without_encrypted)
        whole = answer if isinstance(answer, Mapping) else answer[-1].get("response", {})
        self.issued.append((body["model"], list(whole.get("output", ()))))
        return answer

    def count_rounds(self, body: Mapping[str, Any]) -> int:
        """Returns the number of times that the outputs of tools follow something else."""
        kinds = [str(item.get("type")).endswith("_output") for item in body["input"] if isinstance(item, dict)]
        return sum(now and not before for before, now in zip([False, *kinds], kinds, strict=False))

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
        self._check_reasoning(json.loads(request.body))
        return None

    def _check_reasoning(self, body: Mapping[str, Any]) -> None:
        include = body.get("include", ())
        check({*include} <= {_ENCRYPTED}, f"Invalid value: {include}")
        reasons = not body["model"].startswith("gpt-4")
        check(_ENCRYPTED not in include or reasons, "Encrypted content is not supported with this model.")
        items = [item for item in body["input"] if isinstance(item, dict)]
        ids = [item["id"] for item in items if "id" in item]
        for item_id in ids:
            check(ids.count(item_id) == 1, f"Duplicate item found with id {item_id}.")
        mine = [output for model, output in self.issued if model == body["model"]]
        for place, item in enumerate(items):
            if item.get("type") == "reasoning":
                _check_one(item, items[place + 1 :], [row for output in mine for row in output])
        for output in mine:
            _check_pairs(output, ids)


open_server = ResponsesServer.open


def _without_encrypted(value: dict[str, Any]) -> dict[str, Any]:
    return {name: inner for name, inner in value.items() if name != "encrypted_content"}


def _check_one(
    item: Mapping[str, Any], after: Sequence[Mapping[str, Any]], issued: Sequence[Mapping[str, Any]]
) -> None:
    """Refuses a reasoning that is not the one that was given, or that leads to nothing."""
    gone = "not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or"
    check("encrypted_content" in item, f"Item with id '{item['id']}' {gone} remove this item from your input.", 404)
    known = any(all(row.get(name) == value for name, value in item.items()) for row in issued)
    check(known, f"The encrypted content for item {item['id']} could not be verified.")
    follows = bool(after) and (after[0].get("role") == "assistant" or after[0].get("type") in _LED)
    check(follows, f"Item '{item['id']}' of type 'reasoning' was provided without its required following item.")


_LED = ("reasoning", "function_call", "custom_tool_call", "message")


def _check_pairs(output: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> None:
    """Refuses an item under its id without the reasoning that it came with."""
    thought = None
    for row in output:
        if row["type"] == "reasoning":
            thought = row["id"]
        elif thought and row.get("id") in ids:
            missing = f"was provided without its required 'reasoning' item: '{thought}'."
            check(thought in ids, f"Item '{row['id']}' of type '{row['type']}' {missing}")


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
    if kind == "reasoning":
        check_fields(item, "type id summary", "encrypted_content content", "a reasoning")
    elif kind == "message":
        check_fields(item, "role content", "type phase id status", "a message")
        check(("id" in item) == ("status" in item), "a message under its id has a status")
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
    given = {part.get("type") for part in content}
    check(role != "assistant" or given == {"output_text"}, "an assistant's content has no input parts")
    for part in content:
        if part.get("type") == "output_text":
            check(role == "assistant", "only an assistant's content has output parts")
            check_fields(part, "type text annotations", "", "a part")
            continue
        check(part.get("type") in _PARTS, f"Invalid value: {part.get('type')!r}")
        check_fields(part, *_PARTS[part["type"]], "a part")
        if part["type"] == "input_image":
            check(part["image_url"].startswith(("https://", "data:image/")), "Invalid image URL")
        if "file_data" in part:
            check(part["file_data"].startswith("data:") and "filename" in part, "a file needs a name and a data URI")
