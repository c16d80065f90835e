"""A service that speaks Gemini's wire, calls a tool in every answer, and gives its calls no ids."""

import json
from base64 import b64encode
from typing import Any

import trio
from attrs import define, field

from tests.servers.http import Received, answer_all


@define(eq=False)
class GeminiUpstream:
    """The running service; the arguments and the signature of a call say which request it answers.

    With `in_pieces` the arguments of a call come one by one.
    """

    url: str = ""
    in_pieces: bool = False
    asked: list[Any] = field(factory=list)

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection, with all its requests."""

        async def answer(request: Received) -> bytes:
            self.asked.append(json.loads(request.body))
            number = len(self.asked)
            signed = {"thoughtSignature": b64encode(f"signature {number}".encode()).decode()}
            call: dict[str, Any] = {"name": "look", "args": {"turn": number}}
            parts: list[Any] = [{"functionCall": call, **signed}]
            if self.in_pieces:
                argument = {"jsonPath": "$.turn", "numberValue": number}
                parts = [
                    {"functionCall": {"name": "look", "willContinue": True}, **signed},
                    {"functionCall": {"partialArgs": [argument], "willContinue": True}},
                    {"functionCall": {}},
                ]
            rows = [{"candidates": [{"content": {"role": "model", "parts": [part]}}]} for part in parts]
            rows[-1]["candidates"][0]["finishReason"] = "STOP"  # type: ignore[assignment]
            body = b"".join(b"data: " + json.dumps(row).encode() + b"\r\n\r\n" for row in rows)
            head = f"HTTP/1.1 200 .\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n"
            await stream.send_all(head.encode() + body)
            return b""

        await answer_all(stream, answer)
