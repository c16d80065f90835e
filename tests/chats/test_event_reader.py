from typing import Any

import pytest

from fanout.abc import Head
from fanout.chats.event_reader import EventReader
from fanout.errors import NotAStream, ProtocolError, ProviderError, ResetError, ServerError, TooLarge, Truncated
from fanout.events import Delta, End, Event, Status, Title
from fanout.wire.sse import CAP, ServerSentEvent
from tests.providers.exchange import end_of
from tests.servers.website import pieces


class Words(EventReader):
    """Takes `{"say": WORD}`, and ends by an event called `over`; its last word is a title."""

    def take(self, message: ServerSentEvent, out: list[Event], /) -> None:
        if message.event == "over":
            self.finish("stop")
        elif message.data != "[DONE]":
            out.append(Delta(self.value(message)["say"]))

    def rest(self, out: list[Event], /) -> None:
        out.append(Title("whole" if self.complete else "broken"))


class OpenWords(Words):
    body_ends = True


HEADERS = {"x-request-id": "r1", "x-ratelimit-limit": "5", "server": "x"}
KEPT: dict[str, Any] = {"request_id": "r1", "headers": {"x-request-id": "r1", "x-ratelimit-limit": "5"}}
ONE = b'data: {"say":"a"}\n\n'
OVER = b"event: over\ndata: x\n\n"


def read(*chunks: bytes, kind: type[EventReader] = Words, error: ProviderError | None = None) -> list[Event]:
    reader = kind(Head(200, HEADERS))
    return [event for data in chunks for event in reader.feed(data)] + reader.close(error)


def test_the_name_of_an_event_may_be_the_end_mark() -> None:
    data = ONE + OVER
    whole = [Delta("a"), Title("whole"), End(Status.FINISHED, "stop", **KEPT)]
    assert read(*pieces(data)) == whole
    for place in range(len(data) + 1):
        assert read(data[:place], data[place:]) == whole


def test_the_end_comes_with_the_mark_and_nothing_follows() -> None:
    reader = Words(Head(200))
    events = reader.feed(ONE + OVER + ONE)
    assert reader.complete and type(events[-1]) is End and len(events) == 3
    assert (reader.feed(ONE), reader.close(ResetError("gone"))) == ([], [])


def test_without_its_mark_a_stream_is_truncated_unless_the_body_is_its_end() -> None:
    error = end_of(read(ONE)).error
    assert type(error) is Truncated and error.message == "the stream ended without its end mark"
    assert error.request_id == "r1"
    assert read(ONE, kind=OpenWords)[1:] == [Title("whole"), End(Status.FINISHED, "unknown", **KEPT)]


@pytest.mark.parametrize("kind", [Words, OpenWords])
def test_nothing_is_no_answer(kind: type[EventReader]) -> None:
    error = end_of(read(kind=kind)).error
    assert type(error) is Truncated and error.message == "the answer is empty"
    assert type(end_of(read(b": ping\n\n", kind=kind)).error) is Truncated


@pytest.mark.parametrize("last", [b'data: {"say":"b"}', b'data: {"say":"b"}\n', b"data: [DONE]"])
def test_a_last_event_that_is_whole_needs_no_blank_line(last: bytes) -> None:
    events = read(ONE, last, kind=OpenWords)
    assert end_of(events).status is Status.FINISHED
    assert (Delta("b") in events) == (b"say" in last)


@pytest.mark.parametrize("last", [b'data: {"say":"b', b"data: ", b"data:", b"data", b"dat", b"d"])
def test_a_last_event_that_is_cut_short_is_truncated(last: bytes) -> None:
    error = end_of(read(ONE, last, kind=OpenWords)).error
    assert type(error) is Truncated and error.message == "the stream ended within an event"


def test_how_the_body_ended_is_the_error_where_nothing_else_is() -> None:
    gone = ResetError("gone")
    assert end_of(read(ONE, error=gone)).error is gone
    assert end_of(read(ONE, b'data: {"say":"b"', error=gone)).error is gone
    assert type(end_of(read(ONE, b'data: {"error":"no"}', error=gone)).error) is ServerError
    assert end_of(read(ONE, OVER.rstrip(b"\n"), error=gone)).status is Status.FAILED


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (ONE + b'data: {"error":"no"}\n\n', ServerError),
        (ONE + b"event: error\ndata: 5\n\n", ServerError),
        (ONE + b'{"error":"no"}\n', ServerError),
        (ONE + b"data: {\n\n", ProtocolError),
        (ONE + b"data: []\n\n", ProtocolError),
        (ONE + b"data: {}\n\n", ProtocolError),
        (b"data: " + b"x" * (CAP + 1), TooLarge),
        (b"<!doctype html><title>Log in</title>", NotAStream),
        (b"Not today.", NotAStream),
    ],
)
def test_every_error_is_typed_and_keeps_what_came_before(data: bytes, kind: type[ProviderError]) -> None:
    for form in (Words, OpenWords):
        events = read(data, kind=form)
        assert type(end_of(events).error) is kind
        assert (Delta("a") in events) == data.startswith(ONE)


def test_one_document_in_place_of_a_stream_is_read_like_an_event() -> None:
    assert read(b'{"say":\n"a"}', kind=OpenWords)[0] == Delta("a")
    assert type(end_of(read(b'{"say":\n"a"}')).error) is NotAStream
    assert type(end_of(read(b'{"error":"no"}')).error) is ServerError
