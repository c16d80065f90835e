"""A loopback server of Vitalentum's chat: JSON within JSON in, the events of OpenAI's Chat Completions out."""

import json
from typing import Any

from attrs import define, field

from tests.servers.events import check
from tests.servers.http import Received
from tests.servers.website import EVENTS, Answer, Website, check_fetch, pieces


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """One event."""
    return f"data: {json.dumps({'choices': [{'delta': delta, 'index': 0, 'finish_reason': finish}]})}\n\n".encode()


TRANSCRIPT = (
    chunk({"role": "assistant"}),
    chunk({"content": "Hi"}),
    chunk({"content": ", Grüße 🐳"}),
    chunk({}, "stop"),
    b"data: [DONE]\n\n",
)


@define(eq=False)
class VitalentumServer(Website):
    """The running server; `stream` is what it answers, a byte a chunk, and `system` must not be said by the bot."""

    stream: bytes = b"".join(TRANSCRIPT)
    system: str = ""
    histories: list[list[dict[str, str]]] = field(factory=list)
    temperatures: list[float] = field(factory=list)

    def answer(self, request: Received) -> Answer:
        """The stream, to a right request."""
        check_fetch(request, self.url, "/api/converse-edge", "/")
        body = json.loads(request.body)
        check(set(body) == {"conversation", "temperature"}, f"other keys: {sorted(body)}")
        check(type(body["temperature"]) in (int, float), "the temperature is no number")
        check(isinstance(body["conversation"], str), "the conversation is not JSON within JSON")
        inner = json.loads(body["conversation"])
        check(list(inner) == ["history"], "the conversation is no history")
        for turn in inner["history"]:
            check(set(turn) == {"speaker", "text"}, "other keys in a turn")
            check(turn["speaker"] in ("human", "bot"), "another speaker")
            said = isinstance(turn["text"], str) and self.system and self.system in turn["text"]
            check(isinstance(turn["text"], str), "a turn is no text")
            check(not (said and turn["speaker"] == "bot"), "the bot says the system text")
        check(inner["history"], "an empty history")
        self.histories.append(inner["history"])
        self.temperatures.append(body["temperature"])
        return self.next_reply(Answer(pieces(self.stream), headers=EVENTS))
