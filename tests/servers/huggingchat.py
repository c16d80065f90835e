"""A loopback HuggingChat of any generation, strict about requests, that plays a script for each message.

It has sessions, conversations as trees, and logins; it refuses what the original refuses, in its words and its order.
The generation 202506 is that of June 2025 to February 2026 (chat-ui 0.10 and later): its interface v2 ran under Elysia,
which makes text under status 500 of whatever is thrown, and the rest of it was as in 2025.
"""

import json
import re
from base64 import b64decode
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import trio
from attrs import define, field

from tests.servers.http import Received, chunk, read_request, serve

MODELS = ("org/text", "org/other")

Generation = Literal[2025, 202506, 2026]
HANG = "hang"
KEEP_ALIVE = b'{"type":"status","status":"keepAlive"}\n'
BLANKS = b" " * 4096
MARKER_LIFE = 5.0
NO_LOGIN = "You have to be logged in."
NO_ACCESS = (
    "You don't have access to this conversation. "
    "If someone gave you this link, ask them to use the 'share' feature instead."
)

Step = Mapping[str, Any] | bytes | float | str
"""A part of an answer: an update, bytes as they are, a pause in seconds, or HANG."""


@define
class Refusal(Exception):
    """The reply in the place of an answer: a JSON object, or a text."""

    status: int
    body: Mapping[str, Any] | str
    headers: Sequence[str] = ()


def update(**fields: Any) -> dict[str, Any]:
    """One line of an answer."""
    return fields


def model(name: str, *, multimodal: bool = False, **fields: Any) -> dict[str, Any]:
    """A row of the list of models, which says the same in every generation."""
    return {"id": name, "name": name, "multimodal": multimodal, "unlisted": False, **fields}


STARTED = update(type="status", status="started")
FINISHED = update(type="status", status="finished")


def token(text: str) -> dict[str, Any]:
    """A piece of the text, padded with NUL to sixteen UTF-16 units."""
    return update(type="stream", token=text + "\0" * (16 - len(text.encode("utf-16-le")) // 2))


def final(text: str, *, interrupted: bool = False) -> dict[str, Any]:
    """The final answer."""
    return update(type="finalAnswer", text=text, interrupted=interrupted)


def answer(text: str, *between: Step, generation: int = 2026) -> list[Step]:
    """The script of an ordinary answer, word by word; what is `between` comes after the first word."""
    words = re.findall(r"\S+\s*|\s+", text)
    steps: list[Step] = [STARTED, KEEP_ALIVE * 3, *(token(word) for word in words[:1]), *between]
    steps += [step for word in words[1:] for step in (KEEP_ALIVE, token(word))]
    return [*steps, final(text), BLANKS, *([FINISHED] if generation == 2026 else [])]


@define
class Recorded:
    """An exchange with the original server, as tests/data/ has it, with its body as the chunks that came."""

    name: str
    generation: int
    request: Mapping[str, Any]
    status: int
    headers: Mapping[str, str]
    set_cookie: tuple[str, ...]
    chunks: list[bytes]
    cut: bool
    partial: bool

    @property
    def is_answer(self) -> bool:
        return self.headers.get("content-type") == "application/jsonl"


def recorded(generation: int) -> list[Recorded]:
    """All that was recorded from a server of this generation, in its order."""
    path = Path(__file__).parent.parent / f"data/huggingchat-{generation}.json"
    return [_recorded(generation, value) for value in json.loads(path.read_text("utf-8"))["exchanges"]]


def _recorded(generation: int, value: Mapping[str, Any]) -> Recorded:
    response = value["response"]
    headers = {name: text for name, text in response["headers"] if name != "set-cookie"}
    cookies = tuple(text for name, text in response["headers"] if name == "set-cookie")
    chunks = [chunk for entry in response["chunks"] for chunk in _expanded(entry)]
    cut = bool(response.get("cut"))
    status = response["status"]
    partial = bool(value.get("partial"))
    return Recorded(value["name"], generation, value["request"], status, headers, cookies, chunks, cut, partial)


def _expanded(entry: Any) -> list[bytes]:
    """The chunks that a short form stands for."""
    match entry:
        case str():
            return [entry.encode()]
        case {"json": value}:
            return [_compact(value)]
        case {"jsonl": value}:
            return [_compact(value) + b"\n"]
        case {"spaces": number}:
            return [b" " * number]
        case {"keepAlive": number}:
            return [KEEP_ALIVE] * number
        case {"token": text}:
            return [_compact(token(text)) + b"\n"]
    return [b64decode(entry["b64"])]


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@define
class Part:
    """One part of a form, as it came."""

    name: str
    filename: str | None
    media_type: str | None
    data: bytes


@define(eq=False)
class Talk:
    """A conversation: whose it is, its messages, and the answer that is being made."""

    id: str
    session: str
    model: str
    messages: list[dict[str, Any]]
    running: trio.Event | None = None
    marked_at: float | None = None
    title: str = "New Chat"

    def add(self, **fields: Any) -> dict[str, Any]:
        message = {"createdAt": "2026-01-01T00:00:00.000Z", "children": [], **fields}
        for parent in self.messages:
            if message["ancestors"] and parent["id"] == message["ancestors"][-1]:
                parent["children"].append(message["id"])
        self.messages.append(message)
        return message

    def message(self, number: str) -> dict[str, Any] | None:
        return next((message for message in self.messages if message["id"] == number), None)


@define(eq=False)
class HuggingChatServer:
    """The running server. `scripts` are played for the messages in their order, and a default when they are used up.

    `refusals` come before anything else, each once, for the route that it names: create, leaf, send, stop or output.
    `piece` is the number of bytes in which answers are sent, 0 for a line each. `sessions` has the name of the user of
    each. `models` are the rows of its list of models.
    """

    generation: Generation = 2026
    login: bool = False
    prefix: str = ""
    piece: int = 0
    coupled: bool = False
    tells_first: bool = True
    models: list[dict[str, Any]] = field(factory=lambda: [model(name) for name in MODELS])
    scripts: deque[list[Step]] = field(factory=deque)
    refusals: deque[tuple[str, Refusal]] = field(factory=deque)
    cookies: list[str] = field(factory=list)
    base_url: str = ""
    origin: str = ""
    sessions: dict[str, str | None] = field(factory=dict)
    talks: dict[str, Talk] = field(factory=dict)
    requests: list[Received] = field(factory=list)
    log: list[str] = field(factory=list)
    sent: list[dict[str, Any]] = field(factory=list)
    files: list[Part] = field(factory=list)
    stops: int = 0
    gone: int = 0
    began: trio.Event = field(factory=trio.Event)
    stopped: trio.Event = field(factory=trio.Event)
    left: trio.Event = field(factory=trio.Event)
    _numbers: Iterator[int] = field(factory=lambda: count(1))

    def uuid(self) -> str:
        return str(UUID(int=next(self._numbers), version=4))

    def log_in(self, user: str = "user-1") -> dict[str, str]:
        """The cookies of a new session of a user."""
        session = self.uuid()
        self.sessions[session] = user
        return {"hf-chat": session, **({"token": f"account-{user}"} if self.coupled else {})}

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection, with all its requests; an answer's stream is the last."""
        while request := await read_request(stream):
            self.requests.append(request)
            exchange = _Exchange(self, stream, request)
            try:
                await exchange.run()
            except Refusal as refusal:
                await exchange.refuse(refusal)
            if exchange.closed:
                return

    def refuse_next(self, route: str) -> None:
        if self.refusals and self.refusals[0][0] == route:
            raise self.refusals.popleft()[1]


@asynccontextmanager
async def open_server(generation: Generation = 2026, **fields: Any) -> AsyncGenerator[HuggingChatServer]:
    """Serves on a free port of 127.0.0.1 until the block ends."""
    server = HuggingChatServer(generation, **fields)
    async with serve(server.handle) as server.origin:
        server.base_url = server.origin + server.prefix
        yield server


class _Exchange:
    """One request, and its response."""

    def __init__(self, server: HuggingChatServer, stream: trio.SocketStream, request: Received) -> None:
        self.server = server
        self.stream = stream
        self.request = request
        self.closed = False
        self.session: str | None = None
        self.set_cookie: list[str] = []

    async def run(self) -> None:
        server, request = self.server, self.request
        _check(request.target.startswith(server.prefix + "/"), 404, "Not Found")
        target = request.target.removeprefix(server.prefix)
        if request.method == "POST":
            self.check_origin()
        self.find_session()
        match request.method, target.split("/")[1:]:
            case "GET", ["api", "models"]:
                server.log.append("models")
                await self.json(server.models)
            case "GET", ["login"]:
                self.set_cookie = [f"hf-chat={server.log_in()['hf-chat']}; Path=/; HttpOnly"]
                await self.respond(302, None, b"", f"location: {server.prefix}/")
            case "GET", [""]:
                await self.respond(200, "text/html", b"<!doctype html><title>HuggingChat</title>")
            case "GET", ["api", "v2", "user"]:
                user = server.sessions[self.session or ""]
                await self.json({"json": {"username": user} if user else None})
            case "POST", ["conversation"]:
                server.log.append("create")
                await self.create()
            case "GET", ["api", "v2", "conversations", number]:
                server.log.append("leaf v2")
                await self.leaf_v2(number)
            case "GET", ["conversation", number, data]:
                _check(data == "__data.json?x-sveltekit-invalidated=01", 404, "Not Found")
                server.log.append("leaf data")
                await self.leaf_data(number)
            case "GET", ["conversation", _, "output", sha]:
                server.log.append("output")
                server.refuse_next("output")
                self.check_login()
                await self.respond(200, "application/octet-stream", f"bytes of {sha}".encode())
            case "POST", ["conversation", number, "stop-generating"]:
                server.log.append("stop")
                await self.stop(number)
            case "POST", ["conversation", number]:
                server.log.append("send")
                await self.send(number)
            case _:
                raise Refusal(404, {"message": "Not Found"})

    # What comes before every route.

    def check_origin(self) -> None:
        """Only forms are checked, and before the login."""
        if not self.request.headers.get("content-type", "").startswith("multipart/form-data"):
            return
        origin = self.request.headers.get("origin")
        _check(origin, 403, "Non-JSON form requests need to have an origin")
        _check(origin == self.server.origin, 403, "Invalid referer for POST request")

    def find_session(self) -> None:
        cookies = dict(pair.split("=", 1) for pair in self.request.headers.get("cookie", "").split("; ") if pair)
        session = cookies.get("hf-chat")
        user = self.server.sessions.get(session or "")
        if user and self.server.coupled and cookies.get("token") != f"account-{user}":
            session = None  # the session is dropped
        self.session = session or self.server.uuid()
        self.server.sessions.setdefault(self.session, None)
        if self.request.method == "POST":
            issued = f"hf-chat={self.session}; Path=/; Expires=Thu, 15 Jan 2026 00:00:00 GMT; HttpOnly; SameSite=Lax"
            self.set_cookie = [issued, *self.server.cookies]

    @property
    def logged_in(self) -> bool:
        return not self.server.login or self.server.sessions.get(self.session or "") is not None

    def check_login(self) -> None:
        if not self.logged_in:
            self.set_cookie = []
            raise Refusal(401, NO_LOGIN)

    # The routes.

    async def create(self) -> None:
        server = self.server
        server.refuse_next("create")
        if not self.logged_in and server.generation == 2026:
            self.set_cookie = ["hf-chat=fresh; Path=/", "hfChat-codeVerifier=VERIFIER; Path=/"]
            raise Refusal(302, "", [f"location: {server.origin}/authorize"])
        self.check_login()
        _check(self.request.headers.get("content-type") == "application/json", 500, "An error occurred")
        body = json.loads(self.request.body)
        _check(body.keys() <= {"model", "preprompt"} and self.known(body.get("model")), 400, "Invalid request")
        talk = Talk(f"{next(server._numbers):024x}", self.session or "", body["model"], [])
        root = {"id": server.uuid(), "from": "system", "content": body.get("preprompt", ""), "ancestors": []}
        talk.add(**root)
        server.talks[talk.id] = talk
        told = server.generation == 2026 and server.tells_first
        whole = {"conversation": json.dumps(_superjson(talk))} if told else {}
        await self.json({"conversationId": talk.id, **whole})

    def known(self, name: Any) -> bool:
        return name in [row["id"] for row in self.server.models]

    async def leaf_v2(self, number: str) -> None:
        if self.server.generation == 2025:
            await self.respond(200, "text/html", b'<!doctype html>\n<html lang="en">\xe2\x80\xa6</html>\n')
            return
        self.server.refuse_next("leaf")
        talk = self.server.talks.get(number)
        if not re.fullmatch("[0-9a-f]{24}", number):
            raise self.thrown(400, "Invalid conversation ID format")
        if talk is None:
            raise self.thrown(404, "Conversation not found.")
        if talk.session != self.session:
            raise self.thrown(403, NO_ACCESS)
        await self.json(_superjson(talk))

    def thrown(self, status: int, words: str) -> Refusal:
        """The form of an error in the interface v2."""
        return Refusal(500, words) if self.server.generation == 202506 else Refusal(status, {"message": words})

    async def leaf_data(self, number: str) -> None:
        """Errors come with status 200, in the place of the page."""
        node: dict[str, Any] | None
        talk = self.server.talks.get(number)
        if self.server.generation != 2025:
            node = None
        elif not re.fullmatch("[0-9a-f]{24}", number):
            node = {"type": "error", "error": {"message": "An error occurred", "errorId": self.server.uuid()}}
        elif talk is None:
            node = {"type": "error", "error": {"message": "Conversation not found."}, "status": 404}
        elif talk.session != self.session:
            node = {"type": "error", "error": {"message": NO_ACCESS}, "status": 403}
        else:
            self.server.refuse_next("leaf")
            node = {"type": "data", "data": flattened({"messages": talk.messages, "title": talk.title}), "uses": {}}
        line = json.dumps({"type": "data", "nodes": [{"type": "skip"}, node]}) + "\n"
        await self.respond(200, "application/json", line.encode())

    async def stop(self, number: str) -> None:
        self.server.refuse_next("stop")
        self.check_login()
        talk = self.own(number)
        _check(self.request.body == b"", 500, "An error occurred")
        self.server.stops += 1
        if self.server.generation == 2026:
            if talk.running is not None:
                talk.running.set()
            else:
                talk.marked_at = trio.current_time()
        await self.respond(200, None, b"")
        self.server.stopped.set()

    def own(self, number: str) -> Talk:
        _check(re.fullmatch("[0-9a-f]{24}", number), 500, "An error occurred")
        talk = self.server.talks.get(number)
        if talk is None or talk.session != self.session:
            raise Refusal(404, {"message": "Conversation not found"})
        return talk

    async def send(self, number: str) -> None:
        server = self.server
        server.refuse_next("send")
        self.check_login()
        talk = self.own(number)
        _check(
            self.request.headers.get("referer") == f"{server.base_url}/conversation/{number}", 400, "Invalid referer"
        )
        parts = form_of(self.request)
        data = [part for part in parts if part.name == "data" and part.filename is None]
        _check(len(data) == 1, 400, "Invalid request")
        settings = json.loads(data[0].data)
        server.sent.append(settings)
        parent = self.check_settings(settings, talk)
        files = [part for part in parts if part is not data[0]]
        for part in files:
            check_file(part)
        server.files += files
        ancestors = [*parent["ancestors"], parent["id"]]
        asked = talk.add(
            id=server.uuid(), **{"from": "user"}, content=settings["inputs"], ancestors=ancestors, files=[]
        )
        given = {"generationId": settings["generationId"]} if server.generation == 2026 else {}
        reply = {"id": server.uuid(), "from": "assistant", "content": "", "ancestors": [*ancestors, asked["id"]]}
        await self.play(talk, talk.add(**reply, **given, updates=[]))

    def check_settings(self, settings: Mapping[str, Any], talk: Talk) -> dict[str, Any]:
        """The message that is answered."""
        required = {"inputs": str, "id": str, "is_retry": bool, "is_continue": bool, "web_search": bool, "tools": list}
        if self.server.generation == 2026 or (self.server.generation == 202506 and "generationId" in settings):
            required["generationId"] = str
        types = {name: type(value) for name, value in settings.items()}
        _check(types == required, 500, f"An error occurred: {types}")
        _check(settings["inputs"], 500, "An error occurred")
        _check(_UUID.fullmatch(settings["id"]), 500, "An error occurred")
        _check(_UUID.fullmatch(settings.get("generationId", settings["id"])), 500, "An error occurred")
        parent = talk.message(settings["id"])
        _check(parent, 500, "An error occurred")
        assert parent
        return parent

    async def play(self, talk: Talk, reply: dict[str, Any]) -> None:
        """Streams an answer. One whose client leaves goes on in 2026, and ends in the others."""
        server = self.server
        marked, talk.marked_at = talk.marked_at, None
        script = server.scripts.popleft() if server.scripts else answer("Hello there", generation=server.generation)
        if marked is not None and trio.current_time() < marked + MARKER_LIFE:
            script = [STARTED, final("", interrupted=True), BLANKS, FINISHED]
        talk.running = stop = trio.Event()
        self.closed = True
        await self.head(200, "application/jsonl", "connection: close", "transfer-encoding: chunked")
        server.began.set()
        scope, playing = trio.CancelScope(), _Answer(self, reply, stop)

        async def watch() -> None:
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                data = b""
            assert not data
            server.gone += 1
            server.left.set()
            playing.connected = False
            if server.generation != 2026:
                scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            with scope:
                await playing.play(script)
            nursery.cancel_scope.cancel()
        talk.running = None

    # Responses.

    async def refuse(self, refusal: Refusal) -> None:
        """In JSON if it is the application's, or the client accepts that; else as text, which is the hooks'."""
        if isinstance(refusal.body, str):
            accepts = "json" in self.request.headers.get("accept", "")
            body = json.dumps({"error": refusal.body}) if accepts else refusal.body
            kind = "application/json" if accepts else "text/html" if body.startswith("<") else "text/plain"
        else:
            body, kind = json.dumps(refusal.body), "application/json"
        await self.respond(refusal.status, kind, body.encode(), *refusal.headers)

    async def json(self, value: Any) -> None:
        await self.respond(200, "application/json", json.dumps(value).encode())

    async def respond(self, status: int, kind: str | None, body: bytes, *headers: str) -> None:
        await self.head(status, kind, f"content-length: {len(body)}", *headers, body=body)

    async def head(self, status: int, kind: str | None, *headers: str, body: bytes = b"") -> None:
        lines = [f"HTTP/1.1 {status} .", *headers, *(f"set-cookie: {cookie}" for cookie in self.set_cookie)]
        if kind:
            lines.append(f"content-type: {kind}")
        await self.stream.send_all("\r\n".join([*lines, "", ""]).encode() + body)


class _Answer:
    """The stream of one answer."""

    def __init__(self, exchange: _Exchange, reply: dict[str, Any], stop: trio.Event) -> None:
        self.exchange = exchange
        self.reply = reply
        self.stop = stop
        self.over = False
        self.connected = True

    async def play(self, script: Sequence[Step]) -> None:
        for step in script:
            if isinstance(step, float):
                await trio.sleep(step)
            elif step == HANG:
                await self.stop.wait()
            elif isinstance(step, bytes):
                await self.write(step)
            elif isinstance(step, Mapping):
                await self.say(step)
            if self.stop.is_set() and not self.over:
                for last in (final(self.reply["content"], interrupted=True), FINISHED):
                    await self.say(last)
                break
        await self.put(b"0\r\n\r\n")

    async def say(self, step: Mapping[str, Any]) -> None:
        self.reply["updates"].append({"type": step.get("type")})
        if step.get("type") == "stream":
            self.reply["content"] += _text_of(step)
        if step.get("type") == "finalAnswer":
            self.over = True
            self.reply["content"] = step["text"]
            self.reply["interrupted"] = step["interrupted"]
        await self.write(_compact(step) + b"\n")

    async def write(self, data: bytes) -> None:
        size = self.exchange.server.piece or len(data)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            await self.put(chunk(piece))

    async def put(self, data: bytes) -> None:
        """Sends bytes, while there is somebody to read them."""
        try:
            if self.connected:
                await self.exchange.stream.send_all(data)
        except trio.BrokenResourceError:
            self.connected = False


def _text_of(step: Step) -> str:
    return step["token"].rstrip("\0") if isinstance(step, Mapping) and step.get("type") == "stream" else ""


def _check(condition: object, status: int, message: str) -> None:
    """Refuses the request unless the condition holds: in words of the application, or of what stands before it."""
    if not condition:
        before = "origin" in message or message.startswith("Invalid referer for")
        raise Refusal(status, message if before else {"message": message})


_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_DISPOSITION = re.compile(r'form-data; name="([^"]*)"(?:; filename="([^"]*)")?')


def form_of(request: Received) -> list[Part]:
    """The parts of a form, taken apart by its boundary."""
    kind, _, boundary = request.headers["content-type"].partition("; boundary=")
    _check(kind == "multipart/form-data" and boundary, 400, "Invalid request")
    first, *pieces = (b"\r\n" + request.body).split(b"\r\n--" + boundary.encode())
    _check(not first and pieces and pieces[-1] in (b"--", b"--\r\n"), 500, "An error occurred: no form")
    parts = []
    for piece in pieces[:-1]:
        head, blank, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        _check(piece.startswith(b"\r\n") and blank, 500, "An error occurred: no part")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head.decode().split("\r\n"))
        }
        match = _DISPOSITION.fullmatch(headers.get("content-disposition", ""))
        _check(match, 500, "An error occurred: no name")
        assert match
        parts.append(Part(match[1], match[2], headers.get("content-type"), data))
    return parts


def check_file(part: Part) -> None:
    """A file is base64 text, as its name says, with its media type."""
    _check(part.name == "files" and (part.filename or "").startswith("base64;"), 500, "An error occurred: no file")
    _check(part.media_type and "/" in part.media_type, 500, "An error occurred: no media type")
    _check(len(b64decode(part.data, validate=True)) <= 10 << 20, 413, "File too large, should be <10MB")


def _superjson(talk: Talk) -> dict[str, Any]:
    dates = {f"messages.{i}.createdAt": ["Date"] for i in range(len(talk.messages))}
    root = {
        "messages": talk.messages,
        "title": talk.title,
        "model": talk.model,
        "rootMessageId": talk.messages[0]["id"],
    }
    return {"json": {**root, "id": talk.id}, "meta": {"values": dates, "v": 1}}


def flattened(value: Any) -> list[Any]:
    """A value as devalue flattens it, with each text and number once."""
    values: list[Any] = []
    seen: dict[tuple[type, Any], int] = {}

    def index_of(value: Any) -> int:
        key = (type(value), value if not isinstance(value, dict | list) else id(value))
        if key not in seen:
            seen[key] = place = len(values)
            values.append(None)
            if isinstance(value, dict):
                values[place] = {name: index_of(inner) for name, inner in value.items()}
            elif isinstance(value, list):
                values[place] = [index_of(inner) for inner in value]
            elif isinstance(value, str) and value.endswith(".000Z"):
                values[place] = ["Date", value]
            else:
                values[place] = value
        return seen[key]

    index_of(value)
    return values
