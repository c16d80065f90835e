"""Our own reader of a wire reads what its dialect writes back into the same events, however it is cut."""

import os
from collections.abc import Callable, Sequence
from random import Random

import pytest
from attrs import evolve

from fanout.abc import Head, Reader
from fanout.answers import Answer, Fold
from fanout.errors import ServerError
from fanout.events import Delta, End, Event, Reasoning, Refusal, Source, Sources, Status, ToolCall, Usage
from fanout.gateway.dialects.asked import Asked
from fanout.gateway.dialects.blocks import events_of
from fanout.gateway.dialects.chat import ChatWriter
from fanout.gateway.dialects.faults import fault_of
from fanout.gateway.dialects.messages import MessagesWriter
from fanout.gateway.dialects.responses import ResponsesWriter
from fanout.gateway.dialects.writer import Made, Writer, dump
from fanout.prompt import Message, Prompt
from fanout.providers.anthropic import MessagesReader
from fanout.providers.chat_reader import ChatReader
from fanout.providers.responses_reader import ResponsesReader

ROUNDS = int(os.environ.get("FANOUT_ROUNDS", "150"))
"""Event lists for each dialect; 10000 are run where a release is made."""

STREAM = Head(200, {"content-type": "text/event-stream"})
DOCUMENT = Head(200, {"content-type": "application/json"})
ASKED = Asked("chat", "m", Prompt((Message("user", "Hello"),)), stream=True, counted=True)

Make = tuple[Callable[[Asked, Made], Writer], Callable[[Head], Reader]]
DIALECTS: dict[str, Make] = {
    "chat": (ChatWriter, ChatReader),
    "messages": (MessagesWriter, MessagesReader),
    "responses": (ResponsesWriter, ResponsesReader),
}

WORDS = ("sky", " ", "\n\n", "data: [DONE]", "é", "🌧", "\u2028", '"', "\\", "\x00", "{", "event: error\n", "null", "…")
FINISHES = ("stop", "length", "tool_calls", "content_filter")


def made() -> Made:
    return Made("1", 1, "a-model", 3)


def text(random: Random) -> str:
    return "".join(random.choices(WORDS, k=random.randint(1, 4)))


def calls(random: Random, first: int) -> list[Event]:
    """The pieces of one or two tool calls, which may come by turns."""
    streams: list[list[Event]] = []
    for index in range(first, first + random.randint(1, 2)):
        arguments = dump({text(random): text(random) for _ in range(random.randint(0, 3))}).decode()
        cuts = sorted(random.sample(range(len(arguments) + 1), k=min(3, len(arguments))))
        pieces = [arguments[a:b] for a, b in zip([0, *cuts], [*cuts, len(arguments)], strict=True)]
        begun = ToolCall(index, f"call_{index}", f"tool_{index}", pieces[0])
        streams.append([begun, *(ToolCall(index, arguments=piece) for piece in pieces[1:] if piece)])
    out: list[Event] = []
    together = random.random() < 0.3
    while any(streams):
        stream = random.choice([one for one in streams if one]) if together else next(one for one in streams if one)
        out.append(stream.pop(0))
    return out


def answer_events(random: Random) -> list[Event]:
    """The events of an answer, as a lane gives them, up to its End."""
    out: list[Event] = []
    index = 0
    for _ in range(random.randint(1, 6)):
        match random.randint(0, 9):
            case 0 | 1:
                out.append(Reasoning(text(random)))
            case 2:
                new = calls(random, index)
                index = max(one.index for one in new if isinstance(one, ToolCall)) + 1
                out += new
            case 3:
                out.append(
                    Sources([Source(f"https://example.com/{random.randint(0, 3)}", text(random).strip() or "t")])
                )
            case _:
                out += [Delta(text(random)) for _ in range(random.randint(1, 5))]
    if not any(isinstance(one, Delta | ToolCall) for one in out):
        out.append(Delta("w"))
    if random.random() < 0.1:
        out.append(Refusal("I will not."))
    given, output = random.randint(1, 99), random.randint(1, 99)
    cached = random.choice([0, random.randint(0, given - 1)])
    out.append(Usage(given, output, cached, random.choice([0, random.randint(0, output)])))
    called = any(isinstance(one, ToolCall) for one in out)
    finish = "tool_calls" if called else random.choice([one for one in FINISHES if one != "tool_calls"])
    if any(isinstance(one, Refusal) for one in out):
        finish = "content_filter"
    return renumbered([*out, End(Status.FINISHED, finish, model="a-model")])


def fold(events: Sequence[Event]) -> Answer:
    folded = Fold("lane", "p", None, started=0.0)
    folded.add(list(events), 1.0)
    return folded.answer


def essence(answer: Answer) -> Answer:
    """The part of an answer that a dialect carries; a page may come several times, the services' own words differ."""
    pages = {source.url: source for source in reversed(answer.sources)}
    sources = tuple(sorted(pages.values(), key=lambda source: source.url))
    usage = answer.usage and evolve(
        answer.usage, reasoning=answer.usage.reasoning or 0, cached=answer.usage.cached or 0
    )
    return evolve(
        answer, sources=sources, usage=usage, chunks=0, ttft=None, itl=None, elapsed=None, notes=(), opaque=None
    )


def all_sources(events: Sequence[Event]) -> list[Event]:
    """The events, each Sources with those before it: as readers tell them."""
    seen: dict[str, Source] = {}
    out: list[Event] = []
    for event in events:
        if isinstance(event, Sources):
            for source in event.items:
                seen.setdefault(source.url, source)
            event = Sources(list(seen.values()))  # noqa: PLW2901
        out.append(event)
    return out


def write(writer: Writer, events: Sequence[Event], random: Random) -> bytes:
    """The stream of an answer whose events come in bursts, with pings between them."""
    out = [writer.begin()] if random.random() < 0.5 else []
    rest = list(events[:-1])
    while rest:
        size = random.randint(1, 5)
        burst, rest = rest[:size], rest[size:]
        out.append(writer.feed(burst))
        if random.random() < 0.1:
            out.append(writer.ping())
    assert all(part.endswith(b"\n\n") for part in out if part)  # no event is cut in two
    return b"".join([*out, writer.close(fold(events), {"winner": "lane"})])


def read(reader: Reader, data: bytes, random: Random) -> list[Event]:
    """The events that a reader makes of bytes that come in random pieces."""
    out: list[Event] = []
    mean = random.choice([1, 3, 20, 200, 5000])
    while data:
        size = random.randint(1, 2 * mean)
        out += reader.feed(data[:size])
        data = data[size:]
    return out + reader.close()


def order(events: Sequence[Event]) -> list[object]:
    """The contents in their order, neighbours of one kind joined; where calls come by turns there is no order."""
    out: list[tuple[str, str]] = []
    for event in events:
        match event:
            case Delta() | Reasoning():
                key, piece = type(event).__name__, event.text
            case ToolCall():
                key, piece = f"call {event.index}", event.arguments
            case _:
                continue
        if out and out[-1][0] == key:
            out[-1] = (key, out[-1][1] + piece)
        elif piece or isinstance(event, ToolCall):
            out.append((key, piece))
    return list(out)


def renumbered(events: Sequence[Event]) -> list[Event]:
    """The same with tool calls numbered from 0: Messages and Responses number all blocks together."""
    numbers: dict[int, int] = {}
    out: list[Event] = []
    for event in events:
        if isinstance(event, ToolCall):
            event = evolve(event, index=numbers.setdefault(event.index, len(numbers)))  # noqa: PLW2901
        out.append(event)
    return out


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("block", range(10))
def test_a_stream_reads_back_into_the_same_answer(dialect: str, block: int) -> None:
    make_writer, make_reader = DIALECTS[dialect]
    for number in range(block * ROUNDS // 10, (block + 1) * ROUNDS // 10):
        random = Random(number)
        events = answer_events(random)
        got = read(make_reader(STREAM), write(make_writer(ASKED, made()), events, random), random)
        wanted = fold(all_sources(events))
        assert essence(fold(renumbered(got))) == essence(wanted), number
        if dialect == "chat":  # the others have blocks that follow one another, so calls by turns change places
            assert order(renumbered(got)) == order(events), number


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_document_reads_back_into_the_same_answer(dialect: str) -> None:
    make_writer, make_reader = DIALECTS[dialect]
    for number in range(ROUNDS):
        random = Random(number)
        wanted = fold(all_sources(answer_events(random)))
        document = dump(make_writer(ASKED, made()).whole(wanted, {}))
        got = read(make_reader(DOCUMENT), document, random)
        assert essence(fold(renumbered(got))) == essence(wanted), number


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_answer_in_one_piece_is_the_same_answer(dialect: str) -> None:
    make_writer, make_reader = DIALECTS[dialect]
    for number in range(ROUNDS):
        random = Random(number)
        events = answer_events(random)
        whole = fold(all_sources(events))
        writer = make_writer(ASKED, made())
        data = writer.feed(events_of(whole)) + writer.close(whole, {})
        assert essence(fold(renumbered(read(make_reader(STREAM), data, random)))) == essence(whole), number


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_failure_after_the_beginning_is_never_a_clean_end(dialect: str) -> None:
    make_writer, make_reader = DIALECTS[dialect]
    for number in range(ROUNDS // 3):
        random = Random(number)
        events = answer_events(random)[:-2]
        writer = make_writer(ASKED, made())
        kept = events[: random.randint(0, len(events))]
        data = writer.feed(kept) + writer.fail(fault_of(ServerError("the service broke off")))
        end = read(make_reader(STREAM), data, random)[-1]
        assert isinstance(end, End)
        assert end.status is Status.FAILED
        assert end.error is not None
        assert "broke off" in str(end.error)
