"""Sixteen faults of services, and what becomes of an answer: fanout, its gateway, LiteLLM's Router and proxy.

The scenarios are those of the public Failover Bench, in our words, on a server of our own: two lanes, the first of
which is at fault, the second (but for scenario 14) is fine. Every subject may use both, and is asked for a stream; all
are judged alike. All scenarios of a subject run at once, each with lanes of its own.

pass: the whole answer, in time, without too many requests. partial: the whole answer, against a rule that costs nobody
anything. safe: an error that the client can see. fail: a short answer passed off as whole, or nothing in time.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import trio
from attrs import asdict, define, field, frozen

sys.path.insert(0, str(Path(__file__).parent.parent))

import fanout
from benchmarks.machine import arguments, circumstances, comma_list, conclude, foot, say, table
from fanout.wire.sse import ServerSentEvents

TOKENS = 60
"""Tokens of a whole answer."""

WHOLE = {lane: "".join(f"{lane}{number} " for number in range(TOKENS)) for lane in "ab"}

PATIENCE = 100.0
"""Seconds after which a subject that has said nothing has failed."""

REASONS = {
    1: "429, Retry-After 2, once",
    2: "429 for ever",
    3: "500 once",
    4: "503 for ever",
    5: "reset before headers",
    6: "silence for 120 s",
    7: "first token after 20 s",
    8: "cut after 40 tokens",
    9: "20 tokens, then silence",
    10: "broken JSON in the tenth event",
    11: "no [DONE]",
    12: "400, context length",
    13: "400, content policy",
    14: "cut, and the other refuses a prefill",
    15: "503 for 60 s, then healthy",
    16: "503; whose model and usage?",
}


# The server.


@define(eq=False)
class Server:
    """Plays the faults. `asked` are the times of all requests, by scenario and lane."""

    began: float = 0.0
    asked: dict[str, list[float]] = field(factory=dict)
    port: int = 0

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serves one connection."""
        buffer = b""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                while True:
                    while b"\r\n\r\n" not in buffer:
                        data = await stream.receive_some()
                        if not data:
                            return
                        buffer += data
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    size = next(
                        (
                            int(line.split(b":")[1])
                            for line in head.split(b"\r\n")
                            if line.lower().startswith(b"content-length")
                        ),
                        0,
                    )
                    while len(buffer) < size:
                        data = await stream.receive_some()
                        if not data:
                            return
                        buffer += data
                    body, buffer = buffer[:size], buffer[size:]
                    if not body:  # somebody only looks whether there is a service
                        await self._fail(stream, 404, "nothing here", "not_found")
                        continue
                    await self._answer(stream, json.loads(body))

    async def _answer(self, stream: trio.SocketStream, body: Mapping[str, Any]) -> None:
        name = str(body["model"])
        lane, number = name[0], int(name[1:].partition("-")[0])
        times = self.asked.setdefault(name, [])
        times.append(trio.current_time())
        tries = len(times)
        if lane == "b":
            prefilled = body["messages"][-1]["role"] == "assistant"
            if number == 14 and prefilled:
                await self._fail(stream, 400, "prefill is not supported", "invalid_request_error")
            else:
                await self._tell(stream, "b")
            return
        match number:
            case 1 if tries == 1:
                await self._fail(stream, 429, "slow down", "rate_limit_exceeded", "retry-after: 2\r\n")
            case 2:
                await self._fail(stream, 429, "slow down", "rate_limit_exceeded")
            case 3 if tries == 1:
                await self._fail(stream, 500, "failed", "server_error")
            case 4 | 16:
                await self._fail(stream, 503, "overloaded", "overloaded_error")
            case 5:
                await stream.aclose()
            case 6:
                await trio.sleep(120)
                await stream.aclose()
            case 7:
                await self._head(stream)
                await trio.sleep(20)
                await self._tell(stream, "a", headed=True)
            case 8 | 14:
                await self._tell(stream, "a", cut=40)
            case 9:
                await self._tell(stream, "a", cut=20, silence=30)
            case 10:
                await self._tell(stream, "a", broken=10)
            case 11:
                await self._tell(stream, "a", done=False)
            case 12:
                await self._fail(stream, 400, "maximum context length exceeded", "context_length_exceeded")
            case 13:
                await self._fail(stream, 400, "content policy violation", "content_policy_violation")
            case 15 if trio.current_time() - self.began < 60:
                await self._fail(stream, 503, "overloaded", "overloaded_error")
            case _:
                await self._tell(stream, "a")

    async def _fail(self, stream: trio.SocketStream, status: int, words: str, code: str, more: str = "") -> None:
        body = json.dumps({"error": {"message": words, "type": code, "code": code}}).encode()
        head = f"HTTP/1.1 {status} .\r\ncontent-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
        await stream.send_all(head.encode() + body)

    async def _head(self, stream: trio.SocketStream) -> None:
        await stream.send_all(
            b"HTTP/1.1 200 .\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )

    async def _tell(
        self,
        stream: trio.SocketStream,
        lane: str,
        *,
        cut: int = 0,
        silence: float = 0,
        broken: int = 0,
        done: bool = True,
        headed: bool = False,
    ) -> None:
        if not headed:
            await self._head(stream)
        base = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": f"model-{lane}"}

        async def send(data: bytes) -> None:
            event = b"data: " + data + b"\n\n"
            await stream.send_all(b"%x\r\n%s\r\n" % (len(event), event))

        for number in range(TOKENS):
            if cut and number == cut:
                if silence:
                    await trio.sleep(silence)
                await stream.aclose()
                return
            delta = {"content": f"{lane}{number} "}
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            await send(
                b'{"id": "1", "choices": [{"index'
                if broken and number == broken
                else _json({**base, "choices": [choice]})
            )
            await trio.sleep(0.01)
        await send(_json({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        usage = {"prompt_tokens": 5, "completion_tokens": TOKENS, "total_tokens": 5 + TOKENS}
        await send(_json({**base, "choices": [], "usage": usage}))
        if done:
            await send(b"[DONE]")
        await stream.send_all(b"0\r\n\r\n")


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@asynccontextmanager
async def open_faults() -> AsyncGenerator[Server]:
    """The server of faults, on a free port of 127.0.0.1, until the block is left."""
    server = Server(trio.current_time())
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.handle, 0, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


# What a client sees, and what it is worth.


@define
class Seen:
    """One answer as a client saw it; `seconds` until its end, `first` until its first words."""

    text: str = ""
    error: str | None = None
    seconds: float = 0.0
    model: str | None = None
    tokens: int | None = None


@frozen
class Verdict:
    """A scenario's verdict, and why."""

    verdict: str
    why: str


def judge(number: int, seen: Sequence[Seen], asked: Sequence[float], other: Sequence[float]) -> Verdict:
    """Judges what a client saw; `asked` are the times of the first lane's requests, `other` those of the second's."""
    if number == 15:
        return _judge_recovery(seen, asked)
    one = seen[0]
    whole = one.text in WHOLE.values() or (number == 10 and _is_nearly_whole(one.text))
    if one.error is not None or not whole:
        told = one.error is not None
        return Verdict(
            "safe" if told and one.seconds < PATIENCE else "fail", one.error or f"short: {len(one.text)} characters"
        )
    limits = {7: 15.0, 11: 8.0}
    if one.seconds > limits.get(number, PATIENCE):
        return Verdict("fail", f"after {one.seconds:.1f} s")
    if number == 2:
        early = [sum(at - asked[0] <= limit for at in asked) for limit in (1.5, 3)]
        if early[0] > 2 or early[1] > 4 or len(asked) > 6:
            return Verdict("fail", f"{early[0]} tries in 1.5 s, {early[1]} in 3 s, {len(asked)} in all")
    if number == 1 and len(asked) > 1 and asked[1] - asked[0] < 1.9:
        return Verdict("partial", f"asked again after {asked[1] - asked[0]:.1f} s")
    if number in (3, 4, 5) and len(asked) > 6:
        return Verdict("fail", f"{len(asked)} tries")
    if number == 6 and len(asked) > 1:
        return Verdict("partial", f"{len(asked)} tries of a silent service")
    if number in (12, 13) and len(asked) > 1:
        return Verdict("fail", f"the same model was asked {len(asked)} times")
    if number == 13 and other:
        return Verdict("partial", "the other lane was asked, and the caller told nothing")
    if number in (11, 16) and (one.tokens != TOKENS or (number == 16 and one.model != "model-b")):
        return Verdict("partial", f"model {one.model}, {one.tokens} tokens")
    return Verdict("pass", f"{one.seconds:.1f} s")


def _is_nearly_whole(text: str) -> bool:
    return text == WHOLE["a"].replace("a10 ", "")


def _judge_recovery(seen: Sequence[Seen], asked: Sequence[float]) -> Verdict:
    lost = sum(one.text not in WHOLE.values() for one in seen)
    if lost:
        return Verdict("fail", f"{lost} of {len(seen)} not served")
    back = any(one.text == WHOLE["a"] for one in seen)
    words = f"{len(asked)} requests to the first lane for {len(seen)}"
    return Verdict("pass" if back and len(asked) <= 2 * len(seen) else "partial", words)


Ask = Callable[[str, str], Awaitable[Seen]]
"""Asks a subject by the names of two models, and tells what came."""


async def play(ask: Ask, server: Server, tag: str, numbers: Sequence[int]) -> dict[int, Verdict]:
    """Plays scenarios to one subject, all at once."""
    seen: dict[int, list[Seen]] = {number: [] for number in numbers}

    async def one(number: int) -> None:
        began = trio.current_time()
        result = Seen(error="nothing came")
        with trio.move_on_after(PATIENCE + 5):
            result = await ask(f"a{number}-{tag}", f"b{number}-{tag}")
        result.seconds = trio.current_time() - began
        seen[number].append(result)

    async def again_and_again() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(22):
                nursery.start_soon(one, 15)
                await trio.sleep(4)

    server.began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in numbers:
            nursery.start_soon(again_and_again) if number == 15 else nursery.start_soon(one, number)
    times = {number: [server.asked.get(f"{lane}{number}-{tag}", []) for lane in "ab"] for number in numbers}
    return {number: judge(number, seen[number], *times[number]) for number in numbers}


# The subjects.

MESSAGES = [{"role": "user", "content": "Tell me."}]
CLOCKS = "first=6&idle=5"


async def ask_library(server: Server, transport: Any, on: str, a: str, b: str) -> Seen:
    """Asks fanout in Python."""
    lanes = [f"openai/{name}?base_url=http://127.0.0.1:{server.port}/v1&key_env=&{CLOCKS}" for name in (a, b)]
    try:
        answer = await fanout.race("Tell me.", fanout.Fallback(*lanes, on=on), transport=transport)  # type: ignore[arg-type]  # one of two
    except fanout.AllLanesFailed as failed:
        return Seen(error=str(failed.exceptions[0]))
    usage = answer.usage
    return Seen(answer.text, model=answer.model, tokens=usage.output if usage else None)


async def ask_http(port: int, model: Any, more: Mapping[str, Any], a: str, b: str) -> Seen:
    """Asks by Chat Completions, as OpenAI's clients do: a stream without its end mark has failed."""
    body = {
        "model": model(a, b),
        "messages": MESSAGES,
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }
    data = _json({name: value(a, b) if callable(value) else value for name, value in body.items()})
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    head += f"authorization: Bearer {KEY}\r\n"
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(f"{head}connection: close\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
        got = b""
        with suppress(trio.BrokenResourceError):
            while more_bytes := await stream.receive_some():
                got += more_bytes
    top, _, rest = got.partition(b"\r\n\r\n")
    if b"chunked" in top.lower():
        rest = _unchunk(rest)
    if b" 200" not in top.partition(b"\r\n")[0]:
        return Seen(error=rest.decode("utf-8", "replace")[:200] or "no answer")
    return _read_events(rest)


def _unchunk(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        out, body = out + rest[:length], rest[length + 2 :]
    return out


def _read_events(body: bytes) -> Seen:
    seen, ended, done = Seen(), False, False
    for event in ServerSentEvents().feed(body):
        if event.data == "[DONE]":
            done = True
            continue
        try:
            value = json.loads(event.data)
        except ValueError:  # at which the clients raise
            seen.error = "an event that is no JSON"
            return seen
        if "error" in value:
            seen.error = json.dumps(value["error"])[:200]
            return seen
        seen.model = value.get("model") or seen.model
        for choice in value.get("choices") or ():
            seen.text += (choice.get("delta") or {}).get("content") or ""
            ended = ended or choice.get("finish_reason") is not None
        if usage := value.get("usage"):
            seen.tokens = usage.get("completion_tokens")
    if not (ended or done):
        seen.error = "the stream ended without its end"
    return seen


KEY = "sk-a-key-for-this-benchmark-alone"


@contextmanager
def open_gateway(server: Server, on: str) -> Iterator[int]:
    """The gateway in a process of its own, with lanes for all scenarios and a group of each two; gives its port."""
    lines = []
    for number in REASONS:
        for lane in "ab":
            spec = f"openai/{lane}{number}-{on}?base_url=http://127.0.0.1:{server.port}/v1&key_env=&{CLOCKS}"
            lines.append(f'[lanes."{lane}{number}"]\nspec = "{spec}"')
        lines.append(f'[groups."g{number}"]\npolicy = "fallback"\nlanes = ["a{number}", "b{number}"]\non = "{on}"')
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "fanout.toml"
        config.write_text("\n".join(lines))
        words = [sys.executable, "-m", "fanout", "serve", "--port", "0", "--config", str(config), "--quiet"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout
            try:
                yield int(process.stdout.readline().rpartition(":")[2])
            finally:
                process.terminate()


@contextmanager
def open_proxy(server: Server, port: int) -> Iterator[int]:
    """LiteLLM's proxy in a process of its own, with a fall-back from each first lane to its second."""
    given = {"api_base": f"http://127.0.0.1:{server.port}/v1", "api_key": "x", "timeout": 6, "stream_timeout": 6}
    names = [f"{lane}{number}" for number in REASONS for lane in "ab"]
    models = [{"model_name": n, "litellm_params": {"model": f"openai/{n}-proxy", **given}} for n in names]
    fallbacks = [{f"a{n}": [f"b{n}"]} for n in REASONS]
    config = {
        "model_list": models,
        "router_settings": {"fallbacks": fallbacks, "num_retries": 1},
        "general_settings": {"master_key": KEY},
    }
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "config.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        words = [
            str(Path(sys.executable).with_name("litellm")),
            "--config",
            str(path),
            "--port",
            str(port),
            "--host",
            "127.0.0.1",
        ]
        environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "CRITICAL"}
        with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait_for(port)
                yield port
            finally:
                process.terminate()


def wait_for(port: int, seconds: float = 90) -> None:
    """Waits until somebody listens at a port and answers. Raises TimeoutError."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=2).read()
        except HTTPError:
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"nothing answers at port {port}")


async def ask_router(server: Server, a: str, b: str) -> Seen:
    """Asks LiteLLM's Router, in a thread with a loop of asyncio's."""
    return await trio.to_thread.run_sync(partial(_ask_router, server.port, a, b), abandon_on_cancel=True)


def _ask_router(port: int, a: str, b: str) -> Seen:
    return asyncio.run(_route(port, a, b))


_ROUTERS: dict[tuple[int, str], Any] = {}


async def _route(port: int, a: str, b: str) -> Seen:
    litellm: Any = import_module("litellm")  # takes seconds, and is not always there
    litellm.suppress_debug_info = True
    given = {"api_base": f"http://127.0.0.1:{port}/v1", "api_key": "x", "timeout": 6, "stream_timeout": 6}
    models = [{"model_name": name, "litellm_params": {"model": f"openai/{name}", **given}} for name in (a, b)]
    if (port, a) not in _ROUTERS:
        _ROUTERS[port, a] = litellm.Router(model_list=models, fallbacks=[{a: [b]}], num_retries=1)
    router, seen = _ROUTERS[port, a], Seen()
    try:
        stream = await router.acompletion(a, messages=MESSAGES, stream=True, stream_options={"include_usage": True})
        async for chunk in stream:
            seen.model = chunk.model or seen.model
            if chunk.choices:
                seen.text += chunk.choices[0].delta.content or ""
            if getattr(chunk, "usage", None):
                seen.tokens = chunk.usage.completion_tokens
    except Exception as error:  # noqa: BLE001  # whatever a client would see
        seen.error = f"{type(error).__name__}: {error}"[:200]
    return seen


SUBJECTS = ("library, finish", "gateway, finish", "gateway, first_token", "LiteLLM Router", "LiteLLM proxy")


async def measure(names: Sequence[str], numbers: Sequence[int]) -> dict[str, dict[int, Verdict]]:
    """All verdicts, subject by subject; those that run in processes of their own at the same time as the others."""
    found: dict[str, dict[int, Verdict]] = {}

    async def run(name: str, ask: Ask, server: Server, tag: str) -> None:
        found[name] = await play(ask, server, tag, numbers)
        say(f"{name}: {dict(Counter(one.verdict for one in found[name].values()))}")

    def by_number(prefix: str) -> Callable[[str, str], str]:
        return lambda a, _: f"{prefix}{a[1:].partition('-')[0]}"

    async with open_faults() as server, fanout.open_transport() as transport:
        with (
            open_gateway(server, "finish") as finish,
            open_gateway(server, "first_token") as first,
            open_proxy(server, 4999) if "LiteLLM proxy" in names else _nothing() as proxy,
        ):
            server.began = trio.current_time()
            asks: dict[str, tuple[Ask, str]] = {
                "library, finish": (partial(ask_library, server, transport, "finish"), "library"),
                "gateway, finish": (partial(ask_http, finish, by_number("g"), {}), "finish"),
                "gateway, first_token": (partial(ask_http, first, by_number("g"), {}), "first_token"),
                "LiteLLM Router": (partial(ask_router, server), "router"),
                "LiteLLM proxy": (partial(ask_http, proxy, by_number("a"), {}), "proxy"),
            }
            async with trio.open_nursery() as nursery:
                for name in names:
                    ask, tag = asks[name]
                    nursery.start_soon(run, name, ask, server, tag)
    return {name: found[name] for name in names}


@contextmanager
def _nothing() -> Iterator[int]:
    yield 0


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table, and below it the machine."""
    subjects = results["verdicts"]
    numbers = list(next(iter(subjects.values())))
    rows = [(f"{n} {REASONS[int(n)]}", *(each[n]["verdict"] for each in subjects.values())) for n in numbers]
    sums = ("in all", *(_sum(each) for each in subjects.values()))
    yield from table(("scenario", *subjects), [*rows, sums])
    yield from foot(results)


def _sum(verdicts: Mapping[str, Any]) -> str:
    counts = Counter(one["verdict"] for one in verdicts.values())
    return " / ".join(str(counts[verdict]) for verdict in ("pass", "partial", "safe", "fail"))


def main(given: Sequence[str] | None = None) -> None:
    """Plays all scenarios, prints the table, and writes the results down."""
    parser: argparse.ArgumentParser = arguments("failover", __doc__)
    parser.add_argument("--only", type=comma_list(int), help="numbers of scenarios")
    options = parser.parse_args(given)
    names = [name for name in SUBJECTS if not name.startswith("LiteLLM") or find_spec("litellm")]
    verdicts = trio.run(measure, names, options.only or list(REASONS))
    said = {name: {str(n): asdict(one) for n, one in each.items()} for name, each in verdicts.items()}
    results = {
        **circumstances(["fanout", "litellm", "hypercorn", "starlette", "trio"], 1),
        "failed": {},
        "verdicts": said,
    }
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    main()
