"""The simplest wire there can be, for tests of the engine: one read is one word, a full stop ends the answer."""

from collections.abc import Sequence
from math import inf
from typing import Any

import trio
from attrs import define

import fanout
from fanout.abc import Head, Policy, Provider, Reader, Request
from fanout.connections import Connections
from fanout.errors import ProviderError, RateLimited, ServerError, Truncated
from fanout.events import Delta, End, Event, Reasoning, Refusal, Status, Tagged
from fanout.transports.memory import MemoryTransport, Script


@define
class Words(Provider):
    """A provider whose host is its name; the script of that host in a MemoryTransport says what it answers."""

    name: str
    model: str | None = None

    def request(self, prompt: fanout.Prompt) -> Request:
        return Request("POST", f"http://{self.name}/", body=prompt.messages[-1].text.encode())

    def read(self, head: Head, request: Request | None = None) -> Reader:
        return WordsReader(head)


class WordsReader:
    """`.` ends, `!` is an error inside the stream, `~` a keep-alive, `?word` reasoning, `-word` a refusal."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.complete = False
        self.ended = False

    def feed(self, data: bytes, /) -> list[Event]:
        if self.ended:
            return []
        return [event for word in data.decode().split(" ") if (event := self._event(word))]

    def _event(self, word: str) -> Event | None:
        if self.head.status != 200:
            return None
        match word[:1]:
            case ".":
                self.complete = self.ended = True
                return End(Status.FINISHED, finish_reason="stop")
            case "!":
                self.ended = True
                return End(Status.FAILED, error=ServerError(word[1:]))
            case "?":
                return Reasoning(word[1:])
            case "-":
                return Refusal(word[1:])
            case "~" | "":
                return None
            case "%":
                raise ValueError("nonsense")
        return Delta(word)

    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        if self.ended:
            return []
        self.ended = True
        if self.head.status == 429:
            retry_after = self.head.headers.get("retry-after")
            error = RateLimited("slow down", status=429, retry_after=float(retry_after) if retry_after else None)
        elif self.head.status != 200:
            error = ServerError("broken", status=self.head.status)
        return [End(Status.FAILED, error=error or Truncated("cut off"))]


def said(*words: str, first: float = 0.1, gap: float = 0.1) -> list[float | bytes | Any]:
    """A script: the first word after `first` seconds, the others `gap` seconds apart, and a full stop with the last."""
    steps: list[float | bytes | Any] = []
    for index, word in enumerate(words):
        last = index == len(words) - 1
        steps += [gap if index else first, f"{word} .".encode() if last else word.encode()]
    return steps


def memory(**scripts: Script) -> MemoryTransport:
    """A MemoryTransport with a script for each lane's name."""
    return MemoryTransport(scripts)


def words(*names: str) -> list[Words]:
    """Lanes of these names."""
    return [Words(name) for name in names]


@define
class Seen:
    """The record of one fan-out: its events and what became of it."""

    events: list[Tagged]
    run: fanout.Run

    def of(self, lane: str) -> list[Event]:
        return [tagged.event for tagged in self.events if tagged.lane == lane]

    def ends(self, lane: str) -> list[End]:
        return [event for event in self.of(lane) if isinstance(event, End)]

    def end_at(self, lane: str) -> float:
        return next(t.at for t in self.events if t.lane == lane and isinstance(t.event, End))

    def start_at(self, lane: str) -> float | None:
        return next((t.at for t in self.events if t.lane == lane), None)


async def watch(plan: Policy | Sequence[Any], transport: MemoryTransport | Connections, **settings: Any) -> Seen:
    """Runs a plan to its end under the mock clock, and checks what must always hold."""
    with trio.fail_after(10**6):
        async with fanout.open_fanout("?", plan, transport=transport, **settings) as running:
            events = [tagged async for tagged in running]
            seen = Seen(events, running.run)
            for lane in running.lanes:
                assert len(seen.ends(lane)) == 1, lane
                assert isinstance(seen.of(lane)[-1], End), lane
    carrier: Any = transport.transport if isinstance(transport, Connections) else transport
    assert carrier.open == 0
    return seen


__all__ = ["Seen", "Words", "inf", "memory", "said", "watch", "words"]
