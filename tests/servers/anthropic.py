"""A server of Anthropic's Messages that takes nothing but what the service documents, and answers a scripted stream."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby, takewhile
from typing import Any

from attrs import define, field

from tests.servers.events import EventServer, Refusal, check, check_fields
from tests.servers.http import Received

KEY = "sk-ant-loopback"
TOKEN = "oat-loopback"
MODELS = ["claude-x", "claude-y"]

_OPTIONS = "system temperature top_p stop_sequences thinking output_config tools tool_choice metadata service_tier"
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}
_BLOCKS = {
    "text": ("type text", ""),
    "image": ("type source", ""),
    "document": ("type source", "title context citations"),
    "tool_use": ("type id name input", ""),
    "tool_result": ("type tool_use_id content", "is_error"),
    "thinking": ("type thinking signature", ""),
    "redacted_thinking": ("type data", ""),
}
_THOUGHTS = ("thinking", "redacted_thinking")
_EXPECTED = "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`"
_ENABLED = "When `thinking` is enabled, a final `assistant` message must start with a thinking block"
_DISABLED = "When thinking is disabled, an `assistant` message in the final position cannot contain `thinking`"
_MODIFIED = (
    "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must "
    "remain as they were in the original response."
)
_SOURCES = {"base64": "type media_type data", "url": "type url", "text": "type media_type data"}
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")


@define(eq=False)
class AnthropicServer(EventServer):
    """The running server. It knows the blocks of its answers, each by its model, and refuses thoughts that changed."""

    issued: list[tuple[str, list[dict[str, Any]]]] = field(factory=list)

    def choose(self, request: Received) -> Sequence[Mapping[str, Any]] | Mapping[str, Any]:
        """Returns the answer, whose blocks may come back."""
        answer = super().choose(request)
        blocks = answer["content"] if isinstance(answer, Mapping) else blocks_of(answer)
        self.issued.append((json.loads(request.body)["model"], list(blocks)))
        return answer

    def count_rounds(self, body: Mapping[str, Any]) -> int:
        """Returns the number of messages of the assistant in the turn that goes on."""
        return len(_current(body["messages"]))

    def error(self, refusal: Refusal) -> Any:
        """The refusal in the service's form."""
        error = {"type": _TYPES[refusal.status], "message": str(refusal)}
        return {"type": "error", "error": error, "request_id": "req_1"}

    def check(self, request: Received) -> Any:
        """Raises Refusal for a wrong request; returns the list of models, or None for the stream."""
        credentials = request.headers.get("x-api-key"), request.headers.get("authorization")
        check(credentials in ((KEY, None), (None, f"Bearer {TOKEN}")), "invalid x-api-key", 401)
        check(request.headers.get("anthropic-version") == "2023-06-01", "anthropic-version: header is required")
        if (request.method, request.target) == ("GET", "/v1/models?limit=1000"):
            rows = [{"type": "model", "id": name, "display_name": name} for name in MODELS]
            return {"data": rows, "has_more": False, "first_id": None, "last_id": None}
        check((request.method, request.target) == ("POST", "/v1/messages"), "Not Found", 404)
        check_request(request)
        self._check_thoughts(json.loads(request.body))
        return None

    def _check_thoughts(self, body: Mapping[str, Any]) -> None:
        mine = [blocks for model, blocks in self.issued if model == body["model"]]
        signed = [block for blocks in mine for block in blocks if block["type"] in _THOUGHTS]
        for number, message in enumerate(body["messages"]):
            for block in _list(message["content"]):
                known = block["type"] not in _THOUGHTS or block in signed
                check(known, f"messages.{number}.content: Invalid `signature` in `thinking` block")
        current = _current(body["messages"])
        thinking = body.get("thinking", {}).get("type")
        said = [block["type"] for message in current for block in _list(message["content"])]
        if thinking == "enabled" and said:
            check(said[0] in _THOUGHTS, f"{_EXPECTED}, but found `{said[0]}`. {_ENABLED}")
        if thinking == "disabled":
            check(not {*said} & {*_THOUGHTS}, _DISABLED)
            return
        for message in current:
            ids = _ids(message["content"])
            for blocks in mine:
                check(not ids or _ids(blocks) != ids or _outline(blocks) == _outline(message["content"]), _MODIFIED)


def _list(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _ids(content: Any) -> list[str]:
    return [block["id"] for block in _list(content) if block["type"] == "tool_use"]


def _outline(content: Any) -> list[Any]:
    """The thoughts of a message in full, and the places of its texts and tool calls."""
    known = (*_THOUGHTS, "text", "tool_use")
    said = [b for b in _list(content) if b["type"] in known and (b["type"] != "text" or b["text"].strip())]
    kept = [block if block["type"] in _THOUGHTS else block["type"] for block in said]
    return [one for one, _ in groupby(kept)]


def _current(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The messages of the assistant in the turn that goes on: since the user said anything but results of tools."""

    def goes_on(message: Mapping[str, Any]) -> bool:
        kinds = {block["type"] for block in _list(message["content"])}
        return message["role"] == "assistant" or kinds == {"tool_result"}

    turn = list(takewhile(goes_on, reversed(messages)))[::-1]
    return [message for message in turn if message["role"] == "assistant"]


def blocks_of(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The blocks that a stream makes."""
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        if event["type"] == "content_block_start":
            blocks[event["index"]] = dict(event["content_block"])
        elif event["type"] == "content_block_delta" and event["index"] in blocks:
            block = blocks[event["index"]]
            for name in {"text", "thinking", "signature"} & event["delta"].keys():
                block[name] = block.get(name, "") + event["delta"][name]
    return [blocks[index] for index in sorted(blocks)]


open_server = AnthropicServer.open


def check_request(request: Received) -> None:
    """Refuses a request that the service would not take."""
    check(request.headers.get("content-type") == "application/json", "the content type must be application/json")
    body = check_fields(json.loads(request.body), "model max_tokens messages stream", _OPTIONS)
    check(body["stream"] is True, "only streams are served here")
    check(type(body["max_tokens"]) is int and body["max_tokens"] > 0, "max_tokens: must be a positive integer")
    check(isinstance(body.get("system", ""), str), "system: must be text")
    check(body["messages"], "messages: at least one message is required")
    asked: set[str] = set()
    for message in body["messages"]:
        asked = _check_message(message, asked)
    check(not asked, f"messages: tool_use without tool_result: {sorted(asked)}")
    for tool in body.get("tools", ()):
        if "input_schema" in tool or "type" not in tool:
            check_fields(tool, "name input_schema", "description strict type", "tools")
    if "tool_choice" in body:
        form = "type name" if body["tool_choice"]["type"] == "tool" else "type"
        check_fields(body["tool_choice"], form, "disable_parallel_tool_use", "tool_choice")
        check(body["tool_choice"]["type"] in ("auto", "any", "tool", "none"), "tool_choice: unknown type")
    _check_thinking(body)
    if "output_config" in body:
        output = check_fields(body["output_config"], "", "effort format", "output_config")
        check_fields(output.get("format", {"type": "", "schema": {}}), "type schema", "", "output_config.format")


def _check_thinking(body: Mapping[str, Any]) -> None:
    match body.get("thinking", {"type": "disabled"}):
        case {"type": "enabled", "budget_tokens": int(budget)}:
            check(1024 <= budget < body["max_tokens"], "max_tokens must be greater than thinking.budget_tokens")
            check("temperature" not in body, "temperature may only be set to 1 when thinking is enabled")
        case {"type": "disabled" | "adaptive"}:
            pass
        case other:
            check(condition=False, message=f"thinking: {other}")


def _check_message(message: object, asked: set[str]) -> set[str]:
    """Returns the tool calls that the next message must answer."""
    message = check_fields(message, "role content", "", "messages")
    content, role = message["content"], message["role"]
    check(role in ("user", "assistant"), f"messages: Unexpected role {role!r}")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for block in blocks:
        _check_block(block, role)
    answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
    check(answered == asked, f"tool_result for {sorted(answered)} after tool_use of {sorted(asked)}")
    return {block["id"] for block in blocks if block["type"] == "tool_use"}


def _check_block(block: object, role: str) -> None:
    assert isinstance(block, dict)
    kind = block.get("type")
    check(kind in _BLOCKS, f"messages: unknown block {kind!r}")
    assert isinstance(kind, str)
    check_fields(block, *_BLOCKS[kind], kind)
    of_assistant = kind in ("tool_use", *_THOUGHTS)
    check((role == "assistant") == of_assistant or kind == "text", f"{kind} of {role}")
    if kind == "text":
        check(block["text"], "text content blocks must be non-empty")
    if kind == "tool_use":
        check(isinstance(block["input"], dict), "tool_use.input: Input should be a valid dictionary")
    if kind in ("image", "document"):
        source = check_fields(block["source"], _SOURCES[block["source"]["type"]], "", "source")
        of_picture = source.get("media_type", "image/png") in _PICTURES
        check(
            of_picture if kind == "image" else source.get("media_type") in (None, "application/pdf", "text/plain"), kind
        )
    if kind == "tool_result" and not isinstance(block["content"], str):
        for inner in block["content"]:
            _check_block(inner, "user")
