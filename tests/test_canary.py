"""A canary for a key: whatever happens to a request, it shows up nowhere but on the wire to the service itself."""

import json
import logging
import pickle
import traceback
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import attrs
import pytest
import trio
from attrs import define, field

import fanout
from fanout import AllLanesFailed, Timeouts, catalog
from fanout.catalog.config import Config
from fanout.credentials.secret import Secret
from fanout.errors import AuthError
from fanout.events import Tagged
from fanout.formats import Output
from fanout.formats.headed import Headed
from fanout.formats.json import Json
from fanout.formats.jsonl import JsonLines
from fanout.formats.markdown import Markdown
from fanout.formats.plain import Plain
from fanout.formats.text import Raw, Text
from fanout.prompt import Prompt
from fanout.transports.choice import NAMES
from tests.cli.command import fanout as command
from tests.servers.cohere import EVENTS
from tests.servers.http import Received, read_request, reset, respond, serve

KEY = "sk-CANARY-7f3a91d2c4"
PROMPT = "CANARY-PROMPT-55e0"

VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "responses": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "cohere": "CO_API_KEY",
}

ANSWERS: dict[str, Sequence[Mapping[str, Any]]] = {
    "openai": [{"choices": [{"index": 0, "delta": {"content": "Blue."}, "finish_reason": "stop"}]}],
    "responses": [
        {"type": "response.output_text.delta", "item_id": "i", "delta": "Blue."},
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
    ],
    "anthropic": [
        {"type": "message_start", "message": {"model": "m", "usage": {}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Blue."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ],
    "gemini": [{"candidates": [{"content": {"parts": [{"text": "Blue."}]}, "finishReason": "STOP"}]}],
    "cohere": EVENTS,
}


def answer_with(wire: str, echo: str) -> Sequence[Mapping[str, Any]]:
    """An answer whose service repeats something wherever a service has a word of its own."""
    match wire:
        case "openai":
            call = {"index": 0, "id": f"call-{echo}", "function": {"name": f"f_{echo}", "arguments": "{}"}}
            return [
                {"id": echo, "model": f"m-{echo}", "choices": [{"index": 0, "delta": {"content": "Blue."}}]},
                {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
                {"choices": [{"index": 0, "delta": {}, "finish_reason": f"because {echo}"}]},
            ]
        case "responses":
            cited = {"type": "url_citation", "url": f"https://a.test/{echo}", "title": echo}
            return [
                {"type": "response.output_text.delta", "item_id": "i", "delta": "Blue."},
                {"type": "response.output_text.annotation.added", "item_id": "i", "annotation": cited},
                {"type": f"response.{echo}", "x": echo},
                {"type": "response.completed", "response": {"status": "completed", "model": echo, "output": []}},
            ]
        case "anthropic":
            begun, *others = ANSWERS[wire]
            message = {"id": echo, "model": f"m-{echo}", "usage": {}}
            *others, end, stop = others
            end = {**end, "delta": {"stop_reason": f"because {echo}"}}
            return [{**begun, "message": message}, *others, end, stop]
        case "gemini":
            web = {"web": {"uri": f"https://a.test/{echo}", "title": echo}}
            parts = [{"text": "Blue."}, {"functionCall": {"id": echo, "name": f"f_{echo}", "args": {}}}]
            one = {"content": {"parts": parts}, "finishReason": echo, "groundingMetadata": {"groundingChunks": [web]}}
            return [{"modelVersion": echo, "responseId": echo, "candidates": [one]}]
    *others, last = ANSWERS[wire]
    return [*others, {**last, "id": echo}]


CODINGS: Mapping[str, Callable[[str], str]] = {
    "plain": str,
    "percent": lambda key: quote(key, safe="").replace("-", "%2D"),
    "percent of all": lambda key: "".join(f"%{ord(letter):02x}" for letter in key),
    "percent twice": lambda key: quote(quote(key, safe="").replace("-", "%2D")),
    "json": lambda key: "".join(f"\\u{ord(letter):04x}" for letter in key),
    "json in part": lambda key: key.replace("-", "\\u002D"),
    "html": lambda key: "".join(f"&#{ord(letter)};" for letter in key),
    "hex": lambda key: key.encode().hex(),
    "base64": lambda key: b64encode(key.encode()).decode(),
    "base64 of a header": lambda key: b64encode(f"Bearer {key}".encode()).decode(),
    "base64 within more": lambda key: b64encode(f'{{"x":"{key}","y":"~~~???"}}'.encode()).decode(),
    "base64 for addresses": lambda key: urlsafe_b64encode(f"?>{key}?>".encode()).decode(),
    "its beginning": lambda key: f"{key[:-3]}…",
    "its end": lambda key: f"…{key[3:]}",
}
"""The forms in which a service may repeat a key."""

CASES = {
    "answer": "finished",
    "401": "auth",
    "echoed 401": "auth",
    "500": "server",
    "echoed 500": "server",
    "html": "not_a_stream",
    "echoed html": "not_a_stream",
    "malformed": "protocol",
    "echoed malformed": "protocol",
    "error event": "server",
    "echoed error event": "server",
    "cut": "truncated",
    "reset": "reset",
    "late reset": "reset",
    "no http": "protocol",
    "refused": "connect",
    "redirect": "redirect_refused",
    "timeout": "timeout",
}


@define(eq=False)
class Service:
    """A service at which everything goes wrong as its case says, and the host that it redirects to."""

    wire: str
    case: str
    coding: str = "plain"
    url: str = ""
    elsewhere: str = ""
    taken: list[Received] = field(factory=list, repr=False)  # with the key
    strayed: list[bytes] = field(factory=list)

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection."""
        while request := await read_request(stream):
            self.taken.append(request)
            if not await self.answer(stream):
                return

    async def answer(self, stream: trio.SocketStream) -> bool:
        """True if the connection can serve another request."""
        case = self.case.removeprefix("echoed ")
        echo = CODINGS[self.coding](KEY) if case != self.case else "nothing"
        error = json.dumps({"error": {"message": f"You sent {echo}, and it is wrong", "type": "server_error"}})
        match case:
            case "answer":
                answer = ANSWERS[self.wire] if echo == "nothing" else answer_with(self.wire, echo)
                plain = echo if echo.isascii() else "nothing"
                headers = [f"x-request-id: {plain}", f"x-ratelimit-key: {plain}", f"x-ratelimit-limit: {plain}"]
                await respond(stream, 200, events(answer), *headers, media_type="text/event-stream")
            case "401" | "500":
                await respond(stream, int(case), error.replace(', "type": "server_error"', ""))
            case "html":
                await respond(stream, 200, f"<!doctype html><title>{echo}</title>", media_type="text/html")
            case "malformed":
                await respond(stream, 200, f'data: {{"choices": [{echo}\n\n', media_type="text/event-stream")
            case "error event":
                await respond(stream, 200, f"event: error\ndata: {error}\n\n", media_type="text/event-stream")
            case "cut" | "late reset" | "timeout":
                await stream.send_all(b"HTTP/1.1 200 .\r\ncontent-type: text/event-stream\r\n\r\n: begun\n\n")
                if case == "timeout":
                    await stream.receive_some()
                elif case == "late reset":
                    await trio.sleep(0.02)  # a reset discards what has not arrived
                    reset(stream)
                return False
            case "reset":
                reset(stream)
                return False
            case "no http":
                await stream.send_all(b"220 smtp.test ready\r\n\r\n")
                return False
            case "redirect":
                await respond(stream, 307, "", f"location: {self.elsewhere}/v1", media_type="text/plain")
        return True

    async def take(self, stream: trio.SocketStream) -> None:
        """Notes what arrives where nothing may."""
        self.strayed.append(b"a connection")
        async for data in stream:
            self.strayed.append(bytes(data))

    def lane(self, name: str = "canary") -> str:
        """The spec of a lane that asks this service; one case has nobody there."""
        url = "http://127.0.0.1:1" if self.case == "refused" else self.url
        return f"{name}={self.wire}/m-1?base_url={url}&key_env={VARIABLES[self.wire]}"


def events(values: Sequence[Mapping[str, Any]]) -> str:
    return "".join(f"event: {value.get('type', 'message')}\ndata: {json.dumps(value)}\n\n" for value in values)


@asynccontextmanager
async def open_service(wire: str, case: str, coding: str = "plain") -> AsyncGenerator[Service]:
    """Serves on a free port of 127.0.0.1 until the block ends; the redirect's target has a host of its own."""
    service = Service(wire, case, coding)
    async with serve(service.handle) as service.url, serve(service.take) as elsewhere:
        service.elsewhere = elsewhere.replace("127.0.0.1", "localhost")
        yield service


@define(eq=False)
class Seen:
    """All that a run left: its events and objects, and the errors that were raised."""

    fan_out: fanout.Fanout
    events: list[Tagged]
    raised: list[BaseException]
    others: list[object]


async def run(service: Service, name: str) -> Seen:
    """Asks once for the events and once for the exception, over one transport of this name."""
    seen: list[Tagged] = []
    raised: list[BaseException] = []
    timeouts = Timeouts(first=0.1 if service.case == "timeout" else 10)
    config = Config()
    with trio.fail_after(20):
        async with fanout.open_transport(name) as transport:
            settings: Mapping[str, Any] = {"transport": transport, "timeouts": timeouts, "retries": 0, "config": config}
            async with fanout.open_fanout(PROMPT, service.lane(), **settings) as fan_out:
                async for tagged in fan_out:
                    seen.append(tagged)  # noqa: PERF401
            try:
                await fanout.race(PROMPT, service.lane(), **settings)
            except AllLanesFailed as failed:
                raised.append(failed)
            spec = catalog.find(service.lane(), config)
            request = spec.provider.request(Prompt.of(PROMPT))
            assert KEY in repr(request.plain_headers())
            return Seen(fan_out, seen, raised, [transport, spec, spec.provider, request])


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, those in its group, and those that it came from, also where a traceback would not show them."""
    found: dict[int, BaseException] = {}
    left: list[BaseException | None] = [error]
    while left:
        if (one := left.pop()) is not None and id(one) not in found:
            found[id(one)] = one
            left += [one.__cause__, one.__context__]
            left += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
    return iter(found.values())


def reachable(*roots: object) -> list[object]:
    """All objects of ours, errors and containers that can be reached from these by any attribute."""
    found: dict[int, object] = {}
    left = list(roots)
    while left:
        one = left.pop()
        if id(one) in found or isinstance(one, str | bytes | bytearray | Secret | type):
            continue
        if isinstance(one, Mapping):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            left += one
        elif isinstance(one, BaseException):
            left += [*chain(one), *vars(one).values(), *one.args]
        elif not type(one).__module__.startswith("fanout"):
            continue
        found[id(one)] = one
        names = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
        left += [getattr(one, name) for name in {*names, *getattr(one, "__dict__", ())} if hasattr(one, name)]
    return list(found.values())


def as_dict(one: Any) -> dict[str, Any]:
    """The object as a dict, with what is in it; attrs cannot copy the memory, whose keys are NamedTuples."""
    try:
        return attrs.asdict(one)
    except TypeError:
        return attrs.asdict(one, recurse=False)


def shown_objects(seen: Seen, *, inside: bool = True) -> Iterator[str]:
    """Yields what objects say and become; without `inside`, only those that callers are given."""
    for one in reachable(seen.fan_out.run, seen.events, seen.raised, *([seen.fan_out, seen.others] if inside else ())):
        yield from (repr(one), str(one), f"{one}")
        if attrs.has(type(one)) and not isinstance(one, type):
            yield repr(as_dict(one))
    for one in (seen.fan_out.run, seen.events, *seen.others, *seen.raised):
        try:
            yield repr(pickle.dumps(one))
        except Exception as error:  # noqa: BLE001  # whatever it says, it must not say the key
            yield from tracebacks(error)


def shown_errors(seen: Seen) -> Iterator[str]:
    """Yields what is printed of every error, raised or kept."""
    kept = [answer.error for answer in seen.fan_out.run.answers if answer.error]
    failure = seen.fan_out.failure
    for error in (*kept, *seen.raised, *([failure] if failure else ())):
        for one in chain(error):
            yield from (repr(one), str(one), repr(one.args), repr(vars(one)))
            yield from tracebacks(one)


def tracebacks(error: BaseException) -> Iterator[str]:
    yield "".join(traceback.format_exception(error))
    yield "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def shown_formats(seen: Seen) -> Iterator[str]:
    """Yields what every format prints."""
    run = seen.fan_out.run
    outputs: list[Output] = [Json(), JsonLines(), Markdown(PROMPT), Text("all"), Headed(80), Raw()]
    outputs += [Plain(who) for who in ("winner", "all", "quorum")]
    for output in outputs:
        yield "".join(map(output.event, seen.events))
        yield "".join(map(output.answer, run.answers))
        yield output.run(run)


def shown_logs(records: Sequence[logging.LogRecord]) -> Iterator[str]:
    """Returns what is logged, with all that a handler could print of it."""
    formatter = logging.Formatter("%(name)s %(message)s")
    for record in records:
        yield from (formatter.format(record), repr(record.args), repr(vars(record)))


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> str:
    """The canary in every variable, and everything logged at every level."""
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, KEY)
    for name in [*logging.root.manager.loggerDict]:
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "disabled", False)
        monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.DEBUG)
    return KEY


@pytest.mark.parametrize("wire", VARIABLES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("transport", NAMES)
async def test_whatever_happens_the_key_shows_up_nowhere(
    wire: str,
    case: str,
    transport: str,
    key: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with open_service(wire, case) as service:
        seen = await run(service, transport)
    [answer] = seen.fan_out.run.answers
    assert (answer.error.kind if answer.error else answer.status) == CASES[case]
    assert bool(seen.raised) == bool(answer.error)
    assert all(key in repr(request.headers) and PROMPT.encode() in request.body for request in service.taken)
    assert len(service.taken) == (0 if case == "refused" else 2)
    assert not service.strayed
    logged = [*shown_logs(caplog.records)]
    if transport == "httpx":
        assert any("connect_tcp" in text for text in logged)
    else:
        assert {record.name for record in caplog.records} == {"fanout"}
        assert not answer.text or [text for text in logged if answer.text in text] == []
    assert capfd.readouterr() == ("", "")  # to which libcurl writes when it is told to be verbose
    for shown in (shown_objects(seen), shown_errors(seen), shown_formats(seen), logged):
        assert [text for text in shown if key in text] == []
    assert [text for text in logged if PROMPT in text] == []


@pytest.mark.parametrize("wire", VARIABLES)
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("case", ["echoed answer", "echoed 401", "echoed error event"])
async def test_a_key_that_a_service_repeats_in_any_coding_is_shown_by_nothing(
    wire: str, case: str, coding: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_service(wire, case, coding) as service:
        seen = await run(service, "curl")
    [answer] = seen.fan_out.run.answers
    assert bool(answer.text) == (case == "echoed answer")
    # What is printed may have been coded once more, as JSON.
    repeated = CODINGS[coding](key).strip("…")
    forms = {repeated, json.dumps(repeated)[1:-1], repeated[len(repeated) // 4 : -len(repeated) // 4]}
    results = shown_objects(seen, inside=False)
    for shown in (results, shown_errors(seen), shown_formats(seen), shown_logs(caplog.records)):
        assert [(form, text) for text in shown for form in forms if form in text] == []


@pytest.mark.parametrize("broken", [f"{KEY}\u20ac", f"{KEY}\x07"], ids=["not ASCII", "not printable"])
@pytest.mark.parametrize("wire", VARIABLES)
@pytest.mark.parametrize("transport", NAMES)
async def test_a_key_that_no_header_can_carry_is_not_shown_either(
    wire: str, transport: str, broken: str, key: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLES[wire], broken)
    async with open_service(wire, "answer") as service:
        seen = await run(service, transport)
    [answer] = seen.fan_out.run.answers
    assert isinstance(answer.error, AuthError)
    assert not service.taken
    for shown in (shown_objects(seen), shown_errors(seen), shown_formats(seen), shown_logs(caplog.records)):
        assert [text for text in shown if key in text] == []


@pytest.mark.parametrize(("wire", "variable"), [("openai", "OPENAI_BASE_URL"), ("anthropic", "ANTHROPIC_BASE_URL")])
@pytest.mark.parametrize("case", ["401", "echoed 401"])
@pytest.mark.parametrize("transport", NAMES)
async def test_a_key_that_is_checked_is_not_shown(
    wire: str, variable: str, case: str, transport: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_service(wire, case) as service, fanout.open_transport(transport) as connections:
        monkeypatch.setenv(variable, service.url)
        [error] = await fanout.check_keys(wire, transport=connections)
    assert error
    assert key in repr([request.headers for request in service.taken])
    for one in chain(error):
        assert [text for text in (repr(one), str(one), *tracebacks(one)) if key in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("wire", VARIABLES)
async def test_the_command_prints_no_key(wire: str) -> None:
    env = {VARIABLES[wire]: KEY}
    async with open_service(wire, "answer") as service:
        done = await command("race", "--json", "-m", service.lane(), PROMPT, env=env)
    assert done.code == 0
    assert json.loads(done.out)["winner"] == "canary"
    assert KEY in repr(service.taken)
    assert KEY not in done.out + done.err


@pytest.mark.slow
async def test_the_command_prints_no_key_when_all_goes_wrong() -> None:
    wires = dict(zip(("401", "500", "html", "redirect", "refused"), VARIABLES, strict=True))
    env = dict.fromkeys(VARIABLES.values(), KEY)
    async with open_services(wires) as services:
        lanes = [part for s in services for part in ("-m", s.lane(f"lane-{s.case}"))]
        done = await command("race", "--json", "--retries", "0", *lanes, PROMPT, env=env)
    assert done.code == 1
    assert [answer["status"] for answer in json.loads(done.out)["answers"]] == ["failed"] * 5
    assert [len(service.taken) for service in services] == [1, 1, 1, 1, 0]
    assert not any(service.strayed for service in services)
    assert KEY not in done.out + done.err


@asynccontextmanager
async def open_services(wires: Mapping[str, str]) -> AsyncGenerator[list[Service]]:
    """A service for each case."""
    if not wires:
        yield []
        return
    (case, wire), *others = wires.items()
    async with open_service(wire, case) as service, open_services(dict(others)) as services:
        yield [service, *services]
