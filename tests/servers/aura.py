"""A loopback server of OpenChat's web page, as strict as its own checks and ours: plain text, reason phrases."""

import json
from typing import Any

from attrs import define, field

from tests.servers.events import check
from tests.servers.http import Received
from tests.servers.website import JSON, Answer, Step, Website, pieces

MODELS = {"openchat_3.6": "OpenChat 3.6 (latest)", "openchat_v3.2_mistral": "OpenChat Aura"}
TEXT = "Mademoiserie, welcome: Grüße 🐳"


@define(eq=False)
class AuraServer(Website):
    """The running server; `text` is what it answers, a byte a chunk."""

    text: bytes = TEXT.encode()
    bodies: list[dict[str, Any]] = field(factory=list)

    def answer(self, request: Received) -> Answer:
        """Text without a content type, or the list of models."""
        check(request.method == "POST", "POST only", 405)
        check(request.headers.get("origin") == self.url, "the origin is not ours")
        check(request.headers.get("referer") == f"{self.url}/", "the referer is not our page")
        check(request.headers.get("accept") == "*/*", "accept is not that of fetch")
        check(request.headers.get("content-type") == "application/json", "no JSON")
        body = json.loads(request.body)
        if request.target == "/api/models":
            check(body == {"key": ""}, "the key of a visitor must be there and empty")
            listed = json.dumps([{"id": model, "name": name} for model, name in MODELS.items()])
            return self.next_reply(Answer([listed.encode()], headers=JSON))
        check(request.target == "/api/chat", "no such path", 404)
        self._check_body(body)
        self.bodies.append(body)
        if body["model"]["id"] not in MODELS:
            # Its tokenizer is missing.
            return Answer([b"Error"], 500, reason="Internal Server Error")
        steps: list[Step] = [*pieces(self.text)]
        return self.next_reply(Answer(steps))

    def _check_body(self, body: dict[str, Any]) -> None:
        check(set(body) == {"model", "messages", "key", "prompt", "temperature"}, f"other keys: {sorted(body)}")
        model = body["model"]
        check(set(model) == {"id", "name", "maxLength", "tokenLimit"}, "the model is not complete")
        check(type(model["tokenLimit"]) is int and model["tokenLimit"] >= 8192, "messages would be dropped")
        check(type(model["maxLength"]) is int, "maxLength is no number")
        check(model["name"] == MODELS.get(model["id"], model["id"]), "the name is another model's")
        check(body["key"] == "", "a key")
        check(isinstance(body["prompt"], str) and body["prompt"].strip(), "an empty prompt")
        check(type(body["temperature"]) in (int, float), "the temperature is no number")
        messages = body["messages"]
        check(isinstance(messages, list) and messages, "no messages")
        check(all(set(message) == {"role", "content"} for message in messages), "other keys in a message")
        check({message["role"] for message in messages} <= {"user", "assistant"}, "another role")
        check(all(isinstance(message["content"], str) for message in messages), "content is no text")
        check(messages[-1]["role"] == "user", "the last message is not the user's")
