"""A loopback Gemini API that is strict about requests; the model's name selects what happens to one.

`stream` answers the server's chunks as events, `array` as a JSON array, `busy` that the quota is used up, for 7 s.
Models of the third generation sign what they say, and refuse calls without a signature, or with another one: they call
two tools at once, then one, and answer. With `array` in its name a model answers so. There are no other models.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from attrs import define, field

from tests.servers.closing import ClosingServer, Reply
from tests.servers.http import Received

KEY = "AIza-loopback"

CHUNKS: tuple[dict[str, Any], ...] = (
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "hmm", "thought": True}]}, "index": 0}]},
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hel"}]}, "index": 0}], "modelVersion": "g-1"},
    {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "lo"}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
    },
)

STEPS: tuple[tuple[dict[str, Any], ...], ...] = (
    (
        {"text": "I think", "thought": True},
        {"text": "So I add", "thought": True, "thoughtSignature": "dGhvdWdodA/+=="},
        {"text": "Let "},
        {"text": "me see.", "thoughtSignature": "dGV4dA/+=="},
        {"functionCall": {"name": "add", "args": {"a": 1}}, "thoughtSignature": "Y2FsbA/+=="},
        {"functionCall": {"name": "now", "args": {}}},
    ),
    ({"functionCall": {"name": "now", "args": {}}, "thoughtSignature": "c3RlcDI/+=="},),
    ({"text": "done"}, {"text": "", "thoughtSignature": "ZW5k/+=="}),
)
"""The parts of each answer of a model that signs."""

STAND_IN = "skip_thought_signature_validator"

_FIELDS = {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"}
_CONFIG = {
    *("maxOutputTokens", "temperature", "topP", "topK", "stopSequences", "seed", "thinkingConfig"),
    *("responseMimeType", "responseJsonSchema"),
}
_PARTS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
_ASKING = re.compile(r"/v1beta/models/([\w.-]+):streamGenerateContent\?alt=sse")


@define(eq=False)
class GeminiServer(ClosingServer):
    """The running server, and what it answers."""

    chunks: tuple[dict[str, Any], ...] = CHUNKS
    issued: dict[str, list[dict[str, Any]]] = field(factory=dict)

    def answer(self, request: Received) -> Reply:
        """Returns the answer to a request."""
        asking = _ASKING.fullmatch(request.target)
        if request.headers.get("x-goog-api-key") != KEY:
            return _error(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers")
        if (request.method, request.target) == ("GET", "/v1beta/models?pageSize=1000"):
            return 200, "application/json", [json.dumps({"models": [{"name": "models/stream"}]}).encode()]
        if request.method != "POST" or not asking:
            return _error(404, "NOT_FOUND", "no such method")
        if wrong := next(_faults(json.loads(request.body)), None):
            return _error(400, "INVALID_ARGUMENT", wrong)
        if asking[1].startswith("gemini-3"):
            return self._answer_signed(asking[1], json.loads(request.body)["contents"])
        match asking[1]:
            case "stream":
                events = [b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in self.chunks]
                return 200, "text/event-stream", events
            case "array":
                elements = [json.dumps(chunk, indent=2).encode() for chunk in self.chunks]
                return 200, "application/json", [b"[", b"\n,\n".join(elements), b"]"]
            case "busy":
                retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}
                return _error(429, "RESOURCE_EXHAUSTED", "quota exceeded", retry)
        return _error(404, "NOT_FOUND", f"{asking[1]} is not found for API version v1beta")

    def _answer_signed(self, model: str, contents: Sequence[dict[str, Any]]) -> Reply:
        turn = [content["parts"] for content in _current(contents) if content["role"] == "model"]
        issued = self.issued.setdefault(model, [])
        if wrong := next(_unsigned(contents, turn, issued), None):
            return _error(400, "INVALID_ARGUMENT", wrong)
        parts = STEPS[min(len(turn), len(STEPS) - 1)]
        issued += parts
        chunks = [{"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}]} for part in parts]
        chunks.append({"candidates": [{"content": {"parts": []}, "finishReason": "STOP", "index": 0}]})
        if "array" in model:
            elements = [json.dumps(chunk).encode() for chunk in chunks]
            return 200, "application/json", [b"[", b"\n,\n".join(elements), b"]"]
        return 200, "text/event-stream", [b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks]


def _current(contents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turn that goes on: since the user said anything but results of functions."""

    def goes_on(content: dict[str, Any]) -> bool:
        return content["role"] == "model" or all("functionResponse" in part for part in content["parts"])

    return list(takewhile(goes_on, reversed(contents)))[::-1]


def _unsigned(
    contents: Sequence[dict[str, Any]], turn: Sequence[list[dict[str, Any]]], issued: Sequence[dict[str, Any]]
) -> Iterator[str]:
    """Yields what is wrong with the signatures: those of the turn that goes on must be there, all must be right."""
    for parts in turn:
        first = next((part for part in parts if "functionCall" in part), None)
        if first is not None and "thoughtSignature" not in first:
            name = first["functionCall"]["name"]
            yield f"Function call is missing a thought_signature in functionCall parts. Function call `{name}`"
    for content in contents:
        for part in content["parts"]:
            if (signature := part.get("thoughtSignature", STAND_IN)) != STAND_IN:
                given = next((one for one in issued if one.get("thoughtSignature") == signature), None)
                if given is None or _without_id(part) != given:
                    yield "Corrupted thought signature."


def _without_id(part: dict[str, Any]) -> dict[str, Any]:
    if "functionCall" not in part:
        return part
    call = {name: value for name, value in part["functionCall"].items() if name != "id"}
    return {**part, "functionCall": call}


def _error(code: int, status: str, message: str, *details: dict[str, Any]) -> Reply:
    error = {"code": code, "message": message, "status": status, "details": details}
    return code, "application/json", [json.dumps({"error": error}, indent=2).encode()]


def _faults(body: dict[str, Any]) -> Iterator[str]:
    """Yields what the service would not take, in its words."""
    unknown = (body.keys() - _FIELDS) | (body.get("generationConfig", {}).keys() - _CONFIG)
    yield from (f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.' for name in unknown)
    if not body.get("contents"):
        yield "contents is not specified"
    for turn in body["contents"]:
        if turn.get("role") not in ("user", "model"):
            yield "Please use a valid role: user, model."
        for part in turn["parts"]:
            if sum(name in part for name in _PARTS) != 1:
                yield "contents.parts must have one initialized field"
            if "inlineData" in part and not part["inlineData"].get("mimeType"):
                yield "Unable to determine the MIME type"
    if any(part.keys() != {"text"} for part in body.get("systemInstruction", {}).get("parts", ())):
        yield "systemInstruction takes text only"


open_server = GeminiServer.open
