"""What the loopback servers of web pages' own services share: scripted answers, and a record of who hung up."""

import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import trio
from attrs import define, field

from tests.servers.events import Refusal, check
from tests.servers.http import Received, read_request, serve

HANG = float("inf")
"""A step: nothing more happens, and the connection stays open."""

BREAK = None
"""A step: the connection closes in the middle of the body."""

Step = bytes | float | None

WALL = (
    b"<!DOCTYPE html><html><head><title>Just a moment...</title></head>"
    b'<body><div id="cf-please-wait">Checking your browser</div></body></html>'
)

EVENTS = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html; charset=UTF-8"}


@define
class Answer:
    """One response: each of its steps that is bytes is one chunk, a number is a pause in seconds.

    `over` is called once, when it has ended; of an answer that ends with bytes, just before these are sent, because a
    client that has them may come back at once.
    """

    steps: Sequence[Step] = ()
    status: int = 200
    headers: dict[str, str] = field(factory=dict)
    reason: str = "OK"
    over: Callable[[], None] = lambda: None
    _ended: bool = False

    def end(self) -> None:
        """Calls `over`, unless it has been called."""
        if not self._ended:
            self._ended = True
            self.over()


@define(eq=False)
class Website:
    """The running server. `replies` come, one each, in the place of what would be answered to a right request.

    `wrong` says what was wrong with requests; `hung_up` has the Trio times at which clients left amid an answer.
    """

    url: str = ""
    requests: list[Received] = field(factory=list)
    replies: list[Answer] = field(factory=list)
    wrong: list[str] = field(factory=list)
    hung_up: list[float] = field(factory=list)
    left: trio.Event = field(factory=trio.Event)

    def answer(self, request: Received) -> Answer:
        """What is answered to a request. Raises Refusal for a wrong one."""
        raise NotImplementedError

    def refused(self, request: Received, refusal: Refusal) -> Answer:
        """What is answered to a wrong request."""
        return Answer([str(refusal).encode()], refusal.status, reason="Wrong")

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection, with all its requests."""
        begun: bytes | None = b""
        while begun is not None and (request := await read_request(stream, begun)) is not None:
            self.requests.append(request)
            try:
                answer = self.answer(request)
            except Refusal as refusal:
                self.wrong.append(str(refusal))
                answer = self.refused(request, refusal)
            try:
                begun = await self._play(stream, answer)
            finally:
                answer.end()

    def next_reply(self, usual: Answer) -> Answer:
        """The scripted reply, if there is one left."""
        if not self.replies:
            return usual
        usual.end()
        return self.replies.pop(0)

    async def _play(self, stream: trio.SocketStream, answer: Answer) -> bytes | None:
        """Returns what was read of the next request, or None where there can be none."""
        begun = b""
        again = False

        async def watch() -> None:
            nonlocal begun
            with suppress(trio.BrokenResourceError):
                begun = await stream.receive_some()
            if not begun:
                self.hung_up.append(trio.current_time())
                self.left.set()
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            again = await _send(stream, answer)
            nursery.cancel_scope.cancel()
        return begun if again else None


async def _send(stream: trio.SocketStream, answer: Answer) -> bool:
    """True if the connection can serve another request."""
    fields = {**answer.headers, "transfer-encoding": "chunked"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    await stream.send_all(f"HTTP/1.1 {answer.status} {answer.reason}\r\n{head}\r\n".encode("latin-1"))
    for place, step in enumerate(answer.steps, 1):
        if place == len(answer.steps) and isinstance(step, bytes):
            answer.end()
        if step is BREAK:
            return False
        if isinstance(step, bytes):
            await stream.send_all(b"%x\r\n%s\r\n" % (len(step), step) if step else b"")
        elif isinstance(step, float | int):
            await trio.sleep(step)
    await stream.send_all(b"0\r\n\r\n")
    return True


def check_fetch(request: Received, url: str, path: str, page: str, more: Mapping[str, str] | None = None) -> None:
    """Refuses what is not sent to `path` by a browser's fetch from a page of ours, for events.

    `more` has the forms of the service's own headers by their names.
    """
    check((request.method, request.target) == ("POST", path), "no such path", 404)
    check(request.headers.get("origin") == url, "the origin is not ours")
    check(request.headers.get("referer") == f"{url}{page}", "the referer is not our page")
    for name, form in {**_FETCH, **(more or {})}.items():
        check(re.fullmatch(form, request.headers.get(name, "")), f"the header {name}")


_FETCH = {
    "accept": r"text/event-stream",
    "content-type": r"application/json",
    "accept-language": r"[a-z]{2}.*",
    "user-agent": r"Mozilla/5\.0 .*",
    "sec-fetch-dest": r"empty",
    "sec-fetch-mode": r"cors",
    "sec-fetch-site": r"same-origin",
}


Server = TypeVar("Server", bound=Website)


@asynccontextmanager
async def running(server: Server) -> AsyncGenerator[Server]:
    """Serves on a free port of 127.0.0.1 until the block ends."""
    async with serve(server.handle) as server.url:
        yield server


def pieces(data: bytes, size: int = 1) -> list[bytes]:
    """The data, cut into chunks of this many bytes."""
    return [data[place : place + size] for place in range(0, len(data), size)]
