"""The routes of the gateway: the only module that knows Starlette."""

import logging
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import trio
from attrs import define, field, frozen
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from fanout.abc import Policy
from fanout.catalog.config import Config
from fanout.connections import Connections
from fanout.errors import UsageError
from fanout.formats.summary import one_line
from fanout.gateway import counting, listing, turns
from fanout.gateway.affinity import Calls, Turn, digest_of, key_of
from fanout.gateway.answering import JSON, Answering, Sink, send_error
from fanout.gateway.dialects import chat, completions, messages, messages_read, responses, responses_read
from fanout.gateway.dialects.asked import Asked, read_json
from fanout.gateway.dialects.faults import Fault, fault_of
from fanout.gateway.dialects.writer import Made, Writer, dump
from fanout.gateway.guard import Guard
from fanout.gateway.metrics import Metrics
from fanout.gateway.names import Plans
from fanout.gateway.queueing import Busy, Queue
from fanout.gateway.streams import Receive, Reply, Send, respond
from fanout.gateway.tapes import Tape, Tapes

BODY_SECONDS = 60.0
"""Seconds within which a body must have come."""

LONGEST_KEY = 400
"""Characters of an idempotency key."""

LEFT = 499
"""The status in log and metrics of a request whose client left before its answer."""

_log = logging.getLogger("fanout")

Scope = Mapping[str, Any]
Log = Callable[[str], None]


@frozen
class Interface:
    """One way to ask: how its bodies are read, and its answers and errors written."""

    read: Callable[[Mapping[str, Any], Mapping[str, str]], Asked]
    make_writer: Callable[[Asked, Made], Writer]
    make_error: Callable[[Fault], Mapping[str, Any]] = chat.error_of


def _betas(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The features that a client of Anthropic's switches on."""
    return tuple(name for word in headers.get("anthropic-beta", "").split(",") if (name := word.strip()))


INTERFACES: Mapping[str, Interface] = {
    "/v1/chat/completions": Interface(lambda body, _: chat.read(body), chat.ChatWriter),
    "/v1/completions": Interface(lambda body, _: completions.read(body), completions.CompletionsWriter),
    "/v1/responses": Interface(lambda body, _: responses_read.read(body), responses.ResponsesWriter),
    "/v1/messages": Interface(
        lambda body, headers: messages_read.read(body, _betas(headers)), messages.MessagesWriter, messages.error_of
    ),
    "/v1/messages/count_tokens": Interface(
        lambda body, headers: messages_read.read(body, _betas(headers), count=True),
        messages.MessagesWriter,
        messages.error_of,
    ),
}

COUNT = "/v1/messages/count_tokens"
FREE = ("/healthz",)
"""Paths that need no token."""


@define(eq=False)
class Gateway:
    """All that requests share. `open_connections` opens what carries them, for as long as the gateway runs."""

    guard: Guard
    config: Config
    queue: Queue
    open_connections: Callable[[], AbstractAsyncContextManager[Connections]]
    log: Log = field(default=lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201  # the access log
    metrics: Metrics = field(factory=Metrics)
    calls: Calls = field(factory=Calls)
    tapes: Tapes = field(factory=Tapes)
    stopping: bool = False
    open: int = 0
    plans: Plans = field(init=False)
    _running: set[trio.CancelScope] = field(factory=set)
    _connections: Connections | None = None
    _nursery: trio.Nursery | None = None

    def __attrs_post_init__(self) -> None:
        self.plans = Plans(self.config)

    @property
    def connections(self) -> Connections:
        """The connections that carry requests to services."""
        assert self._connections is not None
        return self._connections

    @asynccontextmanager
    async def lifespan(self, _: object) -> AsyncGenerator[None]:
        """Holds the connections, and the responses that are kept, while the server runs."""
        async with self.open_connections() as self._connections, trio.open_nursery() as self._nursery:
            self._connections.observer = self.metrics
            yield
            self._nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """Refuses what comes from now on, and ends what runs with an error."""
        self.stopping = True
        for scope in self._running:
            scope.cancel()

    @contextmanager
    def run_until_stop(self) -> Iterator[None]:
        """Cancels the block when the gateway stops."""
        with trio.CancelScope() as scope:
            if self.stopping:  # while it waited for its turn
                scope.cancel()
            self._running.add(scope)
            try:
                yield
            finally:
                self._running.discard(scope)

    def app(self) -> Callable[[Scope, Receive, Send], Any]:
        """Returns the ASGI application."""
        paths = {path: Ask(self, path) for path in INTERFACES}
        routes = [Route(path, endpoint=ask, methods=["POST"]) for path, ask in paths.items()]
        routes += [
            Route("/v1/models", self._list_models),
            Route("/v1/models/{name:path}", self._show_model),
            Route("/healthz", self._be_healthy),
            Route("/metrics", self._count),
        ]
        unknown: Any = self._refuse_path  # which gives an ASGI callable, and no Response of Starlette's
        inner = Starlette(routes=routes, lifespan=self.lifespan, exception_handlers={404: unknown, 405: unknown})
        return Front(self, inner, paths, frozenset({*INTERFACES, "/v1/models", "/healthz", "/metrics"}))

    async def _list_models(self, request: Request) -> "Document":
        return Document(listing.listing(self.config))

    async def _show_model(self, request: Request) -> "Document":
        name = request.path_params["name"]
        found = next((row for row in listing.rows(self.config) if row["id"] == name), None)
        if found is None:
            return Document(chat.error_of(Fault(404, "not_found", "no lane or group has this name")), 404)
        return Document(found)

    async def _be_healthy(self, request: Request) -> "Document":
        stops = self.stopping
        return Document({"status": "stopping" if stops else "ok"}, 503 if stops else 200)

    async def _count(self, request: Request) -> "Document":
        gauges = {"running": self.queue.running, "waiting": self.queue.waiting, "open": self.open}
        memory = self.connections.memory
        states = memory.circuits.states(trio.current_time()) if memory else ()
        circuits = ((target.service.provider, state) for target, state, _ in states)
        return Document(self.metrics.text(gauges, circuits).encode(), kind="text/plain; version=0.0.4")

    async def _refuse_path(self, request: Request, error: Any) -> "Document":
        words = {404: "there is nothing at this path", 405: "this path does not take this method"}
        fault = Fault(error.status_code, "not_found", words[error.status_code])
        return Document(chat.error_of(fault), error.status_code)

    def start(self, work: Callable[[], Any]) -> None:
        """Runs `work` apart from any client."""
        assert self._nursery is not None
        self._nursery.start_soon(work)


class Document:
    """A whole response, as Starlette wants it: an ASGI callable."""

    def __init__(self, value: Any, status: int = 200, kind: str = "application/json") -> None:
        self._body = value if isinstance(value, bytes) else dump(value)
        self._status = status
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""

        async def work(reply: Reply) -> None:
            own = [("content-type", self._kind), ("content-length", str(len(self._body)))]
            await reply.begin(self._status, own)
            await reply.write(self._body, last=True)

        await respond(receive, send, work)


@frozen
class Front:
    """The door before all routes: who may come in, under which id, and what the log says of it.

    What is posted to an interface goes there at once; Starlette's routes take the rest.
    """

    gateway: Gateway
    inner: Any
    asks: Mapping[str, "Ask"]
    paths: frozenset[str]

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        gateway, began = self.gateway, time.monotonic()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        about: dict[str, Any] = {"id": _request_id(headers), "headers": headers, "model": "-", "send": send}
        scope["fanout"] = about
        status = LEFT

        async def send_with_id(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_common(about["id"])]
            await send(message)

        gateway.open += 1
        try:
            fault = self._check(scope, headers, about)
            if fault is None:
                ask = self.asks.get(scope["path"]) if scope["method"] == "POST" else None
                await (ask or self.inner)(scope, receive, send_with_id)
            else:
                await _refuse(scope["path"], fault, send_with_id)
        finally:
            gateway.open -= 1
            path = scope["path"] if scope["path"] in self.paths else "other"
            seconds = time.monotonic() - began
            shown = LEFT if about.get("left") else status
            gateway.metrics.count_request(path, shown, seconds)
            gateway.log(_line(scope, about, shown, seconds))

    def _check(self, scope: Scope, headers: Mapping[str, str], about: dict[str, Any]) -> Fault | None:
        guard = self.gateway.guard
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) > 1:
            return Fault(400, "host", "a request has one Host")
        if fault := guard.check_caller(headers):
            return fault
        about["user"] = user = guard.find_user(headers)
        if user is None and scope["path"] not in FREE:
            return Fault(401, "token", "show the gateway's token: as Authorization: Bearer, or as x-api-key")
        if self.gateway.stopping and scope["path"] not in FREE:
            return Fault(503, "stopping", "the gateway is stopping", 1.0, retryable=True)
        return guard.check_form(headers) if scope["method"] == "POST" else None


async def _refuse(path: str, fault: Fault, send: Send) -> None:
    """Answers without reading the body, after which the connection cannot be used again."""
    make = messages.error_of if path.startswith("/v1/messages") else chat.error_of
    reply = Reply(send)
    await send_error(reply, fault, make(fault), [("connection", "close")])
    await reply.end()


def _request_id(headers: Mapping[str, str]) -> str:
    given = headers.get("x-request-id", "")
    usable = 0 < len(given) <= 128 and given.isascii() and given.replace("-", "").replace("_", "").isalnum()
    return given if usable else uuid4().hex


def _common(request_id: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]


def _line(scope: Scope, about: Mapping[str, Any], status: int, seconds: float) -> str:
    """A line of the access log, which says nothing of what was asked or answered."""
    when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    path, model = one_line(scope["path"], 80), one_line(about["model"], 80)
    method = one_line(scope["method"], 16)  # which a server takes as it comes, with any characters
    winner = one_line(about.get("winner") or "-", 80)
    return f"{when} {about['id']} {method} {path} {status} {seconds:.3f}s model={model} winner={winner}"


@frozen
class Ask:
    """The ASGI endpoint of one interface: reads a request, waits for its turn, answers it."""

    gateway: Gateway
    path: str

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answers one request, as long as its client is there."""
        about, interface = scope["fanout"], INTERFACES[self.path]
        try:
            body = await read_body(receive, self.gateway.guard)
        except trio.TooSlowError:
            await _refuse(self.path, Fault(408, "timeout", "the body did not come in time"), send)
            return
        if body is None:  # the client left in the midst
            about["left"] = True
            return
        if isinstance(body, Fault):
            await _refuse(self.path, body, send)
            return

        async def work(reply: Reply) -> None:
            try:
                await self._answer(reply, body, about)
            except UsageError as error:
                fault = fault_of(error)
                await send_error(reply, fault, interface.make_error(fault), [])
            except Exception as error:
                if reply.begun:
                    raise  # the connection is cut: no clean end
                _log.exception("a request failed")
                fault = fault_of(error)
                await send_error(reply, fault, interface.make_error(fault), [])

        reply = await respond(receive, send, work, about["send"])
        about["left"] = reply.gone and not reply.whole

    async def _answer(self, reply: Reply, body: bytes, about: dict[str, Any]) -> None:
        interface, headers = INTERFACES[self.path], about["headers"]
        asked = interface.read(read_json(body), headers)
        about["model"] = asked.model
        find = partial(self._find, about["user"])
        plan = self.gateway.plans.find(asked, trio.current_time())
        asked = turns.restore(asked, plan, find)
        plan = turns.stay(plan, asked, find)
        if self.path == COUNT:
            await self._count(reply, asked, plan)
            return
        answering = Answering(asked, plan, interface.make_writer, interface.make_error)
        answering.note = partial(self._note, about)
        key = headers.get("idempotency-key")
        if key:
            if len(key) > LONGEST_KEY:
                raise UsageError(f"an Idempotency-Key may have {LONGEST_KEY} characters, not {len(key)}")
            await self._answer_once(reply, answering, key_of(about["user"], self.path, key), body)
        else:
            await self._run(reply, answering)

    async def _run(self, sink: Sink, answering: Answering) -> bool:
        """Waits for a turn, and answers; a gateway that stops ends what runs with an error."""
        gateway, good = self.gateway, False
        try:
            async with gateway.queue.turn():
                with gateway.run_until_stop():
                    good = await answering.answer(sink, gateway.connections, gateway.config)
        except Busy as busy:
            await answering.fail(sink, _full(busy))
            return False
        if not answering.over:
            await answering.fail(sink, Fault(503, "stopping", "the gateway is stopping", 1.0, retryable=True))
        return good

    async def _answer_once(self, reply: Reply, answering: Answering, key: str, body: bytes) -> None:
        """Answers a request that may be sent twice: the second joins the first, or gets what it has got."""
        gateway, digest = self.gateway, digest_of(body)
        tape = gateway.tapes.find(key)
        if tape is None:
            tape = gateway.tapes.add(key, Tape(digest))  # before any other request can look for it
            gateway.start(partial(gateway.tapes.record, key, tape, partial(self._run, answering=answering)))
            own: Sequence[tuple[str, str]] = ()
        elif tape.digest != digest:
            raise UsageError("this Idempotency-Key was sent with another request: a new request needs a new key")
        else:
            own = (("x-fanout-replayed", "true"),)
        await tape.play(reply, own)

    async def _count(self, reply: Reply, asked: Asked, plan: Policy) -> None:
        """Waits for a turn, and answers with the number of tokens: a count is a request to the service too."""
        try:
            async with self.gateway.queue.turn():
                tokens = await counting.count(asked, plan, self.gateway.connections)
        except Busy as busy:
            fault = _full(busy)
            await send_error(reply, fault, INTERFACES[self.path].make_error(fault), [])
            return
        said = dump({"input_tokens": tokens})
        await reply.begin(200, [*JSON, ("content-length", str(len(said)))])
        await reply.write(said, last=True)

    def _find(self, user: str, call_id: str) -> Turn | None:
        return self.gateway.calls.find(user, call_id, trio.current_time())

    def _note(self, about: dict[str, Any], answer: Any) -> None:
        about["winner"] = answer.lane
        ids, turn = turns.turn_of(answer)
        self.gateway.calls.note(about["user"], ids, turn, trio.current_time())


def _full(busy: Busy) -> Fault:
    return Fault(429, "queue_full", f"{busy}; come back later", busy.retry_after, retryable=True)


async def read_body(receive: Receive, guard: Guard) -> bytes | Fault | None:
    """Returns the body of a request, or what is wrong with it; None if the client has left.

    Raises TooSlowError if it does not come in BODY_SECONDS.
    """
    parts: list[bytes] = []
    size = 0
    with trio.fail_after(BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > guard.most_bytes:
                return guard.too_large()
            if not message.get("more_body"):
                return b"".join(parts)
