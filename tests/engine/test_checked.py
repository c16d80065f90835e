"""A plug-in's reader that returns no events ends its own lane, and no other."""

from typing import Any

import pytest
from trio.testing import MockClock

import fanout
from fanout import All
from fanout.abc import Head, Request
from fanout.engine.checked import check, check_events
from fanout.errors import InternalError
from fanout.events import Delta, End, Reasoning, Source, Sources, Status, ToolCall, Usage
from fanout.providers.chat_reader import ChatReader
from tests.words import Words, WordsReader, memory, said, words

ODD: list[Any] = [
    "text",
    3,
    ["text"],
    [None],
    [Delta],
    [Delta(None)],  # type: ignore[arg-type]
    [Delta(b"x"), End(Status.FINISHED)],  # type: ignore[arg-type]
    [Reasoning(None)],  # type: ignore[arg-type]
    [ToolCall("0")],  # type: ignore[arg-type]
    [ToolCall(0, arguments=None)],  # type: ignore[arg-type]
    [Usage(output="7")],  # type: ignore[arg-type]
    [Sources([None])],  # type: ignore[list-item]
    [Sources([Source(None)])],  # type: ignore[arg-type]
    [End("done")],  # type: ignore[arg-type]
    [End(Status.FAILED, error="no")],  # type: ignore[arg-type]
    [End(Status.FINISHED, notes=None)],  # type: ignore[arg-type]
    [End(Status.FINISHED), Delta("x")],
    iter([Delta("x")]),
]


@pytest.mark.internal
@pytest.mark.parametrize("where", ["feed", "close"])
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: f"{odd!r:.60}")
async def test_what_is_no_event_ends_the_lane_of_its_reader(odd: Any, where: str, autojump_clock: MockClock) -> None:
    class Odd(WordsReader):
        def feed(self, data: bytes, /) -> Any:
            return odd if where == "feed" else super().feed(data)

        def close(self, error: Any = None, /) -> Any:
            return odd if where == "close" else super().close(error)

    class Plug(Words):
        def read(self, head: Head, request: Request | None = None) -> WordsReader:
            return Odd(head)

    transport = memory(a=[0.1, b"x"], b=said("fine", first=0.5))
    run = await fanout.ask("?", All(Plug("a"), *words("b")), transport=transport, retries=3)
    assert run["b"].text == "fine"
    assert isinstance(run["a"].error, InternalError)
    assert "reader" in run["a"].error.message


def test_events_pass_as_they_are() -> None:
    events = [Delta("x"), Sources([Source("http://a")]), Usage(output=1), End(Status.FINISHED)]
    assert check_events(events) == events
    assert check_events(()) == check_events(None) == []


def test_our_own_readers_are_not_slowed_down() -> None:
    reader = ChatReader(Head(200, {}))
    assert check(reader) is reader


async def test_a_farewell_gets_the_reader_that_its_provider_made(autojump_clock: MockClock) -> None:
    seen: list[Any] = []

    class Parting(Words):
        def farewell(self, request: Request, reader: Any) -> None:
            seen.append(type(reader))

    await fanout.race("?", [Parting("a"), *words("b")], transport=memory(a=[0.1, b"x", 9], b=said("fine", first=0.5)))
    assert seen == [WordsReader]
