"""An example plug-in: a provider for services that answer plain text, and a policy that keeps the longest answer."""

import os
from collections.abc import Collection, Sequence

from attrs import frozen

from fanout.abc import Head, Policy, Provider, Request, Standing
from fanout.errors import ProviderError, ServerError
from fanout.events import Delta, End, Event, Status
from fanout.prompt import Prompt
from fanout.wire.text import Utf8Text


@frozen
class Echo(Provider):
    """Asks an HTTP service that streams plain text; `ECHO_URL` says where it is."""

    model: str | None = None
    name: str = "echo"

    def request(self, prompt: Prompt) -> Request:
        """The last message as it is."""
        url = os.environ.get("ECHO_URL", "http://127.0.0.1:8080/")
        return Request("POST", url, {"content-type": "text/plain"}, prompt.messages[-1].text.encode())

    def read(self, head: Head, request: Request | None = None) -> "EchoReader":
        """Makes the reader for one response."""
        return EchoReader(head)


class EchoReader:
    """Plain text has no end mark of its own: a body that ends as HTTP says is complete."""

    def __init__(self, head: Head) -> None:
        self.complete = False
        self._head = head
        self._text = Utf8Text()

    def feed(self, data: bytes, /) -> list[Event]:
        """Text as it comes, never half a character."""
        return [Delta(text) for text in self._text.feed(data)]

    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        """The rest, and the End."""
        rest: list[Event] = [Delta(text) for text in self._text.close()]
        if self._head.status != 200:
            error = ServerError(f"the service answered {self._head.status}", status=self._head.status)
        if error is not None:
            return [*rest, End(Status.FAILED, error=error)]
        self.complete = True
        return [*rest, End(Status.FINISHED, finish_reason="stop")]


class Longest(Policy):
    """Lets every lane finish, and keeps the longest answer."""

    def losers(self, lane: int, event: Event, lanes: Sequence[Standing]) -> Collection[int]:
        """Nobody while one runs; then all but the longest."""
        if any(standing.status is None for standing in lanes):
            return ()
        finished = [i for i, standing in enumerate(lanes) if standing.status is Status.FINISHED]
        best = max(finished, key=lambda i: len(lanes[i].answer.text), default=None)
        return [i for i in finished if i != best]
