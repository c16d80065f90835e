"""A scripted OpenAI server: the model's name in a request selects what happens to it.

`ttft=0.1;gap=0.02;n=20` answers 20 tokens `w0 w1 …`, the first after 0.1 s, 0.02 s apart. Also:

    head=S     seconds before the response's head           say=TEXT   TEXT is the only token
    role       a role-only chunk right after the head       ka         keep-alive comments until the first token
    status=N   error status N, with retry=S as Retry-After  error=K    an error frame after K tokens
    cut=K      the connection closes after K tokens         reset=K    … with a reset
    stall=K    keep-alive comments for ever after K tokens  hang=K     silence for ever after K tokens
    drip       one byte every 10 ms                         html       a web page with status 200
    knows=F,F  refuses every other field of those that services disagree about, by its name
    whole      refuses to stream: the account must be verified; answers whole
    thinks     refuses calls without their reasoning, and says so
    think=K    K pieces of reasoning before ttft            fin=REASON another finish reason than stop
    empty      status 200 and nothing more                  nodone     no finish and no [DONE]
    linger     the connection stays open after [DONE]       refuse     the answer is a refusal
"""

import json
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio
from attrs import define, field

from tests.servers.http import Received, answer_all, chunk, play, reset, respond, respond_json, running


@define(eq=False)
class Served:
    """The server's record of one request. Times are Trio times."""

    model: str
    request: Received
    at: float
    sent: list[float] = field(factory=list)
    gone_at: float | None = None
    ended_at: float | None = None

    def sent_after(self, moment: float) -> int:
        """The number of tokens that were sent after `moment`."""
        return sum(at > moment for at in self.sent)


@define(eq=False)
class OpenAIServer:
    """The running server: its address, and what it has served."""

    url: str = ""
    served: list[Served] = field(factory=list)
    connections: int = 0
    open_connections: int = 0
    closed: trio.Event = field(factory=trio.Event)

    def lane(self, name: str, **script: Any) -> str:
        """A lane spec that plays this script; True stands for a word alone."""
        words = [key if value is True else f"{key}={value}" for key, value in script.items()]
        return f"{name}=openai/{';'.join(words) or 'plain'}?base_url={self.url}/v1&key_env="

    def of(self, lane: str) -> Served:
        """The record of the request of the lane with this spec."""
        model = lane.partition("openai/")[2].partition("?")[0]
        return next(served for served in self.served if served.model == model)

    async def all_closed(self) -> None:
        """Waits until no client is connected any more."""
        while self.open_connections:
            await self.closed.wait()

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection, with all its requests."""
        self.connections += 1
        self.open_connections += 1

        async def answer(request: Received) -> bytes | None:
            if request.headers.get("authorization") == "Bearer bad":
                await respond_json(stream, 401, {"error": {"message": "no such key"}})
                return b""
            if request.method == "GET":
                await respond_json(stream, 200, {"object": "list", "data": [{"id": "m-2"}, {"id": "m-1"}]})
                return b""
            served = Served(json.loads(request.body)["model"], request, trio.current_time())
            self.served.append(served)
            return await _answer(stream, served)

        try:
            await answer_all(stream, answer)
        finally:
            self.open_connections -= 1
            self.closed.set()
            self.closed = trio.Event()


def open_server() -> AbstractAsyncContextManager[OpenAIServer]:
    """Serves on a free port of 127.0.0.1 until the block ends."""
    return running(OpenAIServer())


async def _answer(stream: trio.SocketStream, served: Served) -> bytes | None:
    """Plays one request's script, and notes when the client went."""

    def note_end() -> None:
        served.gone_at = trio.current_time()

    async def script() -> bool:
        try:
            return await Script(stream, served).play()
        except trio.BrokenResourceError:
            served.gone_at = served.gone_at or trio.current_time()
            return False

    begun = await play(stream, script, note_end)
    served.ended_at = trio.current_time()
    return begun


DISPUTED = {"stream_options", "max_tokens", "max_completion_tokens"}
VERIFY = "Your organization must be verified to stream this model. Please go to: https://example.org/verify"
THINK = "thinking is enabled but reasoning_content is missing in assistant tool call message at index 1"


class Script:
    """The script of one request, played into its connection."""

    def __init__(self, stream: trio.SocketStream, served: Served) -> None:
        self.stream = stream
        self.served = served
        self.says: dict[str, str] = {
            key: value for key, _, value in (p.partition("=") for p in served.model.split(";"))
        }

    def seconds(self, name: str) -> float:
        return float(self.says.get(name, 0))

    def after(self, name: str) -> int | None:
        return int(self.says[name] or 0) if name in self.says else None

    async def play(self) -> bool:
        """True if the connection can serve another request."""
        await trio.sleep(self.seconds("head"))
        if "status" in self.says:
            retry = [f"retry-after: {self.says['retry']}"] if "retry" in self.says else []
            body = {"error": {"message": "scripted failure"}}
            await respond_json(self.stream, int(self.says["status"]), body, *retry)
            return True
        asked = json.loads(self.served.request.body)
        if "knows" in self.says and (wrong := (DISPUTED - {*self.says["knows"].split(",")}) & asked.keys()):
            error = {"message": f"Unrecognized request argument supplied: {min(wrong)}", "code": None}
            await respond_json(self.stream, 400, {"error": error})
            return True
        if "thinks" in self.says and not all("reasoning_content" in m for m in asked["messages"] if "tool_calls" in m):
            await respond_json(self.stream, 400, {"error": {"message": THINK}})
            return True
        if "whole" in self.says:
            await self.answer_whole(asked)
            return True
        if "html" in self.says:
            await respond(self.stream, 200, "<!doctype html><title>Log in</title>")
            return True
        await self.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
            b"x-request-id: req_1\r\n\r\n"
        )
        if "empty" in self.says:
            await self.chunk(b"")
            return True
        return await self.stream_tokens()

    async def answer_whole(self, asked: dict[str, Any]) -> None:
        if asked["stream"]:
            error = {"message": VERIFY, "type": "invalid_request_error", "param": "stream", "code": "unsupported_value"}
            await respond_json(self.stream, 400, {"error": error})
            return
        await trio.sleep(self.seconds("ttft"))
        message = {"role": "assistant", "content": "w0 w1 w2 "}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 3}
        whole = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": usage}
        await respond_json(self.stream, 200, whole)

    async def stream_tokens(self) -> bool:
        if "role" in self.says:
            await self.event({"delta": {"role": "assistant", "content": ""}})
        for _ in range(int(self.says.get("think", 0))):
            await self.event({"delta": {"reasoning_content": "Hm. "}})
        await self.pause(self.seconds("ttft"))
        tokens = [self.says["say"]] if "say" in self.says else [f"w{i} " for i in range(int(self.says.get("n", 3)))]
        for index, token in enumerate(tokens):
            if await self.fault(index):
                return False
            if index:
                await trio.sleep(self.seconds("gap"))
            await self.event({"delta": {"refusal" if "refuse" in self.says else "content": token}})
            self.served.sent.append(trio.current_time())
        if await self.fault(len(tokens)) or "nodone" in self.says:
            return False
        await self.event({"delta": {}, "finish_reason": self.says.get("fin", "stop")})
        await self.data({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": len(tokens)}})
        await self.chunk(b"data: [DONE]\n\n")
        if "linger" in self.says:
            await trio.sleep_forever()
        await self.chunk(b"")
        return True

    async def pause(self, seconds: float) -> None:
        """The wait for the first token, with comments if the script has keep-alives."""
        with trio.move_on_after(seconds):
            while "ka" in self.says:
                await self.chunk(b": keep-alive\n\n")
                await trio.sleep(0.02)
            await trio.sleep_forever()

    async def fault(self, index: int) -> bool:
        """Plays a fault that is due before token `index`; True if it ends the connection."""
        if self.after("error") == index:
            await self.data({"error": {"message": "scripted error frame", "type": "server_error"}})
            await self.chunk(b"")
            return True
        if self.after("reset") == index:
            reset(self.stream)
            return True
        if self.after("hang") == index:
            await trio.sleep_forever()
        while self.after("stall") == index:
            await self.chunk(b": keep-alive\n\n")
            await trio.sleep(0.02)
        return self.after("cut") == index

    async def event(self, choice: dict[str, Any]) -> None:
        await self.data({"id": "chatcmpl-1", "model": "scripted", "choices": [{"index": 0, **choice}]})

    async def data(self, value: dict[str, Any]) -> None:
        await self.chunk(b"data: " + json.dumps(value).encode() + b"\n\n")

    async def chunk(self, data: bytes) -> None:
        await self.send(chunk(data))

    async def send(self, data: bytes) -> None:
        if "drip" not in self.says:
            await self.stream.send_all(data)
            return
        for byte in data:
            await self.stream.send_all(bytes([byte]))
            await trio.sleep(0.01)
