"""What the servers of event streams share: JSON responses, streams of named events, and a way to refuse a request."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import trio


class Refusal(Exception):
    """What is wrong with a request: the status, and the words of the error."""

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


async def respond(stream: trio.SocketStream, status: int, value: Any) -> None:
    """Answers with one JSON document."""
    body = json.dumps(value).encode()
    head = (
        f"HTTP/1.1 {status} .\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nx-request-id: r1\r\n"
    )
    await stream.send_all(head.encode() + b"\r\n" + body)


async def respond_events(stream: trio.SocketStream, events: Iterable[Mapping[str, Any]]) -> None:
    """Answers with a stream of events, each named by its type and sent on its own."""
    await stream.send_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nx-request-id: r1\r\n\r\n"
    )
    for event in events:
        data = text_of(event)
        await stream.send_all(b"%x\r\n%s\r\n" % (len(data), data))
    await stream.send_all(b"0\r\n\r\n")


def text_of(event: Mapping[str, Any]) -> bytes:
    """An event as it stands in a stream."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
