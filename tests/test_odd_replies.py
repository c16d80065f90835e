"""Any JSON in place of any reply of any provider: it ends its own lane with a typed error, and raises nothing.

FANOUT_FUZZ says how many replies each provider gets.
"""

import json
import os
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import pytest
from trio.testing import MockClock

import fanout
from fanout import All
from fanout.abc import Head, Provider, Request
from fanout.chats.aura import Aura
from fanout.chats.hailuo import Hailuo
from fanout.chats.huggingchat import HuggingChat
from fanout.chats.koala import Koala
from fanout.chats.vitalentum import Vitalentum
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.events import Status
from fanout.prompt import Media, Message, Prompt
from fanout.transports.memory import MemoryTransport, Script

NUMBER = int(os.environ.get("FANOUT_FUZZ", "200"))

_URL = "https://service.test"
_WIRES = ("openai", "anthropic", "gemini", "ollama", "cohere", "responses")
_HAILUO = Credentials("hailuo", _URL, secrets={"token": Secret("a.b.c")}, fields={"uuid": "u", "device_id": "1"})
_UNREGISTERED = Credentials("hailuo", _URL, secrets={"token": Secret("a.b.c")})
CHATS: dict[str, Callable[[], Provider]] = {
    "aura": lambda: Aura(base_url=_URL),
    "hailuo": lambda: Hailuo(base_url=_URL, credentials=_HAILUO),
    "hailuo without a device": lambda: Hailuo(base_url=_URL, credentials=_UNREGISTERED, devices={}),
    "huggingchat": lambda: HuggingChat(base_url=_URL),
    "koala": lambda: Koala(base_url=_URL),
    "vitalentum": lambda: Vitalentum(base_url=_URL),
}
WITH_FILES = ("hailuo", "huggingchat")
"""Chats that take files, which some of the requests of their flows are about."""

FILE = Media(b"\x89PNG\r\n\x1a\n", media_type="image/png", name="a.png")
LANES = (*_WIRES, *CHATS, *(f"{name} with a file" for name in WITH_FILES))

NAMES = (
    *("choices", "delta", "message", "content", "text", "tool_calls", "function", "arguments", "index", "id", "name"),
    *("type", "error", "code", "usage", "finish_reason", "candidates", "parts", "finishReason", "functionCall", "args"),
    *(
        "content_block",
        "citations",
        "url",
        "item",
        "output",
        "response",
        "status",
        "event",
        "data",
        "messages",
        "nodes",
    ),
    *(
        "conversationId",
        "json",
        "statusInfo",
        "message_id",
        "models",
        "done",
        "model",
        "annotations",
        "groundingMetadata",
    ),
    *(
        "realUserID",
        "deviceIDStr",
        "requestPolicyResp",
        "chatID",
        "messageID",
        "groundingChunks",
        "web",
        "uri",
        "timings",
    ),
)
WORDS = (
    *("", "text", "stop", "STOP", "error", "content_block_delta", "message_stop", "response.completed", "done", "data"),
    *(
        "\ud83c",
        "http://a",
        "tool_use",
        "null",
        "content-delta",
        "message-end",
        "response.output_item.done",
        "{",
        "a" * 500,
    ),
)


def make_json(random: Random, depth: int = 5) -> Any:
    """Makes a value of any shape, of the protocols' own names and words."""
    kind = random.random()
    if depth and kind < 0.45:
        return {random.choice(NAMES): make_json(random, depth - 1) for _ in range(random.randrange(5))}
    if depth and kind < 0.65:
        return [make_json(random, depth - 1) for _ in range(random.randrange(4))]
    return random.choice([None, True, False, -1, 0, 1, 2, 7.5, 10**30, 1e300, random.choice(WORDS)])


def make_reply(random: Random) -> Script:
    """Makes the reply to one request: one JSON value, a line of several, or a stream of them."""
    status = random.choice([200] * 8 + [201, 204, 302, 400, 401, 403, 404, 429, 500])
    texts = [json.dumps(make_json(random)).encode() for _ in range(random.randrange(1, 4))]
    form = random.randrange(4)
    if form == 0:
        return [Head(status, {"content-type": "application/json"}), texts[0]]
    if form == 1:
        return [Head(status, {"content-type": "application/x-ndjson"}), *(text + b"\n" for text in texts)]
    name = random.choice([b"", b"event: error\n", b"event: message_stop\n", b"event: 3\n"])
    return [
        Head(status, {"content-type": "text/event-stream"}),
        *(name + b"data: " + text + b"\n\n" for text in texts),
        b"data: [DONE]\n\n",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", LANES)
async def test_any_reply_ends_its_own_lane_with_a_typed_error(autojump_clock: MockClock, name: str) -> None:
    asked = 0
    for seed in range(NUMBER):
        random = Random(f"{name} {seed}")
        lengths = count()

        def reply(request: Request, random: Random = random, lengths: "count[int]" = lengths) -> Script:
            assert next(lengths) < 50, request  # a flow that never ends
            return make_reply(random)

        chat = name.removesuffix(" with a file")
        lane: Any = CHATS[chat]() if chat in CHATS else f"{chat}/m?base_url={_URL}&key_env="
        prompt = Prompt.of([Message("user", "Hi", (FILE,))]) if name.endswith("file") else "Hi"
        run = await fanout.ask(prompt, All(lane), transport=MemoryTransport(reply), retries=1)
        (answer,) = run.answers
        asked += next(lengths)
        where = f"seed {seed} of {name}: {answer.error}"
        assert answer.status in (Status.FINISHED, Status.FAILED, Status.TIMED_OUT), where
        assert (answer.error is None) == (answer.status is Status.FINISHED), where
        assert answer.error is None or answer.error.kind != "internal", where
    assert asked >= NUMBER
