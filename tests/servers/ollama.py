"""A loopback Ollama that is strict about requests; the model's name selects what happens to one.

`stream` answers the server's lines, `broken` an error in their midst; there are no other models.
"""

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from attrs import define

from tests.servers.closing import ClosingServer, Reply
from tests.servers.http import Received

LINES: tuple[dict[str, Any], ...] = (
    {"model": "stream", "message": {"role": "assistant", "content": "", "thinking": "hmm"}, "done": False},
    {"model": "stream", "message": {"role": "assistant", "content": "Hel"}, "done": False},
    {"model": "stream", "message": {"role": "assistant", "content": "lo"}, "done": False},
    {
        "model": "stream",
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "total_duration": 90000000,
        "prompt_eval_count": 3,
        "eval_count": 2,
    },
)

_FIELDS = {"model", "messages", "stream", "think", "options", "keep_alive", "format", "tools"}
_OPTIONS = {"num_predict", "temperature", "top_p", "top_k", "seed", "stop", "num_ctx"}


@define(eq=False)
class OllamaServer(ClosingServer):
    """The running server, and what it answers."""

    lines: tuple[dict[str, Any], ...] = LINES

    def answer(self, request: Received) -> Reply:
        """Returns the answer to a request."""
        status, values = self._lines_for(request)
        media_type = "application/x-ndjson" if status == 200 else "application/json"
        return status, media_type, [json.dumps(value).encode() + b"\n" for value in values]

    def _lines_for(self, request: Received) -> tuple[int, tuple[dict[str, Any], ...]]:
        if (request.method, request.target) == ("GET", "/api/tags"):
            return 200, ({"models": [{"name": "stream:latest", "model": "stream:latest"}]},)
        if (request.method, request.target) != ("POST", "/api/chat"):
            return 404, ({"error": "404 page not found"},)
        body = json.loads(request.body)
        if wrong := next(_faults(body), None):
            return 400, ({"error": wrong},)
        match body["model"]:
            case "stream":
                return 200, self.lines
            case "broken":
                return 200, (*self.lines[:2], {"error": "an error was encountered while running the model"})
        return 404, ({"error": f"model '{body['model']}' not found"},)


def _faults(body: dict[str, Any]) -> Iterator[str]:
    """Yields what the service would not take."""
    yield from (f"unknown field {name}" for name in body.keys() - _FIELDS)
    yield from (f"invalid option provided: {name}" for name in body.get("options", {}).keys() - _OPTIONS)
    if not body.get("model"):
        yield "model is required"
    for message in body.get("messages", ()):
        if message.get("role") not in ("system", "user", "assistant", "tool"):
            yield "invalid role"
        if not isinstance(message.get("content"), str):
            yield "cannot unmarshal content into a string"
        for image in message.get("images", ()):
            b64decode(image, validate=True)
        if any(not isinstance(call["function"]["arguments"], dict) for call in message.get("tool_calls", ())):
            yield "cannot unmarshal arguments into a map"


open_server = OllamaServer.open
