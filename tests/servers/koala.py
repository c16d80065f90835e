"""A loopback server of Koala's chat: strict about headers, keys and histories, it answers events of JSON strings."""

import json
from typing import Any

from attrs import define, field

from tests.servers.events import check
from tests.servers.http import Received
from tests.servers.website import EVENTS, Answer, Website, check_fetch, pieces

TRANSCRIPT = b'data: "Hel"\n\ndata: "lo \\"you\\"\\n"\n\n'

_HEADERS = {"visitor-id": r"[a-z0-9]{20}", "flag-real-time-data": r"true|false"}


@define(eq=False)
class KoalaServer(Website):
    """The running server; `stream` is what it answers, a byte a chunk, and `system` a text that it looks for."""

    stream: bytes = TRANSCRIPT
    system: str = ""
    bodies: list[dict[str, Any]] = field(factory=list)
    visitors: dict[str, str] = field(factory=dict)

    def answer(self, request: Received) -> Answer:
        """The stream, to a right request."""
        check_fetch(request, self.url, "/api/gpt/", "/chat", _HEADERS)
        body = json.loads(request.body)
        check(list(body) == ["input", "inputHistory", "outputHistory", "model"], f"other keys: {list(body)}")
        asked, answered = body["inputHistory"], body["outputHistory"]
        check(isinstance(asked, list) and isinstance(answered, list), "a history is no list")
        check(len(asked) == len(answered), "the histories are not parallel")
        check(all(isinstance(text, str) for text in (*asked, *answered, body["input"], body["model"])), "no texts")
        check(body["input"].count(self.system) == 1 or not self.system, "the system text is not there once")
        self._check_visitor(asked, body["input"], request.headers["visitor-id"])
        self.bodies.append(body)
        return self.next_reply(Answer(pieces(self.stream), headers=EVENTS))

    def _check_visitor(self, asked: list[str], text: str, visitor: str) -> None:
        """A conversation, known by its first input, keeps its visitor; another has another."""
        first = asked[0] if asked else text
        if asked:
            check(self.visitors.get(first, visitor) == visitor, "another visitor in the same conversation")
        else:
            check(visitor not in self.visitors.values(), "a visitor of another conversation")
        self.visitors[first] = visitor
