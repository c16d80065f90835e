"""A loopback Cohere that is strict about requests; the model's name selects what happens to one.

`stream` answers the server's events, `broken` ends with an ERROR in their midst; there are no other models.
"""

import json
from collections.abc import Iterator
from typing import Any

from attrs import define

from tests.servers.closing import ClosingServer, Reply
from tests.servers.events import text_of
from tests.servers.http import Received

KEY = "co-loopback"


def content(**fields: Any) -> dict[str, Any]:
    """A content-delta."""
    return {"type": "content-delta", "index": 0, "delta": {"message": {"content": fields}}}


EVENTS: tuple[dict[str, Any], ...] = (
    {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant", "content": []}}},
    {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "thinking", "thinking": ""}}}},
    content(thinking="hmm"),
    {"type": "content-end", "index": 0},
    content(text="Hel"),
    content(text="lo"),
    {"type": "content-end", "index": 1},
    {
        "type": "message-end",
        "delta": {
            "finish_reason": "COMPLETE",
            "usage": {"billed_units": {"input_tokens": 3.0, "output_tokens": 2.0}, "tokens": {"input_tokens": 70.0}},
        },
    },
)

_FIELDS = {
    *("model", "messages", "stream", "max_tokens", "temperature", "p", "k", "seed", "stop_sequences"),
    *("tools", "tool_choice", "response_format", "thinking", "safety_mode"),
}


@define(eq=False)
class CohereServer(ClosingServer):
    """The running server, and what it answers."""

    events: tuple[dict[str, Any], ...] = EVENTS

    def answer(self, request: Received) -> Reply:
        """Returns the answer to a request."""
        status, answer = self._document_or_events(request)
        if isinstance(answer, tuple):
            return status, "text/event-stream", map(text_of, answer)
        return status, "application/json", [json.dumps(answer).encode()]

    def _document_or_events(self, request: Received) -> tuple[int, dict[str, Any] | tuple[dict[str, Any], ...]]:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return 401, {"id": "e1", "message": "invalid api token"}
        if (request.method, request.target) == ("GET", "/v1/models?endpoint=chat&page_size=1000"):
            return 200, {"models": [{"name": "stream", "endpoints": ["chat"]}]}
        if (request.method, request.target) != ("POST", "/v2/chat"):
            return 404, {"id": "e2", "message": "not found"}
        body = json.loads(request.body)
        if wrong := next(_faults(body), None):
            return 400, {"id": "e3", "message": wrong}
        match body["model"]:
            case "stream":
                return 200, self.events
            case "broken":
                end = {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "generation failed"}}
                return 200, (*self.events[:-2], end)
        return 404, {"id": "e4", "message": f"model '{body['model']}' not found, make sure the model ID is correct"}


def _faults(body: dict[str, Any]) -> Iterator[str]:
    """Yields what the service would not take."""
    yield from (f"invalid request: unknown field: parameter '{name}'" for name in body.keys() - _FIELDS)
    if not body.get("model") or not body.get("messages"):
        yield "invalid request: model and messages are required"
    if body.get("tool_choice") not in (None, "REQUIRED", "NONE"):
        yield "invalid request: tool_choice must be one of REQUIRED, NONE"
    for message in body["messages"]:
        if message.get("role") not in ("system", "user", "assistant", "tool"):
            yield "invalid request: no such role"
        if message["role"] == "tool" and not message.get("tool_call_id"):
            yield "invalid request: tool_call_id is required"
        if not message.get("content") and not message.get("tool_calls"):
            yield "invalid request: all elements in messages must have content or tool calls"


open_server = CohereServer.open
