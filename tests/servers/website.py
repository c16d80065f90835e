"""The loopback server of a web page's own service: scripted answers, and a record of who hung up."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import trio
from attrs import define, field

from tests.servers.events import Refusal, check
from tests.servers.http import Received, answer_all, chunk, play

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
        """Returns the answer to a request. Raises Refusal for a wrong one."""
        raise NotImplementedError

    def refused(self, request: Received, refusal: Refusal) -> Answer:
        """Returns the answer to a wrong request."""
        return Answer([str(refusal).encode()], refusal.status, reason="Wrong")

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection, with all its requests."""

        def note_end() -> None:
            self.hung_up.append(trio.current_time())
            self.left.set()

        async def serve(request: Received) -> bytes | None:
            self.requests.append(request)
            try:
                answer = self.answer(request)
            except Refusal as refusal:
                self.wrong.append(str(refusal))
                answer = self.refused(request, refusal)
            try:
                return await play(stream, partial(_send, stream, answer), note_end)
            finally:
                answer.end()

        await answer_all(stream, serve)

    def next_reply(self, usual: Answer) -> Answer:
        """The scripted reply, if there is one left."""
        if not self.replies:
            return usual
        usual.end()
        return self.replies.pop(0)


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
            await stream.send_all(chunk(step) if step else b"")
        elif isinstance(step, float | int):
            await trio.sleep(step)
    await stream.send_all(chunk(b""))
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


def pieces(data: bytes, size: int = 1) -> list[bytes]:
    """The data, cut into chunks of this many bytes."""
    return [data[place : place + size] for place in range(0, len(data), size)]
