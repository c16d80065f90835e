"""A server of event streams that is strict about requests, and a way to refuse one."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Self

import trio
from attrs import define, field

from tests.servers.http import Received, answer_all, chunk, respond_json, running

REQUEST_ID = "x-request-id: r1"


class Refusal(Exception):
    """The fault of a request: the status, and the words of the error."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def check(condition: object, message: str, status: int = 400) -> None:
    """Refuses the request unless the condition holds."""
    if not condition:
        raise Refusal(message, status)


def check_fields(value: object, required: str, optional: str = "", where: str = "the body") -> Mapping[str, Any]:
    """Refuses what is no object, lacks a field or has one too many."""
    check(isinstance(value, dict), f"{where} must be an object")
    assert isinstance(value, dict)
    missing = set(required.split()) - value.keys()
    check(not missing, f"Missing required parameter: {where}: {sorted(missing)}")
    unknown = value.keys() - {*required.split(), *optional.split()}
    check(not unknown, f"Unknown parameter: {where}: {sorted(unknown)}")
    check(None not in value.values(), f"null in {where}")
    return value


@define(eq=False)
class EventServer(ABC):
    """The running server: its address, the stream that it answers to right requests, and those requests.

    `later` are the answers after one round of tools, two and so on, if they are others. An answer is a stream of events
    or, as a mapping, a whole document.
    """

    events: Sequence[Mapping[str, Any]] | Mapping[str, Any]
    later: Sequence[Sequence[Mapping[str, Any]] | Mapping[str, Any]] = ()
    url: str = ""
    taken: list[Received] = field(factory=list)

    @classmethod
    def open(cls, *events: Mapping[str, Any]) -> AbstractAsyncContextManager[Self]:
        """Serves on a free port of 127.0.0.1 until the block ends; answers `events` to every right request."""
        return running(cls(events))

    @property
    def base_url(self) -> str:
        """The base URL for a provider."""
        return self.url

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection, with all its requests."""
        await answer_all(stream, partial(self._answer, stream))

    async def _answer(self, stream: trio.SocketStream, request: Received) -> bytes:
        try:
            document = self.check(request)
        except Refusal as refusal:
            await respond_json(stream, refusal.status, self.error(refusal), REQUEST_ID)
            return b""
        if document is None:
            self.taken.append(request)
            answer = self.choose(request)
            if isinstance(answer, Mapping):
                await respond_json(stream, 200, answer, REQUEST_ID)
            else:
                await respond_events(stream, answer)
        else:
            await respond_json(stream, 200, document, REQUEST_ID)
        return b""

    def choose(self, request: Received) -> Sequence[Mapping[str, Any]] | Mapping[str, Any]:
        """Returns the answer to a right request, by the rounds of tools that it has behind it."""
        rounds = min(self.count_rounds(json.loads(request.body)), len(self.later))
        return self.later[rounds - 1] if rounds else self.events

    def count_rounds(self, body: Mapping[str, Any]) -> int:
        """Returns the number of rounds of tools since the user spoke."""
        return 0

    @abstractmethod
    def check(self, request: Received) -> Any:
        """Raises Refusal for a wrong request; returns a document to answer with, or None for the stream."""

    @abstractmethod
    def error(self, refusal: Refusal) -> Any:
        """The refusal in the service's form."""


async def respond_events(stream: trio.SocketStream, events: Iterable[Mapping[str, Any]]) -> None:
    """Answers with a stream of events, each named by its type and sent on its own."""
    head = ["HTTP/1.1 200 OK", "content-type: text/event-stream", "transfer-encoding: chunked", REQUEST_ID, "", ""]
    await stream.send_all("\r\n".join(head).encode())
    for event in events:
        await stream.send_all(chunk(text_of(event)))
    await stream.send_all(chunk(b""))


def text_of(event: Mapping[str, Any]) -> bytes:
    """An event as it stands in a stream."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
